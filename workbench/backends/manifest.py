"""What an engine was made from, with what, and for which machine.

An engine is native code and data that TensorRT does not check for malice, so one without a manifest, or one that is not
the file its manifest names, is never deserialized unless the user says that its source is trusted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.needs import this_platform
from workbench.backends.protocol import BuildOptions, Engine
from workbench.errors import BackendError
from workbench.files import write_bytes
from workbench.results import together

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from workbench.backends.compiler import Compilation
    from workbench.backends.cudart import CudaDevice
    from workbench.graph import Model, Tensor

__all__ = ["make_manifest", "manifest_path", "read_engine", "tensors_of", "write_engine"]

FORMAT = "workbench-engine/1"


def make_manifest(
    backend: str,
    model: Model,
    compilation: Compilation,
    options: BuildOptions,
    device: CudaDevice | None,
    target: str | None = None,
) -> dict[str, Any]:
    """Describe a fresh engine; JSON types only.

    Parameters
    ----------
    backend, model, compilation, options
        What built it, of what, and how.
    device
        The GPU that it was built on; ``None`` where it was built for another one.
    target
        The GPU that it was built for then, as ``sm86``.
    """
    return {
        "format": FORMAT,
        "backend": backend,
        "version": compilation.version,
        "engine_sha256": hashlib.sha256(compilation.engine or b"").hexdigest(),
        "engine_bytes": compilation.engine_bytes,
        "model": model.name,
        "model_sha256": model.digest,
        "inputs": tensors_of(model.inputs),
        "outputs": tensors_of(model.outputs),
        "options": json.loads(json.dumps(asdict(options))),
        "profile": [{"input": p.name, **asdict(p.range), "given": p.stated} for p in compilation.profile],
        "device": None if device is None else asdict(device),
        "target": target,
        "platform": this_platform(),
        "parse_s": compilation.parse_s,
        "build_s": compilation.build_s,
    }


def tensors_of(tensors: Iterable[Tensor]) -> list[dict[str, Any]]:
    """Return inputs or outputs as a manifest has them: an axis without a known length has its name, or null."""
    return [{"name": t.name, "dtype": t.dtype, "shape": None if t.shape is None else list(t.shape)} for t in tensors]


def manifest_path(path: Path) -> Path:
    """Return where the manifest of an engine file lies: beside it, with ``.json`` added."""
    return path.with_name(path.name + ".json")


def write_engine(engine: Engine, path: str | os.PathLike[str]) -> Path:
    """Write an engine and, beside it, its manifest.

    Raises
    ------
    OutputError
        A file cannot be written.
    """
    path = Path(path)
    with together(path.parent):
        write_bytes(path, engine.data)
        write_bytes(manifest_path(path), json.dumps(engine.manifest, indent=2, sort_keys=True).encode() + b"\n")
    return path


def read_engine(path: str | os.PathLike[str], *, trusted_backend: str | None = None) -> Engine:
    """Read an engine and its manifest. Nothing is deserialized.

    Parameters
    ----------
    path
        The engine file.
    trusted_backend
        Take a file without a manifest, as an engine of this backend: you know who made it.

    Raises
    ------
    BackendError
        No such file; no manifest; the file is not the one the manifest describes.
    """
    path = Path(path)
    if not path.is_file():
        raise BackendError("no such engine", where=path, fix="Check the path.")
    data, beside = path.read_bytes(), manifest_path(path)
    if not beside.is_file():
        if path.suffix == ".onnx" and trusted_backend is None:
            raise BackendError(
                "a model, and no engine", where=path, fix=f"Build one first: workbench build {path} --out FILE."
            )
        if trusted_backend is None:
            raise BackendError(
                "an engine without a manifest: its source is unknown, and loading one runs what is in it",
                where=path,
                fix="Build it again with the workbench; if you know who made it, say what it is of: --trust tensorrt, "
                "trusted_backend='tensorrt'.",
            )
        return Engine(trusted_backend, data, {"backend": trusted_backend, "trusted": True})
    try:
        manifest = json.loads(beside.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise BackendError(
            f"the manifest cannot be read: {error}", where=beside, fix="Build the engine again."
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackendError(f"the manifest is not of the format {FORMAT}", where=beside, fix="Build the engine again.")
    if hashlib.sha256(data).hexdigest() != manifest.get("engine_sha256"):
        raise BackendError("the engine is not the one its manifest describes", where=path, fix="Build it again.")
    if not isinstance(manifest.get("backend"), str):
        raise BackendError("the manifest names no backend", where=beside, fix="Build the engine again.")
    parts = all(isinstance(manifest.get(part) or {}, dict) for part in ("options", "device"))
    lists = [manifest.get(part) or [] for part in ("inputs", "outputs", "profile")]
    if not parts or not all(isinstance(one, list) and all(isinstance(entry, dict) for entry in one) for one in lists):
        raise BackendError("the manifest is damaged", where=beside, fix="Build the engine again.")
    # Only whoever loads a file can say that he trusts it.
    manifest.pop("trusted", None)
    return Engine(manifest["backend"], data, manifest)
