"""A scene on paper: SVG, PNG and a page, from the same marks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
