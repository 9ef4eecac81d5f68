"""What an engine was made from, with what, and for which machine; an engine that does not fit is refused.

An engine is native code and data that TensorRT does not check for malice, so one without a manifest, or one that is not
the file its manifest names, is never deserialized unless the user says that its source is trusted.
"""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.protocol import BuildOptions, Engine
from workbench.errors import BackendError
from workbench.files import write_bytes
from workbench.results import together

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from workbench.backends.compiler import Compilation
    from workbench.backends.cudart import Device
    from workbench.graph import Model

__all__ = ["check_fits", "make_manifest", "manifest_path", "read_engine", "write_engine"]

FORMAT = "workbench-engine/1"
AMPERE = (8, 0)


def make_manifest(
    backend: str, model: Model, made: Compilation, options: BuildOptions, device: Device | None
) -> dict[str, Any]:
    """Describe a fresh engine; JSON types only."""
    return {
        "format": FORMAT,
        "backend": backend,
        "version": made.version,
        "engine_sha256": hashlib.sha256(made.engine or b"").hexdigest(),
        "engine_bytes": made.engine_bytes,
        "model": model.name,
        "model_sha256": model.digest,
        "options": json.loads(json.dumps(asdict(options))),
        "profile": [{"input": p.name, **asdict(p.range), "given": p.given} for p in made.profile],
        "device": None if device is None else asdict(device),
        "platform": _platform(),
        "parse_s": made.parse_s,
        "build_s": made.build_s,
    }


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
        if trusted_backend is None:
            raise BackendError(
                "an engine without a manifest: its source is unknown, and loading one runs what is in it",
                where=path,
                fix="Build it again with the workbench, or name its backend in trusted_backend if you made it.",
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
    return Engine(manifest["backend"], data, manifest)


def check_fits(manifest: Mapping[str, Any], *, version: str, device: Device) -> None:
    """Check that an engine can run here.

    TensorRT's rules: the same version, unless built version-compatible, then the same major version and no older one;
    the same compute capability, unless built hardware-compatible, then Ampere or newer; the same operating system and
    processor in any case.

    Raises
    ------
    BackendError
        It cannot, with the reason.
    """
    if manifest.get("trusted"):
        return
    options = manifest.get("options", {})
    where = f"engine of {manifest.get('model')}"
    built = str(manifest.get("version"))
    compatible = (
        options.get("version_compatible") and _major(built) == _major(version) and _parts(built) <= _parts(version)
    )
    if built != version and not compatible:
        raise BackendError(
            f"built with {manifest.get('backend')} {built}; this is {version}",
            where=where,
            fix="Build it again here, or build it with version_compatible.",
        )
    made_for = manifest.get("device") or {}
    capability = tuple(made_for.get("capability", ()))
    portable = options.get("hardware_compatible") and device.capability >= AMPERE
    if capability != device.capability and not portable:
        shown = ".".join(map(str, capability)) or "unknown"
        raise BackendError(
            f"built for {made_for.get('name')} (compute capability {shown}); this is {device.name} "
            f"({device.capability[0]}.{device.capability[1]})",
            where=where,
            fix="Build it again here, or build it with hardware_compatible.",
        )
    if manifest.get("platform") != _platform():
        raise BackendError(
            f"built on {manifest.get('platform')}; this is {_platform()}", where=where, fix="Build it again here."
        )


def _platform() -> str:
    return f"{platform.system().lower()}-{platform.machine().lower()}"


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _major(version: str) -> int:
    return next(iter(_parts(version)), 0)
