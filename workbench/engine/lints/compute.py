"""Layers that compute slower than they could: precision, Tensor Cores, alignment, lost fusions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from workbench.engine.finding import Finding, Suggestion
from workbench.engine.precision import RANK
from workbench.engine.traits import conv_shape, kind_of_layer, layer_precision, tensor_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.engine.finding import EngineScene
    from workbench.engine.report import Layer

__all__ = ["alignment", "float_output", "no_tensor_cores", "silent_fp32", "unfused", "wide_myelin", "wider_than_asked"]

_WORK = ("conv", "matmul", "pool", "softmax", "pointwise", "myelin")
_REDUCED = {"fp16", "bf16", "int8", "fp8", "int4", "fp4"}
# Multiples that let Tensor Cores run without padding: 16 bytes a row (NVIDIA, "Matrix Multiplication Background").
_MULTIPLE = {"fp16": 8, "bf16": 8, "int8": 16, "fp8": 16, "tf32": 4}


def silent_fp32(scene: EngineScene) -> Iterator[Finding]:
    """Yield layers in FP32 or TF32 in an engine that has reduced precision, and engines that have none."""
    working = list(scene.kinds(*_WORK))
    precisions = {layer.name: layer_precision(layer) for layer in working}
    wide = [layer for layer in working if precisions[layer.name].name in {"fp32", "tf32"}]
    if wide and not any(precision.name in _REDUCED for precision in precisions.values()):
        times = [layer.ms for layer in wide if layer.ms is not None]
        nodes = scene.nodes(*wide)
        yield Finding(
            kind="silent-fp32",
            title="No layer runs below FP32/TF32",
            evidence=f"{len(wide)} of {len(working)} computing layers are in FP32 or TF32, none in a reduced precision",
            fix="Plan FP16 (or INT8 with Q/DQ) and build again",
            layers=tuple(layer.name for layer in wide),
            nodes=nodes,
            cost_ms=sum(times) if times else None,
            suggestion=Suggestion("precision", nodes, "fp16"),
        )
        return
    for layer in wide:
        nodes = scene.nodes(layer)
        if nodes and all(node in scene.verdicts for node in nodes):
            continue  # asked for node by node: `wider_than_asked` says where the answer differs
        name, evidence = precisions[layer.name]
        yield Finding(
            kind="silent-fp32",
            title=f"{kind_of_layer(layer).capitalize()} in {(name or '').upper()} in an engine of reduced precision",
            evidence=evidence,
            fix="Give it FP16, or INT8 with Q/DQ on its inputs, unless accuracy needs it so",
            layers=(layer.name,),
            nodes=nodes,
            cost_ms=layer.ms,
            suggestion=Suggestion("precision", nodes, "fp16") if nodes else None,
        )


def wide_myelin(scene: EngineScene) -> Iterator[Finding]:
    """Yield whole Myelin graphs that read FP32 beside layers of reduced precision.

    What such a graph computes in is not told. TensorRT 8.6 was seen to leave all in FP32 that has no Q/DQ of its own as
    soon as one node in the graph has one (a ViT on an H200: 4 bytes a weight), and then the graph reads FP32.
    """
    names = {layer_precision(layer).name for layer in scene.kinds(*_WORK)}
    if not names & _REDUCED:
        return
    for layer in scene.report.layers:
        wide = next((tensor for tensor in layer.inputs if tensor.dtype == "fp32"), None)
        if "ForeignNode[" not in layer.name or wide is None or not scene.before(layer):
            continue
        nodes = scene.nodes(layer)
        yield Finding(
            kind="wide-myelin",
            title="Myelin graph that reads FP32 in an engine of reduced precision",
            evidence=f"{wide.name} is {wide.format.short}; the file does not tell of its {len(nodes)} nodes one by one",
            fix="Quantize every matrix product in it or none, and measure both: next to Q/DQ, Myelin may keep FP32",
            layers=(layer.name,),
            nodes=nodes,
            cost_ms=layer.ms,
        )


def wider_than_asked(scene: EngineScene) -> Iterator[Finding]:
    """Yield layers that got more bits than the plan asked for."""
    times = {layer.name: layer.ms for layer in scene.report.layers}
    seen: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for node, verdict in scene.verdicts.items():
        if verdict.status == "wider":
            seen.setdefault((verdict.realized.layers, verdict.requested), []).append(node)
    for (layers, asked), nodes in seen.items():
        measured = [time for name in layers if (time := times.get(name)) is not None]
        wide = _wide_makers(scene, layers, asked)
        got = scene.verdicts[nodes[0]].realized
        yield Finding(
            kind="wider-than-asked",
            title=f"{asked.upper()} was asked for, {(got.precision or '').upper()} was made",
            evidence=got.evidence,
            fix=f"See whether every input of {', '.join(nodes[:3])} is in {asked}: one wide input keeps the layer wide",
            layers=layers,
            nodes=tuple(nodes),
            cost_ms=sum(measured) if measured else None,
            # They were asked for already: what helps is to ask it of what feeds them.
            suggestion=Suggestion("precision", wide, asked) if wide else None,
        )


def _wide_makers(scene: EngineScene, layers: tuple[str, ...], asked: str) -> tuple[str, ...]:
    """Return the source nodes that hand some layers more bits than were asked for."""
    makers = []
    for layer in (layer for layer in scene.report.layers if layer.name in layers):
        for tensor in layer.inputs:
            maker = scene.maker.get((tensor.name, layer.profile))
            precision = None if maker is None else layer_precision(maker).name
            if maker is not None and min(RANK.get(precision or "", 0), RANK.get(tensor.dtype or "", 0)) > RANK[asked]:
                makers.append(maker)
    return tuple(node for node in scene.nodes(*makers) if scene.verdicts.get(node) is None)


def no_tensor_cores(scene: EngineScene) -> Iterator[Finding]:
    """Yield convolutions and matrix products whose tactic names a kernel without Tensor Cores.

    Depthwise convolutions are left out: they have no matrix product to run there.
    """
    for layer in scene.kinds("conv", "matmul"):
        if tensor_cores(layer) is not False or conv_shape(layer).depthwise:
            continue
        name = layer_precision(layer).name
        nodes = scene.nodes(layer)
        fp32 = name == "fp32"
        yield Finding(
            kind="no-tensor-cores",
            title=f"{kind_of_layer(layer).capitalize()} without Tensor Cores",
            evidence=f"tactic {layer.tactic}; {_channels(layer)}",
            fix="Allow TF32, or plan FP16"
            if fp32
            else "Pad its channels to a multiple of 16 bytes, or try another precision",
            layers=(layer.name,),
            nodes=nodes,
            cost_ms=layer.ms,
            suggestion=Suggestion("precision", nodes, "fp16") if fp32 and nodes else None,
        )


def alignment(scene: EngineScene) -> Iterator[Finding]:
    """Yield convolutions whose channels Tensor Cores pad; the cost is the padding's share of the layer's time.

    The engine's first layer is held to its output channels alone: an image has the channels it has.
    """
    for layer in scene.kinds("conv", "matmul"):
        shape = conv_shape(layer)
        multiple = _MULTIPLE.get(layer_precision(layer).name or "")
        if multiple is None or shape.groups != 1 or shape.out_channels is None:
            continue
        sides = {"output": shape.out_channels}
        if shape.in_channels is not None and not scene.first(layer):
            sides["input"] = shape.in_channels
        odd = {side: count for side, count in sides.items() if count % multiple}
        if not odd:
            continue
        used = math.prod(count / (math.ceil(count / multiple) * multiple) for count in sides.values())
        padded = " and ".join(f"{count} {side} channels" for side, count in odd.items())
        name = layer_precision(layer).name
        yield Finding(
            kind="alignment",
            title="Channels that Tensor Cores must pad",
            evidence=f"{padded}, no multiple of {multiple} ({name}): {1 - used:.0%} of the work is padding",
            fix=f"Train it with channels that are a multiple of {multiple}",
            layers=(layer.name,),
            nodes=scene.nodes(layer),
            cost_ms=None if layer.ms is None else layer.ms * (1 - used),
        )


def unfused(scene: EngineScene) -> Iterator[Finding]:
    """Yield pointwise layers that follow a convolution or matrix product, and what keeps them from being part of it."""
    for layer in scene.kinds("pointwise"):
        for maker in scene.before(layer):
            alone = maker if kind_of_layer(maker) == "qdq" else None
            sources = scene.before(maker) if alone else [maker]
            source = next((near for near in sources if kind_of_layer(near) in {"conv", "matmul"}), None)
            if source is None or source.attributes.get("Activation", "NONE") != "NONE":
                continue
            why, fix = _why_unfused(scene, layer, source, alone)
            moved = Suggestion("edit", (), "remove_qdq") if alone else None
            yield Finding(
                kind="unfused",
                title=f"{kind_of_layer(source).capitalize()} not fused with what follows",
                evidence=f"{layer.name} follows {source.name}; {why}",
                fix=fix,
                layers=(layer.name, source.name),
                nodes=scene.nodes(source, layer),
                cost_ms=layer.ms,
                bound="all",
                suggestion=moved,
            )


def _why_unfused(scene: EngineScene, layer: Layer, source: Layer, alone: Layer | None) -> tuple[str, str]:
    if alone is not None:
        fix = f"Move the Q/DQ behind {layer.name}: take the graph's own out, and let a plan place it"
        return f"{alone.name} stands between them", fix
    readers = {near.name for near in scene.after(source)}
    if len(readers) > 1:
        why = f"{source.name} is read by {len(readers)} layers, so its output must exist"
        return why, "Let only this layer read it, if the model can be changed"
    why = "nothing stands between them: no kernel joins the two in this precision"
    other = ", or another precision" if scene.report.backend == "tensorrt" else ""
    return why, f"Use an activation that fuses (Relu, Clip){other}"


def float_output(scene: EngineScene) -> Iterator[Finding]:
    """Yield INT8 or FP8 convolutions that write floating point to another layer: twice the bytes and more."""
    for layer in scene.kinds("conv", "matmul"):
        name = layer_precision(layer).name
        wide = [tensor for tensor in layer.outputs if tensor.dtype in {"fp16", "bf16", "fp32"}]
        after = scene.after(layer)
        if name not in {"int8", "fp8"} or not wide or not after:
            continue
        nodes = scene.readers(wide[0].name, *after)
        yield Finding(
            kind="float-output",
            title=f"{name.upper()} {kind_of_layer(layer)} that writes {(wide[0].dtype or '').upper()}",
            evidence=f"{wide[0].name} is {wide[0].format.short}, read by {', '.join(near.name for near in after[:3])}",
            fix=f"Quantize that input of {after[0].name} as well",
            layers=(layer.name,),
            nodes=scene.nodes(layer),
            cost_ms=None,
            suggestion=Suggestion("quantize_input", nodes, wide[0].name) if nodes else None,
        )


def _channels(layer: Layer) -> str:
    shape = conv_shape(layer)
    return f"{shape.in_channels or 'unknown'} -> {shape.out_channels or 'unknown'} channels"
