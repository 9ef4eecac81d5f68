"""Reading an export and telling what kind of file it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from workbench.engine.dialects.registry import DIALECTS
from workbench.errors import ReportError
from workbench.limits import check, check_document

__all__ = ["kind_of", "read_text", "source_name", "wrong_kind"]

_HALF = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def source_name(source: Any) -> str:
    """Return the name errors call a source by: its path, or what it is."""
    if _is_json_text(source):
        return "JSON text"
    return str(source) if isinstance(source, (str, Path)) else f"a {type(source).__name__} in memory"


def read_text(source: Any) -> tuple[str, Any]:
    """Read a file, or take JSON text or data that is in memory already, and tell its kind.

    Returns
    -------
    kind, data
        A key of `DIALECTS` or "unknown"; parsed JSON, or the text of a log.

    Raises
    ------
    ReportError
        The file cannot be read, is empty, truncated, or is no export.
    """
    if not isinstance(source, (str, Path)):
        return kind_of(source), source
    if _is_json_text(source):
        return _parsed(str(source), source_name(source))
    path = Path(source)
    fix = "Give a file written by trtexec --exportLayerInfo, an engine inspector, or this workbench"
    try:
        check("document_mib", path.stat().st_size / 2**20, ReportError, where=path)
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise ReportError(f"cannot be read ({error.strerror})", where=path, fix="Check the path") from error
    except ValueError as error:  # a name that no file can have
        raise ReportError(f"cannot be read ({error})", where=repr(str(source)), fix="Check the path") from error
    if not text.strip():
        raise ReportError("the file is empty", where=path, fix="Export it again")
    # A log starts "[07/07/2026-06:09:15] [TRT] ..." and so like a JSON list: look for its lines first.
    for one in DIALECTS.values():
        if one.line is not None and one.line.search(text):
            return one.kind, text
    if text.lstrip()[0] not in "{[":
        raise ReportError("neither JSON nor an engine inspector's text", where=path, fix=fix)
    return _parsed(text, path)


def _parsed(text: str, where: object) -> tuple[str, Any]:
    try:
        # TensorRT 8.6 writes raw control characters into strings.
        data = json.loads(_HALF.sub(_whole, text), strict=False)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated")
        what = "the JSON ends too early" if cut else f"not valid JSON ({error.msg})"
        what = f"{what} at line {error.lineno}, column {error.colno}"
        raise ReportError(what, where=where, fix="Export it again") from error
    except RecursionError as error:
        raise ReportError("JSON nested far too deep for a report", where=where, fix="Export it again") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ReportError(f"not valid JSON ({error})", where=where, fix="Export it again") from error
    check_document(data, ReportError, where=where)
    return kind_of(data), data


def _whole(match: re.Match[str]) -> str:
    """Return what stands for half of a character, of which nothing could be written; all else as it is."""
    return "\\ufffd" if match["half"] else match[0]


def _is_json_text(source: Any) -> bool:
    # An inspector hands over text; no path worth the name starts with a bracket.
    return isinstance(source, str) and source.lstrip()[:1] in {"{", "["}


def kind_of(data: Any) -> str:
    """Return the key of `DIALECTS` that parsed data belongs to, or "unknown"."""
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        return next((one.kind for one in DIALECTS.values() if one.row_keys & data[0].keys()), "unknown")
    if isinstance(data, dict):
        return next((one.kind for one in DIALECTS.values() if one.keys & data.keys()), "unknown")
    return "unknown"


def wrong_kind(kind: str, expected: str, source: Any) -> ReportError:
    """Return the error for a file that is something else than was asked for."""
    right = DIALECTS[expected].title
    other = DIALECTS.get(kind)
    if other is not None:
        fix = f"Pass it as {other.option}, and {right} here"
        return ReportError(f"this is {other.title}, not {right}", where=source_name(source), fix=fix)
    return ReportError(f"this JSON is not {right}", where=source_name(source), fix=f"Give {right}")
