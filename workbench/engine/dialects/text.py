"""The engine inspector's text form, as it stands in logs: one `Name: ..., LayerType: ...` line a layer."""

from __future__ import annotations

import json
import re
from typing import Any

from workbench.engine.dialects.inspector import report_of
from workbench.engine.report import Binding, EngineReport
from workbench.errors import ReportError

__all__ = ["read_inspector_text"]

_LAYER = re.compile(r"^Name: .*, LayerType: ")
_KEY = re.compile(r"([A-Z][A-Za-z/]*): ?")


def read_inspector_text(text: str, name: str) -> EngineReport:
    """Find the layers and bindings in a log and build a report from them.

    Raises
    ------
    ReportError
        There is no layer line in the text.
    """
    lines = text.replace("\r\n", "\n").split("\n")  # splitlines would cut at the 0x1E inside metadata
    raw = [_fields(line) for line in lines if _LAYER.match(line)]
    if not raw:
        fix = "Print the inspector's LayerInformationFormat.ONELINE, or export JSON"
        raise ReportError("no layer line in this text", where=name, fix=fix)
    bindings: list[Binding] = []
    if "Bindings:" in lines:
        for line in lines[lines.index("Bindings:") + 1 :]:
            if not line.strip():
                break
            bindings.append(Binding(line.strip()))
    return report_of(raw, bindings, name=name, dialect="TensorRT inspector text", notes=[])


def _fields(line: str) -> dict[str, Any]:
    """Split `Key: value, Key: value` outside brackets."""
    cuts, depth = [0], 0
    for at, letter in enumerate(line):
        depth += (letter in "([{") - (letter in ")]}")
        if depth <= 0 and line.startswith(", ", at) and _KEY.match(line, at + 2):
            cuts.append(at + 2)
    pieces = [line[start:end].removesuffix(", ") for start, end in zip(cuts, [*cuts[1:], len(line)], strict=True)]
    fields: dict[str, Any] = {}
    for piece in pieces:
        key, _, value = piece.partition(":")
        fields[key.strip()] = _value(key.strip(), value.strip())
    return fields


def _value(key: str, text: str) -> Any:
    if key in {"Inputs", "Outputs"}:
        return [_fields(entry.strip()) for entry in _braced(text)]
    if key in {"Name", "LayerType", "TacticName", "TacticValue", "Metadata", "Format/Datatype", "Format", "Datatype"}:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _braced(text: str) -> list[str]:
    """Return the insides of the outermost `{ ... }`."""
    insides, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        if letter == "{":
            depth += 1
            start = at + 1 if depth == 1 else start
        elif letter == "}":
            depth -= 1
            if depth == 0:
                insides.append(text[start:at])
    return insides
