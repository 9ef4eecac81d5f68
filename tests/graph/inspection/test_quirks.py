"""What is worth knowing of a model, each on both sides of what makes it so."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, proto, weight
from workbench.graph.inspection.quirks import find_quirks
from workbench.graph.load import from_proto
from workbench.graph.quirk import Quirk

node = helper.make_node
RELU = node("Relu", ["x"], ["y"], "r")


def told(network, *kinds):
    return [quirk for quirk in find_quirks(network) if not kinds or quirk.kind in kinds]


def relu(*shape, **options):
    return model([RELU], {"x": list(shape)}, {"y": list(shape)}, **options)


@pytest.mark.parametrize(
    ("opset", "lacking"),
    [(7, "Q/DQ at all"), (9, "Q/DQ at all"), (10, "per-channel Q/DQ"), (12, "per-channel Q/DQ"), (13, None)],
)
def test_an_operator_set_is_too_old_for_some_quantization(opset, lacking):
    text = f"operator set {opset} is too old for {lacking}; convert it to 13 or newer"
    assert told(relu(2, opset=opset)) == ([Quirk("old-opset", f"opset {opset}", text)] if lacking else [])


def test_a_domain_without_a_version_is_told_with_its_first_node():
    nodes = [node("Own", ["x"], ["a"], "one", domain="own"), node("Own", ["a"], ["y"], "two", domain="own")]
    other = node("Own", ["x"], ["o"], "other", domain="people")
    network = model([other, *nodes], {"x": [2]}, {"y": [2], "o": [2]}, domains=["people"])
    text = "the model imports no version of the operator domain 'own'"
    assert told(network, "no-opset-import") == [Quirk("no-opset-import", "one", text)]
    made = proto([RELU], {"x": [2]}, {"y": [2]})
    del made.opset_import[:]
    text = "the model imports no version of the operator domain 'ai.onnx'"
    assert told(from_proto(made), "no-opset-import", "old-opset") == [Quirk("no-opset-import", "r", text)]
    assert told(model(nodes, {"x": [2]}, {"y": [2]}, domains=["own"]), "no-opset-import") == []


@pytest.mark.parametrize(
    ("shape", "quirk"),
    [
        (["N", 3], None),
        ([], None),
        ([None, 3, None], Quirk("unnamed-axis", "x", "axis 0, 2 of input 'x' is dynamic and has no name")),
        (None, Quirk("input-without-shape", "x", "the file says nothing of the shape of input 'x'")),
    ],
)
def test_an_input_has_a_shape_and_its_axes_a_length_or_a_name(shape, quirk):
    network = model([RELU], {"x": shape}, {"y": None})
    assert told(network, "unnamed-axis", "input-without-shape") == ([] if quirk is None else [quirk])


def test_samples_are_tensors_and_so_are_inputs():
    made = proto([node("ConcatFromSequence", ["s"], ["y"], "n", axis=0)], {}, {"y": [2]})
    made.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    text = "input 's' is a sequence of FLOAT, and samples are tensors; cut the model behind it"
    assert told(from_proto(made), "not-a-tensor", "input-without-shape") == [Quirk("not-a-tensor", "s", text)]


def test_nodes_that_nobody_reads_are_counted():
    def inside(*names):
        nodes = [node("Neg", ["x"], [f"{name}z"], name) for name in names]
        return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info(f"{names[0]}z", 1, [2])])

    idle = [node("Exp", ["x"], ["e"], "exp"), node("Abs", ["e"], ["f"], "abs")]
    holder = node("If", ["yes"], ["y"], "a/if", then_branch=inside("t"), else_branch=inside("e", "lost"))
    idler = node("If", ["yes"], ["v"], "b/if", then_branch=inside("u"), else_branch=inside("w"))
    inputs = {"x": [2], "yes": (TensorProto.BOOL, [])}
    assert told(model([holder], inputs, {"y": [2]}), "dead-nodes") == [
        Quirk("dead-nodes", "a/if/else/lost", "1 nodes whose results nobody reads")
    ]
    assert told(model([*idle, holder], inputs, {"y": [2]}), "dead-nodes") == [
        Quirk("dead-nodes", "exp", "3 nodes whose results nobody reads")
    ]
    # A branch has outputs, and what makes them lives, and what holds it with it.
    assert told(model([idler, *idle, RELU], inputs, {"y": [2]}), "dead-nodes") == [
        Quirk("dead-nodes", "exp", "2 nodes whose results nobody reads")
    ]
    assert told(model([*idle, RELU], inputs, {"y": [2], "f": [2]}), "dead-nodes") == []


def kept(array, *, read=True, output=False):
    nodes = [node("Identity", ["w"], ["y"], "i")] if read else [node("Identity", ["x"], ["y"], "i")]
    outputs = {"y": None} | ({"w": list(np.shape(array))} if output else {})
    return model(nodes, {"x": [2]}, outputs, [constant("w", array, np.asarray(array).dtype)])


@pytest.mark.parametrize(
    ("array", "wide"),
    [
        (np.zeros((1, 2), np.int64), True),
        (np.zeros((1, 2)), True),
        (np.zeros((1, 2, 1)), True),
        (np.zeros(2, np.int64), False),
        (np.zeros((1, 2), np.int32), False),
        (np.zeros((1, 2), np.float32), False),
    ],
)
def test_a_weight_of_64_bits_and_several_axes_is_wide(array, wide):
    quirk = Quirk("wide-weights", "w", "1 INT64 or DOUBLE weights; older TensorRT narrows them to 32 bits")
    assert told(kept(array), "wide-weights") == ([quirk] if wide else [])


def test_a_weight_is_unused_where_no_node_reads_it_and_no_output_is_it():
    array = np.zeros(2, np.float32)
    quirk = Quirk("unused-weights", "w", "1 weights that nobody reads")
    assert told(kept(array), "unused-weights") == told(kept(array, read=False, output=True), "unused-weights") == []
    assert told(kept(array, read=False), "unused-weights") == [quirk]


def test_weights_without_content_are_counted():
    bare = [TensorProto(name=name, data_type=1, dims=[2]) for name in "vw"]
    network = model([node("Sum", ["u", "v", "w"], ["y"], "s")], {}, {"y": [2]}, [weight("u", 2), *bare])
    text = "2 weights without content; restore them before it can run"
    assert told(network, "stripped-weights") == [Quirk("stripped-weights", "v", text)]


def test_what_is_quantized_already_is_counted():
    nodes = [
        node("Relu", ["x"], ["a"], "r"),
        node("QuantizeLinear", ["a", "s"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s"], ["y"], "dq"),
    ]
    network = model(nodes, {"x": [2]}, {"y": [2]}, [constant("s", 0.5, "float32")])
    text = "already quantized: 2 QuantizeLinear/DequantizeLinear nodes"
    assert told(network) == [Quirk("quantized", "q", text)]


def test_what_the_checker_refuses_is_told():
    network = model([node("Relu", ["x", "x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    (quirk,) = told(network, "refused-by-checker")
    assert quirk.where == "g"
    assert quirk.text.startswith("ONNX's checker refuses it: Node(r) with schema(::Relu:14) has input size 2")
