"""What an engine's layer names say: source nodes, optimization profiles, and which layer a reformat serves."""

from __future__ import annotations

import re

__all__ = [
    "foreign_range",
    "is_view_of",
    "metadata_nodes",
    "myelin_group",
    "name_parts",
    "original_of",
    "profile_of",
    "reformat_target",
    "without_profile",
]

_PROFILE = re.compile(r" \[profile (\d+)\]")
_ENTRY = re.compile(r"\[ONNX Layer: (.*?)\](?=[\x1e\x1f]|\[ONNX Layer: |\s*$)", re.DOTALL)
_REFORMAT = re.compile(
    r"Reformatting CopyNode for (?:(?:Input|Output) Tensor \d+ to|Network (?:Input|Output)) (.+)", re.DOTALL
)
_FOREIGN = re.compile(r"\{ForeignNode\[(.*?)\.\.\.(.*)\]\}", re.DOTALL)
_MYELIN = re.compile(r"_myl(\d+)(?:_\d+)?$")
_VIEW = re.compile(r"(?:reshape_(?:before|after)|unsqueeze_node_after|squeeze_after|copied_squeeze_after)_(.+)")
_CLONE = re.compile(r"(.+)_clone_\d+", re.DOTALL)
_OWN = re.compile(r"\(Unnamed Layer\* \d+\) \[[^\]]*\]")


def metadata_nodes(metadata: str) -> tuple[str, ...]:
    """Return the source node names in a layer's `Metadata`, in order and each once.

    Entries read `[ONNX Layer: name]` and are separated by 0x1E, 0x1F or nothing; a name may hold brackets itself.
    """
    return tuple(dict.fromkeys(_ENTRY.findall(metadata)))


def profile_of(text: str) -> int | None:
    """Return the number N of the ` [profile N]` in a name, or None: TensorRT marks no name of profile 0."""
    match = _PROFILE.search(text)
    return int(match[1]) if match else None


def without_profile(name: str) -> str:
    """Return the name without ` [profile N]`, which Myelin layers have in the middle."""
    return _PROFILE.sub("", name)


def myelin_group(name: str) -> str | None:
    """Return the number of the Myelin graph a layer belongs to ("5" of `__myl_Cast_myl5_7`), or None."""
    match = _MYELIN.search(name)
    return match[1] if match else None


def reformat_target(name: str) -> str | None:
    """Return the X that a `Reformatting CopyNode for ... X` was inserted for, or None.

    A layer (`Input Tensor N to X`), or an input or output of the engine (`Network Input X`).
    """
    match = _REFORMAT.fullmatch(name)
    return match[1] if match else None


def foreign_range(part: str) -> tuple[str, str] | None:
    """Return first and last node of a `{ForeignNode[first...last]}`, or None."""
    match = _FOREIGN.fullmatch(part.strip())
    return (match[1], match[2]) if match else None


def is_view_of(part: str) -> str | None:
    """Return the node for which TensorRT added a reshape of its own (`reshape_after_fc` -> `fc`), or None."""
    match = _VIEW.fullmatch(part)
    return match[1] if match else None


def original_of(part: str) -> str | None:
    """Return the node that TensorRT copied (`x/QuantizeLinear_clone_1` of each input of a Concat), or None."""
    match = _CLONE.fullmatch(part)
    return match[1] if match else None


def name_parts(name: str) -> tuple[str, ...]:
    """Return what a layer's name is made of, each once.

    `a + b || c` are joined layers, `PWN(PWN(a), b)` a fused chain of pointwise ones. Layers that TensorRT invented
    (`(Unnamed Layer* 4) [Shuffle]`, `__myl_...`) have no part; a reformat's name speaks of another layer and has none
    either; `{ForeignNode[a...b]}` stays whole, for `foreign_range`.
    """
    plain = without_profile(name)
    if reformat_target(plain) is not None or plain.startswith(("__my", "{ForeignNode")):
        return (plain,) if foreign_range(plain) else ()
    kept = [part for part in _split(plain) if part and not _OWN.fullmatch(part)]
    return tuple(dict.fromkeys(_MYELIN.sub("", part) for part in kept))


def _split(text: str) -> list[str]:
    """Split at ` + ` and ` || ` outside brackets; inside PWN(...) at `, ` as well."""
    parts: list[str] = []
    for part in _top_level(text, (" + ", " || ")):
        wrapped = re.fullmatch(r"PWN\((.*)\)", part, re.DOTALL)
        if wrapped is None:
            parts.append(part)
            continue
        for inner in _top_level(wrapped[1], (", ",)):
            parts.extend(_split(inner))
    return parts


def _top_level(text: str, separators: tuple[str, ...]) -> list[str]:
    parts, start, depth, at = [], 0, 0, 0
    while at < len(text):
        depth += (text[at] in "([{") - (text[at] in ")]}")
        separator = next((s for s in separators if depth <= 0 and text.startswith(s, at)), None)
        if separator is None:
            at += 1
            continue
        parts.append(text[start:at].strip())
        at += len(separator)
        start = at
    return [*parts, text[start:].strip()]
