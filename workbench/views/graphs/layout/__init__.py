"""A layered drawing of a directed graph: numbers in, numbers out, the same every time."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
