"""A graph as a person asks for it: a page of it, tables, what is odd, what differs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
