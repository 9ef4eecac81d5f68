"""A tiny pattern language for small pieces of graphs, and its matcher.

A pattern is a few lines, each one node; the last makes the result::

    h = Mul(x, 0.5)
    e = Erf(s)  |  Tanh(s)
    y = LayerNormalization{axis=-1, epsilon=@eps}(x, $scale, $bias)

- ``x``: any tensor; the same name is the same tensor everywhere.
- ``$scale``: a constant. ``0.5``: a constant of one element with that value, to one part in a hundred thousand, or
  to the last digit of a type that has fewer.
- ``{axis=-1}``: an attribute must have this value; where it is missing, its default. ``axes`` is also looked for
  among the constant inputs, where newer sets of ONNX have it. ``{epsilon=@eps}`` binds a number.
- ``{axes=last@n}``: the axes are the last ones, however many and however they are counted; ``@n`` is how many, the
  same everywhere. ``{axis=last@n}``: this axis and all behind it. In a replacement the two are written out again.
- ``|`` gives alternatives; Add and Mul match with their inputs in either order.
- ``domain::Op`` is an operator of another domain.

A replacement is written the same way. A number becomes a constant of the element type of the tensor matched first;
``@eps`` is the number bound before, as an attribute or as a constant. A ``$name`` bound to a constant of one element
can be used as an attribute, ``{epsilon=$eps}``, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.surgery import add_constant, add_node, constant_array, drop_unused, redirect, typed
from workbench.graph.tensor import is_floating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Match", "PatternNode", "apply_replacement", "find", "read_pattern"]

COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Equal", "Max", "Min"})
TOLERANCE = 1e-5
"""Of a number: exporters write 1.4142; a rewrite whose constants are further off would move the outputs."""

_LINE = re.compile(r"\s*(?P<outs>[\w, ]+?)\s*=\s*(?P<nodes>.+)$")
_NODE = re.compile(r"\s*(?:(?P<domain>[\w.]+)::)?(?P<op>\w+)\s*(?:\{(?P<attrs>[^}]*)\})?\s*\((?P<args>[^()]*)\)\s*$")


@dataclass(frozen=True)
class PatternNode:
    """One node of a pattern."""

    op: str
    domain: str
    args: tuple[str, ...]
    attributes: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]


Pattern = tuple[tuple[PatternNode, ...], ...]
"""The lines of a pattern, each with its alternatives."""


def _stated_rank(value: ir.Value) -> int | None:
    return None if value.shape is None else value.shape.rank()


@dataclass
class Match:
    """Where a pattern was found.

    Parameters
    ----------
    nodes
        The nodes that make it up, the one that makes the result first.
    values
        Tensor or number by the name it has in the pattern.
    rank
        Says how many axes a tensor has, ``None`` where that is unknown.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    values: dict[str, ir.Value | float | int | str] = field(default_factory=dict)
    rank: Callable[[ir.Value], int | None] = field(default=_stated_rank)

    def copy(self) -> Match:
        """Return an independent copy, for trying alternatives."""
        return Match(list(self.nodes), dict(self.values), self.rank)


def read_pattern(text: str) -> Pattern:
    """Read a pattern or a replacement.

    Raises
    ------
    EditError
        A line is no node; the message shows it.
    """
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if not lines:
        raise EditError("the pattern is empty", fix="Write lines such as y = Mul(x, 0.5).")
    return tuple(_read_line(line) for line in lines)


def _read_line(line: str) -> tuple[PatternNode, ...]:
    match = _LINE.match(line)
    nodes = [_NODE.match(part) for part in match["nodes"].split("|")] if match else [None]
    if match is None or None in nodes:
        raise EditError("this is no node of a pattern", where=line.strip(), fix="Write lines such as y = Mul(x, 0.5).")
    outputs = tuple(name.strip() for name in match["outs"].split(","))
    return tuple(
        PatternNode(
            op=node["op"],
            domain=node["domain"] or "",
            args=tuple(arg.strip() for arg in node["args"].split(",") if arg.strip()),
            attributes=tuple(_pair(pair, line) for pair in (node["attrs"] or "").split(",") if pair.strip()),
            outputs=outputs,
        )
        for node in nodes
        if node is not None
    )


def _pair(text: str, line: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise EditError("an attribute is written name=value", where=line.strip(), fix=f"Mend {text.strip()!r}.")
    return key.strip(), value.strip()


def find(part: ir.Graph, pattern: Pattern, rank: Callable[[ir.Value], int | None] = _stated_rank) -> Iterator[Match]:
    """Yield where a pattern is in a graph, in graph order; two matches never share a node.

    A match whose inner results are read elsewhere, or are outputs, is none. The caller may replace a match before it
    asks for the next one. `rank` says how many axes a tensor has; what the graph itself states where left out.
    """
    taken: set[ir.Node] = set()
    *_, last = pattern
    kinds = {(node.domain, node.op) for node in last}
    for node in list(part):
        if node.graph is not part or node in taken or (node.domain, node.op_type) not in kinds:
            continue
        for match in _match_node(node, len(pattern) - 1, pattern, Match(rank=rank)):
            if taken.isdisjoint(match.nodes) and _is_closed(match):
                taken.update(match.nodes)
                yield match
                break


def _is_closed(match: Match) -> bool:
    inside = set(match.nodes)
    if any(node.graph is not match.nodes[0].graph for node in match.nodes):
        return False
    inner = [value for node in match.nodes[1:] for value in node.outputs] + list(match.nodes[0].outputs[1:])
    return not any(value.is_graph_output() or any(use.node not in inside for use in value.uses()) for value in inner)


def _match_node(node: ir.Node, line: int, pattern: Pattern, match: Match) -> Iterator[Match]:
    for option in pattern[line]:
        if (node.domain, node.op_type) != (option.domain, option.op):
            continue
        inputs = list(node.inputs)
        trial = match.copy()
        if not all(_match_attribute(node, key, value, inputs, trial) for key, value in option.attributes):
            continue
        while len(inputs) > len(option.args) and inputs[-1] is None:
            inputs.pop()
        if len(inputs) != len(option.args):
            continue
        trial.nodes.append(node)
        for name, value in zip(option.outputs, node.outputs, strict=False):
            trial.values[name] = value
        orders = [inputs, inputs[::-1]] if option.op in COMMUTATIVE and len(inputs) == 2 else [inputs]
        for order in orders:
            yield from _match_inputs(order, option.args, pattern, trial)


def _match_inputs(
    inputs: list[ir.Value | None], args: tuple[str, ...], pattern: Pattern, match: Match
) -> Iterator[Match]:
    if not args:
        yield match
        return
    for trial in _match_value(inputs[0], args[0], pattern, match):
        yield from _match_inputs(inputs[1:], args[1:], pattern, trial)


def _match_value(value: ir.Value | None, arg: str, pattern: Pattern, match: Match) -> Iterator[Match]:
    if value is None:
        return
    if (number := _number(arg)) is not None:
        yield from [match] * _is_number(value, number)
        return
    if arg in match.values:
        yield from [match] * (match.values[arg] is value)
        return
    line = next((place for place, nodes in enumerate(pattern) if arg in nodes[0].outputs), None)
    if line is None:
        if not arg.startswith("$") or constant_array(value) is not None:
            trial = match.copy()
            trial.values[arg] = value
            yield trial
        return
    maker = value.producer()
    if maker is None:
        return
    for trial in _match_node(maker, line, pattern, match):
        # The node must make it at the place where the pattern has it.
        if trial.values.get(arg) is value:
            yield trial


def _match_attribute(node: ir.Node, key: str, expected: str, inputs: list[ir.Value | None], match: Match) -> bool:
    actual = _attribute(node, key)
    if actual is None and key == "axes" and (place := _axes_input(node.op_type, node.domain)) is not None:
        array = constant_array(inputs[place]) if len(inputs) > place else None
        if array is not None:
            actual = array.reshape(-1).tolist()
            del inputs[place]
    if expected.startswith("last@"):
        rank = match.rank(inputs[0]) if inputs[0] is not None else None
        count = _last(key, actual, rank)
        return count is not None and match.values.setdefault(expected[4:], count) == count
    if expected.startswith("@"):
        if actual is None or isinstance(actual, list):
            return False
        match.values[expected] = actual
        return True
    if isinstance(actual, (list, tuple)):
        return len(actual) == 1 and str(actual[0]) == expected
    number = _number(expected)
    if number is not None and isinstance(actual, (int, float)):
        return _close(float(actual), number)
    return actual is not None and str(actual) == expected


def _axes_input(op: str, domain: str, opset: int | None = None) -> int | None:
    """Return at which input an operator of ONNX reads its axes, in an operator set or the newest one."""
    try:
        schema = onnx.defs.get_schema(op, opset or onnx.defs.onnx_opset_version(), domain)
    except onnx.defs.SchemaError:
        return None
    return next((place for place, formal in enumerate(schema.inputs) if formal.name == "axes"), None)


def _last(key: str, stated: object, rank: int | None) -> int | None:
    """Return how many of the last axes these are; ``None`` where they are others, or it cannot be known."""
    axes = [stated] if isinstance(stated, int) else stated
    if not isinstance(axes, (list, tuple)) or not axes or (rank is None and max(axes) >= 0):
        return None
    back: list[int] = sorted(axis if axis < 0 else axis - (rank or 0) for axis in axes)
    if key == "axis":
        return -back[0]
    return len(back) if back == list(range(-len(back), 0)) else None


def _attribute(node: ir.Node, key: str) -> float | int | str | list[int] | None:
    if key in node.attributes:
        value = node.attributes[key].value
        if isinstance(value, bytes):
            return value.decode()
        return list(value) if isinstance(value, (list, tuple)) else value
    try:
        default = onnx.defs.get_schema(node.op_type, node.domain).attributes[key].default_value
    except (onnx.defs.SchemaError, KeyError):
        return None
    if not default.name:
        return None
    value = onnx.helper.get_attribute_value(default)
    return value.decode() if isinstance(value, bytes) else value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(value: ir.Value, expected: float) -> bool:
    array = constant_array(value)
    if array is None or array.size != 1:
        return False
    digits: Any = ml_dtypes.finfo
    coarse = float(digits(array.dtype).eps) if is_floating(array.dtype) else 0.0
    return _close(float(array.reshape(-1)[0]), expected, max(TOLERANCE, coarse))


def _close(actual: float, expected: float, tolerance: float = TOLERANCE) -> bool:
    return abs(actual - expected) <= tolerance * max(abs(expected), 1e-6)


def apply_replacement(
    part: ir.Graph, match: Match, replacement: Pattern, dtype: np.dtype[np.generic], opset: int
) -> None:
    """Put a replacement where a match was; the result and the node that makes it keep their names."""
    root = match.nodes[0]
    bindings: dict[str, ir.Value | float | int | str] = dict(match.values)
    for name in {output for line in replacement for output in line[0].outputs}:
        bindings.pop(name, None)
    new: ir.Node | None = None
    for place, (line, *_) in enumerate(replacement):
        last = place == len(replacement) - 1
        name = str(root.name) if last else f"{root.name}_{line.op}_{place}"
        attributes = {key: _written(key, value, bindings) for key, value in line.attributes}
        inputs = [_operand(arg, bindings, part, name, dtype) for arg in line.args]
        if "axes" in attributes and _axes_input(line.op, line.domain, opset) == len(inputs):
            inputs.append(add_constant(part, f"{name}_axes", np.asarray(attributes.pop("axes"), np.int64)))
        new = add_node(
            part,
            line.op,
            inputs,
            name=name,
            attributes=typed(line.op, line.domain, attributes),
            domain=line.domain,
            outputs=[f"{name}_{output}" for output in line.outputs],
            before=root,
        )
        bindings.update(zip(line.outputs, new.outputs, strict=True))
    if new is None:
        return
    read = [value for node in match.nodes for value in node.inputs]
    result, source = root.outputs[0], new.outputs[0]
    kept = result.name
    source.type, source.shape = result.type, result.shape
    redirect(result, source, part)
    part.remove(match.nodes, safe=True)
    source.name, new.name = kept, root.name
    drop_unused(part, read)


def _written(key: str, text: str, bindings: Mapping[str, ir.Value | float | int | str]) -> object:
    if not text.startswith("last@"):
        value = _bound(text, bindings)
        return [value] if key == "axes" else value
    count = bindings[text[4:]]
    if not isinstance(count, int):
        raise EditError("the replacement counts axes that the pattern does not", where=text)
    return -count if key == "axis" else list(range(-count, 0))


def _bound(text: str, bindings: Mapping[str, ir.Value | float | int | str]) -> float | int | str:
    content = bindings.get(text)
    if isinstance(content, ir.Value):
        array = constant_array(content)
        if array is None or array.size != 1:
            raise EditError("only a constant of one element can become an attribute", where=text)
        return float(array.reshape(-1)[0])
    if content is not None:
        return content
    number = _number(text)
    if number is None:
        return text
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else number


def _operand(
    arg: str,
    bindings: Mapping[str, ir.Value | float | int | str],
    part: ir.Graph,
    name: str,
    dtype: np.dtype[np.generic],
) -> ir.Value:
    content = bindings.get(arg, _number(arg))
    if isinstance(content, ir.Value):
        return content
    if content is None or isinstance(content, str):
        raise EditError(
            "the replacement reads what the pattern does not bind", where=arg, fix="Bind it in the pattern."
        )
    return add_constant(part, f"{name}_constant", np.asarray(content, dtype))
