"""Every dialect in which something is told of an engine: how its files are recognised, and what reads a graph."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.engine.dialects.inspector import read_inspector
from workbench.engine.dialects.text import read_inspector_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.engine.report import EngineReport

__all__ = ["DIALECTS", "Dialect"]


@dataclass(frozen=True)
class Dialect:
    """A form in which a compiler or a profiler tells of an engine.

    Parameters
    ----------
    kind
        Its short name.
    title
        What errors call such a file, with its article.
    read
        Of an engine's graph: makes a report of what is in the file and of the engine's name. It is given parsed JSON,
        or the text of a log.
    option
        How the command line takes it.
    keys
        For JSON: an object with any of these keys is one.
    row_keys
        For JSON: a list is one whose first object has any of these keys.
    line
        For text: a line that no other log has.
    """

    kind: str
    title: str
    read: Callable[[Any, str], EngineReport] | None = None
    option: str = "GRAPH_JSON"
    keys: frozenset[str] = frozenset()
    row_keys: frozenset[str] = frozenset()
    line: re.Pattern[str] | None = None


DIALECTS = {
    one.kind: one
    for one in (
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
        Dialect(
            "timing",
            "a timing export (trtexec --exportTimes)",
            option="--timing",
            row_keys=frozenset({"latencyMs", "computeMs"}),
        ),
        Dialect(
            "performance",
            "a TREx performance summary (*.profile.metadata.json)",
            option="--timing",
            keys=frozenset({"performance_summary"}),
        ),
        Dialect(
            "build",
            "a TREx build description (*.build.metadata.json)",
            option="--metadata",
            keys=frozenset({"build_options"}),
        ),
        Dialect(
            "device",
            "a TREx device description (*.metadata.json)",
            option="--metadata",
            row_keys=frozenset({"ComputeCapability", "COMPUTE_CAPABILITY_MAJOR"}),
        ),
        Dialect(
            "manifest",
            "the manifest of an engine (*.manifest.json)",
            option="--metadata",
            keys=frozenset({"engine_sha256"}),
        ),
        Dialect(
            "profile",
            "a layer profile (trtexec --exportProfile)",
            option="--profile",
            row_keys=frozenset({"count", "averageMs", "timeMs"}),
        ),
        Dialect(
            "profile-log",
            "a profiler log",
            option="--profile",
            line=re.compile(r"^[^\"{}]*\d ?[um]s -> ", re.MULTILINE),
        ),
    )
}
"""By kind, in the order in which a file is tried."""
