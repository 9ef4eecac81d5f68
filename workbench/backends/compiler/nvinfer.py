"""What the `tensorrt` and `tensorrt_rtx` packages share: parse, configure, build. Runs inside a child process.

Both speak one API; every function here takes the imported package as ``trt``. TensorRT 8.6 is weakly typed and lacks
the newer members, so what differs is asked of the package itself (``hasattr``), never of a version number.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workbench.backends.compiler.configure import (
    check_options_took,
    configure,
    configure_network,
    write_timing_cache,
)
from workbench.backends.profiles import ProfileInput, add_profiles, choose_profiles
from workbench.errors import BackendError

if TYPE_CHECKING:
    from workbench.backends.protocol import BuildOptions

__all__ = [
    "Compilation",
    "LogLine",
    "NetworkLayer",
    "ParserIssue",
    "compile_model",
    "make_logger",
    "node_names",
]

_LAYER_TAG = "[ONNX Layer: "
PRODUCTS = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")
PRODUCT_TYPES = ("INT8", "FP8", "FP4")
IN_INT8 = (
    "ACTIVATION CONCATENATION ELEMENTWISE GATHER IDENTITY PADDING POOLING RESIZE SELECT SHUFFLE SLICE SQUEEZE UNSQUEEZE"
).split()
"""Other layers that read a dequantized tensor and have INT8 kernels, or need none."""

MOVES = ("SHUFFLE", "SQUEEZE", "UNSQUEEZE")
"""Layers that change no number: the builder moves a dequantization through them."""

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
        What the layer may compute in: the type its tensors have before dequantization where it has kernels for that and
        every operand comes out of a DEQUANTIZE layer, straight or through layers that only move numbers, else the type
        of its first input. Products have 8-bit kernels; sums, pools and what moves numbers INT8 ones.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arithmetic: str | None


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
        reason = log[-1].text if log else str(error)
        raise BackendError(f"{package} {trt.__version__} could not start: {reason}", fix="It needs a GPU.") from error
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
        profiles = choose_profiles(network, options)
        profile = profiles[0] if profiles else ()
        config = configure(trt, builder, options, target)
        ignored = next((line.text for line in log if "is unsupported in" in line.text), None)
        if ignored is not None:
            raise BackendError(f"an option that {package} would ignore: {ignored}", fix="Leave it out.")
        add_profiles(builder, network, config, options, profiles)
        # TensorRT keeps plain pointers to these objects: they must live until the engine is built.
        keep = configure_network(trt, network, config, options, path)
        if any("Failed to deserialize timing cache" in line.text for line in log):
            raise BackendError(
                f"{package} {trt.__version__} cannot read this timing cache",
                where=options.timing_cache,
                fix="Delete it or leave it out; it belongs to another version, or there is no GPU to use it on.",
            )
        start = time.perf_counter()
        engine = builder.build_serialized_network(network, config)
        build_s = time.perf_counter() - start
        keep.clear()
        if engine is None:
            check_options_took(trt, options, "\n".join(line.text for line in log))
        if engine is not None and options.timing_cache is not None:
            write_timing_cache(config, options.timing_cache)
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
        kind = str(layer.type).rpartition(".")[2]
        inputs = [t for t in (layer.get_input(j) for j in range(layer.num_inputs)) if t is not None]
        outputs = [t for t in (layer.get_output(j) for j in range(layer.num_outputs)) if t is not None]
        types = [str(t.dtype.name) for t in inputs]
        if kind == "DEQUANTIZE" and types:
            before_dequantize.update({str(t.name): types[0] for t in outputs})
        elif kind in MOVES and inputs and str(inputs[0].name) in before_dequantize:
            before_dequantize.update({str(t.name): before_dequantize[str(inputs[0].name)] for t in outputs})
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
    first = types[0] if types else None
    if kind not in PRODUCTS and kind not in IN_INT8:
        return first
    # A bias is added in the accumulator's type, so only the two operands of a product count; a kernel that is no input
    # of the layer is a constant that it keeps in floating point.
    operands = names[:2] if kind in PRODUCTS else names
    stored = {before_dequantize.get(name) for name in operands}
    if len(stored) != 1 or (kind in PRODUCTS and len(operands) < 2):
        return first
    quantized = stored.pop()
    return quantized if quantized in (PRODUCT_TYPES if kind in PRODUCTS else ("INT8",)) else first
