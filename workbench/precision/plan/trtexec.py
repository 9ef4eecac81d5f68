"""Per-layer precision as `trtexec` is told it, as ordinary rules.

Builder precision constraints went away with TensorRT 11; scripts full of ``--layerPrecisions`` are still around.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph.select import pick, related, select
from workbench.precision.plan.existing import literal
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.rule import Rule

if TYPE_CHECKING:
    from workbench.graph import Model
    from workbench.names import Precision

__all__ = ["Imported", "import_trtexec", "parse_spec"]

OPTIONS = ("--layerPrecisions", "--layerOutputTypes")
TYPE = r"fp32|fp16|bf16|fp8|int32|int8|int64|bool"
ENTRY = re.compile(rf"(?P<name>.+?):(?P<types>(?:{TYPE})(?:\+(?:{TYPE}))*)(?:,|$)", flags=re.DOTALL)
AS_PRECISION: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "bf16": "bf16", "int8": "int8", "fp8": "fp8"}


@dataclass(frozen=True)
class Imported:
    """What a trtexec command line comes to.

    Parameters
    ----------
    plan
        Its rules, in the order in which later ones win.
    notes
        One sentence for each entry that is no rule here, and why.
    """

    plan: PrecisionPlan
    notes: tuple[str, ...]


def parse_spec(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """Read the value of ``--layerPrecisions`` or ``--layerOutputTypes``: ``layer:type[+type][,layer:type]...``.

    Layer names may hold commas and colons themselves: an entry ends where a type name and a comma follow a colon. What
    trtexec calls the default, the layer ``*``, comes first, wherever it stands: it is for the layers that no other
    entry names.

    Returns
    -------
    list of (str, tuple of str)
        Layer name, perhaps with ``*`` for any text, and its types.

    Raises
    ------
    PrecisionError
        Something in it is no such entry.
    """
    entries = []
    position = 0
    while position < len(text):
        match = ENTRY.match(text, position)
        if match is None:
            raise PrecisionError(
                "not a list of layer:type", where=text[position:], fix=f"Types are {TYPE.replace('|', ', ')}."
            )
        entries.append((match["name"], tuple(match["types"].split("+"))))
        position = match.end()
    return sorted(entries, key=lambda entry: entry[0] != "*")


def import_trtexec(command: str, model: Model) -> Imported:
    """Turn the per-layer precisions of a trtexec command line into a plan.

    Parameters
    ----------
    command
        A command line, or the part of it with ``--layerPrecisions`` and ``--layerOutputTypes``.
    model
        The model it is for: trtexec's layers are the nodes of the ONNX file, by name.

    Returns
    -------
    Imported
        ``--layerPrecisions`` become rules on nodes. ``--layerOutputTypes`` of floating-point types too, and ``int8``
        there means that the readers of the layer's result read it quantized. Integer types of 32 bits and more are no
        precision; a name that no node has is noted and left out.

    Raises
    ------
    PrecisionError
        The options cannot be read, or there are none.
    """
    specs = _specs(command)
    if not specs:
        raise PrecisionError(
            "no --layerPrecisions and no --layerOutputTypes", where=command[:80], fix="Give the whole command line."
        )
    rules: list[Rule] = []
    notes = []
    for option, text in specs:
        for name, types in parse_spec(text):
            entry = f"{option} {name}:{'+'.join(types)}"
            rule = _rule(option, name, types)
            if isinstance(rule, str):
                notes.append(f"{entry}: {rule}")
            elif not select(model, rule.select, required=False):
                notes.append(f"{entry}: no node of {model.name} is called so")
            else:
                rules.append(rule)
    return Imported(PrecisionPlan(rules=tuple(rules)), tuple(notes))


def _specs(command: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise PrecisionError(f"not a command line: {error}", where=command[:80], fix="Mend its quotes.") from error
    specs: list[tuple[str, str]] = []
    for position, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in OPTIONS:
            specs.append((option, value if equals else "".join(words[position + 1 : position + 2])))
    # Precisions first: an output type is the finer word.
    return sorted(specs, key=lambda entry: OPTIONS.index(entry[0]))


def _rule(option: str, name: str, types: tuple[str, ...]) -> Rule | str:
    precision = AS_PRECISION.get(types[0])
    if precision is None:
        return f"{types[0]} is no precision to choose"
    if len(set(types)) > 1:
        return "its outputs would have different types, and a node has one"
    # trtexec knows one wildcard, the star.
    selector = pick("name", "*".join(literal(part) for part in name.split("*")))
    if option == "--layerOutputTypes" and precision in ("int8", "fp8"):
        return Rule(select=str(related("consumers", selector)), precision=precision)
    return Rule(select=str(selector), precision=precision)
