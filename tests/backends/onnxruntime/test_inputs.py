"""What an engine of ONNX Runtime is fed: each element type, the shapes that are asked for, and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import proto, weight
from workbench.backends.onnxruntime.engine import OnnxRuntime
from workbench.backends.onnxruntime.inputs import feeds_of, graph_inputs, input_shapes, warm_up
from workbench.backends.protocol import BuildOptions, Engine, ShapeRange, TimingOptions
from workbench.errors import BackendError

NUMBERS = "FLOAT FLOAT16 DOUBLE INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 BOOL".split()


def network(*kinds, shape=("N", 3)):
    inputs = {f"x{at}": (getattr(TensorProto, kind), list(shape)) for at, kind in enumerate(kinds)}
    outputs = {f"y{at}": stated for at, stated in enumerate(inputs.values())}
    return proto([helper.make_node("Identity", [f"x{at}"], [f"y{at}"]) for at in range(len(kinds))], inputs, outputs)


def engine(onnx_model, **shapes):
    return Engine("onnxruntime", onnx_model.SerializeToString(), {"shapes": shapes})


def test_floats_are_from_0_to_1_and_whole_numbers_0_or_1():
    made = engine(network(*NUMBERS), **{f"x{at}": [50, 4] for at in range(len(NUMBERS))})
    feeds = feeds_of(made, TimingOptions())
    for name, kind in zip(feeds, NUMBERS, strict=True):
        array = feeds[name]
        assert array.dtype == helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
        assert array.shape == (50, 4)
        assert 0 <= array.min() < array.max() <= 1
        assert (len(np.unique(array)) == 2) == (array.dtype.kind != "f")
    np.testing.assert_array_equal(feeds["x0"], np.random.default_rng(0).random((50, 4)).astype(np.float32))
    again = feeds_of(made, TimingOptions())
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)


@pytest.mark.parametrize("kind", ["STRING", "BFLOAT16", "COMPLEX64", "INT4", "FLOAT8E5M2", "UNDEFINED"])
def test_what_cannot_be_made_up_is_named(kind):
    with pytest.raises(BackendError, match=r"x0: its element type cannot be made up\. Run it with feeds"):
        feeds_of(engine(network(kind), x0=[1, 3]), TimingOptions())


def test_shapes_that_are_asked_for_come_before_those_of_the_build():
    made = engine(network("FLOAT", "FLOAT"), x0=[2, 3], x1=[4, 3])
    feeds = feeds_of(made, TimingOptions(shapes={"x1": (7, 3)}))
    assert [array.shape for array in feeds.values()] == [(2, 3), (7, 3)]
    with pytest.raises(BackendError, match=r"x2 is no input\. The inputs are x0, x1"):
        feeds_of(made, TimingOptions(shapes={"x2": (7, 3)}))


def test_an_input_has_the_optimum_of_the_profile_its_own_shape_or_the_default():
    onnx_model = network("FLOAT", "FLOAT")
    onnx_model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 5
    assert input_shapes(onnx_model, BuildOptions()) == {"x0": [1, 3], "x1": [5, 3]}
    assert input_shapes(network("FLOAT", shape=("N", "C", "H", "W")), BuildOptions()) == {"x0": [1, 3, 224, 224]}
    assert input_shapes(network("FLOAT", shape=("N", "H", "W", 3)), BuildOptions()) == {"x0": [1, 224, 224, 3]}
    profile = {"x0": ShapeRange((1, 3), (4, 3), (8, 3))}
    assert input_shapes(onnx_model, BuildOptions(profiles=(profile, {}))) == {"x0": [4, 3], "x1": [5, 3]}
    with pytest.raises(BackendError, match="the optimization profile names z, which is no input"):
        input_shapes(onnx_model, BuildOptions(profiles=({**profile, "z": profile["x0"]},)))


def test_weights_that_are_listed_as_inputs_are_not_fed():
    onnx_model = network("FLOAT", "FLOAT")
    onnx_model.graph.initializer.append(weight("x1", 1, 3))
    assert [value.name for value in graph_inputs(onnx_model)] == ["x0"]
    assert OnnxRuntime().inputs(engine(onnx_model)) == [{"name": "x0", "dtype": "FLOAT", "shape": [None, 3]}]
    stated = [{"name": "x"}]
    assert OnnxRuntime().inputs(Engine("onnxruntime", b"", {"inputs": stated})) == stated


class Runs:
    """A session that counts its runs."""

    def __init__(self):
        self.count = 0

    def run(self, outputs, feeds):
        assert (outputs, feeds) == (None, {"x": 1})
        self.count += 1


def test_it_is_warmed_up_for_some_seconds_and_once_at_least(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("workbench.backends.onnxruntime.inputs.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    session = Runs()
    assert (warm_up(session, {"x": 1}, 0.0), session.count) == (1, 1)
    assert (warm_up(session, {"x": 1}, 3.5), session.count) == (4, 5)
    assert (warm_up(session, {"x": 1}, 3.0), session.count) == (3, 8)


def test_an_engine_that_is_kept_loaded_answers_and_says_what_fails():
    backend = OnnxRuntime()
    onnx_model = network("FLOAT")
    made = Engine("onnxruntime", onnx_model.SerializeToString(), {"trusted": True})
    with backend.opened(made) as run:
        x = np.ones((2, 3), np.float32)
        np.testing.assert_array_equal(run({"x0": x})["y0"], x)
        with pytest.raises(BackendError, match=r"ONNX Runtime fails: .*Check the feeds"):
            run({"x0": np.ones(3, np.float32)})
    with pytest.raises(BackendError, match="ONNX Runtime refuses the engine"):
        backend.run(Engine("onnxruntime", b"no graph", {"trusted": True}), {})


def test_thirty_runs_are_profiled_unless_others_are_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(OnnxRuntime, "_events", lambda _, __, options: asked.append(options.runs) or {})
    OnnxRuntime().profile(None)
    OnnxRuntime().profile(None, TimingOptions(runs=7))
    assert asked == [30, 7]
