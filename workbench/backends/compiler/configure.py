"""How a builder is configured: options to flags, limits, caches. What a version lacks is an error, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.compiler.weak_typing import is_weakly_typed, member, set_weak_types
from workbench.child import progress
from workbench.errors import BackendError
from workbench.files import write_bytes

if TYPE_CHECKING:
    from workbench.backends.protocol import BuildOptions

__all__ = ["check_options_took", "configure", "configure_network", "member", "write_timing_cache"]


def configure(trt: Any, builder: Any, options: BuildOptions, target: str | None) -> Any:
    """Make a builder configuration of the options that do not depend on the network.

    Raises
    ------
    BackendError
        An option that this package or version does not have.
    """
    config = builder.create_builder_config()
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(member(trt.ComputeCapability, target.upper(), "target"), 0)
    if isinstance(options.workspace_bytes, int):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    _set_properties(trt, config, options)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.tactic_sources is not None:
        sources = (member(trt.TacticSource, name, "tactic source") for name in options.tactic_sources)
        config.set_tactic_sources(sum(1 << int(source) for source in sources))
    if trt.__version__.startswith("8."):
        # From TensorRT 10 on several contexts may always use one profile; several streams need that.
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    return config


def _set_properties(trt: Any, config: Any, options: BuildOptions) -> None:
    asked = {
        "avg_timing_iterations": options.timing_iterations,
        "max_aux_streams": options.aux_streams,
        "build_route": options.build_route,
    }
    for name, value in asked.items():
        if value is None:
            continue
        if not hasattr(config, name):
            raise BackendError(f"{trt.__name__} {trt.__version__} has no {name}", fix="Leave the option out.")
        setattr(config, name, value)
        if getattr(config, name) != value:  # TensorRT-RTX 1.7.1 passes over a route that it does not have
            choices = str(getattr(config, f"all_{name}s", "")) or "none"
            raise BackendError(f"{trt.__name__} {trt.__version__} has no {name} {value!r}", fix=f"It has {choices}.")


def configure_network(trt: Any, network: Any, config: Any, options: BuildOptions, path: str) -> list[Any]:
    """Set what follows from the network: flags, ranges, calibrator, timing cache, progress.

    Returns
    -------
    list
        Objects that TensorRT keeps plain pointers to; they must live until the engine is built.
    """
    _set_flags(trt, config, options)
    keep = set_weak_types(trt, network, config, options, path) if is_weakly_typed(trt) else []
    keep += [*_read_timing_cache(config, options), _progress(trt, config)]
    return [entry for entry in keep if entry is not None]


def _set_flags(trt: Any, config: Any, options: BuildOptions) -> None:
    flags = {
        "VERSION_COMPATIBLE": options.version_compatible,
        "EXCLUDE_LEAN_RUNTIME": options.exclude_lean_runtime,
        "REFIT": options.refit,
        # An engine with REFIT may compute something else (a known issue of 11.3), and be slower; one that only takes
        # its own weights back does neither.
        "REFIT_IDENTICAL": options.strip and not options.refit,
        "STRIP_PLAN": options.strip,
        "TF32": options.tf32,
    }
    if not is_weakly_typed(trt) and options.weak:
        raise BackendError(
            f"{', '.join(options.weak)} ended with TensorRT 8; this is {trt.__version__}",
            fix="Write the precision into the graph: make a plan and lower it.",
        )
    for name, active in flags.items():
        if active:
            config.set_flag(member(trt.BuilderFlag, name, "builder flag"))
        elif hasattr(trt.BuilderFlag, name):
            config.clear_flag(getattr(trt.BuilderFlag, name))


def check_options_took(trt: Any, options: BuildOptions, printed: str) -> None:
    """Say what an option lacks here, where a build failed because it is missing.

    Parameters
    ----------
    trt
        The package.
    options
        The build's.
    printed
        What the library printed.

    Raises
    ------
    BackendError
        The package does not bring the lean runtime; a refittable engine needs a GPU to be built.
    """
    if options.version_compatible and "libnvinfer_lean" in printed:
        raise BackendError(
            f"{trt.__name__} {trt.__version__} does not bring the lean runtime that a version-compatible engine holds",
            fix="Leave it out of the engine (exclude_lean_runtime), and have it where the engine runs.",
        )
    if (options.refit or options.strip) and "CUDA_SUCCESS" in printed:
        raise BackendError(
            f"{trt.__name__} {trt.__version__} builds an engine with weights to be put in later only where a GPU is",
            fix="Build it on a machine with a GPU, or leave out refit and strip.",
        )


def _progress(trt: Any, config: Any) -> Any:
    """Have the builder report its progress, where it can (not in 8.6); return what must outlive the build."""
    if not hasattr(trt, "IProgressMonitor"):
        return None
    steps: dict[str, int] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is known only at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, num_steps: int) -> None:
            del parent
            steps[phase] = max(1, num_steps)
            progress(phase, 0.0)

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, min(1.0, (step + 1) / steps[phase]))
            return True

        def phase_finish(self, phase: str) -> None:
            progress(phase, 1.0)

    monitor = Monitor()
    config.progress_monitor = monitor
    return monitor


def _read_timing_cache(config: Any, options: BuildOptions) -> list[Any]:
    if options.timing_cache is None:
        return []
    file = Path(options.timing_cache)
    cache = config.create_timing_cache(file.read_bytes() if file.exists() else b"")
    if not config.set_timing_cache(cache, False):
        raise BackendError("the timing cache was refused", where=file, fix="Delete it; it belongs to another GPU.")
    return [cache]


def write_timing_cache(config: Any, path: str) -> None:
    """Store what the build learnt of tactics, beside what other builds have stored meanwhile."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    if (file := Path(path)).exists():
        cache.combine(config.create_timing_cache(file.read_bytes()), False)
    write_bytes(path, bytes(cache.serialize()))
