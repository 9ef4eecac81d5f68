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

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.backends.compiler import compile_for
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.backends.verdict.assumed import Profile, alternatives, as_assumed, assumed
from workbench.backends.verdict.blame import Problem, blame, first_line
from workbench.backends.verdict.cause import Cause, CauseSite, Fix
from workbench.backends.verdict.causes import find_cause
from workbench.backends.verdict.offers import Offers
from workbench.backends.verdict.verdict import NodeVerdict, Status, Verdict
from workbench.child import Child, ChildError, Outcome

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import onnx

    from workbench.backends.compiler import Compilation, NetworkLayer
    from workbench.graph import Model

__all__ = ["check", "judge"]

LONGEST_TRIALS_S = 60.0
DEFAULT_LIMITS = Child(timeout_s=900.0, memory_bytes=16 * 2**30)


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
        `workbench.backends.profiles.default_range`: batch 1 to 8, 224 for height and width, 128 elsewhere. Where that
        is refused and no known cause tells why, others are tried; see `Verdict.tried`.
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
        profile = {
            name: shape if isinstance(shape, ShapeRange) else ShapeRange.fixed(shape) for name, shape in shapes.items()
        }
        options = replace(options, profiles=(profile,))
    verdict = _judged(opened, target, options, child)
    if len(options.profiles or ()) > 1 or not _may_be_the_shapes(verdict):
        return verdict
    tried: list[Profile] = [verdict.profile]
    end = time.monotonic() + LONGEST_TRIALS_S
    for profile in alternatives(verdict.profile, opened.inputs):
        if time.monotonic() > end:
            break
        other = _judged(opened, target, replace(options, profiles=(profile,)), child)
        if other.accepted:
            return replace(other, profile=as_assumed(other.profile, verdict.profile), tried=tuple(tried))
        tried.append(as_assumed(other.profile, verdict.profile))
    return replace(verdict, tried=tuple(tried[1:]))


def _may_be_the_shapes(verdict: Verdict) -> bool:
    """Say whether shapes that nobody gave may be why a model was refused."""
    accepted = any(
        node.status in ("refused", "undecided") and node.cause not in (None, "shapes") for node in verdict.nodes
    )
    return not verdict.accepted and not accepted and bool(assumed(verdict.profile))


def _judged(opened: Model, target: str, options: BuildOptions, child: Child) -> Verdict:
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
    compilation, sm = outcome.value, int(target.removeprefix("sm"))
    messages, problems = blame(model, compilation)
    layers_of: dict[str, list[NetworkLayer]] = {}
    for layer in compilation.layers:
        for name in layer.nodes:
            layers_of.setdefault(name, []).append(layer)
    nodes = []
    for address, node in model.nodes.items():
        site = CauseSite(node, model.opset, sm, messages.get(address, ""), bool(compilation.profile), address, model)
        nodes.append(_node(address, site, layers_of.get(node.name or "", []), compilation))
    if not compilation.built and not messages and any(n.status == "refused" for n in nodes):
        problems = ()  # the compiler named no node, but a known cause explains it
    offers = Offers(model)
    return Verdict(
        model=model.name,
        target=target,
        compiler=compiler,
        accepted=compilation.built,
        nodes=tuple(map(offers.of_node, nodes)),
        problems=tuple(map(offers.of_whole, problems)),
        layers=compilation.layers,
        profile=compilation.profile,
        engine_bytes=compilation.engine_bytes,
        parse_s=compilation.parse_s,
        build_s=compilation.build_s,
        peak_bytes=outcome.peak_bytes,
        log=outcome.log,
    )


def _node(address: str, site: CauseSite, layers: list[NetworkLayer], compilation: Compilation) -> NodeVerdict:
    node = site.node
    op = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    cause = find_cause(site)
    status = _status(site, cause, layers, compilation)
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


def _status(site: CauseSite, cause: Cause | None, layers: list[NetworkLayer], compilation: Compilation) -> Status:
    if site.message:
        return "undecided" if cause is not None and cause.undecided else "refused"
    if compilation.built:
        return "changed" if cause is not None and cause.quiet else "accepted"
    if cause is not None and not cause.quiet:
        return "refused" if cause.unnamed else "suspected"
    return "parsed" if compilation.parsed or layers else "not reached"


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
