"""TensorRT-RTX: a real TensorRT parser and builder that work on a machine without a GPU."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from workbench.backends.compiler.compiling import compile_in_child
from workbench.backends.compiler.workspace import with_workspace
from workbench.backends.protocol import Capabilities
from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.backends.compiler.nvinfer import Compilation
    from workbench.backends.protocol import BuildOptions
    from workbench.child import Child, Outcome
    from workbench.graph import Model

__all__ = ["GPUS", "compile_for", "rtx_capabilities"]

GPUS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
INSTALL = 'pip install "trt-workbench[rtx]"'


def rtx_capabilities() -> Capabilities:
    """Say whether TensorRT-RTX is installed. It builds anywhere; running needs an RTX GPU of one of the targets."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return Capabilities(
            "tensorrt_rtx", None, build=False, run=False, reason=f"the package tensorrt_rtx is missing: {INSTALL}"
        )
    from importlib.metadata import version

    from workbench.backends.cudart import first_device

    able, reason, name = False, None, None
    try:
        device = first_device()
    except BackendError as error:
        reason = f"no GPU to run on: {error.what}"
    else:
        able = device.target in GPUS
        name = device.text if able else None
        reason = None if able else f"it does not run on {device.name} ({device.target})"
    return Capabilities(
        "tensorrt_rtx", version("tensorrt_rtx"), build=True, run=able, targets=GPUS, reason=reason, device=name
    )


def compile_for(
    model: Model, target: str, options: BuildOptions, *, child: Child, keep_engine: bool = False
) -> Outcome[Compilation]:
    """Parse and build a model for one compute capability, in a child process.

    Parameters
    ----------
    model
        The model; its node names are what errors and layers refer to.
    target
        One of `GPUS`.
    options
        Build options.
    child
        Limits and callbacks of the child process.
    keep_engine
        Whether the engine's bytes come back.

    Raises
    ------
    BackendError
        TensorRT-RTX is missing, the target unknown, or an option not available.
    ChildError
        The native code crashed or met a limit.
    """
    if target not in GPUS:
        raise BackendError(f"unknown target {target!r}", fix=f"TensorRT-RTX builds for {', '.join(GPUS)}.")
    if importlib.util.find_spec("tensorrt_rtx") is None:
        raise BackendError("TensorRT-RTX is not installed", fix=f"Install it: {INSTALL}")
    what = f"TensorRT-RTX for {target} on {model.name}"
    options = with_workspace(options, model)
    return compile_in_child(
        "tensorrt_rtx", model, options, child=child, what=what, target=target, keep_engine=keep_engine
    )
