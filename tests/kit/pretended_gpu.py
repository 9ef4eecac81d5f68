# ruff: noqa: N802, N815 - names are those of CUDA and TensorRT
"""A GPU, as far as our own calls go: memory of the host, and an engine that doubles what it is given.

What a real one does is tested on one (tests/gpu); here the calls, their order and what is made of the answers are.
"""

from __future__ import annotations

import ctypes
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np


class Status(int):
    """CUDA's status, which is a number."""


OK, NO_DEVICE, OLD_DRIVER, OTHER = Status(0), Status(100), Status(35), Status(1)


class Runtime:
    """What of ``cuda.bindings.runtime`` is called. `calls` is what was, in order; `fails` a function to its status."""

    cudaError_t = SimpleNamespace(cudaErrorInsufficientDriver=OLD_DRIVER, cudaErrorNoDevice=NO_DEVICE)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice="to device", cudaMemcpyDeviceToHost="to host")
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: dict[str, Status] = {}
        self.memory: dict[int, Any] = {}
        self.enqueued: dict[int, list[tuple[int, int, int]]] = {}  # copies that a stream has yet to do
        self.free = 1000
        self.driver = 13000
        self.clock = 0.0

    def __getattribute__(self, name: str) -> Any:
        plain = object.__getattribute__(self, name)
        if not name.startswith("cuda") or not callable(plain) or name.startswith("cudaGetError"):
            return plain

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            return (self.fails[name], None) if name in self.fails else plain(*arguments)

        return call

    def cudaGetErrorName(self, _status):
        return OK, b"cudaErrorSome"

    def cudaGetErrorString(self, _status):
        return OK, b"some trouble"

    def cudaDriverGetVersion(self):
        return OK, self.driver

    def cudaRuntimeGetVersion(self):
        return OK, 12080

    def cudaGetDeviceCount(self):
        return OK, 1

    def cudaGetDeviceProperties(self, index):
        if index != 0:
            return OTHER, None
        return OK, SimpleNamespace(name=b"Pretended\0\0", major=9, minor=0, multiProcessorCount=132)

    def cudaDeviceGetPCIBusId(self, _length, index):
        return (OK, b"0000:01:00.0\0left\0") if index == 0 else (OTHER, None)

    def cudaMemGetInfo(self):
        return OK, self.free, 2000

    def cudaMalloc(self, nbytes):
        block = (ctypes.c_char * nbytes)()
        self.memory[ctypes.addressof(block)] = block
        self.free -= nbytes
        return OK, ctypes.addressof(block)

    def cudaFree(self, address):
        self.free += len(self.memory.pop(address))
        return (OK,)

    def cudaMemcpyAsync(self, target, source, nbytes, _kind, handle):
        self.enqueued[handle].append((target, source, nbytes))
        return (OK,)

    def cudaStreamCreateWithFlags(self, _flags):
        handle = 77 + len(self.enqueued)
        self.enqueued[handle] = []
        return OK, handle

    def cudaStreamSynchronize(self, handle):
        while self.enqueued[handle]:
            ctypes.memmove(*self.enqueued[handle].pop(0))
        return (OK,)

    def cudaEventCreate(self):
        return OK, [0.0]

    def cudaEventRecord(self, event, _handle):
        event[0] = self.clock
        return (OK,)

    def cudaEventElapsedTime(self, start, end):
        return OK, end[0] - start[0]

    def cudaStreamBeginCapture(self, _handle, _mode):
        return (OK,)

    def cudaStreamEndCapture(self, _handle):
        return OK, "graph"

    def cudaGraphInstantiateWithFlags(self, graph, flags):
        return OK, (graph, flags)

    def cudaGraphDestroy(self, _graph):
        return (OK,)

    def cudaGraphLaunch(self, _executable, _handle):
        return (OK,)


class Tensor:
    """An input or output of a pretended engine."""

    def __init__(self, name, shape, dtype="FLOAT", *, output=False, host=False, values=(), profile=None) -> None:
        self.name, self.shape, self.dtype, self.output, self.host = name, shape, dtype, output, host
        self.values, self.profile = values, profile


class TensorRT:
    """What of the package ``tensorrt`` is called, with one engine: each output is twice the input of its place."""

    __version__ = "10.3.0"
    TensorIOMode = Enum("TensorIOMode", "INPUT OUTPUT")
    TensorLocation = Enum("TensorLocation", "DEVICE HOST")
    LayerInformationFormat = SimpleNamespace(JSON="json")
    EngineStat = SimpleNamespace(STRIPPED_WEIGHTS_SIZE="stripped")

    class IProfiler:
        """The base of profilers."""

    class ILogger:
        """The base of loggers."""

    def __init__(self, runtime: Runtime, *tensors: Tensor, profiles: int = 2) -> None:
        self.cuda, self.tensors, self.profiles = runtime, {one.name: one for one in tensors}, profiles
        self.stripped, self.refused, self.context = 0, False, True
        self.layers = [("one", 1.0), ("two", 2.0), ("one", 3.0)]
        self.aux_streams = 0
        self.says = "no good"

    def Runtime(self, logger):
        return SimpleNamespace(
            engine_host_code_allowed=False, deserialize_cuda_engine=lambda data: self._engine(logger, data)
        )

    def _engine(self, logger, data):
        if self.refused:
            logger.log(SimpleNamespace(name="INTERNAL_ERROR"), self.says)
            logger.log(SimpleNamespace(name="WARNING"), "something else")
            return None
        return Engine(self, data)


class Engine:
    """A pretended engine."""

    device_memory_size = 7
    device_memory_size_v2 = 4096
    num_layers = 2

    def __init__(self, trt: TensorRT, data: bytes) -> None:
        self.trt, self.data = trt, data
        self.num_io_tensors, self.num_optimization_profiles = len(trt.tensors), trt.profiles
        self.num_aux_streams = trt.aux_streams

    def get_tensor_name(self, index):
        return list(self.trt.tensors)[index]

    def get_tensor_mode(self, name):
        return self.trt.TensorIOMode.OUTPUT if self.trt.tensors[name].output else self.trt.TensorIOMode.INPUT

    def get_tensor_location(self, name):
        return self.trt.TensorLocation.HOST if self.trt.tensors[name].host else self.trt.TensorLocation.DEVICE

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name=self.trt.tensors[name].dtype)

    def get_tensor_shape(self, name):
        return self.trt.tensors[name].shape

    def get_tensor_profile_shape(self, name, index):
        return self.trt.tensors[name].profile[index]

    def get_tensor_profile_values(self, name, _index):
        return None, self.trt.tensors[name].values, None

    def get_engine_stat(self, stat):
        return {"stripped": self.trt.stripped}[stat]

    def create_execution_context(self):
        return Context(self.trt) if self.trt.context else None

    def create_engine_inspector(self):
        return Inspector(len(self.data))


class Inspector:
    """What tells of an engine, with the shapes of a context where it is given one."""

    execution_context: Any = None

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes

    def get_engine_information(self, form):
        return f"{form} of {self.nbytes} bytes, profile {self.execution_context.active_optimization_profile}"


class Context:
    """A pretended execution context."""

    active_optimization_profile = 0
    profiler: Any = None

    def __init__(self, trt: TensorRT) -> None:
        self.trt, self.addresses, self.shapes, self.ran = trt, {}, {}, 0
        self.profile_taken = True

    def set_optimization_profile_async(self, index, _handle):
        self.active_optimization_profile = index
        return index != 7

    def set_input_shape(self, name, shape):
        self.shapes[name] = shape
        return 13 not in shape

    def get_tensor_shape(self, name):
        inputs = [one for one in self.trt.tensors.values() if not one.output]
        if name in self.shapes or not self.trt.tensors[name].output:
            return self.shapes.get(name, self.trt.tensors[name].shape)
        shape = self.trt.tensors[name].shape
        return self.get_tensor_shape(inputs[0].name) if shape is None else shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def _array(self, name):
        dtype = {"FLOAT": "f4", "HALF": "f2", "INT32": "i4", "INT64": "i8", "BOOL": "?"}[self.trt.tensors[name].dtype]
        shape = self.get_tensor_shape(name)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(self.addresses[name]), dtype).reshape(shape)

    def execute_async_v3(self, _handle):
        self.ran += 1
        self.trt.cuda.clock += 2.0
        outputs = [one.name for one in self.trt.tensors.values() if one.output]
        inputs = [one.name for one in self.trt.tensors.values() if not one.output]
        for given, made in zip(inputs, outputs, strict=False):
            self._array(made)[...] = 2 * self._array(given)
        if self.profiler is not None:
            for name, ms in self.trt.layers:
                self.profiler.report_layer_time(name, ms)
        return self.ran != 99
