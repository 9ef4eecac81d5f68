"""From options to what a builder is told, with a builder that only remembers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.pretended_builder import FLAGS, Config, enum, package
from workbench.backends.compiler import configure as module
from workbench.backends.compiler.configure import (
    check_options_took,
    configure,
    configure_network,
    member,
    write_timing_cache,
)
from workbench.backends.compiler.weak_typing import is_weakly_typed, set_weak_types
from workbench.backends.profiles import add_profiles, choose_profiles
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.errors import BackendError


def configured(options, trt=None, target=None, config=None):
    config = config or Config()
    return configure(trt or package(), SimpleNamespace(create_builder_config=lambda: config), options, target)


def test_nothing_but_details_is_asked_where_nothing_is():
    config = configured(BuildOptions(workspace_bytes=None))
    assert (config.told, config.profiling_verbosity) == ([], "detailed")
    assert not hasattr(config, "builder_optimization_level")
    assert not hasattr(config, "hardware_compatibility_level")


def test_every_option_is_told_to_the_builder():
    options = BuildOptions(
        workspace_bytes=64,
        optimization_level=0,
        timing_iterations=3,
        aux_streams=0,
        tactic_sources=("CUDNN", "EDGE"),
        hardware_compatible=True,
    )
    config = configured(options, target="sm86")
    assert config.num_compute_capabilities == 1
    (name, capability, index) = config.told[0]
    assert (name, capability.value, index) == ("set_compute_capability", 1, 0)
    assert config.told[1:] == [("set_memory_pool_limit", "workspace", 64), ("set_tactic_sources", 0b110)]
    assert (config.builder_optimization_level, config.avg_timing_iterations, config.max_aux_streams) == (0, 3, 0)
    assert config.hardware_compatibility_level == "ampere"
    assert configured(BuildOptions(), package("8.6.0")).told[-1] == ("set_preview_feature", "shared", True)
    assert ("set_preview_feature", "shared", True) not in configured(BuildOptions(), package("10.8.0")).told


def test_what_a_version_does_not_have_is_an_error():
    with pytest.raises(BackendError, match=r"no target SM99 in this version. It has SM75, SM86"):
        configured(BuildOptions(), target="sm99")
    with pytest.raises(BackendError, match="no tactic source CUBLAST"):
        configured(BuildOptions(tactic_sources=("CUBLAST",)))
    with pytest.raises(BackendError, match=r"tensorrt 10.3.0 has no build_route. Leave the option out"):
        configured(BuildOptions(build_route="fast"))

    class Stubborn(Config):
        all_build_routes = ("slow",)

        @property
        def build_route(self):
            return "slow"

        @build_route.setter
        def build_route(self, value):
            pass

    assert configured(BuildOptions(build_route="slow"), config=Stubborn()).build_route == "slow"
    with pytest.raises(BackendError, match=r"tensorrt 10.3.0 has no build_route 'fast'. It has \('slow',\)"):
        configured(BuildOptions(build_route="fast"), config=Stubborn())
    kind = enum("A")
    assert member(kind, "A", "thing") is kind.A


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"tf32": False}, set()),
        ({"tf32": True}, {"TF32"}),
        ({"tf32": False, "refit": True}, {"REFIT"}),
        ({"tf32": False, "strip": True}, {"REFIT_IDENTICAL", "STRIP_PLAN"}),
        ({"tf32": False, "strip": True, "refit": True}, {"REFIT", "STRIP_PLAN"}),
        ({"tf32": False, "version_compatible": True}, {"VERSION_COMPATIBLE"}),
        (
            {"tf32": False, "version_compatible": True, "exclude_lean_runtime": True},
            {"VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME"},
        ),
    ],
)
def test_each_flag_is_set_or_cleared(options, flags):
    config = Config()
    assert configure_network(package(), None, config, BuildOptions(**options), "m.onnx") == []
    assert set(config.set) == flags
    assert set(config.cleared) == set(FLAGS[:6]) - flags


def test_weak_types_ended_with_tensorrt_8():
    with pytest.raises(BackendError, match=r"weak_types, dynamic_range ended with TensorRT 8; this is 10\.3\.0"):
        configure_network(package(), None, Config(), BuildOptions(weak_types=("fp16",), dynamic_range=1.0), "m.onnx")


def test_a_timing_cache_is_read_and_joined_with_what_others_stored(tmp_path):
    path, config = tmp_path / "t.cache", Config()
    options = BuildOptions(timing_cache=str(path))
    assert configure_network(package(), None, config, options, "m") == [b""]
    path.write_bytes(b"others")
    assert configure_network(package(), None, config, options, "m") == [b"others"]
    config.takes_cache = False
    with pytest.raises(BackendError, match=r"t\.cache: the timing cache was refused"):
        configure_network(package(), None, config, options, "m")
    write_timing_cache(config, str(path))  # there is nothing to store
    assert path.read_bytes() == b"others"
    joined = []
    config.stored = SimpleNamespace(combine=lambda *words: joined.append(words), serialize=lambda: b"a")
    write_timing_cache(config, str(path))
    assert (joined, path.read_bytes()) == ([(b"others", False)], b"a")
    write_timing_cache(config, str(tmp_path / "new"))
    assert (len(joined), (tmp_path / "new").read_bytes()) == (1, b"a")


def test_the_builders_progress_is_passed_on(monkeypatch):
    told = []
    monkeypatch.setattr(module, "progress", lambda phase, share: told.append((phase, share)))
    trt, config = package(IProgressMonitor=type("IProgressMonitor", (), {"__init__": lambda _: None})), Config()
    (monitor,) = configure_network(trt, None, config, BuildOptions(), "m")
    assert config.progress_monitor is monitor
    for phase, steps in (("a", 4), ("b", 0)):
        monitor.phase_start(phase, None, steps)
        assert monitor.step_complete(phase, 0)
        monitor.step_complete(phase, 1)
        monitor.step_complete(phase, 4)
        monitor.phase_finish(phase)
    told_of = {phase: [share for one, share in told if one == phase] for phase in "ab"}
    assert told_of == {"a": [0.0, 0.25, 0.5, 1.0, 1.0], "b": [0.0, 1.0, 1.0, 1.0, 1.0]}


@pytest.mark.parametrize(
    ("options", "printed", "what"),
    [
        ({"version_compatible": True}, "no libnvinfer_lean.so", "does not bring the lean runtime"),
        ({"refit": True}, "CUDA_SUCCESS == status", "only where a GPU is"),
        ({"strip": True}, "CUDA_SUCCESS == status", "only where a GPU is"),
        ({"version_compatible": True}, "CUDA_SUCCESS", None),
        ({"refit": True}, "libnvinfer_lean", None),
        ({}, "CUDA_SUCCESS libnvinfer_lean", None),
    ],
)
def test_what_an_option_lacks_is_read_out_of_what_was_printed(options, printed, what):
    if what is None:
        check_options_took(package(), BuildOptions(**options), printed)
        return
    with pytest.raises(BackendError, match=f"tensorrt 10.3.0 .*{what}"):
        check_options_took(package(), BuildOptions(**options), printed)


# Optimization profiles


def given(name, *shape, axes=(), shape_tensor=False):
    named = dict(enumerate(axes))
    return SimpleNamespace(name=name, shape=shape, is_shape_tensor=shape_tensor, get_dimension_name=named.get)


def network(*inputs):
    return SimpleNamespace(num_inputs=len(inputs), get_input=lambda at: inputs[at])


def ranges(*inputs, **options):
    profiles = choose_profiles(network(*inputs), BuildOptions(**options))
    return [{one.name: (one.range.min, one.range.opt, one.range.max, one.stated) for one in each} for each in profiles]


def test_lengths_of_one_name_are_the_same_and_what_was_given_decides():
    one = given("a", -1, -1, axes=("n", "t"))
    two = given("b", -1, 5, -1, axes=("t", "", "n"))
    fixed = given("c", 2, 2)
    assert ranges(fixed) == []
    assert ranges(one, two, fixed) == [
        {"a": ((1, 128), (1, 128), (8, 128), False), "b": ((128, 5, 1), (128, 5, 1), (128, 5, 8), False)}
    ]
    stated = {"b": ShapeRange((2, 5, 3), (4, 5, 3), (6, 5, 3))}
    assert ranges(one, two, profiles=(stated, {})) == [
        {"a": ((3, 2), (3, 4), (3, 6), False), "b": ((2, 5, 3), (4, 5, 3), (6, 5, 3), True)},
        {"a": ((1, 128), (1, 128), (8, 128), False), "b": ((128, 5, 1), (128, 5, 1), (128, 5, 8), False)},
    ]
    # Of inputs without a given range one whose first axis has a name comes first.
    unnamed, later = given("u", -1, -1, axes=("", "n")), given("v", -1, 2, axes=("n", ""))
    assert ranges(unnamed, later)[0]["u"] == ((1, 1), (1, 1), (8, 8), False)
    old = SimpleNamespace(name="o", shape=(-1, 2), is_shape_tensor=False)  # TensorRT 8.6 names no axes
    assert ranges(old)[0]["o"] == ((1, 2), (1, 2), (8, 2), False)


def test_shape_tensors_have_values_and_others_the_rank_and_fixed_lengths_of_the_input():
    assert ranges(given("s", 3, shape_tensor=True))[0]["s"] == ((1,) * 3, (1,) * 3, (1,) * 3, False)
    assert ranges(given("s", shape_tensor=True))[0]["s"] == ((1,), (1,), (1,), False)
    values = ShapeRange((1, 2), (3, 4), (5, 6))
    assert ranges(given("s", 2, shape_tensor=True), profiles=({"s": values},))[0]["s"][3]
    x = given("x", -1, 3)
    for wrong in (ShapeRange((1,), (1,), (1,)), ShapeRange((1, 3), (1, 4), (1, 4)), ShapeRange((1, 2), (1, 3), (1, 3))):
        with pytest.raises(BackendError, match=r"input 'x' has shape \(-1, 3\); the profile asks for"):
            ranges(x, profiles=({"x": wrong},))
    with pytest.raises(BackendError, match=r"the optimization profile names y, z, which is no input. The inputs are x"):
        ranges(x, profiles=({"z": values, "y": values},))


def test_profiles_are_given_to_the_builder_and_the_last_one_calibrates():
    class Profile:
        def __init__(self):
            self.shapes = []

        def set_shape(self, *arguments):
            self.shapes.append(("shape", *arguments))

        def set_shape_input(self, *arguments):
            self.shapes.append(("values", *arguments))

    inputs = network(given("x", -1, 2), given("s", 1, shape_tensor=True))
    builder, config, calibrated = SimpleNamespace(create_optimization_profile=Profile), Config(), []
    options = BuildOptions(profiles=({}, {}))
    chosen = choose_profiles(inputs, options)
    add_profiles(builder, inputs, config, options, chosen)
    profile = [("shape", "x", (1, 2), (1, 2), (8, 2)), ("values", "s", (1,), (1,), (1,))]
    assert config.told == [("profile", profile)] * 2
    add_profiles(builder, inputs, config, BuildOptions(calibration_cache="c"), chosen)  # it has no such call
    config.set_calibration_profile = calibrated.append
    add_profiles(builder, inputs, config, options, chosen)
    assert calibrated == []
    add_profiles(builder, inputs, config, BuildOptions(calibration_cache="c"), chosen)
    assert len(calibrated) == 2


# The weakly typed builder


class Layer:
    """A layer of a network, with outputs of some types."""

    def __init__(self, name, kind="LayerType.CONVOLUTION", outputs=("FLOAT",)):
        self.name, self.type, self.precision, self.types = name, kind, None, {}
        self.outputs = [SimpleNamespace(dtype=SimpleNamespace(name=one)) for one in outputs]
        self.num_outputs = len(self.outputs)

    def get_output(self, at):
        return self.outputs[at]

    def set_output_type(self, at, kind):
        self.types[at] = kind


def layered(*layers, inputs=()):
    return SimpleNamespace(
        num_layers=len(layers),
        get_layer=lambda at: layers[at],
        num_inputs=len(inputs),
        get_input=lambda at: inputs[at],
    )


def stored(tmp_path, *nodes, weights=(), inputs=()):
    graph = helper.make_graph(nodes, "g", list(inputs), [], list(weights))
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    return str(tmp_path / "m.onnx")


def test_the_kind_of_builder_is_told_by_its_flags():
    assert is_weakly_typed(package("8.6.0", weak=True))
    assert not is_weakly_typed(package())


def test_layers_get_the_type_of_the_last_pattern_that_matches(tmp_path):
    layers = [
        Layer("a/conv"),
        Layer("a/relu", outputs=("HALF", "FLOAT")),
        Layer("a/constant", "LayerType.CONSTANT"),
        Layer("a/index", outputs=("INT32",)),
        Layer("b"),
    ]
    options = BuildOptions(layer_precisions={"a/*": "fp16", "a/relu": "int8", "b": "fp32"})
    config = Config()
    assert set_weak_types(package("8.6.0", weak=True), layered(*layers), config, options, stored(tmp_path)) == []
    assert [one.precision for one in layers] == ["f16", "i8", None, None, "f32"]
    assert [one.types for one in layers] == [{0: "f16"}, {}, {}, {}, {0: "f32"}]
    assert config.set == ["FP16", "INT8", "more"]
    for count, said in ((1, "'0'"), (3, "'0', '1', '2'"), (5, "'0', '1', '2' and 2 more")):
        unused = BuildOptions(layer_precisions=dict.fromkeys(map(str, range(count)), "fp32"))
        with pytest.raises(BackendError, match=f"layer precisions name {said}, which match no layer"):
            set_weak_types(package("8.6.0", weak=True), layered(*layers), Config(), unused, stored(tmp_path))


def test_a_range_is_given_to_every_tensor_of_numbers(tmp_path):
    set_to = []

    def tensor(dtype):
        return SimpleNamespace(dtype=dtype, set_dynamic_range=lambda low, high: set_to.append((dtype, low, high)))

    layer = Layer("a")
    layer.outputs, layer.num_outputs = [tensor("float"), None, tensor("int")], 3
    config = Config()
    options = BuildOptions(dynamic_range=2.5)
    set_weak_types(
        package("8.6.0", weak=True), layered(layer, inputs=[tensor("float")]), config, options, stored(tmp_path)
    )
    assert set_to == [("float", -2.5, 2.5)] * 2
    assert config.set == ["INT8"]


@pytest.mark.parametrize("algorithm", ["EntropyCalibration2", "EntropyCalibration", "MinMaxCalibration"])
def test_a_cache_is_read_by_the_calibrator_that_wrote_it(tmp_path, algorithm):
    content = f"TRT-8600-{algorithm}\nx: 3c010a14\n".encode()
    (tmp_path / "c").write_bytes(content)
    names = ("IInt8EntropyCalibrator2", "IInt8EntropyCalibrator", "IInt8MinMaxCalibrator")
    bases = {name: type(name, (), {"__init__": lambda _: None}) for name in names}
    config = Config()
    options = BuildOptions(calibration_cache=str(tmp_path / "c"))
    (calibrator,) = set_weak_types(package("8.6.0", weak=True, **bases), layered(), config, options, stored(tmp_path))
    short = algorithm.replace("Calibration", "Calibrator")
    assert type(calibrator).__mro__[1].__name__ == f"IInt8{short}"
    assert config.int8_calibrator is calibrator
    assert config.set == ["INT8"]
    assert (calibrator.get_batch_size(), calibrator.get_batch(["x"])) == (1, None)
    assert calibrator.read_calibration_cache() == content
    assert calibrator.write_calibration_cache(b"other") is None
    (tmp_path / "c").write_bytes(b"TRT-8600-Legacy\n")
    with pytest.raises(BackendError, match=r"the first line names the algorithm 'Legacy'. Known are EntropyCalib"):
        set_weak_types(package("8.6.0", weak=True, **bases), layered(), Config(), options, stored(tmp_path))


def test_types_that_a_graph_names_are_allowed(tmp_path):
    def flags(*nodes, options=None, **more):
        config = Config()
        path = stored(tmp_path, *nodes, **more)
        set_weak_types(package("8.6.0", weak=True), layered(), config, options or BuildOptions(), path)
        return config.set

    half = numpy_helper.from_array(np.ones(1, np.float16), "w")
    quantize = helper.make_node("QuantizeLinear", ["x", "s"], ["q"])
    assert flags() == []
    assert flags(weights=[half]) == ["FP16"]
    assert flags(inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])]) == ["FP16"]
    assert flags(helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)) == ["FP16"]
    assert flags(helper.make_node("Other", ["x"], ["y"], to=TensorProto.FLOAT16)) == []
    assert flags(helper.make_node("Constant", [], ["y"], value=half)) == ["FP16"]
    assert flags(quantize) == ["INT8"]
    assert flags(quantize, options=BuildOptions(weak_types=("fp16",))) == ["FP16", "INT8"]
