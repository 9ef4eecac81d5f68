"""What a file may ask for: limits that real inputs stay far below. A damaged one is a line, not a dead machine.

Each can be raised by its name, for one process: ``--limit sample_mib=8192`` on the command line,
``WORKBENCH_LIMITS=sample_mib=8192,document_depth=200`` in the environment, ``set_limit("sample_mib", 8192)`` in Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIMITS", "VARIABLE", "check", "check_document", "limit", "mib", "set_limit", "set_limits"]

VARIABLE = "WORKBENCH_LIMITS"

LIMITS: Mapping[str, tuple[int, str]] = {
    "sample_mib": (4096, "MiB of one sample of one input"),
    "array_mib": (
        16384,
        "MiB of an array that is needed as a whole: labels, statistics, column-major samples, a batch",
    ),
    "image_megapixels": (200, "megapixels of an image, before it is scaled"),
    "input_mib": (1024, "MiB of an input that is made up from a model's stated shape"),
    "constants_mib": (512, "MiB of what a model computes from constants alone"),
    "function_nodes": (1_000_000, "nodes of a model once its local functions are put in place of their calls"),
    "document_mib": (512, "MiB of a recipe, journal, cache, profile or an engine's JSON"),
    "document_depth": (100, "lists and mappings inside of one another in such a document"),
    "document_values": (20_000_000, "values in such a document, each counted as often as an alias repeats it"),
    "selector_depth": (50, "parentheses and negations inside of one another in a selector"),
    "selector_characters": (100_000, "characters of a selector"),
}
"""Name to the limit where nothing else is said, and what it counts."""

_raised: dict[str, int] = {}


def limit(name: str) -> int:
    """Return a limit as it is in this process."""
    if not _raised and os.environ.get(VARIABLE):
        set_limits(os.environ[VARIABLE])
    return _raised.get(name, LIMITS[name][0])


def set_limit(name: str, value: int) -> None:
    """Set a limit for this process.

    Raises
    ------
    WorkbenchError
        There is no such limit, or it is no positive number.
    """
    if name not in LIMITS:
        raise WorkbenchError("there is no such limit", where=name, fix=f"There are {', '.join(LIMITS)}.")
    if value <= 0:
        raise WorkbenchError("a limit is a positive number", where=name)
    _raised[name] = value


def set_limits(text: str) -> None:
    """Set limits as they are written on the command line: ``NAME=NUMBER,...``; raises as `set_limit` does."""
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if not value.isdecimal() or len(value) > 18:
            raise WorkbenchError("not like NAME=NUMBER", where=f"limit {part!r}")
        set_limit(name, int(value))


def mib(count: int) -> float:
    """Return bytes in MiB, infinitely many where a float cannot hold their number."""
    return count / 2**20 if count < 2**1000 else float("inf")


def check(name: str, value: float, kind: type[WorkbenchError], *, where: object = None, what: str = "it") -> None:
    """Refuse what asks for more than a limit.

    Parameters
    ----------
    name
        The limit.
    value
        What is asked for, in the limit's unit.
    kind
        The error to raise.
    where
        The file, tensor or place.
    what
        What asks for it, for the message.

    Raises
    ------
    WorkbenchError
        Of the kind given, with the option that raises the limit.
    """
    most = limit(name)
    if value > most:
        raise kind(
            f"{what} has {value:.6g} {LIMITS[name][1]}; the limit is {most}",
            where=where,
            fix=f"If that is right, raise it: --limit {name}={int(min(value, 1e17)) + 1}.",
        )


def check_document(document: Any, kind: type[WorkbenchError], *, where: object) -> None:
    """Refuse a parsed document that is nested too deeply, holds itself, or grows beyond all measure by its aliases.

    Raises
    ------
    WorkbenchError
        Of the kind given.
    """
    sizes: dict[int, tuple[int, int] | None] = {}

    def measured(value: Any, depth: int) -> tuple[int, int]:
        """Return how many values there are in one, and how deep it is; each part is looked at once."""
        if not isinstance(value, (dict, list, set, tuple)):
            return 1, 0
        size = sizes.get(id(value), (0, 1))
        if size is None:
            raise kind("a part of it holds itself", where=where, fix="Remove the alias.")
        check("document_depth", depth + size[1], kind, where=where)
        if size[0]:
            return size
        sizes[id(value)] = None
        inner = [measured(one, depth + 1) for one in (*value, *(value.values() if isinstance(value, dict) else ()))]
        size = sizes[id(value)] = 1 + sum(count for count, _ in inner), 1 + max((deep for _, deep in inner), default=0)
        return size

    check("document_values", measured(document, 0)[0], kind, where=where)
