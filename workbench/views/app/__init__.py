"""The whole workbench on one screen: steps, graph, table, inspector and recipe, with one selection."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
