"""What is known of every tensor before anything runs: shape inference and what it leaves out."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
