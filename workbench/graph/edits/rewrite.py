"""Fuse, expand and replace patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir

from workbench.errors import EditError
from workbench.graph.edits.inside import tensor_at
from workbench.graph.edits.node_edits import import_domain
from workbench.graph.edits.pattern import Match, Pattern, apply_replacement, find, read_pattern
from workbench.graph.edits.patterns import EXPANSIONS, FUSIONS, Rewrite
from workbench.graph.edits.surgery import add_constant, constant_array
from workbench.graph.edits.wide import Area, WideEdit
from workbench.graph.select import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from typing_extensions import Self

    from workbench.graph.model import Model
    from workbench.graph.tensor import Tensor

__all__ = ["Expand", "Fuse", "ReplacePattern"]

_TAKEN: WeakKeyDictionary[Model, dict[Rewrite, list[tuple[str, list[ir.Node]]]]] = WeakKeyDictionary()
Composite = Literal["gelu", "gelu_tanh", "silu", "layer_norm"]


class Fuse(WideEdit):
    """Fuse the nodes that spell out a function into the one operator that is it.

    ``silu`` becomes ONNX's Swish, which operator set 24 brought. Where the model's set is older the edit is refused and
    names the conversion, a step of its own that the recipe then shows. TensorRT-RTX 1.7 takes Swish; TensorRT 8.6 is
    older than that operator set, so leave SiLU spelled out for it: compilers fuse Sigmoid and Mul by themselves. ONNX
    Runtime 1.32 runs it in operator set 24 alone; in later ones it is taken only with ``check=False``.

    Parameters
    ----------
    pattern
        ``gelu`` (with Erf), ``gelu_tanh``, ``silu``, or ``layer_norm`` over any number of the last axes.
    only
        Where: all nodes of a match must be among what this selector names.
    """

    do: Literal["fuse"] = "fuse"
    title: ClassVar[str] = "Fuse a pattern"

    pattern: Composite

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for name, where in _present(FUSIONS, model, addresses):
            if FUSIONS[name].offered(model.opset):
                yield cls(pattern=name, only=where)  # type: ignore[arg-type]

    def requires(self, model: Model) -> None:
        _is_new_enough(model, self.pattern, FUSIONS)

    def sweep(self, area: Area) -> list[str] | None:
        count = _rewrite(area, FUSIONS[self.pattern])
        return [f"fused {count} {self.pattern}"] if count else None


class Expand(WideEdit):
    """Spell an operator out in plain ones, for a compiler that does not know it.

    Parameters
    ----------
    pattern
        ``gelu``, ``gelu_tanh``, ``silu``, or ``layer_norm`` (with a bias).
    only
        Which nodes, as a selector.
    """

    do: Literal["expand"] = "expand"
    title: ClassVar[str] = "Expand an operator"

    pattern: Composite

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for name, where in _present(EXPANSIONS, model, addresses):
            if EXPANSIONS[name].offered(model.opset):
                yield cls(pattern=name, only=where)  # type: ignore[arg-type]

    def requires(self, model: Model) -> None:
        _is_new_enough(model, self.pattern, EXPANSIONS)

    def sweep(self, area: Area) -> list[str] | None:
        count = _rewrite(area, EXPANSIONS[self.pattern])
        return [f"expanded {count} {self.pattern}"] if count else None


class ReplacePattern(WideEdit):
    """Replace every match of a pattern of one's own; `workbench.graph.edits.pattern` describes the language.

    Parameters
    ----------
    pattern
        What to look for, one node a line; the last makes the result.
    replacement
        What takes its place; ``my.plugins::Op(x)`` makes it a plugin-style custom operator.
    only
        Where: all nodes of a match must be among what this selector names.
    """

    do: Literal["replace_pattern"] = "replace_pattern"
    title: ClassVar[str] = "Replace a pattern"
    equivalent: ClassVar[bool] = False

    pattern: str
    replacement: str

    def sweep(self, area: Area) -> list[str] | None:
        count = _rewrite(area, Rewrite(1, (self.pattern,), self.replacement))
        return [f"replaced {count} matches"] if count else None


def _is_new_enough(model: Model, pattern: str, table: dict[str, Rewrite]) -> None:
    needed = table[pattern].opset
    if model.opset < needed:
        raise EditError(
            f"operator set {model.opset} cannot express {pattern} so",
            where=model.name,
            fix=f"Convert it first: wb.edit('convert_opset', version={needed}).",
        )


def _present(table: dict[str, Rewrite], model: Model, addresses: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the rewrites that match where the picked nodes are, each with a selector of the nodes that it takes."""
    picked = {model.nodes[address] for address in addresses}
    for name, rewrite in table.items():
        taken = [
            f"{prefix}{node.name}"
            for prefix, matched in _taken_nodes(model, rewrite)
            if not picked or not picked.isdisjoint(matched)
            for node in matched
        ]
        if taken:
            yield name, str(nodes(*taken)) if picked else None


def _taken_nodes(model: Model, rewrite: Rewrite) -> list[tuple[str, list[ir.Node]]]:
    """Return the nodes of all matches in a model, looked for once: each click in a graph asks for them."""
    kept = _TAKEN.setdefault(model, {})
    if rewrite not in kept:
        # Most patterns end in an operator that a model has none of.
        ends = {text: read_pattern(text)[-1] for text in rewrite.patterns}
        able = [text for text, end in ends.items() if any((one.domain, one.op) in model.operators for one in end)]
        matches = _matches(Area(model.ir_model, model), rewrite._replace(patterns=tuple(able))) if able else ()
        # Without a type nothing is rewritten: constants of the replacement could have any.
        kept[rewrite] = [(prefix, match.nodes) for prefix, _, match in matches if _typed(model, prefix, match)]
    return kept[rewrite]


def _matches(area: Area, rewrite: Rewrite) -> Iterator[tuple[str, ir.Graph, Match]]:
    parts = area.parts()
    for text in rewrite.patterns:
        pattern = read_pattern(text)
        for prefix, part in parts:
            for match in find(part, pattern, _ranks(prefix, area.model)):
                if all(node in area for node in match.nodes):
                    yield prefix, part, match


def _ranks(prefix: str, model: Model) -> Callable[[ir.Value], int | None]:
    def rank(value: ir.Value) -> int | None:
        shape = tensor_at(model, f"{prefix}{value.name}").shape
        if shape is not None:
            return len(shape)
        return None if value.shape is None else value.shape.rank()

    return rank


def _rewrite(area: Area, rewrite: Rewrite) -> int:
    new = read_pattern(rewrite.replacement)
    count = 0
    for prefix, part, match in _matches(area, rewrite):
        result = tensor_at(area.model, f"{prefix}{match.nodes[0].outputs[0].name}")
        dtype = _dtype(match, result)
        if dtype is not None and _span(match, rewrite.spans, result, part):
            apply_replacement(part, match, new, dtype, area.model.opset)
            count += 1
    if count:
        for domain in _domains(new):
            import_domain(area.graph, domain)
    return count


def _typed(model: Model, prefix: str, match: Match) -> bool:
    return _dtype(match, tensor_at(model, f"{prefix}{match.nodes[0].outputs[0].name}")) is not None


def _dtype(match: Match, result: Tensor) -> np.dtype[np.generic] | None:
    """Return the element type of the result, which constants of the replacement get."""
    if result.numpy_dtype is not None:
        return result.numpy_dtype
    dtypes = (value.dtype for node in match.nodes for value in node.inputs if value is not None)
    first = next((dtype for dtype in dtypes if dtype is not None), None)
    return None if first is None else first.numpy()


def _span(match: Match, names: Sequence[str], result: Tensor, part: ir.Graph) -> bool:
    """Bring constants to the very shape of the last ``@n`` axes; say whether they can be."""
    constants = {name: match.values[name] for name in names}
    arrays = {n: a for n, v in constants.items() if isinstance(v, ir.Value) and (a := constant_array(v)) is not None}
    if not arrays:
        return not names
    count = int(match.values["@n"])  # type: ignore[arg-type]
    shape: tuple[object, ...] = (result.shape or ())[-count:]
    trimmed = {name: array.reshape(_trimmed(array, count)) for name, array in arrays.items()}
    try:
        if len(shape) != count or not all(isinstance(length, int) for length in shape):
            # Then the constants themselves must tell it: a length of 1 could stand for any.
            shape = np.broadcast_shapes(*(array.shape for array in trimmed.values()))
            if len(shape) != count or 1 in shape:
                return False
        full = {name: np.broadcast_to(array, shape) for name, array in trimmed.items()}  # type: ignore[arg-type]
    except ValueError:
        return False
    for name, array in full.items():
        if array.shape != arrays[name].shape:
            match.values[name] = add_constant(part, f"{match.nodes[0].name}_{name[1:]}", array)
    return True


def _trimmed(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], count: int) -> tuple[int, ...]:
    """Return a shape without the leading ones that broadcasting adds anyway."""
    lead = max(array.ndim - count, 0)
    return array.shape[lead:] if set(array.shape[:lead]) <= {1} else array.shape


def _domains(pattern: Pattern) -> set[str]:
    return {node.domain for line in pattern for node in line}
