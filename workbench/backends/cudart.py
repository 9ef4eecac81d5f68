"""The few calls of the CUDA runtime that running an engine needs, through NVIDIA's cuda-bindings: no torch, no pycuda.

The bindings bring the runtime themselves; a driver runs those of its own major version and older ones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import BackendError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Buffer", "Cuda", "CudaDevice", "Event", "ReplayedGraph", "Stream", "bus_id", "cuda", "first_device"]

BUS_ID_BYTES = 32


@dataclass(frozen=True)
class CudaDevice:
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

    @property
    def text(self) -> str:
        """What tells it from others of its target: all of a family may bear one name (``Orin``)."""
        return f"{self.name}, {self.multiprocessors} multiprocessors"


class Cuda:
    """The CUDA runtime; every call that fails raises BackendError with CUDA's own name for the error."""

    def __init__(self) -> None:
        from cuda.bindings import runtime

        self.runtime: Any = runtime

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the runtime and check its status; return its one result, a tuple of more, or ``None``."""
        status, *results = getattr(self.runtime, name)(*arguments)
        if int(status) != 0:
            error, text = (self.runtime.cudaGetErrorName(status)[1], self.runtime.cudaGetErrorString(status)[1])
            raise BackendError(f"{name} failed: {error.decode()} ({text.decode()})", fix=self._fix(status))
        return results[0] if len(results) == 1 else tuple(results) or None

    def _fix(self, status: Any) -> str | None:
        errors = self.runtime.cudaError_t
        if status not in (errors.cudaErrorInsufficientDriver, errors.cudaErrorNoDevice):
            return None
        driver = self.runtime.cudaDriverGetVersion()[1]
        if status == errors.cudaErrorNoDevice or not driver:
            return "This needs an NVIDIA GPU and its driver."
        return f"The driver is for CUDA {driver // 1000}: pip install 'cuda-bindings=={driver // 1000}.*'."

    def device(self, index: int = 0) -> CudaDevice:
        """Describe a GPU.

        Raises
        ------
        BackendError
            There is none, or its driver is too old for the bindings.
        """
        count = self.call("cudaGetDeviceCount")
        if index >= count:
            raise BackendError(f"there is no GPU number {index}; the driver sees {count}")
        properties = self.call("cudaGetDeviceProperties", index)
        return CudaDevice(
            name=properties.name.partition(b"\0")[0].decode("utf-8", "replace"),
            capability=(properties.major, properties.minor),
            multiprocessors=properties.multiProcessorCount,
            driver=self.call("cudaDriverGetVersion"),
            runtime=self.call("cudaRuntimeGetVersion"),
        )

    def bus_id(self, index: int = 0) -> str:
        """Return where a GPU is on the bus: what it is called on this host, whatever CUDA numbers it."""
        answer: bytes = self.call("cudaDeviceGetPCIBusId", BUS_ID_BYTES, index)
        return answer.partition(b"\0")[0].decode("ascii", "replace")

    def free_bytes(self) -> int:
        """Return the free memory of the current GPU."""
        free, _ = self.call("cudaMemGetInfo")
        return int(free)


class Buffer:
    """Device memory of a fixed size, freed with `close`."""

    def __init__(self, api: Cuda, nbytes: int) -> None:
        self.api, self.nbytes = api, nbytes
        self.address = int(api.call("cudaMalloc", max(nbytes, 1)))

    def write(self, array: np.ndarray[Any, Any], stream: Stream) -> None:
        """Copy a contiguous array to the device; what is enqueued on the stream later reads it."""
        self._copy(self.address, array.ctypes.data, array.nbytes, "cudaMemcpyHostToDevice", stream)

    def read(self, array: np.ndarray[Any, Any], stream: Stream) -> None:
        """Fill a contiguous array from the device, with what was enqueued on the stream before."""
        self._copy(array.ctypes.data, self.address, array.nbytes, "cudaMemcpyDeviceToHost", stream)

    def _copy(self, target: int, source: int, nbytes: int, kind: str, stream: Stream) -> None:
        # Not cudaMemcpy: it returns before the last bytes are on the device, for which only the default stream waits.
        if nbytes > self.nbytes:
            raise BackendError(f"{nbytes} bytes do not fit a device buffer of {self.nbytes}")
        direction = getattr(self.api.runtime.cudaMemcpyKind, kind)
        self.api.call("cudaMemcpyAsync", target, source, nbytes, direction, stream.handle)
        stream.synchronize()

    def close(self) -> None:
        """Free the memory."""
        if self.address:
            self.api.call("cudaFree", self.address)
            self.address = 0


class Stream:
    """A CUDA stream that does not wait for the default stream."""

    def __init__(self, api: Cuda) -> None:
        self.api = api
        self.handle = int(api.call("cudaStreamCreateWithFlags", api.runtime.cudaStreamNonBlocking))

    def synchronize(self) -> None:
        """Wait until all work on the stream is done."""
        self.api.call("cudaStreamSynchronize", self.handle)


class Event:
    """A CUDA event, for times measured on the device."""

    def __init__(self, api: Cuda) -> None:
        self.api = api
        self.handle = api.call("cudaEventCreate")

    def record(self, stream: Stream) -> None:
        """Record the event on a stream."""
        self.api.call("cudaEventRecord", self.handle, stream.handle)

    def since(self, start: Event) -> float:
        """Return milliseconds since another event; both must have happened. Resolution about 0.5 microseconds."""
        return float(self.api.call("cudaEventElapsedTime", start.handle, self.handle))


class ReplayedGraph:
    """What was enqueued on a stream between `begin` and `end`, replayed with one launch."""

    def __init__(self, api: Cuda, stream: Stream) -> None:
        self.api, self.stream = api, stream
        self.executable: Any = None

    def begin(self) -> None:
        """Start recording; nothing runs until `launch`."""
        mode = self.api.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.api.call("cudaStreamBeginCapture", self.stream.handle, mode)

    def end(self) -> None:
        """End recording and make it runnable."""
        graph = self.api.call("cudaStreamEndCapture", self.stream.handle)
        self.executable = self.api.call("cudaGraphInstantiateWithFlags", graph, 0)
        self.api.call("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Run the recorded work on its stream."""
        self.api.call("cudaGraphLaunch", self.executable, self.stream.handle)


@functools.cache
def cuda() -> Cuda:
    """Load the CUDA runtime.

    Raises
    ------
    BackendError
        The bindings are not installed, or cannot be loaded.
    """
    try:
        return Cuda()
    except ImportError as error:
        raise BackendError(
            f"CUDA cannot be called: {error}",
            fix="Install its bindings, of the driver's version: pip install cuda-bindings.",
        ) from error


def first_device() -> CudaDevice:
    """Describe the first GPU; BackendError where there is none."""
    return cuda().device(0)


def bus_id() -> str:
    """Return where the first GPU is on the bus; see `Cuda.bus_id`.

    Raises
    ------
    BackendError
        There is none.
    """
    return cuda().bus_id()
