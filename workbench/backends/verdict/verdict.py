"""The verdict of a real TensorRT compiler on a model, node by node, on a machine without a GPU.

`check` runs TensorRT-RTX's own parser and builder. What it says, and what it does not:

- *Accepted* means that an engine was built for the target, in the shapes of the profile; nothing was run.
- The network is strongly typed: each tensor's type is the one the graph says. FP32 convolutions and matrix products
  may still run as TF32 on the Ampere architecture and newer (`BuildOptions.tf32`), which no graph can express.
- `NodeVerdict.types` is what the network has. Whether a Q/DQ pair became an INT8 kernel is decided in the engine;
  `NodeVerdict.arithmetic` is INT8 where every operand comes straight out of a dequantization, so that it can.
- The parser stops at some errors. Nodes behind them are *not reached*, or *suspected* where they carry a known cause.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.backends.compiler import compile_for
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.backends.verdict.blame import Problem, blame, first_line
from workbench.backends.verdict.causes import Cause, Fix, Site, find_cause
from workbench.child import Child, ChildError, Outcome

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx
    import pandas as pd

    from workbench.backends.compiler import Compilation, NetworkLayer
    from workbench.backends.profiles import ProfileInput
    from workbench.graph import Model

__all__ = ["NodeVerdict", "Status", "Verdict", "check", "judge"]

Status = Literal["accepted", "changed", "refused", "suspected", "undecided", "not reached", "parsed"]

DEFAULT_LIMITS = Child(timeout_s=900.0, memory_bytes=16 * 2**30)


@dataclass(frozen=True)
class NodeVerdict:
    """What became of one node.

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
class Verdict:
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
        The shapes of dynamic inputs it was built for.
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
        found: list[Fix] = []
        for fix in (*(problem.fix for problem in self.problems), *(node.fix for node in self.nodes)):
            if fix is not None and fix.edit is not None and fix not in found:
                found.append(fix)
        return tuple(found)

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

    def __str__(self) -> str:
        word = "accepted" if self.accepted else "undecided (needs a GPU)" if self.undecided else "refused"
        counts = Counter(node.status for node in self.nodes)
        lines = [
            f"{self.model} for {self.target} by {self.compiler}: {word}; "
            + ", ".join(f"{n} {status}" for status, n in counts.items())
            + f"; parser {self.parse_s:.2f} s, builder {self.build_s:.2f} s"
        ]
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


def check(
    model: Model | onnx.ModelProto | str | os.PathLike[str],
    target: str = "sm86",
    *,
    shapes: Mapping[str, ShapeRange | tuple[int, ...]] | None = None,
    options: BuildOptions | None = None,
    child: Child = DEFAULT_LIMITS,
) -> Verdict:
    """Ask TensorRT-RTX's parser and builder what they make of a model. Needs no GPU.

    Parameters
    ----------
    model
        A model, an ONNX message, or a path.
    target
        ``sm75`` (Turing), ``sm80``, ``sm86`` (Ampere), ``sm89`` (Ada), ``sm120``, ``sm121`` (Blackwell).
    shapes
        Shapes of dynamic inputs: one shape, or a `ShapeRange`. Inputs left out take the default of
        `workbench.backends.profiles.default_range`: batch 1 to 8, 224 for height and width, 128 elsewhere.
    options
        Build options; `shapes` is the short form of one profile in it.
    child
        Limits of the child process (15 minutes and 16 GiB unless given) and its callbacks.

    Returns
    -------
    Verdict
        Also where the model is refused or the compiler crashed.

    Raises
    ------
    ModelError
        The model cannot be read.
    BackendError
        TensorRT-RTX is missing, the target is unknown, or shapes or options do not fit; ChildError where it was
        cancelled.
    """
    from workbench.graph import Model

    opened = model if isinstance(model, Model) else _open(model)
    options = options or BuildOptions()
    if shapes is not None:
        from dataclasses import replace

        profile = {
            name: shape if isinstance(shape, ShapeRange) else ShapeRange.fixed(shape) for name, shape in shapes.items()
        }
        options = replace(options, profiles=(profile,))
    try:
        outcome = compile_for(opened, target, options, child=child)
    except ChildError as error:
        if error.kind in ("cancelled", "raised"):
            raise
        return _crashed(opened, target, error)
    return judge(opened, target, outcome, compiler=f"TensorRT-RTX {outcome.value.version}")


def _open(model: onnx.ModelProto | str | os.PathLike[str]) -> Model:
    import onnx

    from workbench.graph import from_proto, load_model

    return from_proto(model) if isinstance(model, onnx.ModelProto) else load_model(Path(model))


def judge(model: Model, target: str, outcome: Outcome[Compilation], *, compiler: str) -> Verdict:
    """Bring what a compiler said to the nodes of the model it was given.

    Parameters
    ----------
    model
        The model that was compiled.
    target
        The compute capability it was compiled for: ``sm86``.
    outcome
        What parser and builder made of it.
    compiler
        Name and version, for the reader.
    """
    made, sm = outcome.value, int(target.removeprefix("sm"))
    said, problems = blame(model, made)
    layers_of: dict[str, list[NetworkLayer]] = {}
    for layer in made.layers:
        for name in layer.nodes:
            layers_of.setdefault(name, []).append(layer)
    nodes = []
    for address, node in model.nodes.items():
        site = Site(node, model.opset, sm, said.get(address, ""), bool(made.profile), address)
        nodes.append(_node(address, site, layers_of.get(node.name or "", []), made))
    if not made.built and not said and any(n.status == "refused" for n in nodes):
        problems = ()  # the compiler named no node, but a known cause explains it
    return Verdict(
        model=model.name,
        target=target,
        compiler=compiler,
        accepted=made.built,
        nodes=tuple(nodes),
        problems=problems,
        layers=made.layers,
        profile=made.profile,
        engine_bytes=made.engine_bytes,
        parse_s=made.parse_s,
        build_s=made.build_s,
        peak_bytes=outcome.peak_bytes,
        log=outcome.log,
    )


def _node(address: str, site: Site, layers: list[NetworkLayer], made: Compilation) -> NodeVerdict:
    node = site.node
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    cause = find_cause(site)
    status = _status(site, cause, layers, made)
    blamed = cause if status in ("refused", "changed", "undecided", "suspected") else None
    main = max(layers, key=_weight) if layers else None
    return NodeVerdict(
        node=address,
        op=op,
        status=status,
        reason=blamed.reason if blamed else (first_line(site.message) if status == "refused" else None),
        cause=blamed.name if blamed else None,
        fix=blamed.fix if blamed else None,
        message=site.message or None,
        layers=len(layers),
        types=layers[-1].outputs if layers else (),
        arithmetic=main.arithmetic if main else None,
    )


def _status(site: Site, cause: Cause | None, layers: list[NetworkLayer], made: Compilation) -> Status:
    if site.message:
        return "undecided" if cause is not None and cause.undecided else "refused"
    if made.built:
        return "changed" if cause is not None and cause.quiet else "accepted"
    if cause is not None and not cause.quiet:
        return "refused" if cause.unnamed else "suspected"
    return "parsed" if made.parsed or layers else "not reached"


def _weight(layer: NetworkLayer) -> int:
    """Rank layers by how much they tell of a node: its products before the shuffles and constants around them."""
    kinds = ("CONSTANT", "SHUFFLE", "CAST", "SHAPE", "SLICE", "SQUEEZE", "UNSQUEEZE", "CONCATENATION", "IDENTITY")
    if layer.kind in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "QUANTIZE", "DEQUANTIZE"):
        return 2
    return 0 if layer.kind in kinds else 1


def _crashed(model: Model, target: str, error: ChildError) -> Verdict:
    nodes = tuple(NodeVerdict(address, node.op_type, "not reached") for address, node in model.nodes.items())
    problem = Problem(error.what, None if error.fix is None else Fix(error.fix), error.where)
    return Verdict(
        model=model.name,
        target=target,
        compiler="TensorRT-RTX",
        accepted=False,
        nodes=nodes,
        problems=(problem,),
        layers=(),
        profile=(),
        engine_bytes=None,
        parse_s=0.0,
        build_s=0.0,
        peak_bytes=0,
        log=error.log,
    )
