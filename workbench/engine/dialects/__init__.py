"""One file a kind of export: each turns what it reads into the nouns of `workbench.engine.report`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
