"""Plans that were measured: engines built, timed side by side and kept, here or on the GPUs of a Dask cluster."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
