"""Methods that a part of an object does: said once, where they are done."""

from __future__ import annotations

import functools
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["handed"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def handed(
    function: Callable[Concatenate[Any, Arguments], Result], part: str
) -> Callable[Concatenate[Any, Arguments], Result]:
    """Return a method that calls a function with a part of its object, under the function's signature and docstring.

    Parameters
    ----------
    function
        What is done; its first argument is the part.
    part
        Where the object has it, as ``"_history.changes"``.
    """
    of = attrgetter(part)

    @functools.wraps(function)
    def method(self: Any, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        return function(of(self), *arguments, **named)

    return method
