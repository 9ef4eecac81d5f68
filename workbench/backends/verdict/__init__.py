"""What a real TensorRT compiler says of a model, node by node, and what helps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
