"""The pass over the samples on a GPU: what it computes stays there and is counted there.

Several batches are under way at once. A thread reads and stacks samples ahead, into memory that the GPU can read by
itself; one stream brings them over, one runs the model, one counts what the model made while the next batch runs.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.calibration.ahead import ahead
from workbench.calibration.cuda.counter import Counter
from workbench.calibration.cuda.machine import Gpu
from workbench.calibration.samples import feeds
from workbench.calibration.statistics import TensorStatistics
from workbench.errors import SamplesError
from workbench.progress import progress
from workbench.runtime import Session, on_device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from workbench.calibration.cuda.counter import Launch
    from workbench.calibration.cuda.layout import KernelTuning
    from workbench.calibration.damage import Damage
    from workbench.calibration.samples import Feed, Samples
    from workbench.calibration.statistics import Statistics
    from workbench.graph import Model
    from workbench.runtime import Device

__all__ = ["AHEAD", "UNDER_WAY", "Pass", "view"]

UNDER_WAY = 3
"""Batches on the GPU at once, where its memory holds them."""
AHEAD = 4
"""Batches that are stacked before the GPU asks for them."""
_MEMORY = 0.5
"""The share of the GPU's free memory that batches under way may take."""
_SAVE_S = 2.0
"""Seconds between two states that are kept: each needs the counters, for which counting stops."""
_FLOATING = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


class _Pinned:
    """Host memory that the GPU reads by itself, used again and again."""

    def __init__(self) -> None:
        self._free: dict[int, queue.SimpleQueue[Any]] = {}
        self._own: dict[int, Any] = {}

    def empty(self, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array whose values are any."""
        import cupyx

        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        free = self._free.setdefault(size, queue.SimpleQueue())
        try:
            memory = free.get_nowait()
        except queue.Empty:
            memory = cupyx.empty_pinned(max(size, 1), np.uint8)
            self._own[memory.ctypes.data] = memory
        array: NDArray[Any] = memory[:size].view(dtype).reshape(shape)
        return array

    def give_back(self, feed: Feed) -> None:
        """Let the memory of a feed, where it is ours, be used again."""
        for array in feed.arrays.values():
            if (memory := self._own.get(array.ctypes.data)) is not None:
                self._free[array.nbytes].put(memory)


@dataclass
class _UnderWay:
    """A batch on the GPU, with everything that must live until it is counted."""

    feed: Feed
    inputs: Mapping[str, Any]
    values: Mapping[str, Any]
    arrays: Sequence[Any]
    launch: Launch
    extremes: Mapping[str, tuple[Any, Any]]


class Pass:
    """Runs samples on a GPU and adds what is seen to statistics.

    Parameters
    ----------
    device
        A GPU that can be used.
    model
        The model to run, in floating point.
    statistics
        Those of the tensors to observe, in what state ever. They hold what was gathered even where a sample fails.
    damage
        Looks at what holds NaN or infinity.
    tuning
        How the kernel is cut; what fits the device where left out.

    Raises
    ------
    BackendError
        ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        device: Device,
        model: Model,
        statistics: Statistics,
        damage: Damage,
        tuning: KernelTuning | None = None,
    ) -> None:
        import cupy

        self._device, self._model, self._damage = device, model, damage
        self._memory = _Pinned()
        inputs = {tensor.name for tensor in model.inputs}
        # Inputs are looked at even where nobody asked, for they may be damaged.
        floating = [tensor.name for tensor in model.inputs if tensor.dtype in _FLOATING]
        self._names = [*dict.fromkeys([*floating, *statistics])]
        self._statistics = [statistics[n] if n in statistics else TensorStatistics() for n in self._names]
        with cupy.cuda.Device(device.index), on_device(device):
            self._bringing, self._running, self._counting = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))
            outputs = [name for name in self._names if name not in inputs]
            self._session = Session(model, outputs=outputs, observing=True, stream=self._running.ptr)
            self._counter = Counter(self._statistics, Gpu(len(self._names), self._counting, tuning))
        self._under_way: deque[_UnderWay] = deque()
        self._most = 0  # before the first batch is counted there are no bins, nor is its size known

    def run(self, samples: Samples, *, batch: int, done: int = 0, save: Callable[[int], None] | None = None) -> None:
        """Run every sample once.

        Parameters
        ----------
        samples
            What to run.
        batch
            Samples a run for a model of dynamic batch.
        done
            Samples that are in the statistics already.
        save
            Called now and then with the number of samples that the statistics hold.

        Raises
        ------
        SamplesError
            A sample does not fit the model, or the model makes nothing finite of it.
        BackendError
            ONNX Runtime fails.
        """
        import cupy

        batches = ahead(feeds(samples, self._model, batch=batch, empty=self._memory.empty), AHEAD)
        saved = time.monotonic()
        with cupy.cuda.Device(self._device.index):
            try:
                doing = f"calibrating on {self._device}"
                for feed in progress(batches, total=len(samples), doing=doing, amount=lambda f: f.count, partial=True):
                    if feed.first < done:
                        self._memory.give_back(feed)
                        continue
                    self._start(feed)
                    if save is not None and time.monotonic() - saved > _SAVE_S:
                        if (failed := self._finish()) is not None:
                            raise failed
                        save(feed.first + feed.count)
                        saved = time.monotonic()
            finally:
                batches.close()
                failed = self._finish()
            if failed is not None:
                raise failed

    def _start(self, feed: Feed) -> None:
        """Start a batch, once there is room for it."""
        while len(self._under_way) > self._most - 1 and self._under_way:
            self._take()
        first = not self._most
        inputs = self._brought(feed)
        values = self._session.enqueue(inputs)
        self._after(self._running, self._counting)
        tensors = {**inputs, **{name: view(value) for name, value in values.items()}}
        arrays, extremes = self._to_count(feed, tensors)
        launch = self._counter.launch(arrays)
        self._under_way.append(_UnderWay(feed, inputs, values, arrays, launch, extremes))
        if first:
            self._most = self._room(tensors)
            self._take()
            self._counter.empty()

    def _finish(self) -> SamplesError | None:
        """Wait for all batches, whose counts are in the statistics then; return what the first damaged one showed."""
        failed: SamplesError | None = None
        while self._under_way:
            try:
                self._take()
            except SamplesError as error:  # noqa: PERF203 - the others are counted all the same
                failed = failed or error
        self._counter.empty()
        return failed

    def _brought(self, feed: Feed) -> dict[str, Any]:
        """Start bringing a batch to the GPU, in front of the run."""
        import cupy

        with self._bringing:
            inputs = {}
            for name, array in feed.arrays.items():
                inputs[name] = cupy.empty(array.shape, array.dtype)
                inputs[name].set(np.asarray(array, order="C"), stream=self._bringing)
        self._after(self._bringing, self._running)
        return inputs

    def _to_count(self, feed: Feed, tensors: Mapping[str, Any]) -> tuple[list[Any], dict[str, tuple[Any, Any]]]:
        """Return the arrays to count, float32 and without padding, and the extremes of channels where wanted."""
        import cupy

        arrays, extremes = [], {}
        with self._counting:
            for name, statistics in zip(self._names, self._statistics, strict=True):
                array = tensors[name]
                if feed.padding:
                    array = array[feed.real(cupy.asnumpy(array, stream=self._counting))]
                array = array.astype(cupy.float32, copy=False)
                if statistics.channels is not None and array.size:
                    extremes[name] = _extremes(array, statistics.channels.axis)
                arrays.append(array)
        return arrays, extremes

    def _take(self) -> None:
        """Wait for the oldest batch, and take what was seen of it."""
        import cupy

        one = self._under_way.popleft()
        odd = self._counter.take(one.launch)
        for statistics in self._statistics:
            statistics.samples += one.feed.count
        for name, (low, high) in one.extremes.items():
            channels = self._statistics[self._names.index(name)].channels
            if channels is not None:
                channels.widen(low.get(stream=self._counting), high.get(stream=self._counting))
        if odd:
            arrays = {self._names[at]: cupy.asnumpy(one.arrays[at], stream=self._counting) for at in odd}
            self._damage.look(one.feed, arrays)
        self._memory.give_back(one.feed)

    def _room(self, tensors: Mapping[str, Any]) -> int:
        """Return how many batches like this one the GPU's free memory holds."""
        import cupy

        size = sum(array.nbytes for array in tensors.values())
        free, _ = cupy.cuda.runtime.memGetInfo()
        return 1 + min(UNDER_WAY - 1, int(free * _MEMORY // max(size, 1)))

    def _after(self, first: Any, then: Any) -> None:
        import cupy

        event = cupy.cuda.Event(disable_timing=True)
        event.record(first)
        then.wait_event(event)


def view(value: Any) -> Any:
    """Return ONNX Runtime's value on the device as a CuPy array, which lives as long as the value does."""
    import cupy

    shape, dtype = value.shape(), np.dtype(_TYPES[value.data_type()])
    size = int(np.prod(shape)) * dtype.itemsize
    if not size:
        return cupy.empty(shape, dtype)
    memory = cupy.cuda.UnownedMemory(value.data_ptr(), size, value)
    return cupy.ndarray(tuple(shape), dtype, cupy.cuda.MemoryPointer(memory, 0))


def _extremes(array: Any, axis: int) -> tuple[Any, Any]:
    """Return the extremes of the finite values of each channel, on the device."""
    import cupy

    others = tuple(at for at in range(array.ndim) if at != axis % array.ndim)
    finite = cupy.isfinite(array)
    low = cupy.where(finite, array, cupy.float32(cupy.inf)).min(others)
    high = cupy.where(finite, array, cupy.float32(-cupy.inf)).max(others)
    return low, high
