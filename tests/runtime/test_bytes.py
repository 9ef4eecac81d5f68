from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from workbench.errors import BackendError
from workbench.graph.load import from_proto, load_model
from workbench.runtime.bytes import serialized, without_weights
from workbench.runtime.session import Session


def made():
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["a"]),
            helper.make_node("Reshape", ["a", "shape"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", T.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", T.FLOAT, ["N", 8, 8])],
        [
            numpy_helper.from_array(weights * 2, "of_no_node"),
            numpy_helper.from_array(weights[0], "b"),
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([-1, 8, 8]), "shape"),
        ],
        doc_string="kept",
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def test_more_outputs_come_after_the_models_own():
    proto = onnx.load_from_string(serialized(made(), ["a", "y", "x", "a"]))
    assert [(o.name, o.type.tensor_type.elem_type) for o in proto.graph.output] == [("y", 1), ("a", 1), ("x", 1)]


def test_a_tensor_whose_type_nobody_knows_is_an_output_without_one():
    nodes = [helper.make_node("Own", ["x"], ["u"], domain="own"), helper.make_node("Own", ["u"], ["y"], domain="own")]
    x, y = (helper.make_tensor_value_info(name, T.FLOAT, [2]) for name in "xy")
    ids = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = from_proto(helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=ids, ir_version=8))
    outputs = onnx.load_from_string(serialized(model, ["u"])).graph.output
    assert [(o.name, o.type.tensor_type.elem_type) for o in outputs] == [("y", 1), ("u", 0)]


@pytest.mark.parametrize("dtype", "f2 f4 f8 i1 u1 i4 i8 u2 u4 u8 i2 ?".split())
def test_weights_of_types_that_are_shared_lie_beside_the_message(dtype):
    array = np.arange(4096).reshape(64, 64).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    x, y = (helper.make_tensor_value_info(name, kind, [64, 64]) for name in "xy")
    nodes = [helper.make_node("Concat", ["x", "w"], ["y"], axis=0)]
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(array, "w")])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    content, weights = without_weights(model, ["y"])
    (stored,) = onnx.load_from_string(content).graph.initializer
    if dtype in "f2 f4 f8 i1 u1 i4 i8".split():
        np.testing.assert_array_equal(weights["w"], array)
        assert len(content) < 1000
    else:
        assert weights == {}
        np.testing.assert_array_equal(numpy_helper.to_array(stored), array)


def test_weights_are_apart_and_all_else_is_there():
    content, weights = without_weights(made(), ["m"])
    proto, whole = onnx.load_from_string(content), onnx.load_from_string(serialized(made(), ["m"]))
    assert list(weights) == ["w"]
    assert 16_384 < len(content) < 18_000  # what no node takes stays in
    assert [o.name for o in proto.graph.output] == ["y", "m"]
    assert [t.name for t in proto.graph.initializer] == [t.name for t in whole.graph.initializer]
    for one in (proto, whole):
        del one.graph.initializer[:]
    assert proto == whole


def test_a_weight_that_nobody_reads_is_no_obstacle():
    model = made()
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "idle"))
    left = from_proto(proto)
    x = np.ones((1, 64), np.float32)
    first, second = (Session(one, observing=True).run({"x": x})["y"] for one in (model, left))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("observing", [False, True])
def test_a_tensor_that_is_not_there_is_named(observing):
    with pytest.raises(BackendError, match=r"nowhere: there is no such tensor"):
        Session(made(), outputs=["nowhere"], observing=observing)


def test_arrays_that_are_not_contiguous_and_text_are_taken():
    x = np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32).T
    outputs = ["m", "y"]
    plain, observing = (Session(made(), outputs=outputs, observing=o).run({"x": x}) for o in (False, True))
    assert all(np.array_equal(plain[name], observing[name]) for name in outputs)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["t"], ["u"])],
        "g",
        [helper.make_tensor_value_info("t", T.STRING, [2])],
        [helper.make_tensor_value_info("u", T.STRING, [2])],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert Session(model, observing=True).run({"t": np.array(["a", "b"], object)})["u"].tolist() == ["a", "b"]


@pytest.mark.parametrize("name", ["mnist_cntk", "ultraface_rfb320", "yunet_120x160", "tinyvit_demo", "dtln_1"])
def test_real_models_give_the_same_numbers(shared, name):
    model = load_model(shared / "models" / name / "model.onnx")
    rng = np.random.default_rng(0)
    arrays = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in model.inputs}
    outputs = [str(v.name) for node in model.top_nodes.values() for v in node.outputs if v.name]
    outputs = [n for n in outputs if model.tensor(n).dtype == "FLOAT"]
    plain, observing = (Session(model, outputs=outputs, observing=o).run(arrays) for o in (False, True))
    assert len(outputs) > 5
    assert [n for n in outputs if not np.array_equal(plain[n], observing[n])] == []
