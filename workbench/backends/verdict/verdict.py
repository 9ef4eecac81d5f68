"""What a compiler says of a model: of each node, of the network, and of the shapes it was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from workbench.backends.verdict.assumed import Profile, assumed, assumed_text, written
from workbench.display import Card, Shown

if TYPE_CHECKING:
    import pandas as pd

    from workbench.backends.compiler import NetworkLayer
    from workbench.backends.profiles import ProfileInput
    from workbench.backends.verdict.blame import Problem
    from workbench.backends.verdict.cause import Fix

__all__ = ["NodeVerdict", "Status", "Verdict"]

Status = Literal["accepted", "changed", "refused", "suspected", "undecided", "not reached", "parsed"]


@dataclass(frozen=True)
class NodeVerdict:
    """The outcome of one node.

    Attributes
    ----------
    node, op
        Its address in the model, and its operator (with the domain where it is not ONNX's own).
    status
        ``accepted``: in the built engine. ``changed``: in the engine, but computing something else than the graph says.
        ``refused``: by the parser or the builder. ``suspected``: not judged, but it carries a known cause.
        ``undecided``: needs a GPU to tell. ``not reached``: the parser stopped before. ``parsed``: it passed the
        parser, but the build failed elsewhere.
    reason, cause, fix
        Why, in one sentence; the known cause's name; what helps. None where there is nothing to say or nothing known.
    message
        The compiler's own words.
    layers
        How many network layers it became; 0 for what the parser folded into constants or shapes.
    types
        Data types of its outputs in the network.
    arithmetic
        The type its main layer may compute in; INT8 or FP8 where every operand is dequantized right before.
    """

    node: str
    op: str
    status: Status
    reason: str | None = None
    cause: str | None = None
    fix: Fix | None = None
    message: str | None = None
    layers: int = 0
    types: tuple[str, ...] = ()
    arithmetic: str | None = None


@dataclass(frozen=True)
class Verdict(Shown):
    """What the compiler says of a model for one target.

    Attributes
    ----------
    accepted
        An engine was built.
    nodes
        One entry a node, in the model's order.
    problems
        Failures that belong to no node.
    layers
        The layers of the strongly typed network, with their types and source nodes; as far as the parser came.
    profile
        The shapes of dynamic inputs it was built for, those that nobody gave among them (`ProfileInput.stated`).
    tried
        Shapes that were assumed before and refused.
    engine_bytes, parse_s, build_s, peak_bytes
        Size of the engine, wall seconds in parser and builder, peak memory of the child process.
    log
        All that the library printed.
    """

    model: str
    target: str
    compiler: str
    accepted: bool
    nodes: tuple[NodeVerdict, ...]
    problems: tuple[Problem, ...]
    layers: tuple[NetworkLayer, ...]
    profile: tuple[ProfileInput, ...]
    engine_bytes: int | None
    parse_s: float
    build_s: float
    peak_bytes: int
    log: tuple[str, ...]
    tried: tuple[Profile, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether the answer needs a GPU: nothing is refused for a reason that is known to hold."""
        kinds = {node.status for node in self.nodes}
        return not self.accepted and "undecided" in kinds and "refused" not in kinds and not self.problems

    @property
    def refused(self) -> tuple[NodeVerdict, ...]:
        """The nodes that were refused."""
        return tuple(node for node in self.nodes if node.status == "refused")

    @property
    def fixes(self) -> tuple[Fix, ...]:
        """The edits that the workbench knows for what is wrong, each once: of the whole, then by node."""
        fixes: list[Fix] = []
        for fix in (*(problem.fix for problem in self.problems), *(node.fix for node in self.nodes)):
            if fix is not None and fix.edit is not None and fix not in fixes:
                fixes.append(fix)
        return tuple(fixes)

    def to_frame(self) -> pd.DataFrame:
        """Return the nodes as a table, one row a node."""
        import pandas as pd

        rows: list[dict[str, object]] = [
            {
                "node": n.node,
                "op": n.op,
                "status": n.status,
                "reason": n.reason,
                "fix": None if n.fix is None else n.fix.text,
                "edit": None if n.fix is None else n.fix.edit,
                "layers": n.layers,
                "types": ", ".join(n.types),
                "arithmetic": n.arithmetic,
                "message": n.message,
            }
            for n in self.nodes
        ]
        frame: pd.DataFrame = pd.DataFrame.from_records(rows)
        return frame

    def layers_frame(self) -> pd.DataFrame:
        """Return the network's layers as a table, one row a layer."""
        import pandas as pd

        rows: list[dict[str, object]] = [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "nodes": ", ".join(layer.nodes),
                "inputs": ", ".join(layer.inputs),
                "outputs": ", ".join(layer.outputs),
                "arithmetic": layer.arithmetic,
            }
            for layer in self.layers
        ]
        frame: pd.DataFrame = pd.DataFrame.from_records(rows)
        return frame

    def _shapes(self) -> list[str]:
        """Say which shapes were assumed, and how to give others."""
        if not assumed(self.profile):
            return []
        before = f"; refused for {'; '.join(map(assumed_text, self.tried))}" if self.tried else ""
        if self.accepted:
            return [f"  shapes were assumed: {assumed_text(self.profile)}{before}"]
        hint = f"give those it is made for, like {written(self.profile)}"
        return [f"  refused for assumed shapes: {assumed_text(self.profile)}{before.replace('refused', 'and')}; {hint}"]

    def __str__(self) -> str:
        word = "accepted" if self.accepted else "undecided (needs a GPU)" if self.undecided else "refused"
        counts = Counter(node.status for node in self.nodes)
        lines = [
            f"{self.model} for {self.target} by {self.compiler}: {word}; "
            + ", ".join(f"{n} {status}" for status, n in counts.items())
            + f"; parser {self.parse_s:.2f} s, builder {self.build_s:.2f} s"
        ]
        lines += self._shapes()
        lines += [f"  {p.reason}" + (f". {p.fix.text}" if p.fix else "") for p in self.problems]
        telling = [n for n in self.nodes if n.status in ("refused", "changed", "undecided")]
        groups: dict[tuple[str, str | None, str | None], list[NodeVerdict]] = {}
        for n in telling:
            groups.setdefault((n.status, n.reason, n.fix.text if n.fix else None), []).append(n)
        for (status, reason, fix), members in groups.items():
            more = f" and {len(members) - 1} more" if len(members) > 1 else ""
            lines.append(
                f"  {status}: {members[0].node} ({members[0].op}){more}: {reason}" + (f". {fix}" if fix else "")
            )
        if counts["suspected"]:
            lines.append(f"  {counts['suspected']} more nodes, not reached, carry a known cause")
        return "\n".join(lines)

    def _card(self) -> Card:
        headline, *lines = str(self).splitlines()
        odd = [node for node in self.nodes if node.status != "accepted"]
        rows = tuple((n.node, n.op, n.status, n.reason or "", "" if n.fix is None else n.fix.text) for n in odd)
        notes = () if rows else tuple(lines)
        return Card(headline, ("node", "operator", "verdict", "why", "what helps"), rows, notes)
