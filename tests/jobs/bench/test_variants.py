"""Which model and which options a variant is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.backends.protocol import BuildOptions
from workbench.errors import BackendError
from workbench.jobs.bench.variants import GENERATED_RANGE, open_source, variant_of
from workbench.precision import TARGETS
from workbench.session import history_of, open_model


@pytest.fixture
def source(small_cnn):
    return open_source(small_cnn, batch=4)


def ops(model):
    return [node.op_type for node in model.nodes.values()]


def test_the_batch_is_written_into_the_graph(source):
    assert source.model.inputs[0].shape == (4, 3, 8, 8)
    assert source.model.outputs[0].shape == (4, 5)


def test_weak_typing_asks_by_flags_and_writes_nothing_but_qdq(source):
    options = BuildOptions(calibration_cache="c")
    by_name = {
        name: variant_of(source, name, options, TARGETS["tensorrt-8.6"])
        for name in ("fp32", "tf32", "fp16", "implicit-int8", "qdq")
    }
    flags = {name: (o.tf32, o.weak_types, o.calibration_cache) for name, (_, o) in by_name.items()}
    assert flags == {
        "fp32": (False, None, None),
        "tf32": (True, None, None),
        "fp16": (True, ("fp16",), None),
        "implicit-int8": (True, ("fp16", "int8"), "c"),
        "qdq": (True, ("fp16",), None),
    }
    assert all(by_name[name][0] is source.model for name in ("fp32", "tf32", "fp16", "implicit-int8"))
    assert "Cast" not in ops(by_name["qdq"][0])
    assert ops(by_name["qdq"][0]).count("QuantizeLinear") == 4 + 3  # activations and weights


def test_implicit_int8_without_a_cache_gets_one_range_for_all(source):
    _, options = variant_of(source, "implicit-int8", BuildOptions(), TARGETS["tensorrt-8.6"])
    assert options.dynamic_range == GENERATED_RANGE
    assert options.calibration_cache is None


def test_strong_typing_writes_fp16_into_the_graph(source):
    for name in ("fp16", "qdq"):
        model, options = variant_of(source, name, BuildOptions(), TARGETS["rtx"])
        assert options == BuildOptions()
        assert "FLOAT16" in {model.tensor(tensor).dtype for node in model.nodes.values() for tensor in outputs(node)}


def outputs(node):
    return [value.name for value in node.outputs]


def test_implicit_int8_is_refused_where_it_ended(source):
    with pytest.raises(BackendError, match="ended with TensorRT 8"):
        variant_of(source, "implicit-int8", BuildOptions(), TARGETS["rtx"])


def test_calibrated_ranges_become_scales(small_cnn, small_data):
    source = open_source(small_cnn, batch=4, samples=small_data)
    model, _ = variant_of(source, "qdq", BuildOptions(), TARGETS["tensorrt-8.6"])
    scale = model.initializers["x/scale"].const_value.numpy()
    np.testing.assert_allclose(scale, source.ranges["x"] / 127, rtol=1e-6)
    assert "calibrated" in source.ranges_from
    assert "nothing of meaning" in open_source(small_cnn).ranges_from


@pytest.mark.parametrize("weight_storage", [None, "int8"])
def test_a_recipe_brings_its_plan_ranges_and_storage(weight_storage, small_cnn, small_data, tmp_path):
    wb = open_model(small_cnn)
    history_of(wb).amend(weight_storage=weight_storage)
    wb.prepare()
    wb.plan.set_target("tensorrt-8.6")
    wb.calibrate(small_data)
    wb.plan.set("op:Conv", "int8")
    wb.tune()
    wb.recipe.save(tmp_path / "r.yaml")
    source = open_source(small_cnn, recipe=tmp_path / "r.yaml")
    model, _ = variant_of(source, "qdq", BuildOptions(), TARGETS["tensorrt-8.6"])
    assert model.digest == wb.tuned.digest
    assert ops(model).count("QuantizeLinear") == (2 if weight_storage else 4)


def test_a_model_quantized_elsewhere_is_taken_as_it_is(small_cnn, source):
    with pytest.raises(BackendError, match="quantized elsewhere"):
        variant_of(source, "given", BuildOptions(), TARGETS["tensorrt-8.6"])
    source = open_source(small_cnn, batch=4, quantized=small_cnn)
    model, options = variant_of(source, "given", BuildOptions(), TARGETS["tensorrt-8.6"])
    assert model is source.quantized
    assert options.weak_types == ("fp16",)


@pytest.mark.parametrize("op", ["MatMul", "Conv"])
def test_weights_for_tensorrt_8_stay_in_floating_point(op, tmp_path):
    shape, weight = ([2, 8], (8, 8)) if op == "MatMul" else ([2, 8, 4, 4], (8, 8, 1, 1))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    constant = numpy_helper.from_array(np.random.default_rng(0).normal(size=weight).astype(np.float32), "w")
    graph = helper.make_graph([helper.make_node(op, ["x", "w"], ["y"], "n")], "g", values[:1], values[1:], [constant])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    for target, expected in (("tensorrt-8.6", "QuantizeLinear"), ("rtx", None)):
        model, _ = variant_of(open_source(path), "qdq", BuildOptions(), TARGETS[target])
        dequantize = model.nodes["n"].inputs[1].producer()
        maker = dequantize.inputs[0].producer()
        assert (None if maker is None else maker.op_type) == expected
