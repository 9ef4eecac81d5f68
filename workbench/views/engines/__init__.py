"""What a compiler made: tables, charts, the fusion view, the report card."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
