"""What a finding is, and what lints look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from workbench.display import Card, Shown
from workbench.engine.traits import kind_of_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from workbench.engine.fusion import FusionMap
    from workbench.engine.precision import NodePrecision
    from workbench.engine.report import EngineReport, Layer

__all__ = ["EVERYWHERE", "GPU", "EngineScene", "Finding", "Lint", "Suggestion"]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A fix that can be applied: `wb.engines.fix` does all but those of kind "build".

    Attributes
    ----------
    kind
        "precision" (a rule of the precision plan), "quantize_input" (a rule that puts Q/DQ on the inputs of the nodes,
        the tensor `value` among them), "edit" (a surgery step) or "build" (an option of the build, or of the
        application that feeds the engine).
    selector
        Source nodes it is for; empty for an edit of the whole model and for a build option.
    value
        The precision, the tensor, the edit's name or the option.
    arguments
        Of the edit or the option, name and value.
    """

    kind: Literal["precision", "quantize_input", "edit", "build"]
    selector: tuple[str, ...]
    value: str
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def line(self) -> str:
        """The fix as one line, where it can be as one writes it in Python."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments)
        if self.kind == "edit":
            return f'wb.edit("{self.value}"{arguments})'
        if self.kind == "build":
            return f"BuildOptions({arguments[2:]})" if self.arguments else self.value
        few = "|".join(self.selector[:3]) + ("|..." if self.selector[3:] else "")
        return f'wb.plan.set("name:{few}", "{"int8" if self.kind == "quantize_input" else self.value}")'


@dataclass(frozen=True, kw_only=True, repr=False)
class Finding(Shown):
    """One thing that costs time.

    Attributes
    ----------
    kind
        The lint, such as "reformat" or "no-tensor-cores".
    cost_ms
        Milliseconds an inference, or None where they cannot be told.
    bound
        "all" where the whole cost goes away with the cause; "at most" where it is the time of layers that would still
        run, only faster.
    evidence
        What in the report shows it.
    """

    kind: str
    title: str
    evidence: str
    fix: str
    layers: tuple[str, ...]
    nodes: tuple[str, ...] = ()
    cost_ms: float | None = None
    bound: Literal["all", "at most"] = "at most"
    suggestion: Suggestion | None = None

    @property
    def where(self) -> str:
        """The first layer it is about, and how many more there are."""
        rest = len(self.layers) - 1
        return self.layers[0] + (f" and {rest} more" if rest else "")

    def _card(self) -> Card:
        cost = "" if self.cost_ms is None else f", {'' if self.bound == 'all' else 'at most '}{self.cost_ms:.4g} ms"
        line = () if self.suggestion is None else (self.suggestion.line,)
        return Card(f"{self.title}{cost}: {self.where}", notes=(self.evidence, self.fix, *line))


@dataclass(frozen=True)
class EngineScene:
    """An engine as lints see it: its layers with their neighbours, source nodes and requested precision."""

    report: EngineReport
    fusion: FusionMap
    verdicts: Mapping[str, NodePrecision] = field(default_factory=dict)

    @cached_property
    def maker(self) -> dict[tuple[str, int], Layer]:
        """Tensor name and optimization profile to the layer that writes it."""
        return {(tensor.name, layer.profile): layer for layer in self.report.layers for tensor in layer.outputs}

    @cached_property
    def users(self) -> dict[tuple[str, int], list[Layer]]:
        """Tensor name and optimization profile to the layers that read it."""
        users: dict[tuple[str, int], list[Layer]] = {}
        for layer in self.report.layers:
            for name in dict.fromkeys(tensor.name for tensor in layer.inputs):
                users.setdefault((name, layer.profile), []).append(layer)
        return users

    @cached_property
    def ends(self) -> frozenset[str]:
        """Names of the engine's inputs and outputs."""
        return frozenset(binding.name for binding in self.report.bindings)

    def kinds(self, *names: str) -> Iterator[Layer]:
        """Yield the layers of these kinds."""
        return (layer for layer in self.report.layers if kind_of_layer(layer) in names)

    def before(self, layer: Layer) -> list[Layer]:
        """Layers that write its inputs; reformats and views in between are looked through."""
        return self._through(layer, lambda one: [self.maker.get((t.name, one.profile)) for t in one.inputs])

    def after(self, layer: Layer) -> list[Layer]:
        """Layers that read its outputs; reformats and views in between are looked through."""
        return self._through(
            layer, lambda one: [n for t in one.outputs for n in self.users.get((t.name, one.profile), [])]
        )

    def _through(self, layer: Layer, step: Callable[[Layer], Sequence[Layer | None]]) -> list[Layer]:
        reached: list[Layer] = []
        todo, passed = [layer], {id(layer)}
        while todo:
            for near in step(todo.pop(0)):
                if near is None or id(near) in passed:
                    continue
                if kind_of_layer(near) in {"reformat", "noop"}:
                    passed.add(id(near))
                    todo.append(near)
                else:
                    reached.append(near)
        return reached

    def first(self, layer: Layer) -> bool:
        """Whether it reads the engine's input, with at most reformats and Q/DQ in between."""
        return all(kind_of_layer(near) == "qdq" and not self.before(near) for near in self.before(layer))

    def readers(self, tensor: str, *layers: Layer) -> tuple[str, ...]:
        """Source nodes of these layers that read a tensor; all their nodes where the model does not tell."""
        nodes = self.nodes(*layers)
        graph = self.fusion.graph
        users = [] if graph is None else [node.name for node in graph.consumers.get(tensor, [])]
        return tuple(node for node in nodes if node in users) or nodes

    def nodes(self, *layers: Layer) -> tuple[str, ...]:
        """Source nodes of layers, each once."""
        groups = [self.fusion.by_layer[layer.name] for layer in layers if layer.name in self.fusion.by_layer]
        return tuple(dict.fromkeys(node for group in groups for node in group.nodes))


GPU = frozenset({"tensorrt"})
"""Lints whose evidence or advice is about GPUs and TensorRT's kernels."""
EVERYWHERE = frozenset({"tensorrt", "onnxruntime"})
"""Lints about the graph that any compiler got."""


@dataclass(frozen=True, slots=True)
class Lint:
    """A lint: what looks for findings, and in the reports of which backends it has something to say."""

    check: Callable[[EngineScene], Iterator[Finding]]
    backends: frozenset[str]
