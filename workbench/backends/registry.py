"""Which backends work here, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, get_args

from workbench.backends.needs import installed, need_of
from workbench.errors import BackendError
from workbench.names import BackendName

if TYPE_CHECKING:
    from workbench.backends.protocol import Backend, Capabilities, Engine
    from workbench.graph import Model

__all__ = ["Availability", "backend_named", "backend_of", "backends", "with_weights"]

BACKENDS: tuple[str, ...] = get_args(BackendName)
SHARED = {"tensorrt_rtx": "tensorrt"}
"""A backend is the module of its name, with a function `backend_for`; these lie in another's."""


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
    """Return every backend with what it can do here; the lean runtime of TensorRT only where it is installed."""
    entries = [_summary(backend_named(name).capabilities()) for name in BACKENDS]
    if any(runtime.kind == "lean" for runtime in installed()):
        from workbench.backends.tensorrt import TensorRT

        entries.append(replace(_summary(TensorRT(lean=True).capabilities()), name="tensorrt_lean"))
    return entries


def backend_of(engine: Engine) -> Backend:
    """Return the backend that runs an engine; BackendError where there is none of its name."""
    return backend_named(engine.backend)


def with_weights(engine: Engine, model: Model) -> Engine:
    """Return an engine as it can run: one that was written without its weights gets them from its model.

    Raises
    ------
    BackendError
        They cannot be put back here, or the engine is not of this model.
    """
    return backend_of(engine).refit(engine, model) if need_of(engine.manifest).stripped else engine


def backend_named(name: str) -> Backend:
    """Return a backend by its name: ``onnxruntime``, ``tensorrt``, ``tensorrt_rtx``.

    Raises
    ------
    BackendError
        There is none of that name.
    """
    if name not in BACKENDS:
        raise BackendError(f"there is no backend {name!r}", fix=f"Use {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}.")
    module = import_module(f"workbench.backends.{SHARED.get(name, name)}")
    backend: Backend = module.backend_for(name)
    return backend


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
