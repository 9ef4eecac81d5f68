"""Engine inspector JSON of TensorRT 8.x and 10.x; 11.x shares its layers, and the workbench's ONNX Runtime its form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from workbench.engine.dialects.inspector11 import read_io_tensors
from workbench.engine.formats import MOST_ELEMENTS, parse_dtype, parse_format, read_dims
from workbench.engine.names import myelin_group, profile_of
from workbench.engine.report import Binding, EngineReport, EngineTensor, Layer, Weights
from workbench.errors import ReportError

__all__ = ["read_inspector", "report_of"]

_TAKEN = frozenset(
    "Name LayerType ParameterType Inputs Outputs TacticName TacticValue StreamId Origin Metadata".split()
)


def read_inspector(data: Any, name: str) -> EngineReport:
    """Build a report from parsed inspector JSON.

    Raises
    ------
    ReportError
        `Layers` is no list of objects or names.
    """
    io_tensors = data.get("I/O Tensors")
    bindings: list[Binding] = [Binding(str(b)) for b in _names(data.get("Bindings") or [])]
    profiles: tuple[Any, ...] = ()
    dialect = "TensorRT 8.x/10.x inspector JSON"
    notes: list[str] = []
    backend = "tensorrt"
    if isinstance(data.get("Runtime"), str):  # another compiler's report in the same shape says whose it is
        dialect = data["Runtime"]
        backend = "onnxruntime" if dialect.startswith("ONNX Runtime") else "unknown"
    if io_tensors is not None:
        dialect = "TensorRT 11.x inspector JSON"
        bindings, profiles = read_io_tensors(io_tensors, name)
    if "Layers" not in data:
        notes.append("the file lists inputs and outputs, and no layers")
    report = report_of(data.get("Layers", []), bindings, name=name, dialect=dialect, notes=notes)
    return replace(report, profiles=profiles, backend=backend)


def report_of(raw: Any, bindings: list[Binding], *, name: str, dialect: str, notes: list[str]) -> EngineReport:
    """Build a report from a list of raw layers, as dictionaries or bare names."""
    if not isinstance(raw, list):
        raise ReportError("`Layers` is not a list", where=name, fix="Export the engine's layer information again")
    layers = []
    for index, entry in enumerate(raw):
        if isinstance(entry, str):
            layers.append(Layer(name=entry, detailed=False, profile=profile_of(entry) or 0))
        elif isinstance(entry, dict):
            layers.append(_layer(entry, index, notes))
        else:
            fix = "Export the engine's layer information again"
            raise ReportError(f"layer {index} is neither an object nor a name", where=name, fix=fix)
    if layers and not any(layer.detailed for layer in layers):
        notes.append(
            "layers are bare names: build with detailed profiling verbosity to see tensors, tactics and weights"
        )
    layers = _spread_profiles(layers)
    return EngineReport(
        name=name,
        layers=tuple(layers),
        dialect=dialect,
        bindings=_complete(bindings, layers),
        notes=tuple(notes),
    )


def _layer(raw: dict[str, Any], index: int, notes: list[str]) -> Layer:
    name = raw.get("Name")
    if not isinstance(name, str) or not name:
        notes.append(f"layer {index} has no name in the file")
        name = f"(layer {index}, no name)"
    inputs, outputs = _tensors(raw.get("Inputs")), _tensors(raw.get("Outputs"))
    weights = [
        _weights(key, value)
        for key, value in raw.items()
        if isinstance(value, dict) and value and key.lower().endswith(("weights", "bias"))
    ]
    seen = [profile_of(text) for text in (name, *(tensor.name for tensor in (*inputs, *outputs)))]
    stream = raw.get("StreamId")
    return Layer(
        name=name,
        type=_text(raw.get("LayerType")),
        parameter_type=_text(raw.get("ParameterType")),
        inputs=inputs,
        outputs=outputs,
        weights=tuple(weights),
        tactic=_text(raw.get("TacticName")),
        tactic_id=_text(raw.get("TacticValue")),
        stream=stream if isinstance(stream, int) else None,
        origin=_text(raw.get("Origin")),
        metadata=raw["Metadata"] if isinstance(raw.get("Metadata"), str) else "",
        profile=max((number for number in seen if number is not None), default=0),
        attributes={key: value for key, value in raw.items() if key not in _TAKEN},
    )


def _weights(role: str, raw: dict[str, Any]) -> Weights:
    """Read a constant; one that does not say how many numbers it has is of unknown size, not of none."""
    count = raw.get("Count")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST_ELEMENTS:
        return Weights(role, None, 0)
    return Weights(role, parse_dtype(str(raw.get("Type"))), count)


def _tensors(raw: Any) -> tuple[EngineTensor, ...]:
    if not isinstance(raw, list):
        return ()
    return tuple(
        EngineTensor(
            name=str(entry.get("Name", "")),
            dims=read_dims(entry.get("Dimensions")),
            format=parse_format(
                _text(entry.get("Format/Datatype") or entry.get("Format")),
                _text(entry.get("Datatype") or entry.get("DataType")),
            ),
            location=_text(entry.get("Location")),
        )
        for entry in raw
        if isinstance(entry, dict)
    )


def _spread_profiles(layers: list[Layer]) -> list[Layer]:
    """Give all layers of one Myelin graph the profile that one of them is marked with."""
    marked = {myelin_group(layer.name): layer.profile for layer in layers if layer.profile}
    marked.pop(None, None)
    return [
        replace(layer, profile=marked[group]) if (group := myelin_group(layer.name)) in marked else layer
        for layer in layers
    ]


def _complete(bindings: list[Binding], layers: list[Layer]) -> tuple[Binding, ...]:
    """Tell inputs from outputs, with shape and format, where only the names of bindings are listed."""
    outputs = {tensor.name: tensor for layer in layers for tensor in layer.outputs}
    used = {tensor.name: tensor for layer in reversed(layers) for tensor in layer.inputs}
    complete = []
    for binding in bindings:
        tensor = outputs.get(binding.name) or used.get(binding.name)
        if binding.mode is None and tensor is not None:
            mode = "output" if binding.name in outputs else "input"
            complete.append(Binding(binding.name, mode, tensor.dims, tensor.format))
        else:
            complete.append(binding)
    return tuple(complete)


def _names(raw: Any) -> list[str]:
    if not isinstance(raw, list):
        return []
    return [str(entry.get("Name", entry)) if isinstance(entry, dict) else str(entry) for entry in raw]


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None
