"""Triton's description of a model, as a message of Triton's own protobuf."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.errors import BackendError, ModelError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workbench.handoff.deployment import Deployment, Port
    from workbench.handoff.triton.batching import DynamicBatching
    from workbench.handoff.triton.warm_up import WarmUp

__all__ = ["FILES", "ServedModel", "StatePair", "make_config", "message_types", "read_config", "state_pairs", "to_text"]

FILES = {"onnx": "model.onnx", "plan": "model.plan"}
"""What Triton calls the model's file, by platform."""
PLATFORMS = {"onnx": ("onnxruntime_onnx", "onnxruntime"), "plan": ("tensorrt_plan", "tensorrt")}
CACHE = "/cache"
"""Where ONNX Runtime keeps the engines that it builds, inside the container."""
FIRST_INT64 = 10
"""The major version of TensorRT from which on INT64 inputs stay INT64."""


@dataclass(frozen=True)
class StatePair:
    """An output of one run that is an input of the next one of the same sequence."""

    input: Port
    output: Port


@dataclass(frozen=True)
class ServedModel:
    """What is served, and how.

    Parameters
    ----------
    deployment
        The model.
    platform
        ``onnx``: ONNX Runtime with TensorRT; ``plan``: an engine of TensorRT.
    batching
        How requests are put together.
    states
        What Triton keeps between the requests of a sequence.
    labels
        Outputs that have a file with a name for each class.
    warm_ups
        What is run before the first request.
    manifest
        The engine's, for the platform ``plan``.
    """

    deployment: Deployment
    platform: str
    batching: DynamicBatching
    states: tuple[StatePair, ...] = ()
    labels: tuple[str, ...] = ()
    warm_ups: tuple[WarmUp, ...] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self) -> tuple[Port, ...]:
        """Return what a client sends: states are not among it."""
        kept = {pair.input.name for pair in self.states}
        return tuple(port for port in self.deployment.inputs if port.name not in kept)

    def outputs(self) -> tuple[Port, ...]:
        """Return what a client can ask for."""
        kept = {pair.output.name for pair in self.states}
        return tuple(port for port in self.deployment.outputs if port.name not in kept)

    @property
    def no_profile(self) -> str | None:
        """Why ONNX Runtime is told no optimization profile, where it is not."""
        if self.platform != "onnx":
            return "The engine has its own optimization profiles."
        if not self.batching.most or self.states:
            return "No optimization profile: the engine is built for the first shapes that come."
        if any(length < 0 for port in self.inputs() for length in port.shape[1:]):
            return (
                "No optimization profile, since more than the batch is free: an engine is built anew, while a request "
                "waits, whenever a shape comes that is outside of those before."
            )
        odd = next((port.name for port in self.inputs() if set(port.name) & set(":,")), None)
        if odd is not None:
            return f"No optimization profile: ONNX Runtime's form of it has no place for the name {odd!r}."
        return None

    def dims(self, port: Port) -> list[int]:
        """Return a shape as Triton's configuration has it: without the batch where there is one, and never empty."""
        return list(port.shape[1:] if self.batching.most else port.shape) or [1]

    def datatype(self, port: Port) -> str:
        """Return a type as Triton's configuration has it."""
        version = str(self.manifest.get("version", FIRST_INT64)).split(".")[0]
        if self.platform == "plan" and port.datatype == "INT64" and int(version) < FIRST_INT64:
            return "TYPE_INT32"
        return "TYPE_STRING" if port.datatype == "BYTES" else f"TYPE_{port.datatype}"


def message_types() -> Any:
    """Return the module of Triton's messages.

    Raises
    ------
    BackendError
        tritonclient is not installed.
    """
    try:
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        raise BackendError(
            "Triton's own description of its configuration is missing", fix='pip install "trt-workbench[triton]"'
        ) from error
    return model_config_pb2


def state_pairs(deployment: Deployment, stated: Sequence[str]) -> tuple[StatePair, ...]:
    """Read which output of a run is which input of the next, from ``INPUT=OUTPUT`` texts.

    Raises
    ------
    OptionError
        There is no such input or output, one comes twice, or the two differ in type or rank.
    """
    inputs = {port.name: port for port in deployment.inputs}
    outputs = {port.name: port for port in deployment.outputs}
    pairs: list[StatePair] = []
    for text in stated:
        # A name may have an equals sign in it.
        cuts = [(text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter == "="]
        cut = next(((a, b) for a, b in cuts if a in inputs and b in outputs), None)
        if cut is None:
            raise OptionError(
                f"`state`: {text!r} is not INPUT=OUTPUT; inputs are {', '.join(inputs)}, outputs {', '.join(outputs)}"
            )
        pair = StatePair(inputs[cut[0]], outputs[cut[1]])
        same = pair.input.datatype == pair.output.datatype and len(pair.input.shape) == len(pair.output.shape)
        if not same:
            raise OptionError(f"`state`: {cut[0]} and {cut[1]} differ in type or rank, so one is not the other")
        if any(pair.input == other.input or pair.output == other.output for other in pairs):
            raise OptionError(f"`state`: {text} names a tensor that has its state already")
        pairs.append(pair)
    return tuple(pairs)


def make_config(served: ServedModel) -> Any:
    """Return the configuration as a message of Triton's protobuf.

    Raises
    ------
    ModelError
        A shape that Triton cannot have.
    """
    types = message_types()
    platform, backend = PLATFORMS[served.platform]
    config = types.ModelConfig(
        name=served.deployment.name,
        platform=platform,
        backend=backend,
        default_model_filename=FILES[served.platform],
        max_batch_size=served.batching.most,
    )
    config.version_policy.latest.num_versions = 1
    for ports, entries in ((served.inputs(), config.input), (served.outputs(), config.output)):
        for port in ports:
            _add_port(types, entries, served, port)
    for entry in config.output:
        if entry.name in served.labels:
            entry.label_filename = "labels.txt"
    group = config.instance_group.add()
    group.kind, group.count = types.ModelInstanceGroup.KIND_GPU, served.batching.instances
    if served.states:
        _add_states(types, config, served)
    elif served.batching.dynamic:
        config.dynamic_batching.SetInParent()
        if served.batching.delay_us is not None:
            config.dynamic_batching.max_queue_delay_microseconds = served.batching.delay_us
    if served.platform == "onnx":
        _add_accelerator(config, served)
    _add_warm_ups(types, config, served)
    return config


def _add_warm_ups(types: Any, config: Any, served: ServedModel) -> None:
    for warm_up in served.warm_ups:
        entry = config.model_warmup.add(name=warm_up.name, batch_size=warm_up.batch, count=1)
        for tensor in warm_up.tensors:
            entry_input = entry.inputs[tensor.name]
            entry_input.data_type = types.DataType.Value(served.datatype(tensor.port))
            entry_input.dims.extend(tensor.dims)
            entry_input.input_data_file = tensor.file


def _add_port(types: Any, entries: Any, served: ServedModel, port: Port) -> None:
    dims = served.dims(port)
    if 0 in dims:
        raise ModelError("an axis of length 0, which Triton cannot have", where=port.name, fix="Cut it off the model.")
    entry = entries.add(name=port.name, data_type=types.DataType.Value(served.datatype(port)), dims=dims)
    if served.batching.most and len(port.shape) == 1:
        # One number a sample: Triton wants an axis for it, which the model does not have.
        entry.reshape.SetInParent()


def _add_states(types: Any, config: Any, served: ServedModel) -> None:
    """Have Triton keep the states of a sequence, zero at its beginning."""
    batcher = config.sequence_batching
    batcher.direct.SetInParent()
    for pair in served.states:
        kind, dims = types.DataType.Value(served.datatype(pair.input)), served.dims(pair.input)
        state = batcher.state.add(input_name=pair.input.name, output_name=pair.output.name, data_type=kind, dims=dims)
        state.initial_state.add(
            name="zero", data_type=kind, dims=[1 if length < 0 else length for length in dims], zero_data=True
        )


def _add_accelerator(config: Any, served: ServedModel) -> None:
    """Let ONNX Runtime build TensorRT engines; types are those of the graph, so no precision is asked for."""
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters["trt_engine_cache_enable"] = "1"
    accelerator.parameters["trt_engine_cache_path"] = CACHE
    accelerator.parameters["trt_timing_cache_enable"] = "1"
    accelerator.parameters["trt_timing_cache_path"] = CACHE
    if served.no_profile is None:
        # Without one an engine is built anew while a request waits, whenever a larger batch comes.
        for word, batch in (("min", 1), ("opt", served.batching.tuned), ("max", served.batching.most)):
            shapes = (f"{port.name}:{'x'.join(map(str, (batch, *port.shape[1:])))}" for port in served.inputs())
            accelerator.parameters[f"trt_profile_{word}_shapes"] = ",".join(shapes)


def to_text(config: Any) -> str:
    """Return a configuration as Triton reads it from ``config.pbtxt``."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config))


def read_config(text: str, where: object) -> Any:
    """Read a configuration.

    Raises
    ------
    ModelError
        It is none.
    """
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, message_types().ModelConfig())
    except text_format.ParseError as error:
        raise ModelError(f"not a configuration of Triton: {error}", where=where, fix="Choose another name.") from error
