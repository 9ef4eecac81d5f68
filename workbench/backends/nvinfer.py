"""What the `tensorrt` and `tensorrt_rtx` packages share: parse, configure, build. Runs inside a child process.

Both speak one API; every function here takes the imported package as ``trt``. TensorRT 8.6 is weakly typed and lacks
the newer members, so what differs is asked of the package itself (``hasattr``), never of a version number.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.backends.child import progress
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Compilation",
    "LogLine",
    "NetworkLayer",
    "ParserIssue",
    "ProfileInput",
    "compile_model",
    "default_range",
    "make_logger",
    "node_names",
]

DEFAULT_BATCH = (1, 1, 8)
DEFAULT_CHANNELS = 3
DEFAULT_IMAGE_SIDE = 224
DEFAULT_LENGTH = 128

_LAYER_TAG = "[ONNX Layer: "
_SEPARATORS = "\x1e\x1f "


@dataclass(frozen=True)
class LogLine:
    """One message of the library: its severity (``ERROR``, ``WARNING``, ...) and text."""

    severity: str
    text: str

    def __str__(self) -> str:
        return f"[{self.severity}] {self.text}"


@dataclass(frozen=True)
class ParserIssue:
    """One error of the ONNX parser, as its API gives it; `index` is -1 where it concerns no single node."""

    index: int
    node: str
    op: str
    code: str
    text: str
    function: str
    stack: tuple[str, ...] = ()


@dataclass(frozen=True)
class NetworkLayer:
    """One layer of the network that the parser made.

    Attributes
    ----------
    name, kind
        The layer's name and type, for example ``CONVOLUTION``.
    nodes
        The source nodes named in its metadata.
    inputs, outputs
        Data types of its tensors.
    arithmetic
        The type its tensors have before dequantization where every operand comes straight out of a DEQUANTIZE layer,
        else the type of its first input: what the layer may compute in.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arithmetic: str | None


@dataclass(frozen=True)
class ProfileInput:
    """The shapes an input was built for, and whether they were given or taken by default."""

    name: str
    range: ShapeRange
    given: bool


@dataclass(frozen=True)
class Compilation:
    """All that a parse and a build said.

    Attributes
    ----------
    parsed, built
        How far it came.
    engine
        The serialized engine, where asked for.
    engine_bytes
        Its size.
    parse_s, build_s
        Wall time in seconds.
    """

    version: str
    parsed: bool
    built: bool
    engine: bytes | None
    engine_bytes: int | None
    issues: tuple[ParserIssue, ...]
    layers: tuple[NetworkLayer, ...]
    profile: tuple[ProfileInput, ...]
    log: tuple[LogLine, ...]
    parse_s: float
    build_s: float


def compile_model(
    package: Literal["tensorrt", "tensorrt_rtx"],
    path: str,
    options: BuildOptions,
    *,
    target: str | None = None,
    keep_engine: bool = True,
) -> Compilation:
    """Parse and build an ONNX file.

    Parameters
    ----------
    package
        The package to import.
    path
        The ONNX file.
    options
        Build options.
    target
        A compute capability of TensorRT-RTX such as ``"sm86"``; None for the GPU of this machine.
    keep_engine
        Whether to return the engine's bytes.

    Raises
    ------
    BackendError
        An option that this package or version does not have.
    """
    trt = importlib.import_module(package)
    logger, log = make_logger(trt)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # how its binding says that the library returned nothing
        said = log[-1].text if log else str(error)
        raise BackendError(f"{package} {trt.__version__} could not start: {said}", fix="It needs a GPU.") from error
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    start = time.perf_counter()
    parsed = bool(parser.parse_from_file(path))
    parse_s = time.perf_counter() - start
    issues = tuple(_issue(parser.get_error(i)) for i in range(parser.num_errors))
    layers = _layers(network)
    engine, build_s = None, 0.0
    profile: tuple[ProfileInput, ...] = ()
    if parsed:
        profiles = _profiles(network, options)
        profile = profiles[0] if profiles else ()
        config = _configure(trt, builder, options, target)
        _add_profiles(builder, network, config, options, profiles)
        # TensorRT keeps plain pointers to these objects: they must live until the engine is built.
        keep = [_progress(trt, config), *_set_flags(trt, config, options, path), *_read_timing_cache(config, options)]
        start = time.perf_counter()
        engine = builder.build_serialized_network(network, config)
        build_s = time.perf_counter() - start
        keep.clear()
        if engine is not None and options.timing_cache is not None:
            _write_timing_cache(config, options.timing_cache)
    return Compilation(
        version=str(trt.__version__),
        parsed=parsed,
        built=engine is not None,
        engine=bytes(engine) if engine is not None and keep_engine else None,
        engine_bytes=None if engine is None else int(engine.nbytes),
        issues=issues,
        layers=layers,
        profile=profile,
        log=tuple(log),
        parse_s=parse_s,
        build_s=build_s,
    )


def make_logger(trt: Any) -> tuple[Any, list[LogLine]]:
    """Return a logger that prints, and the list it fills; verbose messages are left out."""
    lines: list[LogLine] = []

    class Collector(trt.ILogger):  # type: ignore[misc]  # the base is known only at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            name = str(severity.name)
            if name != "VERBOSE":
                lines.append(LogLine(name, message))
                print(f"[{name}] {message}", flush=True)  # noqa: T201 - the child's output is the live log

    return Collector(), lines


def node_names(metadata: str) -> tuple[str, ...]:
    r"""Read the source nodes out of a layer's metadata.

    Entries look like ``[ONNX Layer: name]`` and are joined by ``\x1e``, ``\x1f`` or nothing; a name may itself hold
    brackets, so only the last one of an entry is taken off.
    """
    entries = (part.strip(_SEPARATORS) for part in metadata.split(_LAYER_TAG)[1:])
    return tuple(dict.fromkeys(entry.removesuffix("]") for entry in entries))


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    # TensorRT 8.x knows no strong typing; from 9 on it is the only way the workbench builds.
    flag = flags.STRONGLY_TYPED if hasattr(flags, "STRONGLY_TYPED") else flags.EXPLICIT_BATCH
    return 1 << int(flag)


def _issue(error: Any) -> ParserIssue:
    # TensorRT 8.6 has the index of a node but not yet its name.
    name = error.node_name() if hasattr(error, "node_name") else ""
    op = error.node_operator() if hasattr(error, "node_operator") else ""
    stack = tuple(error.local_function_stack()) if hasattr(error, "local_function_stack") else ()
    return ParserIssue(
        int(error.node()), str(name), str(op), str(error.code().name), str(error.desc()), str(error.func()), stack
    )


def _layers(network: Any) -> tuple[NetworkLayer, ...]:
    before_dequantize: dict[str, str] = {}
    layers = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        kind = str(layer.type).rsplit(".", maxsplit=1)[-1]
        inputs = [t for t in (layer.get_input(j) for j in range(layer.num_inputs)) if t is not None]
        outputs = [t for t in (layer.get_output(j) for j in range(layer.num_outputs)) if t is not None]
        types = [str(t.dtype.name) for t in inputs]
        if kind == "DEQUANTIZE" and types:
            before_dequantize.update({str(t.name): types[0] for t in outputs})
        layers.append(
            NetworkLayer(
                name=str(layer.name),
                kind=kind,
                nodes=node_names(str(getattr(layer, "metadata", ""))),
                inputs=tuple(types),
                outputs=tuple(str(t.dtype.name) for t in outputs),
                arithmetic=_arithmetic(kind, [str(t.name) for t in inputs], types, before_dequantize),
            )
        )
    return tuple(layers)


def _arithmetic(kind: str, names: list[str], types: list[str], before_dequantize: dict[str, str]) -> str | None:
    # A bias is added in the accumulator's type, so only the two operands of a product count.
    operands = names[:2] if kind in ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY") else names
    stored = {before_dequantize.get(name) for name in operands}
    quantized = stored.pop() if len(stored) == 1 else None
    return quantized or (types[0] if types else None)


def _profiles(network: Any, options: BuildOptions) -> list[tuple[ProfileInput, ...]]:
    """Return the optimization profiles: those given, completed by the default for inputs they leave out."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    names = {str(t.name) for t in inputs}
    given = options.profiles or ({},)
    for profile in given:
        unknown = sorted(set(profile) - names)
        if unknown:
            raise BackendError(
                f"the optimization profile names {', '.join(unknown)}, which is no input",
                fix=f"The inputs are {', '.join(sorted(names))}.",
            )
    dynamic = [t for t in inputs if t.is_shape_tensor or any(n < 0 for n in t.shape)]
    return [_profile(dynamic, profile) for profile in given] if dynamic else []


def _profile(dynamic: list[Any], given: Mapping[str, ShapeRange]) -> tuple[ProfileInput, ...]:
    # An axis that has a name in one input has the same length wherever the name comes again. What was given decides
    # first, then whatever stands on a first axis, which is taken for the batch.
    named: dict[str, tuple[int, int, int]] = {}
    ranges: dict[str, ShapeRange] = {}
    for tensor in sorted(dynamic, key=lambda t: (t.name not in given, _leading_name(t) is None)):
        name = str(tensor.name)
        if name in given:
            ranges[name] = _checked(tensor, given[name])
        elif tensor.is_shape_tensor:
            ranges[name] = ShapeRange.fixed((1,) * max(1, *tensor.shape))
        else:
            ranges[name] = default_range(
                tuple(tensor.shape), [named.get(_name(tensor, i)) for i in range(len(tensor.shape))]
            )
        if not tensor.is_shape_tensor:
            for axis, lengths in enumerate(zip(ranges[name].min, ranges[name].opt, ranges[name].max, strict=True)):
                if _name(tensor, axis):
                    named.setdefault(_name(tensor, axis), lengths)
    return tuple(ProfileInput(str(t.name), ranges[str(t.name)], given=t.name in given) for t in dynamic)


def _name(tensor: Any, axis: int) -> str:
    # TensorRT 8.6 knows no names for axes; the empty one is in no table.
    return str(tensor.get_dimension_name(axis) or "") if hasattr(tensor, "get_dimension_name") else ""


def _leading_name(tensor: Any) -> str | None:
    return (_name(tensor, 0) or None) if len(tensor.shape) else None


def _checked(tensor: Any, shapes: ShapeRange) -> ShapeRange:
    if tensor.is_shape_tensor:
        return shapes
    shape = tuple(tensor.shape)
    fits = len(shape) == len(shapes.opt) and all(
        n < 0 or n == low == high for n, low, high in zip(shape, shapes.min, shapes.max, strict=True)
    )
    if not fits:
        raise BackendError(
            f"input {tensor.name!r} has shape {shape}; the profile asks for {shapes.min} to {shapes.max}",
            fix="Keep the rank and the fixed axes; only axes shown as -1 may vary.",
        )
    return shapes


def default_range(shape: tuple[int, ...], known: Sequence[tuple[int, int, int] | None] | None = None) -> ShapeRange:
    """Choose shapes for an input with unknown lengths, where the user gave none.

    The first axis is taken for the batch: 1 to 8, tuned for 1. Any other unknown axis gets one length: 3 for the
    channels of a rank-4 tensor, 224 for its height and width, 128 elsewhere.

    Parameters
    ----------
    shape
        The input's shape, -1 where unknown.
    known
        For each axis, the (min, opt, max) that an axis of the same name has in another input.
    """
    image_rank = 4

    def lengths(axis: int) -> tuple[int, int, int]:
        if shape[axis] >= 0:
            return (shape[axis],) * 3
        met = None if known is None else known[axis]
        if met is not None:
            return met
        if axis == 0:
            return DEFAULT_BATCH
        if len(shape) == image_rank:
            return (DEFAULT_CHANNELS,) * 3 if axis == 1 else (DEFAULT_IMAGE_SIDE,) * 3
        return (DEFAULT_LENGTH,) * 3

    low, opt, high = zip(*(lengths(axis) for axis in range(len(shape))), strict=True)
    return ShapeRange(tuple(low), tuple(opt), tuple(high))


def _configure(trt: Any, builder: Any, options: BuildOptions, target: str | None) -> Any:
    config = builder.create_builder_config()
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(_member(trt.ComputeCapability, target.upper(), "target"), 0)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.tactic_sources is not None:
        sources = (_member(trt.TacticSource, name, "tactic source") for name in options.tactic_sources)
        config.set_tactic_sources(sum(1 << int(source) for source in sources))
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    return config


def _add_profiles(
    builder: Any, network: Any, config: Any, options: BuildOptions, profiles: list[tuple[ProfileInput, ...]]
) -> None:
    tensors = {str(t.name): t for t in (network.get_input(i) for i in range(network.num_inputs))}
    for inputs in profiles:
        profile = builder.create_optimization_profile()
        for entry in inputs:
            place = profile.set_shape_input if tensors[entry.name].is_shape_tensor else profile.set_shape
            place(entry.name, entry.range.min, entry.range.opt, entry.range.max)
        config.add_optimization_profile(profile)
        if options.calibration_cache is not None and hasattr(config, "set_calibration_profile"):
            config.set_calibration_profile(profile)


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
    elif options.weak_types is not None or options.calibration_cache is not None:
        raise BackendError(
            f"weak typing and calibration caches ended with TensorRT 8; this is {trt.__version__}",
            fix="Write the precision into the graph: make a plan and lower it.",
        )
    for name, wanted in flags.items():
        if wanted:
            config.set_flag(_member(trt.BuilderFlag, name, "builder flag"))
        elif hasattr(trt.BuilderFlag, name):
            config.clear_flag(getattr(trt.BuilderFlag, name))
    if options.calibration_cache is not None:
        config.set_flag(trt.BuilderFlag.INT8)
        calibrator = _cached_calibrator(trt, Path(options.calibration_cache))
        config.int8_calibrator = calibrator
        return [calibrator]
    return []


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


def _write_timing_cache(config: Any, path: str) -> None:
    cache = config.get_timing_cache()
    if cache is not None:
        partial = Path(path + ".partial")
        partial.write_bytes(bytes(cache.serialize()))
        partial.replace(path)


def _member(enum: Any, name: str, what: str) -> Any:
    if not hasattr(enum, name):
        known = [key for key, value in vars(enum).items() if isinstance(value, enum)]
        raise BackendError(f"no {what} {name} in this version", fix=f"It has {', '.join(known)}.")
    return getattr(enum, name)
