"""Layers that only move or convert data: reformats, Q/DQ that stand alone, casts, slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.engine.finding import Finding, Suggestion
from workbench.engine.traits import kind_of_layer, layer_precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workbench.engine.finding import EngineScene
    from workbench.engine.report import Layer

__all__ = ["casts", "converting_slices", "lone_qdq", "reformats"]

PLANNED = ("fp32", "fp16", "bf16", "int8", "fp8")
"""What a precision plan can ask of a node."""
_BYTES = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4}


def reformats(scene: EngineScene) -> Iterator[Finding]:
    """Yield every reformat that takes time: its formats, where it stands, and why it is there."""
    for layer in scene.kinds("reformat"):
        if layer.ms == 0:
            continue
        before, after = scene.before(layer), scene.after(layer)
        reason, fix, suggestion = _why(scene, layer, before, after)
        yield Finding(
            kind="reformat",
            title=f"Reformat {reason}",
            evidence=f"{_formats(layer)}{_size(layer)}, {_between(before, after)}",
            fix=fix,
            layers=(layer.name,),
            nodes=scene.nodes(*after),
            cost_ms=layer.ms,
            bound="all",
            suggestion=suggestion,
        )


def _why(
    scene: EngineScene, layer: Layer, before: list[Layer], after: list[Layer]
) -> tuple[str, str, Suggestion | None]:
    types = [tensor.dtype for tensor in (*layer.inputs, *layer.outputs)]
    if None in types:
        fix = "Inspect it with an execution context whose shapes are set: the formats are not told"
        return "whose formats are not told", fix, None
    if layer.inputs and layer.outputs and not (before and after):
        side, end, form = ("output", "last", layer.inputs[0]) if before else ("input", "first", layer.outputs[0])
        return (
            f"at the engine's {side}",
            f"Allow {form.format.short} as the {side}'s format and hand over data in it, if the application can",
            Suggestion("build", (), f"{end} {side} format: {form.format.text}"),
        )
    if len(set(types)) > 1:
        wide, narrow = max(types, key=_width), min(types, key=_width)
        other = "the wider side"
        if _width(wide) == _width(narrow):  # FP16 and BF16
            wide, narrow = types[0], next(kind for kind in types if kind != types[0])
            other = f"the side in {wide}"
        holders = [near for near in (*before, *after) if layer_precision(near).name in {wide, "tf32"}]
        nodes = scene.nodes(*holders)
        side = holders[0].name if holders else other
        return (
            f"where precision changes ({types[0]} to {types[-1]})",
            f"Give both sides one precision: run {side} in {narrow} if accuracy allows",
            _precision(nodes, narrow),
        )
    fix = "The kernels want different layouts: a higher builder optimization level or other tactic sources may agree"
    return (
        "between two layouts",
        fix,
        Suggestion("build", (), "builder", (("optimization_level", 5),)),
    )


def lone_qdq(scene: EngineScene) -> Iterator[Finding]:
    """Yield every Q or DQ that is a layer of its own, and what keeps it from being fused."""
    for layer in scene.kinds("qdq"):
        before, after = scene.before(layer), scene.after(layer)
        reason, fix, suggestion = _why_alone(scene, layer, before, after)
        yield Finding(
            kind="lone-qdq",
            title=f"Q/DQ left standing alone {reason}",
            evidence=f"{_formats(layer)}{_size(layer)}, {_between(before, after)}",
            fix=fix,
            layers=(layer.name,),
            nodes=scene.nodes(layer),
            cost_ms=layer.ms,
            bound="all",
            suggestion=suggestion,
        )


def _why_alone(
    scene: EngineScene, layer: Layer, before: list[Layer], after: list[Layer]
) -> tuple[str, str, Suggestion | None]:
    quantizes = bool(layer.outputs) and layer.outputs[0].dtype in {"int8", "fp8", "int4", "fp4"}
    if not before:
        fix = "Feed quantized input, or leave the first layer in floating point where this costs more than it saves"
        return "at the engine's input", fix, Suggestion("build", (), "quantized engine input")
    if not after:
        return "at the engine's output", "Let the last layer write floating point, or hand over quantized output", None
    if quantizes:
        others = [
            near
            for tensor in layer.inputs
            for near in scene.users.get((tensor.name, layer.profile), [])
            if near.name != layer.name
        ]
        narrow = layer.outputs[0].dtype
        if others and all(kind_of_layer(other) == "qdq" for other in others):
            names = " and ".join((layer.name, *(other.name for other in others)))
            fix = f"Give the tensors of {names} one range, as the inputs of a Concat that is quantized want it"
            return "because its input is quantized with another scale as well", fix, None
        if others:
            readers = scene.readers(layer.inputs[0].name, *others)
            fix = f"Quantize that input of {others[0].name} as well, so that {before[0].name} writes {narrow} itself"
            suggestion = Suggestion("quantize_input", readers, layer.inputs[0].name) if readers else None
            return "because its input is also read unquantized", fix, suggestion
        nodes = scene.nodes(*before)
        fix = f"{before[0].name} does not write {narrow} itself: quantize all its inputs, or move the Q up through it"
        return f"after {kind_of_layer(before[0])}", fix, _precision(nodes, narrow)
    nodes = scene.nodes(*after)
    return (
        f"before a layer in {layer_precision(after[0]).name or 'unknown precision'}",
        f"Quantize {after[0].name} as well, or end quantization earlier",
        _precision(nodes, layer.inputs[0].dtype if layer.inputs else None),
    )


def _precision(nodes: tuple[str, ...], name: str | None) -> Suggestion | None:
    """Suggest a precision for some nodes, where a plan can ask for it."""
    return Suggestion("precision", nodes, name) if nodes and name in PLANNED else None


def _width(name: str | None) -> int:
    """Return the bytes of a type that a plan can ask for; any other one is the narrowest."""
    return _BYTES.get(name or "", 0)


def casts(scene: EngineScene) -> Iterator[Finding]:
    """Yield every cast that is a layer of its own."""
    for layer in scene.kinds("cast"):
        before, after = scene.before(layer), scene.after(layer)
        yield Finding(
            kind="cast",
            title="Cast at the engine's end" if not before or not after else "Cast between layers",
            evidence=f"{_formats(layer)}, {_between(before, after)}",
            fix="Choose the engine's input and output types, and its neighbours' precision, so that none is needed",
            layers=(layer.name,),
            nodes=scene.nodes(layer),
            cost_ms=layer.ms,
            bound="all",
            suggestion=_one_type(scene, layer, before, after),
        )


def _one_type(scene: EngineScene, layer: Layer, before: list[Layer], after: list[Layer]) -> Suggestion | None:
    """Suggest that both sides of a cast have one type: the narrower one, or at the engine's input what comes after."""
    types = [tensor.dtype for tensor in (*layer.inputs[:1], *layer.outputs[:1])]
    if len(types) != 2 or not {types[0], types[1]} <= set(PLANNED):
        return None
    if not before and after:
        onnx_name = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16"}.get(types[1] or "")
        arguments = (("input", layer.inputs[0].name), ("dtype", onnx_name))
        possible = onnx_name is not None and layer.inputs[0].name in scene.ends
        return Suggestion("edit", (), "set_input_type", arguments) if possible else None
    narrow = min(types, key=_width)
    wide = [near for near in (*before, *after) if layer_precision(near).name not in {narrow, None}]
    return _precision(scene.nodes(*wide), narrow)


def converting_slices(scene: EngineScene) -> Iterator[Finding]:
    """Yield slices and shuffles that change the data type on the way, which keeps them from being free."""
    for layer in scene.kinds("slice", "shuffle"):
        types = [tensor.dtype for tensor in (*layer.inputs[:1], *layer.outputs[:1])]
        if len(types) == 2 and None not in types and types[0] != types[1]:
            yield Finding(
                kind="converting-slice",
                title=f"{layer.type} that converts its data",
                evidence=_formats(layer),
                fix="Place Q/DQ (or Cast) so that both sides of it have one data type",
                layers=(layer.name,),
                nodes=scene.nodes(layer),
                cost_ms=layer.ms,
            )


def _formats(layer: Layer) -> str:
    sides = [" and ".join(dict.fromkeys(t.format.short for t in side)) for side in (layer.inputs, layer.outputs)]
    return " -> ".join(side or "nothing" for side in sides)


def _size(layer: Layer) -> str:
    size = layer.inputs[0].nbytes if layer.inputs else None
    return "" if size is None else f", {size / 2**20:.2f} MiB"


def _between(before: list[Layer], after: list[Layer]) -> str:
    first = before[0].name if before else "the engine's input"
    last = after[0].name if after else "the engine's output"
    return f"between {first} and {last}"
