"""A form for any edit, made of its schema: what a page shows to fill in, and what was filled in as arguments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from workbench.errors import EditError
from workbench.graph.edits import EDITS
from workbench.graph.select import nodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.graph import Model
    from workbench.graph.edits import Edit

__all__ = ["arguments_of", "form_of", "known_edits", "prefilled"]

LINES = frozenset({"replacement"})
"""Arguments of several lines."""


def form_of(kind: type[Edit], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of an edit: its name, what it does, and one field an argument.

    Parameters
    ----------
    kind
        The edit's class.
    values
        What the fields hold at first; the others hold the arguments' defaults.

    Returns
    -------
    dict
        ``edit``, ``title``, ``doc`` and ``fields``; a field has ``name``, ``kind`` (``text``, ``lines``, ``choice`` or
        ``flag``), ``value`` as text, ``choices``, ``help`` and ``required``.
    """
    help_of = _documented(kind)
    schema = kind.model_json_schema()
    required = schema.get("required", [])
    lines = LINES | ({"pattern"} if "replacement" in kind.model_fields else set())
    fields = []
    for name, spec in schema["properties"].items():
        if name == "do":
            continue
        choices: list[str] = next((one["enum"] for one in _options(spec) if "enum" in one), [])
        value = values.get(name, spec.get("default"))
        fields.append(
            {
                "name": name,
                "kind": "choice" if choices else "lines" if name in lines else _kind(spec),
                "value": _as_text(value),
                "choices": choices if name in required else ["", *choices] if choices else [],
                "help": help_of.get(name, ""),
                "required": name in required,
            }
        )
    first = (kind.__doc__ or "").strip().split("\n", maxsplit=1)[0]
    return {"edit": kind.model_fields["do"].default, "title": kind.title, "doc": first, "fields": fields}


def arguments_of(kind: type[Edit], texts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a filled-in form stands for; what was left empty keeps its default.

    Raises
    ------
    EditError
        A text cannot be read as what the argument is.
    """
    properties = kind.model_json_schema()["properties"]
    arguments = {}
    for name, text in texts.items():
        if name not in properties or name == "do":
            raise EditError(f"argument {name!r} is not one of its own", where=kind.title)
        if isinstance(text, bool):
            arguments[name] = text
        elif str(text).strip():
            arguments[name] = _read(str(text), properties[name], f"{kind.title}, {name}")
    return arguments


def prefilled(kind: type[Edit], model: Model, names: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of an edit that picked nodes suggest; the edit's own offer where it has one for them."""
    offered = next(iter(kind.offers(model, names)), None) if names else None
    if offered is not None:
        return offered.model_dump(exclude={"do"}, exclude_defaults=True)
    picked = [name for name in names if name in model.nodes]
    outputs = [model.index.tensor(value) for name in picked[:1] for value in model.nodes[name].outputs if value.name]
    guesses: dict[str, Any] = {
        "node": picked[0] if picked else None,
        "tensor": outputs[0] if outputs else None,
        "only": str(nodes(*picked)) if picked else None,
        "input": model.inputs[0].name if model.inputs and str in _types(kind, "input") else None,
        "output": model.outputs[-1].name if len(model.outputs) > 1 else None,
    }
    return {name: guess for name, guess in guesses.items() if guess is not None and name in kind.model_fields}


def _types(kind: type[Edit], name: str) -> tuple[Any, ...]:
    return (kind.model_fields[name].annotation,) if name in kind.model_fields else ()


def _options(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in spec.get("anyOf", [spec]) if one.get("type") != "null"]


def _kind(spec: Mapping[str, Any]) -> str:
    return "flag" if all(one.get("type") == "boolean" for one in _options(spec)) else "text"


def _as_text(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value if value is not None else ""
    if isinstance(value, dict):
        return yaml.safe_dump(value, default_flow_style=True, width=10_000).strip() if value else ""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def _read(text: str, spec: Mapping[str, Any], where: str) -> Any:
    kinds = {one.get("type") for one in _options(spec)}
    if "array" in kinds:
        items = next(one.get("items", {}) for one in _options(spec) if one.get("type") == "array")
        return [_read(part, items, where) for part in map(str.strip, text.split(",")) if part]
    if kinds <= {"string"}:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EditError(
            f"{text!r} cannot be read", where=where, fix="Write for example 3, or alpha: 0.1 for attributes."
        ) from error


def _documented(kind: type[Edit]) -> dict[str, str]:
    """Return what the numpy-style docstrings of a class and of those it is made of say of its arguments."""
    sections = (
        {"only": "A selector of the nodes it acts at; the whole model where empty."}
        if "only" in kind.model_fields
        else {}
    )
    section = re.search(r"Parameters\n\s*-+\n(.*)", kind.__doc__ or "", re.DOTALL)
    names: list[str] = []
    for line in section[1].splitlines() if section else ():
        if re.match(r" {4}\w", line):
            names = [name.strip() for name in line.split(",")]
            sections.update(dict.fromkeys(names, ""))
        elif line.strip():
            # What several arguments share is told at the first of them.
            sections[names[0]] = f"{sections[names[0]]} {line.strip()}".replace("`", "").strip()
    return sections


def known_edits() -> list[dict[str, str]]:
    """Return every edit for a list to choose from: its name in a recipe and its title."""
    return [{"edit": name, "title": kind.title} for name, kind in EDITS.items()]
