"""The kernel on an NVIDIA GPU, by CuPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration.counting import COUNTERS
from workbench.calibration.cuda.counter import LISTED
from workbench.calibration.cuda.layout import SEEN, KernelTuning, definitions, source

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Gpu", "tuned"]

_SHARED_BYTES = COUNTERS * 4


@dataclass
class _Ticket:
    """A launch: where on the device and on the host its results come to lie, and what must live until then."""

    listed: Any
    host: NDArray[np.uint8]
    done: Any
    kept: tuple[Any, ...]


class Gpu:
    """Launches the kernel on a stream of the device in use.

    Parameters
    ----------
    count
        How many tensors there are.
    stream
        A CuPy stream.
    tuning
        How the kernel is cut; what fits the device where left out.
    """

    def __init__(self, count: int, stream: Any, tuning: KernelTuning | None = None) -> None:
        import cupy

        self.tuning = tuning or tuned()
        self._stream = stream
        self._kernel, self._blocks = _compiled(*vars(self.tuning).values())
        with stream:
            self._counters = cupy.zeros((count, COUNTERS), cupy.uint64)

    def address(self, array: Any) -> int:
        """Return where an array's values lie."""
        return int(array.data.ptr)

    def counters(self) -> int:
        """Return where the counters of the first tensor lie; those of others follow."""
        return int(self._counters.data.ptr)

    def drain(self) -> NDArray[np.uint64]:
        """Wait for all launches; return the counters (tensors, COUNTERS) and clear them."""
        with self._stream:
            values: NDArray[np.uint64] = self._counters.get(stream=self._stream)
            self._counters.fill(0)
        return values

    def start(self, descriptors: NDArray[np.void], tiles: int) -> _Ticket:
        """Launch the kernel without waiting for it; return a ticket."""
        import cupy

        with self._stream:
            rows = _uploaded(descriptors.view(np.uint8), self._stream)
            seen = cupy.zeros((len(descriptors) - 1) * SEEN.itemsize, cupy.uint8)
            listed = cupy.empty(1 + LISTED, cupy.uint64)  # how many were listed, then they themselves
            listed[:1].fill(0)
            if tiles:
                self._kernel(
                    (min(self._blocks, tiles),),
                    (self.tuning.threads,),
                    (rows[0], np.uint32(tiles), seen, listed[1:], listed, np.uint32(LISTED)),
                    shared_mem=_SHARED_BYTES if self.tuning.shared else 0,
                )
            host = _pinned(seen.nbytes)
            seen.get(stream=self._stream, out=host, blocking=False)
            done = cupy.cuda.Event(disable_timing=True)
            done.record(self._stream)
        return _Ticket(listed, host, done, (*rows, seen))

    def seen(self, ticket: _Ticket) -> NDArray[np.void]:
        """Wait for a launch; return what it saw of each tensor."""
        ticket.done.synchronize()
        return ticket.host.view(SEEN)

    def listed(self, ticket: _Ticket, count: int) -> NDArray[np.uint64]:
        """Return the first values of a launch that were beyond the bins, below the number of their tensor."""
        values: NDArray[np.uint64] = ticket.listed[1 : 1 + count].get(stream=self._stream)
        return values


@cache
def tuned() -> KernelTuning:
    """Return how the kernel is cut to the device in use."""
    import cupy

    attributes = cupy.cuda.Device().attributes
    if attributes["MaxSharedMemoryPerBlockOptin"] < _SHARED_BYTES:
        return KernelTuning(shared=False)
    fit = attributes["MaxSharedMemoryPerMultiprocessor"] // (_SHARED_BYTES + 1024)
    return KernelTuning() if fit > 1 else KernelTuning(threads=512, blocks=1)


@cache
def _compiled(threads: int, blocks: int, unroll: int, shared: bool) -> tuple[Any, int]:
    """Return the kernel, and how many blocks fill the device."""
    import cupy

    tuning = KernelTuning(threads, blocks, unroll, shared=shared)
    options = ("-std=c++17", *(f"-D{name}={value}" for name, value in definitions(tuning).items()))
    kernel = cupy.RawKernel(source(), "count", options=options)
    if shared:
        kernel.max_dynamic_shared_size_bytes = _SHARED_BYTES
    return kernel, blocks * cupy.cuda.Device().attributes["MultiProcessorCount"]


def _pinned(size: int) -> NDArray[np.uint8]:
    import cupyx

    array: NDArray[np.uint8] = cupyx.empty_pinned(size, np.uint8)
    return array


def _uploaded(content: NDArray[np.uint8], stream: Any) -> tuple[Any, NDArray[np.uint8]]:
    """Start bringing bytes to the device; return them there and here, where they must stay until they are."""
    import cupy

    host = _pinned(content.size)
    host[:] = content
    device = cupy.empty(content.size, cupy.uint8)
    device.set(host, stream=stream)
    return device, host
