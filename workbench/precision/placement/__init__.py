"""Where INT8 pays: regions that decide together, what their borders cost, and the cheapest way to place INT8."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
