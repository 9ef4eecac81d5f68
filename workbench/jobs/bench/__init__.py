"""Engines of one model in several precisions, built, timed and recorded side by side."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
