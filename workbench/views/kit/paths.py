"""A view is of what was opened: a path in its place is one line that says how to open it."""

from __future__ import annotations

import functools
import inspect
import os
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from workbench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["of_opened"]

P = ParamSpec("P")
R = TypeVar("R")

OPENED = {
    "Workbench": "workbench.open_model(path)",
    "Model": "workbench.load_model(path)",
    "Engine": "workbench.load_engine(path)",
}
"""What stands in an annotation to what makes one of a file; the first that is named there is said."""


def of_opened(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a path where a function takes a workbench, a model or an engine.

    Raises
    ------
    OptionError
        One is given.
    """
    signature = inspect.signature(function)
    makes = {name: _made_by(str(parameter.annotation)) for name, parameter in signature.parameters.items()}

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            arguments = signature.bind_partial(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # which says what is wrong with them
        for name, value in arguments.items():
            for one in value if isinstance(value, tuple) else (value,):
                if makes[name] and isinstance(one, (str, os.PathLike)):
                    what = f"{function.__name__}: {name} is the path {os.fspath(one)!r}"
                    raise OptionError(what, fix=f"Open the file first: {makes[name]}.")
        return function(*args, **kwargs)

    return checked


def _made_by(annotation: str) -> str:
    return "" if "str" in annotation else next((call for kind, call in OPENED.items() if kind in annotation), "")
