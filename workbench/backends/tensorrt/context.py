"""An engine loaded from its file, and execution contexts with memory of their own."""

from __future__ import annotations

import importlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.backends.compiler import make_logger
from workbench.backends.cudart import Buffer, ReplayedGraph, Stream, cuda
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Array", "Context", "EngineFile", "warm_up"]

Array = np.ndarray[Any, np.dtype[Any]]


class EngineFile:
    """A stored engine, deserialized."""

    def __init__(self, module: str, path: str) -> None:
        self.api = cuda()
        self.api.device()
        self.trt: Any = importlib.import_module(module)
        self.logger, self.log = make_logger(self.trt)
        self.runtime = self.trt.Runtime(self.logger)
        # A version-compatible engine brings its own runtime code. Its manifest says that it was built here.
        self.runtime.engine_host_code_allowed = True
        self.engine = self.runtime.deserialize_cuda_engine(Path(path).read_bytes())
        if self.engine is None:
            raise BackendError(
                f"{module} {self.trt.__version__} refused the engine: {self.last_error}",
                fix="Build it on this machine, with this version.",
            )

    @property
    def last_error(self) -> str:
        """What the library said of the last thing that went wrong."""
        return next((line.text for line in reversed(self.log) if "ERROR" in line.severity), "it said nothing")

    def names(self) -> list[str]:
        """Return the names of inputs and outputs."""
        return [str(self.engine.get_tensor_name(i)) for i in range(self.engine.num_io_tensors)]

    def is_input(self, name: str) -> bool:
        """Say whether a tensor is an input."""
        return bool(self.engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT)

    def on_host(self, name: str) -> bool:
        """Say whether a tensor lies in host memory, as shape tensors do."""
        return bool(self.engine.get_tensor_location(name) == self.trt.TensorLocation.HOST)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the NumPy type of an input or output."""
        kind = str(self.engine.get_tensor_dtype(name).name)
        plain = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "INT8": "i1", "UINT8": "u1", "BOOL": "?"}
        if kind in plain:
            return np.dtype(plain[kind])
        if kind in ("BF16", "FP8"):
            import ml_dtypes

            wide: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16 if kind == "BF16" else ml_dtypes.float8_e4m3fn)
            return wide
        raise BackendError(f"{kind} cannot be fed or read", where=name, fix="Put a Cast at the model's boundary.")

    def tuned_values(self, name: str, profile_index: int) -> list[int]:
        """Return the values of a shape tensor that a profile is tuned for."""
        if hasattr(self.engine, "get_tensor_profile_values"):
            return list(self.engine.get_tensor_profile_values(name, profile_index)[1])
        return list(self.engine.get_profile_shape_input(profile_index, name)[1])  # TensorRT 8.6

    def lacks_weights(self) -> bool:
        """Say whether the engine was written without its weights, where this version tells (not 8.6)."""
        stat = getattr(getattr(self.trt, "EngineStat", None), "STRIPPED_WEIGHTS_SIZE", None)
        return stat is not None and self.engine.get_engine_stat(stat) > 0

    @property
    def aux_streams(self) -> int:
        """How many streams it uses besides the one that it is run on."""
        return int(getattr(self.engine, "num_aux_streams", 0))

    def scratch_bytes(self) -> int:
        """Return the device memory that a context needs besides inputs and outputs."""
        size = getattr(self.engine, "device_memory_size_v2", None)
        return int(self.engine.device_memory_size if size is None else size)


class Context:
    """An execution context with its stream and, for every input and output, memory."""

    def __init__(
        self, engine: EngineFile, shapes: Mapping[str, tuple[int, ...]], profile_index: int, *, allocate: bool = True
    ) -> None:
        self.engine, self.api = engine, engine.api
        self.context = engine.engine.create_execution_context()
        if self.context is None:
            raise BackendError("no execution context: not enough device memory", fix="Free memory on the GPU.")
        self.stream = Stream(self.api)
        # TensorRT 8 gives profile 0 to an engine's first context only.
        if self.context.active_optimization_profile != profile_index:
            self._choose_profile(profile_index)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.buffers: dict[str, Buffer] = {}
        self.host: dict[str, Array] = {}
        self.graph: ReplayedGraph | None = None
        self._set_shapes(shapes, profile_index)
        if allocate:
            self._allocate(profile_index)

    def _choose_profile(self, index: int) -> None:
        count = self.engine.engine.num_optimization_profiles
        if not 0 <= index < count:
            raise BackendError(f"there is no optimization profile {index}; the engine has {count}")
        if not self.context.set_optimization_profile_async(index, self.stream.handle):
            raise BackendError(f"optimization profile {index} was refused")
        self.stream.synchronize()

    def _set_shapes(self, shapes: Mapping[str, tuple[int, ...]], profile_index: int) -> None:
        inputs = [name for name in self.engine.names() if self.engine.is_input(name)]
        unknown = sorted(set(shapes) - set(inputs))
        if unknown:
            raise BackendError(f"{', '.join(unknown)} is no input", fix=f"The inputs are {', '.join(inputs)}.")
        for name in inputs:
            declared = tuple(self.engine.engine.get_tensor_shape(name))
            low, best, high = (declared,) * 3
            if any(n < 0 for n in declared):
                low, best, high = map(tuple, self.engine.engine.get_tensor_profile_shape(name, profile_index))
            shape = tuple(shapes.get(name, best))
            fits = len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))
            if not fits:
                raise BackendError(
                    f"shape {shape} is outside optimization profile {profile_index}, {low} to {high}",
                    where=name,
                    fix="Use a shape inside it, another profile, or build for this shape.",
                )
            if any(n < 0 for n in declared) and not self.context.set_input_shape(name, shape):
                raise BackendError(f"shape {shape} was refused", where=name)
            self.shapes[name] = shape

    def _allocate(self, profile_index: int) -> None:
        # Shape tensors decide the outputs' shapes, so they need values, in host memory, before those are asked for.
        for name in self.engine.names():
            if self.engine.is_input(name) and self.engine.on_host(name):
                values = np.array(self.engine.tuned_values(name, profile_index), self.engine.dtype(name))
                values = values.reshape(self.shapes[name])
                self._place_on_host(name, values)
        for name in self.engine.names():
            if name in self.host:
                continue
            shape = tuple(self.context.get_tensor_shape(name))
            if any(n < 0 for n in shape):
                raise BackendError(
                    f"its shape {shape} depends on the data", where=name, fix="Cut the model before this output."
                )
            self.shapes[name] = shape
            if self.engine.on_host(name):
                self._place_on_host(name, np.zeros(shape, self.engine.dtype(name)))
                continue
            buffer = Buffer(self.api, math.prod(shape) * self.engine.dtype(name).itemsize)
            self.buffers[name] = buffer
            self.context.set_tensor_address(name, buffer.address)

    def _place_on_host(self, name: str, values: Array) -> None:
        self.host[name] = np.asarray(values, order="C")
        self.context.set_tensor_address(name, self.host[name].ctypes.data)

    def write(self, name: str, array: Array) -> None:
        """Copy an array into an input."""
        dtype = self.engine.dtype(name)
        if array.dtype == np.int64 and dtype == np.int32 and np.array_equal(array.astype(dtype), array):
            array = array.astype(dtype)  # TensorRT before 10 has no INT64 and makes such inputs INT32
        if array.dtype != dtype:
            raise BackendError(f"the feed is {array.dtype}; the engine takes {dtype}", where=name)
        if name in self.host:
            self.host[name][...] = array
        else:
            self.buffers[name].write(np.asarray(array, order="C"), self.stream)

    def fill(self) -> None:
        """Fill the inputs with seeded random numbers: 0 to 1, or 0 and 1 for integers, which are often indices."""
        generator = np.random.default_rng(0)
        for name in self.buffers:
            if self.engine.is_input(name):
                dtype, shape = self.engine.dtype(name), self.shapes[name]
                integer = np.issubdtype(dtype, np.integer) or dtype == np.bool_
                numbers = generator.integers(0, 2, shape) if integer else generator.random(shape, np.float32)
                self.write(name, np.asarray(numbers).astype(dtype))

    def outputs(self) -> dict[str, Array]:
        """Copy the outputs to the host."""
        results = {}
        for name in self.engine.names():
            if not self.engine.is_input(name):
                array = (
                    self.host[name].copy()
                    if name in self.host
                    else np.empty(self.shapes[name], self.engine.dtype(name))
                )
                if name in self.buffers:
                    self.buffers[name].read(array, self.stream)
                results[name] = array
        return results

    def inspect(self) -> str:
        """Return the inspector's JSON, with the shapes of this context."""
        inspector = self.engine.engine.create_engine_inspector()
        inspector.execution_context = self.context
        return str(inspector.get_engine_information(self.engine.trt.LayerInformationFormat.JSON))

    def capture(self) -> None:
        """Record one inference as a CUDA graph, which `enqueue` then replays."""
        graph = ReplayedGraph(self.api, self.stream)
        graph.begin()
        self.enqueue()
        graph.end()
        self.graph = graph

    def close(self) -> None:
        """Give the memory back; nothing runs here after."""
        self.stream.synchronize()
        self.graph = self.context = None
        for buffer in self.buffers.values():
            buffer.close()

    def enqueue(self) -> None:
        """Start one inference on this context's stream."""
        if self.graph is not None:
            self.graph.launch()
        elif not self.context.execute_async_v3(self.stream.handle):
            raise BackendError("the inference could not be enqueued", where=str(self.engine.log[-1]))


def warm_up(contexts: list[Context], seconds: float) -> int:
    """Run for some seconds, once at least; return the number of inferences."""
    runs, end = 0, time.perf_counter() + seconds
    while runs == 0 or time.perf_counter() < end:
        for context in contexts:
            context.enqueue()
        for context in contexts:
            context.stream.synchronize()
        runs += len(contexts)
    return runs
