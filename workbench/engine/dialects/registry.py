"""Every dialect of an engine's graph: how its files are recognised, and what reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.engine.dialects.inspector import read_inspector
from workbench.engine.dialects.text import read_inspector_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.engine.report import EngineReport

__all__ = ["GRAPHS", "Dialect"]


@dataclass(frozen=True)
class Dialect:
    """A form in which a compiler tells what an engine is made of.

    Parameters
    ----------
    kind
        Its short name.
    title
        What errors call such a file, with its article.
    read
        Makes a report of what is in the file and of the engine's name. It is given parsed JSON, or the text of a log.
    keys
        For JSON: an object with any of these keys is one.
    line
        For text: a line that no other log has.
    """

    kind: str
    title: str
    read: Callable[[Any, str], EngineReport]
    keys: frozenset[str] = frozenset()
    line: re.Pattern[str] | None = None


GRAPHS = (
    Dialect(
        "graph",
        "an engine graph (trtexec --exportLayerInfo)",
        read_inspector,
        keys=frozenset({"Layers", "I/O Tensors"}),
    ),
    Dialect(
        "text",
        "an engine inspector's text",
        read_inspector_text,
        line=re.compile(r"^Name: .*, LayerType: ", re.MULTILINE),
    ),
)
"""In the order in which a file is tried."""
