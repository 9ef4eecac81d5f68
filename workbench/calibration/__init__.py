"""What the tensors of a model hold: samples, statistics, ranges, calibration caches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
