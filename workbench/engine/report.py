"""The nouns of an engine report: layers, tensors, bindings, optimization profiles, and time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.display import Card, Shown, counted
from workbench.engine.formats import BITS, TensorFormat, tensor_bytes
from workbench.engine.names import metadata_nodes, reformat_target, without_profile
from workbench.errors import ReportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = [
    "Binding",
    "EngineReport",
    "EngineTensor",
    "Layer",
    "LayerTime",
    "OptimizationProfile",
    "RunTimes",
    "Weights",
]

_MYELIN_TYPES = frozenset(
    {"kgen", "gemm", "shape_call", "signal", "wait", "trainstation", "fusion", "memcpy", "memset"}
)


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """A tensor that flows between layers.

    Attributes
    ----------
    dims
        The shape, -1 where it is dynamic; None where the file does not say.
    """

    name: str
    dims: tuple[int, ...] | None
    format: TensorFormat
    location: str | None = None

    @property
    def dtype(self) -> str | None:
        """The data type, or None where it is not known."""
        return self.format.dtype

    @property
    def nbytes(self) -> int | None:
        """Bytes on the device, padding counted (see `tensor_bytes`), or None where they are not known."""
        return tensor_bytes(self.dims, self.format)


@dataclass(frozen=True, slots=True)
class Weights:
    """Constants of a layer: `role` is the key in the file ("Weights", "Bias", "PointWiseConvWeights", ...)."""

    role: str
    dtype: str | None
    count: int

    @property
    def nbytes(self) -> int | None:
        """Bytes, without any padding that a tactic adds, or None where the data type is not known."""
        return None if self.dtype is None else (self.count * BITS[self.dtype] + 7) // 8


@dataclass(frozen=True, slots=True)
class LayerTime:
    """What a profiler measured of a layer: mean and median over the inferences, in milliseconds each."""

    name: str
    mean_ms: float
    median_ms: float | None = None

    @property
    def typical_ms(self) -> float:
        """The median where there is one: a mean has the first inferences in it."""
        return self.mean_ms if self.median_ms is None else self.median_ms


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of an engine, in execution order.

    Attributes
    ----------
    type, parameter_type
        `LayerType` ("CaskConvolution", "kgen", ...) and `ParameterType` ("Convolution", ...); None where not told.
    tactic, tactic_id
        Kernel name and tactic value.
    origin
        Why TensorRT added the layer ("REFORMAT", "QDQ"), or None.
    profile
        Index of the optimization profile it belongs to.
    attributes
        Everything else in the file, untouched, unknown keys included.
    detailed
        False for a bare name, as engines built without detailed profiling verbosity have it.
    """

    name: str
    type: str | None = None
    parameter_type: str | None = None
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    weights: tuple[Weights, ...] = ()
    tactic: str | None = None
    tactic_id: str | None = None
    stream: int | None = None
    origin: str | None = None
    metadata: str = ""
    profile: int = 0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    detailed: bool = True
    time: LayerTime | None = None

    @property
    def base_name(self) -> str:
        """The name without ` [profile N]`."""
        return without_profile(self.name)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Source node names that the layer's metadata states."""
        return metadata_nodes(self.metadata)

    @property
    def reformats(self) -> str | None:
        """The layer, or the engine's input or output, that this one reformats a tensor for; or None."""
        return reformat_target(self.base_name)

    @property
    def ms(self) -> float | None:
        """Mean milliseconds an inference, or None where there is no profile."""
        return None if self.time is None else self.time.mean_ms

    @property
    def typical_ms(self) -> float:
        """`LayerTime.typical_ms`, or 0 where there is no profile."""
        return 0.0 if self.time is None else self.time.typical_ms

    @property
    def myelin(self) -> bool:
        """Whether TensorRT's Myelin compiler made the layer."""
        kind = (self.type or "").lower()
        return kind in _MYELIN_TYPES or kind.startswith("myelin") or "ForeignNode[" in self.name

    @property
    def weight_bytes(self) -> int | None:
        """Bytes of its constants, or None where they are not told (bare names, Myelin layers, unknown types)."""
        sizes = [weights.nbytes for weights in self.weights]
        if not self.detailed or (self.myelin and not sizes) or None in sizes:
            return None
        return sum(size for size in sizes if size is not None)


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output of the engine; what the file does not tell is None."""

    name: str
    mode: str | None = None
    dims: tuple[int, ...] | None = None
    format: TensorFormat = field(default_factory=lambda: TensorFormat("", None, None))


@dataclass(frozen=True, slots=True)
class OptimizationProfile:
    """Shapes an engine was built for: input name -> (minimum, optimum, maximum)."""

    index: int
    shapes: Mapping[str, tuple[tuple[int, ...] | None, tuple[int, ...] | None, tuple[int, ...] | None]]


@dataclass(frozen=True, slots=True)
class RunTimes:
    """Whole inferences, in milliseconds of GPU compute time; a statistic that is not known is absent from `ms`.

    Attributes
    ----------
    ms
        "min", "max", "mean", "median", "p90", "p95" and "p99", as far as they are known.
    iterations
        Measured inferences, or None where the file does not say.
    throughput
        Inferences a second, or None.
    """

    ms: Mapping[str, float]
    iterations: int | None = None
    throughput: float | None = None


@dataclass(frozen=True, kw_only=True)
class EngineReport(Shown):
    """What the compiler made.

    Attributes
    ----------
    dialect
        The kind of file it was read from, such as "TensorRT 8.x/10.x inspector JSON".
    tensorrt_version
        As stated by the files or the caller; the inspector itself does not tell.
    backend
        Whose compiler made it: "tensorrt" or "onnxruntime".
    profile_count
        Inferences that the per-layer times are averages of; None without a profile.
    device, build
        GPU and build options, as far as metadata files told them.
    notes
        What was odd but readable, a sentence each.
    """

    name: str
    layers: tuple[Layer, ...]
    dialect: str
    backend: str = "tensorrt"
    bindings: tuple[Binding, ...] = ()
    profiles: tuple[OptimizationProfile, ...] = ()
    tensorrt_version: str | None = None
    timing: RunTimes | None = None
    profile_count: int | None = None
    device: Mapping[str, Any] = field(default_factory=dict)
    build: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def _card(self) -> Card:
        total = self.layers_ms
        took = "" if total is None else f", {total:.4f} ms in all"
        slowest = sorted(self.layers, key=lambda layer: -(layer.ms or 0.0))
        rows = tuple((layer.name, layer.type, layer.ms, layer.tactic) for layer in slowest)
        return Card(
            f"{self.name}: {counted(len(self.layers), 'layer')}{took}",
            ("layer", "type", "ms", "tactic"),
            rows,
            self.notes,
        )

    @property
    def profiled(self) -> bool:
        """Whether any layer has a time."""
        return any(layer.time is not None for layer in self.layers)

    @property
    def layers_ms(self) -> float | None:
        """Sum of the layers' average milliseconds; more than an inference takes, as profiling has a cost of its own."""
        times = [layer.ms for layer in self.layers if layer.ms is not None]
        return sum(times) if times else None

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants that are known; see `unknown_weights` for the rest."""
        return sum(layer.weight_bytes or 0 for layer in self.layers)

    @property
    def unknown_weights(self) -> tuple[Layer, ...]:
        """Layers whose weights the file does not tell."""
        return tuple(layer for layer in self.layers if layer.weight_bytes is None)

    @property
    def reformat_layers(self) -> tuple[Layer, ...]:
        """Layers that do nothing but change a format, precision or layout; free ones (NoOp) are not counted."""
        return tuple(layer for layer in self.layers if layer.type == "Reformat")

    def layer(self, name: str) -> Layer:
        """Return the layer of that name.

        Raises
        ------
        ReportError
            There is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ReportError(f"there is no layer {name!r}", where=self.name, fix="See layers_table() for their names")

    def layers_table(self) -> pd.DataFrame:
        """Return one row a layer: name, type, precision of its tensors, bytes, tactic, source nodes, milliseconds.

        Unknown values are missing (None/NaN), never 0.
        """
        import pandas as pd

        total, layers = self.layers_ms, self.layers
        percent = [None if layer.ms is None or not total else 100 * layer.ms / total for layer in layers]
        columns = {
            "layer": [layer.name for layer in layers],
            "type": [layer.type for layer in layers],
            "ms": [layer.ms for layer in layers],
            "median_ms": [None if layer.time is None else layer.time.median_ms for layer in layers],
            "percent": percent,
            "inputs": [", ".join(tensor.format.short for tensor in layer.inputs) for layer in layers],
            "outputs": [", ".join(tensor.format.short for tensor in layer.outputs) for layer in layers],
            "input_bytes": [_known_sum(layer.inputs) for layer in layers],
            "output_bytes": [_known_sum(layer.outputs) for layer in layers],
            "weight_bytes": [layer.weight_bytes for layer in layers],
            "tactic": [layer.tactic for layer in layers],
            "stream": [layer.stream for layer in layers],
            "profile": [layer.profile for layer in layers],
            "nodes": [" + ".join(layer.sources) for layer in layers],
        }
        kinds = {"input_bytes": "Int64", "output_bytes": "Int64", "weight_bytes": "Int64"}
        table: pd.DataFrame = pd.DataFrame(columns, dtype=None if layers else object).astype(kinds)
        return table

    def tensors_table(self) -> pd.DataFrame:
        """Return one row a tensor: name, shape, format, data type, bytes, the layer that makes it and its users."""
        import pandas as pd

        users: dict[str, list[str]] = {}
        makers: dict[str, str] = {}
        tensors: dict[str, EngineTensor] = {}
        for layer in self.layers:
            for tensor in layer.inputs:
                users.setdefault(tensor.name, []).append(layer.name)
                tensors.setdefault(tensor.name, tensor)
            for tensor in layer.outputs:
                makers[tensor.name] = layer.name
                tensors[tensor.name] = tensor
        rows = [
            {
                "tensor": name,
                "dims": None if tensor.dims is None else list(tensor.dims),
                "format": tensor.format.text,
                "dtype": tensor.dtype,
                "bytes": tensor.nbytes,
                "made_by": makers.get(name),
                "used_by": users.get(name, []),
            }
            for name, tensor in tensors.items()
        ]
        columns = ["tensor", "dims", "format", "dtype", "bytes", "made_by", "used_by"]
        table: pd.DataFrame = pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})
        return table

    def types_table(self) -> pd.DataFrame:
        """Return one row a layer type: how many layers and milliseconds."""
        import pandas as pd

        rows: dict[str, list[Layer]] = {}
        for layer in self.layers:
            rows.setdefault(layer.type or "unknown", []).append(layer)
        table = pd.DataFrame(
            [{"type": kind, "layers": len(layers), "ms": _sum_ms(layers)} for kind, layers in rows.items()],
            columns=["type", "layers", "ms"],
        )
        ordered: pd.DataFrame = table.sort_values(["ms", "layers"], ascending=False, ignore_index=True)
        return ordered


def _known_sum(tensors: tuple[EngineTensor, ...]) -> int | None:
    sizes = [tensor.nbytes for tensor in tensors]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _sum_ms(layers: list[Layer]) -> float | None:
    times = [layer.ms for layer in layers if layer.ms is not None]
    return sum(times) if times else None
