"""A tuned model as an HTTP service: KServe's open inference protocol, batching, limits, metrics and drift."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
