"""A model repository of Triton: configuration, warm-up, and what a person needs to run it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
