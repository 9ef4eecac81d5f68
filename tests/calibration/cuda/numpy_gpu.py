"""As much of CuPy as calibration uses, over NumPy, the kernel in one thread and ONNX Runtime's processor.

For the order of things, buffers that are used again, and what is taken from where; a GPU's own arithmetic and its
asynchrony are tested in tests/gpu.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types

import numpy as np

from tests.calibration.cuda import one_thread


class Pointer:
    def __init__(self, memory, offset: int) -> None:
        self.ptr = memory + offset if isinstance(memory, int) else memory.ptr + offset


class Array(np.ndarray):
    @property
    def data(self):
        return Pointer(self.ctypes.data, 0)

    def set(self, host: np.ndarray, stream) -> None:
        assert stream
        self[...] = host

    def get(self, stream=None, out=None, *, blocking: bool = True):
        del stream, blocking
        if out is None:
            return np.array(self)
        out[...] = self
        return out


class Stream(contextlib.nullcontext):
    ptr = 0

    def __init__(self, *, non_blocking: bool) -> None:
        super().__init__(self)
        assert non_blocking

    def wait_event(self, event) -> None:
        assert event.recorded

    def synchronize(self) -> None: ...


class Event:
    recorded = False

    def __init__(self, *, disable_timing: bool) -> None:
        assert disable_timing

    def record(self, stream) -> None:
        self.recorded = bool(stream)

    def synchronize(self) -> None:
        assert self.recorded


class Memory:
    def __init__(self, pointer: int, size: int, owner) -> None:
        self.ptr, self.size, self.owner = pointer, size, owner


class Device(contextlib.nullcontext):
    attributes = {  # noqa: RUF012 - as CuPy has it
        "MaxSharedMemoryPerBlockOptin": 232448,
        "MaxSharedMemoryPerMultiprocessor": 233472,
        "MultiProcessorCount": 2,
    }

    def __init__(self, index: int = 0) -> None:
        super().__init__()
        self.index = index


def view(shape, dtype, pointer: Pointer):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(pointer.ptr), dtype).reshape(shape).view(Array)


def installed(monkeypatch, kernel) -> None:
    """Put it where `import cupy` finds it, and let sessions of GPUs be of the processor."""

    class Kernel:
        def __init__(self, source: str, name: str, options: tuple) -> None:
            assert name in source
            assert "-DTHREADS=768" in options

        def __call__(self, grid, block, arguments, shared_mem: int) -> None:
            del block, shared_mem
            messages, tiles, seen, values, listed, most = arguments
            places = [ctypes.c_void_p(array.ctypes.data) for array in (messages, seen, values, listed)]
            kernel(grid[0], places[0], int(tiles), *places[1:], int(most))

    def wrapped(make):
        return lambda *inputs_here, **named: make(*inputs_here, **named).view(Array)

    cupy, cupyx = types.ModuleType("cupy"), types.ModuleType("cupyx")
    for name in ("empty", "zeros", "where"):
        setattr(cupy, name, wrapped(getattr(np, name)))
    for name in ("uint8", "uint64", "float32", "isfinite", "inf"):
        setattr(cupy, name, getattr(np, name))
    cupy.asnumpy = lambda array, stream: np.array(array) if stream else None
    cupy.ndarray = view
    cupy.RawKernel = Kernel
    properties = {"name": b"NumPy"}
    runtime = types.SimpleNamespace(
        memGetInfo=lambda: (1 << 30, 1 << 30), getDeviceProperties=lambda _: properties, getDeviceCount=lambda: 1
    )
    names = {"Device": Device, "Stream": Stream, "Event": Event, "UnownedMemory": Memory, "MemoryPointer": Pointer}
    cupy.cuda = types.SimpleNamespace(**names, runtime=runtime)
    cupyx.empty_pinned = np.empty
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)

    from workbench.calibration.cuda import machine
    from workbench.runtime import device

    # The kernel at hand was compiled for one thread.
    monkeypatch.setattr(machine.KernelTuning, "tile", one_thread.OneThread.tuning.tile)
    monkeypatch.setattr(device, "unusable", lambda _: "")
    monkeypatch.setattr(device.Device, "memory", ("cpu", 0))
    monkeypatch.setattr(device.Device, "providers", lambda *_: ["CPUExecutionProvider"])
    monkeypatch.setattr(machine, "_compiled", machine._compiled.__wrapped__)
    monkeypatch.setattr(machine, "tuned", machine.tuned.__wrapped__)
