"""The steps of a recipe, one file a kind: each knows how to apply itself and which files it needs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
