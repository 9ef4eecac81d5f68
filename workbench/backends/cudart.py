"""The few calls of the CUDA runtime that running an engine needs, through ctypes: no torch, no pycuda.

The library is the one that the environment variable ``CUDART`` names, else one that a Python package brought, else the
system's. Signatures as in the CUDA Runtime API reference; those used here are the same in CUDA 11.4 to 13.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = ["Buffer", "Cuda", "Device", "Event", "Graph", "Stream", "cuda", "find_library", "first_device"]

HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2
CAPTURE_THREAD_LOCAL = 1
MAJOR, MINOR, MULTIPROCESSORS = 75, 76, 16
PROPERTIES_BYTES = 1 << 14  # larger than cudaDeviceProp of any version; the name is its first 256 bytes
NO_DRIVER = (35, 100)  # cudaErrorInsufficientDriver, cudaErrorNoDevice


@dataclass(frozen=True)
class Device:
    """A GPU: its name, compute capability (``(9, 0)``), number of multiprocessors, and the CUDA versions in use."""

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    driver: int
    runtime: int

    @property
    def target(self) -> str:
        """The compute capability as the compiler writes it: ``sm90``."""
        return f"sm{self.capability[0]}{self.capability[1]}"


class Cuda:
    """The loaded library; every call that fails raises BackendError with CUDA's own name for the error."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.library = ctypes.CDLL(path)
        self.library.cudaGetErrorName.restype = ctypes.c_char_p
        self.library.cudaGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the library and check its status."""
        status = getattr(self.library, name)(*arguments)
        if status != 0:
            error = self.library.cudaGetErrorName(status).decode()
            text = self.library.cudaGetErrorString(status).decode()
            fix = "This needs an NVIDIA GPU and its driver." if status in NO_DRIVER else None
            raise BackendError(f"{name} failed: {error} ({text})", fix=fix)

    def device(self, index: int = 0) -> Device:
        """Describe a GPU.

        Raises
        ------
        BackendError
            There is none, or its driver is too old for this library.
        """
        count = ctypes.c_int()
        self.call("cudaGetDeviceCount", ctypes.byref(count))
        if index >= count.value:
            raise BackendError(f"there is no GPU number {index}; the driver sees {count.value}")
        properties = ctypes.create_string_buffer(PROPERTIES_BYTES)
        self.call("cudaGetDeviceProperties", properties, ctypes.c_int(index))
        return Device(
            name=properties.raw[:256].split(b"\0", 1)[0].decode("utf-8", "replace"),
            capability=(self._attribute(MAJOR, index), self._attribute(MINOR, index)),
            multiprocessors=self._attribute(MULTIPROCESSORS, index),
            driver=self._version("cudaDriverGetVersion"),
            runtime=self._version("cudaRuntimeGetVersion"),
        )

    def _attribute(self, which: int, index: int) -> int:
        value = ctypes.c_int()
        self.call("cudaDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(which), ctypes.c_int(index))
        return value.value

    def _version(self, function: str) -> int:
        value = ctypes.c_int()
        self.call(function, ctypes.byref(value))
        return value.value

    def free_bytes(self) -> int:
        """Return the free memory of the current GPU."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value


class Buffer:
    """Device memory of a fixed size, freed with `close`."""

    def __init__(self, api: Cuda, nbytes: int) -> None:
        self.api, self.nbytes = api, nbytes
        pointer = ctypes.c_void_p()
        api.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(max(nbytes, 1)))
        self.address = int(pointer.value or 0)

    def write(self, array: np.ndarray[Any, Any]) -> None:
        """Copy a contiguous array to the device."""
        source = ctypes.c_void_p(array.ctypes.data)
        self._copy(ctypes.c_void_p(self.address), source, array.nbytes, HOST_TO_DEVICE)

    def read(self, array: np.ndarray[Any, Any]) -> None:
        """Fill a contiguous array from the device."""
        target = ctypes.c_void_p(array.ctypes.data)
        self._copy(target, ctypes.c_void_p(self.address), array.nbytes, DEVICE_TO_HOST)

    def _copy(self, target: ctypes.c_void_p, source: ctypes.c_void_p, nbytes: int, kind: int) -> None:
        if nbytes > self.nbytes:
            raise BackendError(f"{nbytes} bytes do not fit a device buffer of {self.nbytes}")
        self.api.call("cudaMemcpy", target, source, ctypes.c_size_t(nbytes), ctypes.c_int(kind))

    def close(self) -> None:
        """Free the memory."""
        if self.address:
            self.api.call("cudaFree", ctypes.c_void_p(self.address))
            self.address = 0


class Stream:
    """A CUDA stream that does not wait for the default stream."""

    def __init__(self, api: Cuda) -> None:
        self.api = api
        handle = ctypes.c_void_p()
        non_blocking = 1
        api.call("cudaStreamCreateWithFlags", ctypes.byref(handle), ctypes.c_uint(non_blocking))
        self.handle = int(handle.value or 0)

    def synchronize(self) -> None:
        """Wait until all work on the stream is done."""
        self.api.call("cudaStreamSynchronize", ctypes.c_void_p(self.handle))


class Event:
    """A CUDA event, for times measured on the device."""

    def __init__(self, api: Cuda) -> None:
        self.api = api
        self.handle = ctypes.c_void_p()
        api.call("cudaEventCreate", ctypes.byref(self.handle))

    def record(self, stream: Stream) -> None:
        """Record the event on a stream."""
        self.api.call("cudaEventRecord", self.handle, ctypes.c_void_p(stream.handle))

    def since(self, start: Event) -> float:
        """Return milliseconds since another event; both must have happened. Resolution about 0.5 microseconds."""
        value = ctypes.c_float()
        self.api.call("cudaEventElapsedTime", ctypes.byref(value), start.handle, self.handle)
        return value.value


class Graph:
    """What was enqueued on a stream between `begin` and `end`, replayed with one launch."""

    def __init__(self, api: Cuda, stream: Stream) -> None:
        self.api, self.stream = api, stream
        self.executable = ctypes.c_void_p()

    def begin(self) -> None:
        """Start recording; nothing runs until `launch`."""
        stream = ctypes.c_void_p(self.stream.handle)
        self.api.call("cudaStreamBeginCapture", stream, ctypes.c_int(CAPTURE_THREAD_LOCAL))

    def end(self) -> None:
        """End recording and make it runnable."""
        graph = ctypes.c_void_p()
        self.api.call("cudaStreamEndCapture", ctypes.c_void_p(self.stream.handle), ctypes.byref(graph))
        self.api.call("cudaGraphInstantiateWithFlags", ctypes.byref(self.executable), graph, ctypes.c_ulonglong(0))
        self.api.call("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Run the recorded work on its stream."""
        self.api.call("cudaGraphLaunch", self.executable, ctypes.c_void_p(self.stream.handle))


def find_library() -> str | None:
    """Return the CUDA runtime library to load, or None.

    ``CUDART``, else a package ``nvidia-cuda-runtime*`` of this environment, else the linker's, else one in
    ``/usr/local/cuda*``.
    """
    named = os.environ.get("CUDART")
    if named:
        return named
    return next(_candidates(), None)


def _candidates() -> Iterator[str]:
    pattern = "cudart64*.dll" if sys.platform == "win32" else "libcudart.so*"
    for folder in map(Path, sys.path):
        if folder.is_dir():
            yield from map(str, sorted(folder.glob(f"nvidia/*/lib/{pattern}"), reverse=True))
    found = ctypes.util.find_library("cudart")
    if found:
        yield found
    for place in ("targets/x86_64-linux/lib", "lib64"):
        yield from map(str, sorted(Path("/usr/local").glob(f"cuda*/{place}/{pattern}"), reverse=True))


@functools.cache
def cuda() -> Cuda:
    """Load the CUDA runtime.

    Raises
    ------
    BackendError
        It is not here, or cannot be loaded.
    """
    path = find_library()
    if path is None:
        raise BackendError(
            "the CUDA runtime library (libcudart) was not found",
            fix="Install it (pip install nvidia-cuda-runtime-cu12), or name it in the environment variable CUDART.",
        )
    try:
        return Cuda(path)
    except OSError as error:
        raise BackendError(f"the CUDA runtime cannot be loaded: {error}", where=path, fix="Check CUDART.") from error


def first_device() -> Device:
    """Describe the first GPU; BackendError where there is none."""
    return cuda().device(0)
