"""Weights where a file keeps them: apart from the message, or in a file of their own."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
