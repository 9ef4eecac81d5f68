"""How a builder is configured: options to flags, limits, caches. What a version lacks is an error, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends.child import progress
from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.backends.protocol import BuildOptions

__all__ = ["configure", "configure_network", "member", "write_timing_cache"]


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


def configure_network(trt: Any, network: Any, config: Any, options: BuildOptions, path: str) -> list[Any]:
    """Set what follows from the network: flags, ranges, calibrator, timing cache, progress.

    Returns
    -------
    list
        Objects that TensorRT keeps plain pointers to; they must live until the engine is built.
    """
    keep = [*_set_flags(trt, config, options, path)]
    if options.dynamic_range is not None:
        config.set_flag(trt.BuilderFlag.INT8)
        _set_dynamic_ranges(trt, network, options.dynamic_range)
    keep += [*_read_timing_cache(config, options), _progress(trt, config)]
    return [entry for entry in keep if entry is not None]


def _set_flags(trt: Any, config: Any, options: BuildOptions, path: str) -> list[Any]:
    """Set the builder flags; return what must outlive the build."""
    flags = {
        "VERSION_COMPATIBLE": options.version_compatible,
        "REFIT": options.refit,
        "STRIP_PLAN": options.strip,
        "TF32": options.tf32,
    }
    weak = not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    if weak:
        types = _types_in_graph(path) | set(options.weak_types or ())
        flags |= {name.upper(): True for name in types}
    elif (options.weak_types, options.calibration_cache, options.dynamic_range) != (None, None, None):
        raise BackendError(
            f"weak typing, calibration caches and dynamic ranges ended with TensorRT 8; this is {trt.__version__}",
            fix="Write the precision into the graph: make a plan and lower it.",
        )
    for name, wanted in flags.items():
        if wanted:
            config.set_flag(member(trt.BuilderFlag, name, "builder flag"))
        elif hasattr(trt.BuilderFlag, name):
            config.clear_flag(getattr(trt.BuilderFlag, name))
    if options.calibration_cache is not None:
        config.set_flag(trt.BuilderFlag.INT8)
        calibrator = _cached_calibrator(trt, Path(options.calibration_cache))
        config.int8_calibrator = calibrator
        return [calibrator]
    return []


def _set_dynamic_ranges(trt: Any, network: Any, amax: float) -> None:
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [layer.get_output(i) for layer in layers for i in range(layer.num_outputs)]
    for tensor in tensors:
        if tensor is not None and tensor.dtype == trt.DataType.FLOAT:
            tensor.set_dynamic_range(-amax, amax)


def _types_in_graph(path: str) -> set[str]:
    """Return the types below FP32 that an ONNX file names, in weights, casts, Q/DQ or inputs."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    names = {
        onnx.TensorProto.FLOAT16: "fp16",
        onnx.TensorProto.BFLOAT16: "bf16",
        onnx.TensorProto.FLOAT8E4M3FN: "fp8",
    }
    found = {tensor.data_type for tensor in proto.graph.initializer}
    found |= {value.type.tensor_type.elem_type for value in proto.graph.input}
    for node in proto.graph.node:
        if node.op_type == "Cast":
            found |= {attribute.i for attribute in node.attribute if attribute.name == "to"}
        found |= {attribute.t.data_type for attribute in node.attribute if attribute.name == "value"}
    types = {name for code, name in names.items() if code in found}
    if any(node.op_type == "QuantizeLinear" for node in proto.graph.node):
        types |= set() if "fp8" in types else {"int8"}
    return types


def _cached_calibrator(trt: Any, cache: Path) -> Any:
    """Return a calibrator that knows only a stored cache and never runs."""
    content = cache.read_bytes()
    algorithm = content.partition(b"\n")[0].decode("ascii", "replace").rsplit("-", maxsplit=1)[-1]
    bases = {
        "EntropyCalibration2": "IInt8EntropyCalibrator2",
        "EntropyCalibration": "IInt8EntropyCalibrator",
        "MinMaxCalibration": "IInt8MinMaxCalibrator",
    }
    if algorithm not in bases:
        raise BackendError(
            f"the first line names the algorithm {algorithm!r}", where=cache, fix=f"Known are {', '.join(bases)}."
        )
    base = getattr(trt, bases[algorithm])

    class Cached(base):  # type: ignore[misc, valid-type]  # the base is known only at run time
        def __init__(self) -> None:
            base.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> None:
            del names

        def read_calibration_cache(self) -> bytes:
            return content

        def write_calibration_cache(self, cache: bytes) -> None:
            del cache

    return Cached()


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
    """Store what the build learnt of tactics."""
    cache = config.get_timing_cache()
    if cache is not None:
        partial = Path(path + ".partial")
        partial.write_bytes(bytes(cache.serialize()))
        partial.replace(path)


def member(enum: Any, name: str, what: str) -> Any:
    """Return a member of an enumeration of TensorRT, or say which there are."""
    if not hasattr(enum, name):
        known = [key for key, value in vars(enum).items() if isinstance(value, enum)]
        raise BackendError(f"no {what} {name} in this version", fix=f"It has {', '.join(known)}.")
    return getattr(enum, name)
