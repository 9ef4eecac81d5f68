"""What a node costs, and what memory a run needs; what is unknown stays unknown."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
