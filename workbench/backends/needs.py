"""Which runtime an engine needs, said from its manifest before anything of it is loaded.

TensorRT refuses an engine that does not fit with words that name neither the version it was built with nor the one it
needs, and where it does not refuse it may crash. The rules are those of NVIDIA's documentation; which of them were run
stands in the how-to "Engines that travel".
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends.cudart import CudaDevice

__all__ = ["Need", "Runtime", "RuntimeKind", "check_fits", "installed", "need_of", "this_platform"]

RuntimeKind = Literal["full", "lean", "rtx"]

AMPERE = (8, 0)
LAST_MAJOR = {8: 10, 9: 10, 10: 11}
"""The major version up to which a version-compatible engine of another one is documented to load."""

KINDS: Mapping[RuntimeKind, str] = {
    "full": "the full runtime of TensorRT",
    "lean": "the lean runtime of TensorRT",
    "rtx": "TensorRT-RTX",
}
MODULES: Mapping[RuntimeKind, tuple[str, ...]] = {
    "full": ("tensorrt",),
    # The wheels of the bindings alone bring the second name; the package that pulls them in adds the first.
    "lean": ("tensorrt_lean", "tensorrt_lean_bindings"),
    "rtx": ("tensorrt_rtx",),
}
DISTRIBUTIONS: Mapping[RuntimeKind, tuple[str, ...]] = {
    "full": ("tensorrt",),
    "lean": ("tensorrt-lean", "tensorrt-lean-cu13-bindings", "tensorrt-lean-cu12-bindings"),
    "rtx": ("tensorrt-rtx",),
}
"""What their versions stand in; the first is what one installs."""


@dataclass(frozen=True)
class Runtime:
    """A runtime that is installed.

    Parameters
    ----------
    kind
        ``full`` builds and runs; ``lean`` only runs version-compatible engines; ``rtx`` is TensorRT-RTX.
    module
        What Python imports.
    version
        Its version, all parts of it; empty where only the library itself knows.
    """

    kind: RuntimeKind
    module: str
    version: str = ""

    def __str__(self) -> str:
        return f"{KINDS[self.kind]} {self.version}".strip()


@dataclass(frozen=True)
class Need:
    """What an engine needs to load.

    Parameters
    ----------
    model, backend, version
        What it was built of, and by what.
    kinds
        The runtimes that load it.
    newer
        Newer versions of them do so, too.
    capability
        The compute capability that it was built for; ``None`` where nothing says.
    gpu
        The GPU that it was built on, or the target that it was built for.
    ampere
        It also runs on other GPUs of the Ampere architecture and newer.
    platform
        The system and processor that it was built on.
    stripped
        It has no weights.
    unknown
        It has no manifest: nothing is known of it, and whoever loads it trusts it.
    """

    model: str
    backend: str
    version: str
    kinds: tuple[RuntimeKind, ...]
    newer: bool
    capability: tuple[int, ...] | None
    gpu: str
    ampere: bool
    platform: str
    stripped: bool
    unknown: bool

    def __str__(self) -> str:
        if self.unknown:
            return "it has no manifest, so nothing is known of what it needs"
        if not self.kinds:
            return f"{self.model}: {self.backend} {self.version} on {self.gpu}, {self.platform}"
        parts = (
            self.runtimes,
            self._gpus(),
            self.platform,
            "its weights, which were left out" if self.stripped else "",
        )
        versions = "; ".join(part for part in parts if part)
        return f"{self.model}, built with {self.backend} {self.version}, needs {versions}"

    @property
    def runtimes(self) -> str:
        """The runtimes that load it, in words."""
        *others, last = (KINDS[kind] for kind in self.kinds)
        kinds = " or ".join([*(one.removesuffix(" runtime of TensorRT") for one in others), last])
        versions = f"or newer, up to {self.last_major}.x" if self.newer else "and no other version"
        return f"{kinds} {self.version} {versions}"

    def _gpus(self) -> str:
        if self.capability is None:
            return ""
        if self.ampere:
            return "a GPU of the Ampere architecture or newer (compute capability 8.0)"
        shown = ".".join(map(str, self.capability))
        return f"a GPU of compute capability {shown}" + (f", as {self.gpu}" if self.gpu else "")

    @property
    def last_major(self) -> int:
        """The last major version that is documented to load it, where newer ones do."""
        major = _major(self.version)
        return LAST_MAJOR.get(major, major)

    def takes(self, runtime: Runtime) -> bool:
        """Say whether a runtime loads it, by what is documented."""
        if self.unknown:
            return True
        if runtime.kind not in self.kinds:
            return False
        if runtime.version == self.version:
            return True
        newer = _parts(self.version) <= _parts(runtime.version) and _major(runtime.version) <= self.last_major
        return self.newer and newer

    @property
    def install(self) -> str:
        """How to get a runtime that loads it."""
        return f"pip install {DISTRIBUTIONS[self.kinds[0]][0]}=={self.version}"


def need_of(manifest: Mapping[str, Any]) -> Need:
    """Return what an engine needs to load, from its manifest alone."""
    backend, version = str(manifest.get("backend")), str(manifest.get("version"))
    options = manifest.get("options") or {}
    device = manifest.get("device") or {}
    target = manifest.get("target")
    compatible = bool(options.get("version_compatible"))
    own: RuntimeKind = "rtx" if backend == "tensorrt_rtx" else "full"
    kinds: tuple[RuntimeKind, ...] = () if backend == "onnxruntime" else (own,)
    if compatible and own == "full":
        kinds = ("full", "lean")
    stated = device.get("capability")
    capability = tuple(stated) if isinstance(stated, list | tuple) else _capability(target)
    return Need(
        model=str(manifest.get("model")),
        backend=backend,
        version=version,
        kinds=kinds,
        # Without the lean runtime of its own version in it, no other version has what runs it.
        newer=compatible and not options.get("exclude_lean_runtime"),
        capability=capability,
        gpu=str(device.get("name") or ""),
        ampere=bool(options.get("hardware_compatible")),
        platform=str(manifest.get("platform") or ""),
        stripped=bool(options.get("strip")),
        unknown=bool(manifest.get("trusted")),
    )


def installed() -> tuple[Runtime, ...]:
    """Return the runtimes of TensorRT that Python finds here, without importing one."""
    runtimes = []
    for kind, modules in MODULES.items():
        module = next((name for name in modules if importlib.util.find_spec(name) is not None), None)
        if module is not None:
            runtimes.append(Runtime(kind, module, _version_of(kind)))
    return tuple(runtimes)


def _version_of(kind: RuntimeKind) -> str:
    for name in DISTRIBUTIONS[kind]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return ""


def check_fits(manifest: Mapping[str, Any], *, runtime: Runtime, device: CudaDevice | None = None) -> None:
    """Check that an engine can run here; nothing of it is loaded.

    TensorRT's rules: the same version, unless built version-compatible, then no older one; the same compute
    capability, unless built hardware-compatible, then Ampere or newer; the same operating system and processor in any
    case.

    Parameters
    ----------
    manifest
        The engine's.
    runtime
        What is to load it.
    device
        The GPU that is to run it; what only depends on the runtime is checked where left out.

    Raises
    ------
    BackendError
        It cannot, with the reason.
    """
    need = need_of(manifest)
    if need.unknown:
        return
    where = f"engine of {need.model}"
    if not need.kinds:
        raise BackendError(
            f"made by {need.backend}; this is {runtime}", where=where, fix=f"Run it with {need.backend}."
        )
    if not need.takes(runtime):
        raise BackendError(
            f"built with {need.backend} {need.version}; this is {runtime}, and it needs {need.runtimes}",
            where=where,
            fix=f"Use that ({need.install}), build it again here, or build it with version_compatible.",
        )
    if need.stripped:
        raise BackendError(
            "it was written without its weights",
            where=where,
            fix="Give the ONNX file that it was built from (workbench run --weights FILE), or build it without strip.",
        )
    if need.platform != this_platform():
        raise BackendError(
            f"built on {need.platform}; this is {this_platform()}", where=where, fix="Build it again here."
        )
    if device is not None:
        _check_gpu(need, device, where)


def _check_gpu(need: Need, device: CudaDevice, where: str) -> None:
    portable = need.ampere and device.capability >= AMPERE
    if need.capability == device.capability or portable:
        return
    shown = ".".join(map(str, need.capability or ())) or "unknown"
    raise BackendError(
        f"built for {need.gpu or 'a GPU'} (compute capability {shown}); this is {device.name} "
        f"({device.capability[0]}.{device.capability[1]})",
        where=where,
        fix="Build it again here, or build it with hardware_compatible.",
    )


def this_platform() -> str:
    """Return the system and processor of this machine, as manifests have it."""
    return f"{platform.system().lower()}-{platform.machine().lower()}"


def _capability(target: object) -> tuple[int, int] | None:
    digits = str(target or "").removeprefix("sm")
    return (int(digits[:-1]), int(digits[-1])) if digits.isdecimal() and len(digits) > 1 else None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _major(version: str) -> int:
    return next(iter(_parts(version)), 0)
