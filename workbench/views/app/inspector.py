"""The inspector at the right of the screen: all there is to say of the selection, and what can be done to it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.errors import SelectorError, WorkbenchError
from workbench.evaluate import sqnr_text
from workbench.names import PRECISIONS, Precision
from workbench.precision import selector_of
from workbench.precision.plan import Rule
from workbench.session import fix_line, history_of
from workbench.views.app import facts
from workbench.views.app.tensor import AppThreshold
from workbench.views.kit import PART, View, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.session import Workbench
    from workbench.views.app.node_facts import NodeFacts

__all__ = ["Inspector"]

MOST_FINDINGS = 6
MOST_LAYERS = 24
"""Of an engine, in a list: the slowest."""


class Inspector(View):
    """Facts, weights, distribution, precision and findings of the selected nodes.

    Parameters
    ----------
    wb
        The workbench.
    node_facts
        What is known of its nodes.
    """

    _esm, _css = PART, ""

    def __init__(self, wb: Workbench, node_facts: NodeFacts) -> None:
        super().__init__(wb)
        self.workbench, self.node_facts = wb, node_facts
        self.selected: list[str] = []
        self.threshold = AppThreshold(wb)
        self._previewed: Precision | None = None
        self.layer_nodes: list[str] = []
        """Nodes of the layer that was clicked, for the screen to select."""

    def show(self, nodes: Sequence[str]) -> None:
        """Show some nodes; none shows the model."""
        self.selected, self._previewed = list(nodes), None
        self.draw()

    def renew(self) -> None:
        """Keep what is still there."""
        self.selected = [node for node in self.selected if node in self.workbench.model.nodes]
        self._previewed = None

    def still(self) -> Any:
        """Fail: this is part of a screen, which has the picture."""
        raise WorkbenchError("the inspector is a part of the screen", fix="Show the workbench itself.")

    @property
    def selector(self) -> str:
        """The shortest selector that means the selected nodes."""
        return selector_of(self.workbench.model, self.selected)

    def preview(self, precision: Precision) -> str:
        """Return what a precision for the selected nodes would change, by estimate; nothing is changed."""
        before = self.node_facts.estimate()
        after = self.node_facts.estimate(Rule(select=self.selector, precision=precision))
        parts = []
        if before.sqnr_db is not None and after.sqnr_db is not None:
            figure = "no quantization error" if after.sqnr_db == math.inf else sqnr_text(after.sqnr_db)
            finite = math.isfinite(before.sqnr_db) and math.isfinite(after.sqnr_db)
            parts.append(f"{after.sqnr_db - before.sqnr_db:+.1f} dB, to {figure}" if finite else figure)
        else:
            parts.append("SQNR unknown: measure the sensitivity")
        if before.share is not None and after.share is not None:
            parts.append(f"{100 * (after.share - before.share):+.2f} % of the MACs in 8 bits")
        parts.append(f"weights {(after.weight_bytes - before.weight_bytes) / 1000:+.1f} kB")
        return ", ".join(parts)

    def set(self, precision: Precision) -> None:
        """Give the selected nodes a precision: one rule of the recipe, after those of the best practice.

        Raises
        ------
        WorkbenchError
            Nothing is selected.
        """
        if not self.selected:
            raise WorkbenchError("nothing is selected", fix="Click a node of the graph or a row of the table.")
        if not self.workbench.plan.rules.rules:
            self.workbench.plan.use("int8")  # it is said of the plan that is shown
        self.workbench.plan.set(self.selector, precision)

    def save_weight(self, name: str) -> Path:
        """Write a weight of the selected node into an .npy file beside the notebook.

        Raises
        ------
        SelectorError
            The node has no such weight.
        """
        from workbench.files import write_bytes
        from workbench.graph import content_of

        node = self.selected[0] if self.selected else ""
        weights = facts.weights_of_node(self.workbench.model, node)
        if name not in weights:
            raise SelectorError("the selected node has no such weight", where=name)
        import io

        stream = io.BytesIO()
        np.save(stream, content_of(weights[name]).numpy(), allow_pickle=False)
        plain = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).strip("._") or "w"
        return write_bytes(Path(f"{plain}.npy"), stream.getvalue())

    def scene_state(self) -> dict[str, Any]:
        """Return what is shown of the selection."""
        model, nodes = self.workbench.model, self.selected
        if not nodes:
            shown = facts.of_model(model, *self.node_facts.macs())
            return shown | {"kind": "model", "findings": self._findings([]), "layers": self._layers([])}
        if len(nodes) > 1:
            macs = self.node_facts.sources().macs
            shown = facts.of_many(model, nodes, [macs.get(node) for node in nodes])
            more = {"findings": self._findings(nodes), "layers": self._layers(nodes), "precision": self._precision()}
            return shown | {"kind": "many"} | more
        node = nodes[0]
        shown = facts.of_node(model, node)
        weights = facts.weights_of_node(model, node)
        shown["weights"] = [facts.weight_facts(model, node, name, value) for name, value in weights.items()]
        shown["rows"] += self._becomes(node)
        tensor = self.node_facts.tensor_of(node)
        if tensor is not None:
            self.threshold.show(tensor)
        seen = tensor is not None and self.threshold.is_observed()
        return shown | {
            "kind": "node",
            "tensor": tensor if seen else None,
            "unseen": self._unseen(tensor),
            "again": tensor is not None and not seen and self.workbench.ranges.samples is not None,
            "precision": self._precision(),
            "findings": self._findings(nodes),
            "layers": self._layers(nodes),
        }

    def mark_state(self) -> dict[str, Any]:
        """Return what a precision that is looked at would do."""
        marks: dict[str, Any] = {"previewed": self._previewed or "", "preview": "", "line": ""}
        if self._previewed is not None and self.selected:
            marks["preview"] = self.preview(self._previewed)
            marks["line"] = f'wb.plan.set("{self.selector}", "{self._previewed}")'
        return marks

    def _unseen(self, tensor: str | None) -> str:
        if self.workbench.ranges.statistics is None:
            again = "The ranges are known, and what was seen is not any more. "
            return again if self.workbench.ranges else "Calibrate to see what flows here."
        return "" if tensor is not None else "No INT8 tensor is read here, so that none was observed."

    def _becomes(self, node: str) -> list[list[str]]:
        engine = history_of(self.workbench).figures.engine
        if engine is None:
            return []
        if engine.fusion.by_node.get(node):
            return []
        return [["becomes", engine.fusion.vanished.get(node, "nothing is known of it")]]

    def _layers(self, nodes: Sequence[str]) -> dict[str, Any]:
        """Return the engine's layers that some nodes became, or its slowest; each selects the nodes that it does."""
        from workbench.engine import layer_label, layer_precision

        engine = history_of(self.workbench).figures.engine
        if engine is None:
            return {"rows": [], "more": 0, "note": ""}
        names = {layer for node in nodes for layer in engine.fusion.by_node.get(node, ())}
        layers = [one for one in engine.report.layers if not nodes or one.name in names]
        layers.sort(key=lambda one: -(one.ms or 0.0))
        rows = [
            {
                "name": one.name,
                "label": layer_label(one),
                "precision": layer_precision(one),
                "ms": "" if one.ms is None else f"{one.ms:.4f} ms",
                "nodes": len(self._nodes_of(one.name)),
            }
            for one in layers[:MOST_LAYERS]
        ]
        current = history_of(self.workbench).figures.built is history_of(self.workbench).state
        note = "" if current else "Of the engine before the last change."
        return {"rows": rows, "more": len(layers) - len(rows), "note": note}

    def _nodes_of(self, layer: str) -> list[str]:
        engine = history_of(self.workbench).figures.engine
        group = None if engine is None else engine.fusion.by_layer.get(layer)
        return [] if group is None else [node for node in group.nodes if node in self.workbench.model.nodes]

    def _precision(self) -> dict[str, Any]:
        resolution = self.node_facts.resolution()
        kinds = {resolution[node].precision for node in self.selected if node in resolution.decisions}
        explain = resolution.explain(self.selected[0]) if len(self.selected) == 1 else ""
        return {"options": list(PRECISIONS), "now": kinds.pop() if len(kinds) == 1 else "mixed", "explain": explain}

    def _findings(self, nodes: Sequence[str]) -> list[dict[str, Any]]:
        history = history_of(self.workbench)
        engine = history.figures.engine
        if engine is None:
            return []
        lines = []
        for at, finding in enumerate(engine.findings):
            if nodes and not set(nodes) & set(finding.nodes):
                continue
            try:
                line = fix_line(history, finding)
            except WorkbenchError:
                line = ""
            cost = "" if finding.cost_ms is None else f"{finding.cost_ms:.4f} ms"
            words = {"title": finding.title, "evidence": finding.evidence, "fix": finding.fix}
            lines.append(words | {"at": at, "line": line, "cost": cost})
        return lines[:MOST_FINDINGS]

    @request
    def _on_layer(self, name: str) -> None:
        """Select the nodes that a layer of the engine came from."""
        nodes = self._nodes_of(name)
        if not nodes:
            raise SelectorError(
                "no node of the model became this layer",
                where=name,
                fix="The compiler added it, for example a reformat.",
            )
        self.layer_nodes = nodes
        self.selects("layer_nodes")

    @request
    def _on_preview(self, precision: Precision) -> None:
        self._previewed = precision
        self.mark()

    @request(current=True)
    def _on_set(self, precision: Precision) -> None:
        self.set(precision)

    @request(current=True)
    def _on_fix(self, at: int) -> None:
        engine = history_of(self.workbench).figures.engine
        if engine is None or not 0 <= at < len(engine.findings):
            raise WorkbenchError("there is no such finding", where=at)
        line = self.workbench.engines.fix(engine.findings[at])
        self.tell("done", text=f"Done: {line}. Build again to see what it brings.")

    @request
    def _on_save(self, weight: str) -> None:
        self.tell("done", text=f"Wrote {self.save_weight(weight)}")
