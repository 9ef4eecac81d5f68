"""What an engine of ONNX Runtime is fed while it is timed: seeded numbers of the shapes it was built for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.profiles import default_range
from workbench.errors import BackendError
from workbench.runtime import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from workbench.backends.protocol import BuildOptions, Engine, TimingOptions

__all__ = ["conditions_of", "feeds_of", "graph_inputs", "input_shapes", "parse", "warm_up"]

Array = np.ndarray[Any, np.dtype[Any]]


def parse(data: bytes) -> onnx.ModelProto:
    """Return an engine as a graph."""
    import onnx

    return onnx.ModelProto.FromString(data)


def graph_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return what is fed: inputs that are no weights."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in constants]


def input_shapes(proto: onnx.ModelProto, options: BuildOptions) -> dict[str, list[int]]:
    """Return the shape of each input: the first profile's optimum, the graph's, or the documented default."""
    profile = options.profiles[0] if options.profiles else {}
    unknown = sorted(set(profile) - {value.name for value in graph_inputs(proto)})
    if unknown:
        raise BackendError(f"the optimization profile names {', '.join(unknown)}, which is no input")
    shapes = {}
    for value in graph_inputs(proto):
        declared = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)
        chosen = profile.get(value.name) or default_range(declared)
        shapes[value.name] = list(chosen.opt)
    return shapes


def feeds_of(engine: Engine, options: TimingOptions) -> dict[str, Array]:
    """Return seeded random inputs: 0 to 1, or 0 and 1 for integers, which are often indices."""
    shapes = {name: tuple(shape) for name, shape in engine.manifest["shapes"].items()}
    unknown = sorted(set(options.shapes or {}) - set(shapes))
    if unknown:
        raise BackendError(f"{', '.join(unknown)} is no input", fix=f"The inputs are {', '.join(shapes)}.")
    generator = np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for value in graph_inputs(parse(engine.data)):
        dtype, shape = _dtype(value), (options.shapes or shapes).get(value.name, shapes[value.name])
        whole = dtype.kind != "f"
        feeds[value.name] = np.asarray(generator.integers(0, 2, shape) if whole else generator.random(shape)).astype(
            dtype
        )
    return feeds


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    from onnx.helper import get_all_tensor_dtypes, tensor_dtype_to_np_dtype

    kind = value.type.tensor_type.elem_type
    dtype = np.dtype(tensor_dtype_to_np_dtype(kind) if kind in get_all_tensor_dtypes() else object)
    if dtype.char not in np.typecodes["Float"] + np.typecodes["AllInteger"] + "?":
        raise BackendError("its element type cannot be made up", where=value.name, fix="Run it with feeds.")
    return dtype


def warm_up(session: Any, feeds: Mapping[str, Array], seconds: float) -> int:
    """Run for some seconds, once at least; return how often."""
    runs, end = 0, time.perf_counter() + seconds
    while runs == 0 or time.perf_counter() < end:
        try:
            session.run(None, dict(feeds))
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime fails: {first_line(error)}",
                fix="Give shapes that the model takes: TimingOptions(shapes=...).",
            ) from error
        runs += 1
    return runs


def conditions_of(engine: Engine, feeds: Mapping[str, Array]) -> dict[str, Any]:
    """Return what a reader of a timing needs to judge it."""
    return {
        "backend": engine.backend,
        "version": engine.manifest["version"],
        "device": engine.manifest["device"],
        "shapes": {name: list(array.shape) for name, array in feeds.items()},
        "clock": "host clock around one inference at a time",
        "data": "uniform random",
        "note": "a processor's time, which says nothing about a GPU's",
    }
