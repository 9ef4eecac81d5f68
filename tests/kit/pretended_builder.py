"""A builder of TensorRT that only remembers what it is told, and a parser that makes the network it is given.

What a real one does with that is tested with TensorRT-RTX; here it is what we tell it, and what we make of its answers.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Enum:
    """An enumeration of TensorRT: its members are of its own class."""

    def __init__(self, value=0):
        self.value = value

    def __int__(self):
        return self.value


def enum(*names):
    kind = type("Kind", (Enum,), {})
    for at, name in enumerate(names):
        setattr(kind, name, kind(at))
    return kind


FLAGS = ("VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "REFIT", "REFIT_IDENTICAL", "STRIP_PLAN", "TF32", "INT8", "FP16")


def package(version="10.3.0", *, weak=False, **more):
    return SimpleNamespace(
        __name__="tensorrt",
        __version__=version,
        ComputeCapability=enum("SM75", "SM86"),
        MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
        ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
        TacticSource=enum("CUBLAS", "CUDNN", "EDGE"),
        PreviewFeature=SimpleNamespace(PROFILE_SHARING_0806="shared"),
        HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS="ampere"),
        BuilderFlag=enum(*FLAGS, *(["OBEY_PRECISION_CONSTRAINTS", "BF16"] if weak else [])),
        NetworkDefinitionCreationFlag=SimpleNamespace(**({} if weak else {"STRONGLY_TYPED": 1})),
        DataType=SimpleNamespace(FLOAT="float"),
        float32="f32",
        float16="f16",
        int8="i8",
        **more,
    )


class Config:
    """A builder's configuration, which remembers."""

    avg_timing_iterations = max_aux_streams = None

    def __init__(self):
        self.told, self.set, self.cleared, self.caches = [], [], [], []
        self.takes_cache, self.stored = True, None

    def __getattr__(self, name):
        if name.startswith("set_") and name != "set_calibration_profile":
            return lambda *arguments: self.told.append((name, *arguments))
        raise AttributeError(name)

    def set_flag(self, flag):
        self.set.append(FLAGS[flag.value] if flag.value < len(FLAGS) else "more")

    def clear_flag(self, flag):
        self.cleared.append(FLAGS[flag.value])

    def create_timing_cache(self, data):
        self.caches.append(data)
        return data

    def set_timing_cache(self, _cache, ignore):
        assert not ignore
        return self.takes_cache

    def get_timing_cache(self):
        return self.stored

    def add_optimization_profile(self, profile):
        self.told.append(("profile", profile.shapes))


class Library(SimpleNamespace):
    """A whole package, for one network.

    Parameters
    ----------
    network
        What the parser makes of any file.
    errors
        What the parser complains of; it fails where there are some.
    engine
        What the builder returns.
    config
        What remembers what the builder is told.
    says
        What is logged, each a severity and a text: by the parser, the configuration, and the builder.
    """

    def __init__(
        self, network: Any, *, errors=(), engine: bytes | None = b"plan", config=None, says=None, weak=False
    ) -> None:
        super().__init__(**vars(package("8.6.0" if weak else "10.3.0", weak=weak)))
        self.NetworkDefinitionCreationFlag = enum("EXPLICIT_BATCH", "OTHER", *([] if weak else ["STRONGLY_TYPED"]))
        self.network, self.errors, self.engine = network, errors, engine
        self.config, self.says = config or Config(), says or {}
        self.flags = self.read = self.logger = None

    class ILogger:
        """The base of loggers."""

    def log(self, who: str) -> None:
        """Log what one of the three says."""
        for severity, text in self.says.get(who, ()):
            self.logger.log(SimpleNamespace(name=severity), text)

    def Builder(self, logger):  # noqa: N802 - TensorRT's name
        self.logger = logger
        return SimpleNamespace(
            create_network=self._network,
            create_builder_config=lambda: self.log("config") or self.config,
            build_serialized_network=self._build,
        )

    def _network(self, flags):
        self.flags = flags
        return self.network

    def _build(self, network, config):
        assert (network, config) == (self.network, self.config)
        self.log("builder")
        return None if self.engine is None else memoryview(self.engine)

    def OnnxParser(self, network, logger):  # noqa: N802 - TensorRT's name
        assert (network, logger) == (self.network, self.logger)
        return SimpleNamespace(
            parse_from_file=self._parse, num_errors=len(self.errors), get_error=lambda at: self.errors[at]
        )

    def _parse(self, path):
        self.read = path
        self.log("parser")
        return not self.errors


class NetworkLayer:
    """A layer of a parsed network; tensors are names with a type, ``None`` where there is none."""

    def __init__(self, name, kind, inputs, outputs, metadata=None) -> None:
        self.name, self.type = name, f"LayerType.{kind}"
        self._inputs, self._outputs = ([_tensor(one) for one in tensors] for tensors in (inputs, outputs))
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.get_input, self.get_output = self._inputs.__getitem__, self._outputs.__getitem__
        if metadata is not None:
            self.metadata = metadata


def _tensor(stated):
    if stated is None:
        return None
    name, _, kind = stated.partition(":")
    return SimpleNamespace(name=name, dtype=SimpleNamespace(name=kind or "FLOAT"))


def parsed(*layers, inputs=()):
    """A network of layers."""
    return SimpleNamespace(
        num_layers=len(layers), get_layer=layers.__getitem__, num_inputs=len(inputs), get_input=inputs.__getitem__
    )
