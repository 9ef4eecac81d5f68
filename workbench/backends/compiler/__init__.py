"""TensorRT's parser and builder, which work without a GPU where the library does."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
