"""Compile a model with TensorRT or TensorRT-RTX in a child process."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from workbench.backends.compiler import nvinfer
from workbench.child import Child, ChildError, Outcome, run
from workbench.graph import save_model
from workbench.progress import phases
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from workbench.backends.protocol import BuildOptions
    from workbench.graph import Model

__all__ = ["compile_in_child", "write_for_parser"]

LARGEST_MESSAGE = 2**30 - 1
"""Bytes of a model with its weights in one file: half of what protobuf reads."""


def compile_in_child(
    package: Literal["tensorrt", "tensorrt_rtx"],
    model: Model,
    options: BuildOptions,
    *,
    child: Child,
    what: str,
    target: str | None = None,
    keep_engine: bool = True,
) -> Outcome[nvinfer.Compilation]:
    """Parse and build a model.

    Parameters
    ----------
    package
        Whose parser and builder.
    model
        The model; its node names are what errors and layers refer to.
    options
        Build options, a suggested workspace already in them; see `with_workspace`.
    child
        Limits and callbacks of the child process.
    what
        What is being done, for messages.
    target
        For ``tensorrt_rtx``: the compute capability to build for; the GPU of this machine where left out.
    keep_engine
        Whether the engine's bytes come back.

    Raises
    ------
    ChildError
        The native code crashed, met a limit or was cancelled.
    """
    with scratch_folder() as folder:
        path = write_for_parser(model, folder)
        try:
            with _watched(child, what) as seen:
                return run(
                    seen,
                    what,
                    nvinfer.compile_model,
                    package,
                    path,
                    options,
                    target=target,
                    keep_engine=keep_engine,
                )
        except ChildError as error:
            if error.kind != "timeout":
                raise
            # Seen of yolox_nano on TensorRT 8.6 without cuDNN: 50 s at level 0, 495 s at level 1.
            fix = "Raise the time limit, or lower the optimization level: at 0 the builder tries the fewest kernels."
            raise ChildError(error.what, kind="timeout", log=error.log, fix=fix) from error


def write_for_parser(model: Model, folder: Path) -> str:
    """Write a model where TensorRT's parser reads it; names of weights are the same each time."""
    return str(save_model(model, folder / "model.onnx", limit=LARGEST_MESSAGE)[0])


@contextlib.contextmanager
def _watched(child: Child, what: str) -> Iterator[Child]:
    """Show how far a build is, unless the caller listens to it himself."""
    if child.on_progress is not None:
        yield child
        return
    with phases(what) as show:
        yield replace(child, on_progress=lambda step: show(step.phase, step.done))
