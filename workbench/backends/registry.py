"""Which backends work here, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING

from workbench.backends.needs import installed
from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.backends.protocol import Backend, Capabilities, Engine
    from workbench.names import BackendName

__all__ = ["Availability", "backend_named", "backend_of", "backends"]


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used on this machine.

    Parameters
    ----------
    name
        The backend.
    works
        Whether it can do at least part of its job here.
    reason
        What it can do, or why it cannot and what to do about it.
    """

    name: str
    works: bool
    reason: str


def backends() -> list[Availability]:
    """Return every backend with what it can do here."""
    from workbench.backends import tensorrt
    from workbench.backends.compiler import rtx_capabilities

    here = Availability(
        "onnxruntime", works=True, reason=f"runs on the CPU (version {metadata.version('onnxruntime')})"
    )
    entries = [here, _summary(rtx_capabilities()), _summary(tensorrt.capabilities())]
    lean = next((runtime for runtime in installed() if runtime.kind == "lean"), None)
    if lean is not None:
        able = tensorrt.TensorRT(lean=True).capabilities()
        entries.append(replace(_summary(able), name="tensorrt_lean"))
    return entries


def backend_of(engine: Engine) -> Backend:
    """Return the backend that runs an engine.

    Raises
    ------
    BackendError
        There is none of that name.
    """
    from workbench.backends import tensorrt
    from workbench.backends.onnxruntime import OnnxRuntime

    return OnnxRuntime() if engine.backend == "onnxruntime" else tensorrt.backend_of(engine)


def backend_named(name: BackendName) -> Backend:
    """Return a backend by its name: ``onnxruntime``, ``tensorrt``, ``tensorrt_rtx``.

    Raises
    ------
    BackendError
        There is none of that name.
    """
    from workbench.backends.onnxruntime import OnnxRuntime
    from workbench.backends.tensorrt import INSTALL, TensorRT

    if name == "onnxruntime":
        return OnnxRuntime()
    if name not in INSTALL:
        raise BackendError(f"there is no backend {name!r}", fix=f"Use onnxruntime, {' or '.join(INSTALL)}.")
    return TensorRT(name)


def _summary(able: Capabilities) -> Availability:
    if able.version is None:
        return Availability(able.backend, works=False, reason=able.reason or "missing")
    does = " and ".join(word for word, can in (("builds", able.build), ("runs", able.run)) if can)
    parts = [f"version {able.version}"]
    if does:
        parts.append(f"{does}, {able.typing}ly typed, for {', '.join(able.targets)}")
    if able.reason:
        parts.append(able.reason)
    return Availability(able.backend, works=able.build or able.run, reason="; ".join(parts))
