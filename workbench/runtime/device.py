"""Where models run: on the processor, or on an NVIDIA GPU by ONNX Runtime's CUDA provider."""

from __future__ import annotations

import contextlib
import re
import warnings
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from workbench.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CPU", "Device", "DeviceWarning", "current_device", "on_device", "usable_device"]

_CUDA = "CUDAExecutionProvider"
_FORM = re.compile(r"cuda(?::(\d{1,3}))?(\+tf32)?")


class DeviceWarning(UserWarning):
    """A device that was asked for cannot be used, and the processor computes in its place."""


@dataclass(frozen=True)
class Device:
    """Where a model runs.

    Parameters
    ----------
    index
        Which GPU; ``None`` for the processor.
    tf32
        Whether products may be rounded to TF32. That moves the largest values by 1e-4 of them, where FP32 moves them by
        1e-7, and takes half the time.
    """

    index: int | None = None
    tf32: bool = False

    @classmethod
    def of(cls, text: str | Device | None) -> Device:
        """Read ``cpu``, ``cuda``, ``cuda:1`` or ``cuda:1+tf32``; nothing is the processor.

        Raises
        ------
        OptionError
            It is something else.
        """
        if isinstance(text, Device):
            return text
        if text in (None, "cpu"):
            return CPU
        match = _FORM.fullmatch(str(text))
        if match is None:
            raise OptionError(
                f"`device`: there is no {text!r}", fix="Use cpu, cuda, cuda:1 or, with TF32, cuda:0+tf32."
            )
        return cls(int(match[1] or 0), bool(match[2]))

    def __str__(self) -> str:
        return "cpu" if self.index is None else f"cuda:{self.index}" + "+tf32" * self.tf32

    @property
    def memory(self) -> tuple[str, int]:
        """Where its memory is, as ONNX Runtime says it."""
        return ("cpu", 0) if self.index is None else ("cuda", self.index)

    def providers(self, stream: int | None = None) -> list[Any]:
        """Return ONNX Runtime's providers, and their options, that compute here.

        Parameters
        ----------
        stream
            The CUDA stream that is to be used.
        """
        if self.index is None:
            return ["CPUExecutionProvider"]
        options = {"device_id": str(self.index), "use_tf32": str(int(self.tf32))}
        # Outputs that are handed out come and go: the default doubles what it holds each time.
        options["arena_extend_strategy"] = "kSameAsRequested"
        if stream is not None:
            options["user_compute_stream"] = str(stream)
        return [(_CUDA, options), "CPUExecutionProvider"]

    def describe(self) -> str:
        """Return what computes, with versions, in a line."""
        if self.index is None:
            return "the processor"
        import cupy
        import onnxruntime

        name = cupy.cuda.runtime.getDeviceProperties(self.index)["name"].decode()
        return f"{self} ({name}, ONNX Runtime {onnxruntime.__version__}, TF32 {'on' if self.tf32 else 'off'})"


CPU = Device()
_current: ContextVar[Device] = ContextVar("device", default=CPU)


def current_device() -> Device:
    """Return where sessions that are made now compute."""
    return _current.get()


@contextlib.contextmanager
def on_device(device: str | Device | None) -> Iterator[Device]:
    """Let the sessions that are made in a block compute numbers on a device; ``None`` changes nothing.

    Where the device cannot be used, the processor does, and a `DeviceWarning` says why. Sessions that measure speed
    stay on the processor.
    """
    if device is None:
        yield current_device()
        return
    token = _current.set(usable_device(device))
    try:
        yield current_device()
    finally:
        _current.reset(token)


def usable_device(device: str | Device | None) -> Device:
    """Return a device that can be used: the one asked for or, after a `DeviceWarning` with the reason, the processor.

    Where none is asked for, it is that of the block, see `on_device`.

    Raises
    ------
    OptionError
        No device is called that.
    """
    if device is None:
        return current_device()
    asked = Device.of(device)
    if asked.index is None:
        return asked
    reason = unusable(asked.index)
    if not reason:
        return asked
    warnings.warn(f"{asked} cannot be used, so the processor computes: {reason}", DeviceWarning, stacklevel=3)
    return CPU


@cache
def unusable(index: int) -> str:
    """Return why a GPU cannot be used, empty where it can."""
    import onnxruntime

    if _CUDA not in onnxruntime.get_available_providers():
        return (
            f"onnxruntime {onnxruntime.__version__} has no CUDA provider; have onnxruntime-gpu in its place: "
            "pip uninstall onnxruntime, then pip install 'trt-workbench[gpu]'"
        )
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed: pip install 'trt-workbench[gpu]'"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
        if index >= count:
            return f"there are {count} GPUs, numbered from 0"
        with cupy.cuda.Device(index):
            cupy.zeros(1)  # the first thing on a device that needs memory
    except Exception as error:  # noqa: BLE001 - CuPy raises what CUDA, NVRTC and the dynamic loader do
        return f"CUDA does not start ({_line(error)})"
    return _provider_trouble(index)


def _provider_trouble(index: int) -> str:
    """Make a session, for ONNX Runtime says only then whether its provider finds cuDNN and the rest."""
    import onnx
    import onnxruntime

    with contextlib.suppress(Exception):  # what it does not find may still be found by the loader
        onnxruntime.preload_dlls()
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "probe",
        [value("x", onnx.TensorProto.FLOAT, [1])],
        [value("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=Device(index).providers())
        if _CUDA not in session.get_providers():
            return "ONNX Runtime's CUDA provider does not load; are CUDA's libraries and cuDNN 9 there?"
        import numpy as np

        session.run(None, {"x": np.zeros(1, np.float32)})
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises many kinds, none of them public
        return f"ONNX Runtime's CUDA provider fails ({_line(error)})"
    return ""


def _line(error: Exception) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text if len(text) <= 200 else f"{text[:197]}..."
