"""The weakly typed builder of TensorRT 8.x: types by flag, layer by layer, or by calibrated ranges.

It is there for comparison, and to show what a graph that names its types wins over it. Newer builders read the graph.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends.protocol import BuildOptions, LayerType

__all__ = ["is_weakly_typed", "member", "set_weak_types"]

UNTYPED = {"CONSTANT", "QUANTIZE", "DEQUANTIZE", "SHAPE"}
"""Kinds of layers that have no arithmetic whose type could be chosen."""

FLOATING = {"FLOAT", "HALF"}


def is_weakly_typed(trt: Any) -> bool:
    """Return whether a TensorRT package has only the weakly typed builder."""
    return not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def set_weak_types(trt: Any, network: Any, config: Any, options: BuildOptions, path: str) -> list[Any]:
    """Allow the types that an ONNX file and the options name, and set what the options say of layers and ranges.

    Returns
    -------
    list
        Objects that TensorRT keeps plain pointers to; they must live until the engine is built.
    """
    for name in sorted(_types_in_graph(path) | set(options.weak_types or ()) | _constrained(options)):
        config.set_flag(member(trt.BuilderFlag, name.upper(), "builder flag"))
    if options.layer_precisions:
        config.set_flag(member(trt.BuilderFlag, "OBEY_PRECISION_CONSTRAINTS", "builder flag"))
        _set_layer_precisions(trt, network, options.layer_precisions)
    if options.dynamic_range is not None:
        config.set_flag(trt.BuilderFlag.INT8)
        _set_dynamic_ranges(trt, network, options.dynamic_range)
    if options.calibration_cache is None:
        return []
    config.set_flag(trt.BuilderFlag.INT8)
    calibrator = _cached_calibrator(trt, Path(options.calibration_cache))
    config.int8_calibrator = calibrator
    return [calibrator]


def _constrained(options: BuildOptions) -> set[str]:
    return {name for name in (options.layer_precisions or {}).values() if name != "fp32"}


def _set_layer_precisions(trt: Any, network: Any, precisions: Mapping[str, LayerType]) -> None:
    """Constrain layers by name; of several patterns that match a layer the last one counts."""
    types = {"fp32": trt.float32, "fp16": trt.float16, "int8": trt.int8}
    patterns = {name: re.compile(re.escape(name).replace(r"\*", ".*"), flags=re.DOTALL) for name in precisions}
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    unused = set(precisions)
    for layer in layers:
        matching = [name for name, pattern in patterns.items() if pattern.fullmatch(layer.name)]
        unused.difference_update(matching)
        outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
        kind = str(layer.type).rpartition(".")[2]
        if not matching or kind in UNTYPED or any(str(t.dtype.name) not in FLOATING for t in outputs):
            continue
        layer_types = precisions[matching[-1]]
        layer.precision = types[layer_types]
        for i in range(layer.num_outputs):
            # An INT8 result needs a range of its own; the builder knows best where there is one.
            if layer_types != "int8":
                layer.set_output_type(i, types[layer_types])
    if unused:
        first = ", ".join(repr(name) for name in sorted(unused)[:3])
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        raise BackendError(
            f"layer precisions name {first}{more}, which match no layer of the network",
            fix="Layers have the names of the model's nodes, but where the parser makes several layers of one "
            "(LayerNormalization); * stands for any text.",
        )


def _set_dynamic_ranges(trt: Any, network: Any, amax: float) -> None:
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
    for tensor in tensors:
        if tensor is not None and tensor.dtype == trt.DataType.FLOAT:
            tensor.set_dynamic_range(-amax, amax)


def _types_in_graph(path: str) -> set[str]:
    """Return the types below FP32 that an ONNX file names, in weights, casts, Q/DQ or inputs."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    names = {
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.BFLOAT16: "bf16",
        onnx.TensorProto.FLOAT8E4M3FN: "fp8",
    }
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    kinds |= {value.type.tensor_type.elem_type for value in proto.graph.input}
    for node in proto.graph.node:
        if node.op_type == "Cast":
            kinds |= {attribute.i for attribute in node.attribute if attribute.name == "to"}
        kinds |= {attribute.t.data_type for attribute in node.attribute if attribute.name == "value"}
    types = {name for code, name in names.items() if code in kinds}
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        types |= set() if "fp8" in types else {"int8"}
    return types


def _cached_calibrator(trt: Any, cache: Path) -> Any:
    """Return a calibrator that knows only a stored cache and never runs."""
    content = cache.read_bytes()
    algorithm = content.partition(b"\n")[0].decode("ascii", "replace").rpartition("-")[2]
    bases = {
        "EntropyCalibration2": "IInt8EntropyCalibrator2",
        "EntropyCalibration": "IInt8EntropyCalibrator",
        "MinMaxCalibration": "IInt8MinMaxCalibrator",
    }
    if algorithm not in bases:
        raise BackendError(
            f"the first line names the algorithm {algorithm!r}", where=cache, fix=f"Known are {', '.join(bases)}."
        )
    base = getattr(trt, bases[algorithm])

    class Cached(base):  # type: ignore[misc, valid-type]  # the base is known only at run time
        def __init__(self) -> None:
            base.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> None:
            del names

        def read_calibration_cache(self) -> bytes:
            return content

        def write_calibration_cache(self, cache: bytes) -> None:
            del cache

    return Cached()


def member(enum: Any, name: str, what: str) -> Any:
    """Return a member of an enumeration of TensorRT, or say which there are."""
    if not hasattr(enum, name):
        members = [key for key, value in vars(enum).items() if isinstance(value, enum)]
        raise BackendError(f"no {what} {name} in this version", fix=f"It has {', '.join(members)}.")
    return getattr(enum, name)
