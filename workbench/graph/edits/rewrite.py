"""Fuse, expand and replace patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from workbench.errors import EditError
from workbench.graph.edits.base import Edit
from workbench.graph.edits.node_edits import import_domain
from workbench.graph.edits.pattern import Match, Pattern, apply_replacement, find, read_pattern
from workbench.graph.edits.patterns import EXPANSIONS, FUSIONS, Rewrite
from workbench.graph.model import graphs_of
from workbench.graph.selectors import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import onnx_ir as ir
    from typing_extensions import Self

    from workbench.graph.model import Model

__all__ = ["Expand", "Fuse", "ReplacePattern"]

Known = Literal["gelu", "gelu_tanh", "silu", "layer_norm"]


class Fuse(Edit):
    """Fuse the nodes that spell out a function into the one operator that is it.

    Parameters
    ----------
    pattern
        ``gelu`` (with Erf), ``gelu_tanh``, ``silu`` or ``layer_norm``.
    select
        Where: all nodes of a match must be among what this selector names.
    """

    do: Literal["fuse"] = "fuse"
    title: ClassVar[str] = "Fuse a pattern"

    pattern: Known
    select: str = "*"

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for name in _present(FUSIONS, model, addresses):
            if model.opset >= FUSIONS[name].opset:
                yield cls(pattern=name)  # type: ignore[arg-type]

    def requires(self, model: Model) -> None:
        needed = FUSIONS[self.pattern].opset
        if model.opset < needed:
            raise EditError(
                f"operator set {model.opset} has no operator for {self.pattern}",
                where=model.name,
                fix=f"Convert the operator set to {needed} first.",
            )

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        rewrite = FUSIONS[self.pattern]
        count = _rewrite(graph, model, self.select, rewrite.patterns, rewrite.replacement)
        return [f"fused {count} {self.pattern}"] if count else None


class Expand(Edit):
    """Spell an operator out in plain ones, for a compiler that does not know it.

    Parameters
    ----------
    pattern
        ``gelu``, ``gelu_tanh``, ``silu`` or ``layer_norm`` (over the last axis, with a bias).
    select
        Which nodes, as a selector.
    """

    do: Literal["expand"] = "expand"
    title: ClassVar[str] = "Expand an operator"

    pattern: Known
    select: str = "*"

    @classmethod
    def offers(cls, model: Model, addresses: Sequence[str]) -> Iterable[Self]:
        for name in _present(EXPANSIONS, model, addresses):
            yield cls(pattern=name)  # type: ignore[arg-type]

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        rewrite = EXPANSIONS[self.pattern]
        count = _rewrite(graph, model, self.select, rewrite.patterns, rewrite.replacement)
        return [f"expanded {count} {self.pattern}"] if count else None


class ReplacePattern(Edit):
    """Replace every match of a pattern of one's own; `workbench.graph.edits.pattern` describes the language.

    Parameters
    ----------
    pattern
        What to look for, one node a line; the last makes the result.
    replacement
        What takes its place; ``my.plugins::Op(x)`` makes it a plugin-style custom operator.
    select
        Where: all nodes of a match must be among what this selector names.
    """

    do: Literal["replace_pattern"] = "replace_pattern"
    title: ClassVar[str] = "Replace a pattern"
    equivalent: ClassVar[bool] = False

    pattern: str
    replacement: str
    select: str = "*"

    def apply(self, graph: ir.Model, model: Model) -> list[str] | None:
        count = _rewrite(graph, model, self.select, (self.pattern,), self.replacement)
        return [f"replaced {count} matches"] if count else None


def _present(table: dict[str, Rewrite], model: Model, addresses: Sequence[str]) -> Iterable[str]:
    """Yield the names of the rewrites that match where the picked nodes are."""
    picked = {model.nodes[address] for address in addresses} or set(model.nodes.values())
    for name, rewrite in table.items():
        matches = (
            m for p in rewrite.patterns for _, part in graphs_of(model.ir_model) for m in find(part, read_pattern(p))
        )
        if any(not picked.isdisjoint(match.nodes) for match in matches):
            yield name


def _rewrite(graph: ir.Model, model: Model, where: str, patterns: Sequence[str], replacement: str) -> int:
    new = read_pattern(replacement)
    allowed = set(select(model, where))
    count = 0
    for text in patterns:
        for prefix, part in graphs_of(graph):
            for match in find(part, read_pattern(text)):
                dtype = _dtype(match, prefix, model)
                inside = all(f"{prefix}{node.name}" in allowed for node in match.nodes)
                if inside and dtype is not None:
                    apply_replacement(part, match, new, dtype, model.opset)
                    count += 1
    if count:
        for domain in _domains(new):
            import_domain(graph, domain)
    return count


def _dtype(match: Match, prefix: str, model: Model) -> np.dtype[np.generic] | None:
    """Return the element type of the result, which constants of the replacement get."""
    result = match.nodes[0].outputs[0]
    known = model.tensor(f"{prefix}{result.name}").numpy_dtype
    if known is not None:
        return known
    dtypes = (value.dtype for node in match.nodes for value in node.inputs if value is not None)
    found = next((dtype for dtype in dtypes if dtype is not None), None)
    return None if found is None else found.numpy()


def _domains(pattern: Pattern) -> set[str]:
    return {node.domain for line in pattern for node in line}
