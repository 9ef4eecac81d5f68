"""The workbench as a notebook sees it: one object, each action a line of the recipe."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
