"""Imports that wait until something of them is needed.

Importing onnx_ir 0.2 and newer imports SymPy, which takes longer than all else of it together, and is needed only where
somebody computes with the names of axes. So SymPy, and the one module of onnx_ir that looks into it at once, stand in
`sys.modules` as names that load the module they stand for when anything of it is asked for.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

__all__ = ["put_off"]

_READS_SYMPY = "onnx_ir._symbolic_shapes"


class _Later(ModuleType):
    """Stands for a module until the first look at it."""

    def __getattr__(self, name: str) -> Any:
        # Threads that come here at once wait for each other in the import itself.
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def put_off() -> None:
    """Let SymPy wait, unless it or onnx_ir is loaded, or there is none."""
    if "sympy" in sys.modules or "onnx_ir" in sys.modules or (spec := find_spec("sympy")) is None:
        return
    for name in ("sympy", _READS_SYMPY):
        sys.modules[name] = _Later(name)
    # Whoever asks only whether there is one, or where, need not load it.
    sys.modules["sympy"].__spec__ = spec
    sys.modules["sympy"].__file__ = spec.origin
