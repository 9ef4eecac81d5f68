"""What is known of a model at the edges: the oldest operator set, values of odd types, numbers in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, model, proto, weight
from workbench.errors import ModelError, SelectorError
from workbench.graph import costs, from_proto, quantized_source, save_model, summary
from workbench.graph.message import described
from workbench.graph.quantization import pair_factor
from workbench.graph.select import select
from workbench.graph.select.shortest import compact
from workbench.graph.shapes import bind, infer, skeleton_proto
from workbench.graph.shapes.inference import LONGEST, infer_shapes

node = helper.make_node


def test_operator_sets_begin_at_one():
    onnx_model = proto([node("Relu", ["x"], ["y"], "r")], {"x": [1]}, {"y": [1]}, opset=17)
    onnx_model.opset_import[0].version = 0
    with pytest.raises(ModelError, match="operator set version 0 is not known"):
        from_proto(onnx_model)


def test_types_are_told_in_words():
    opaque = onnx.TypeProto()
    opaque.opaque_type.name = "thing"
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, [1]))
    assert described(opaque) == "value of an opaque type"
    assert described(onnx.TypeProto()) == ""
    assert described(sequence) == "sequence of FLOAT"
    assert described(helper.make_optional_type_proto(sequence)) == "optional sequence of FLOAT"


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999"), (1000, "1 k"), (123456, "123 k"), (10**6, "1 M"), (25 * 10**8, "2.5 G")],
)
def test_numbers_are_told_with_their_unit(count, words):
    network = model([node("Relu", ["x"], ["y"], "r")], {"x": [1]}, {"y": [1]})
    text = replace(summary(network), parameters=count).text()
    assert f" {words} in 0 B" in " ".join(text.split())


def test_gates_of_another_number_are_not_counted():
    def cost(gates):
        weights = [weight("w", 1, gates * 5, 3), weight("r", 1, gates * 5, 5)]
        recurrent = node("GRU", ["x", "w", "r"], ["y"], "gru", hidden_size=5)
        network = model([recurrent], {"x": [7, 2, 3]}, {"y": [7, 1, 2, 5]}, weights)
        return costs(network)["gru"].macs

    assert cost(3) == 7 * 2 * (3 * 5 * 3 + 3 * 5 * 5)
    assert cost(2) is None
    assert cost(4) is None


def pair(first, second, *, shared=False):
    scales = [numpy_helper.from_array(np.asarray(one), name) for one, name in ((first, "s1"), (second, "s2"))]
    nodes = [
        node("QuantizeLinear", ["x", "s1"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s1" if shared else "s2"], ["y"], "dq"),
    ]
    network = model(nodes, {"x": [4]}, {"y": [4]}, scales[:1] if shared else scales)
    return network.nodes["q"], network.nodes["dq"]


def test_what_a_pair_multiplies_by():
    half, third = np.float32(0.5), np.float32(1 / 3)
    assert pair_factor(*pair(half, np.float32(1))) == 2
    assert pair_factor(*pair(half, half)) == 1
    assert pair_factor(*pair(half, half, shared=True)) == 1
    # One number in two types, of which the narrower cannot hold all digits.
    assert pair_factor(*pair(third, np.float16(third))) == 1
    assert pair_factor(*pair(np.float16(third), third)) == 1


def test_a_scale_that_is_made_has_no_factor():
    def made(second):
        nodes = [
            node("Abs", ["s"], ["made"], "abs"),
            node("QuantizeLinear", ["x", "made"], ["q"], "q"),
            node("DequantizeLinear", ["q", second], ["y"], "dq"),
        ]
        network = model(nodes, {"x": [4], "s": []}, {"y": [4]}, [constant("known", 0.5, "float32")])
        return network.nodes["q"], network.nodes["dq"]

    assert pair_factor(*made("made")) == 1
    assert pair_factor(*made("known")) is None


def test_a_tensor_is_quantized_behind_what_moves_numbers_alone():
    nodes = [
        node("QuantizeLinear", ["x", "s"], ["q"], "q"),
        node("DequantizeLinear", ["q", "s"], ["d"], "dq"),
        node("Transpose", ["d"], ["t"], "t"),
        node("Relu", ["t"], ["r"], "r"),
        node("Flatten", ["r"], ["y"], "f"),
        node("Constant", [], ["c"], "c", value_float=1.0),
    ]
    network = model(nodes, {"x": [2, 4]}, {"y": [2, 4], "c": []}, [constant("s", 0.5, "float32")])
    values = {str(v.name): v for one in network.nodes.values() for v in one.outputs}
    by_name = {name: quantized_source(value) for name, value in values.items()}
    assert {name: source.name for name, source in by_name.items() if source is not None} == {
        "q": "q",
        "d": "dq",
        "t": "dq",
    }


def test_settings_of_an_operator_are_no_weights():
    floats = [constant(name, value, "float32") for name, value in (("a", 0), ("b", 8), ("c", 2), ("w", [1, 2, 3, 4]))]
    nodes = [node("Range", ["a", "b", "c"], ["r"], "range"), node("Add", ["x", "r"], ["y"], "add")]
    network = model(nodes, {"x": [4]}, {"y": [4]}, floats[:3])
    assert network.weights == {}
    zero = numpy_helper.from_array(np.zeros((), np.int8), "z")
    nodes = [
        node("QuantizeLinear", ["x", "c", "z"], ["q"], "q"),
        node("DequantizeLinear", ["q", "c", "z"], ["d"], "dq"),
        node("Mul", ["d", "w"], ["y"], "mul"),
    ]
    network = model(nodes, {"x": [4]}, {"y": [4]}, [*floats[2:], zero])
    assert {address: [str(v.name) for v in values] for address, values in network.weights.items()} == {"mul": ["w"]}


def test_a_node_waits_for_all_that_it_reads():
    nodes = [
        node("Relu", ["x"], ["a"], "a"),
        node("Relu", ["a"], ["b"], "b"),
        node("Relu", ["b"], ["c"], "c"),
        node("Add", ["a", "c"], ["y"], "add"),
    ]
    assert summary(model(nodes, {"x": [1]}, {"y": [1]})).depth == 4


def test_a_selector_that_matches_nothing_is_named_to_its_part():
    network = model([node("Relu", ["x"], ["t"], "one"), node("Abs", ["t"], ["y"], "two")], {"x": [1]}, {"y": [1]})
    with pytest.raises(SelectorError) as refusal:
        select(network, "upstream(op:Cnov)")
    assert "for 'op:Cnov' does not" in str(refusal.value)
    with pytest.raises(SelectorError) as refusal:
        select(network, "upstream(name:one)")
    assert str(refusal.value).startswith("upstream(name:one): matches nothing")
    assert "does not" not in str(refusal.value)


def test_names_are_left_out_where_that_saves_one():
    nodes = [node("Relu", [f"t{n}" if n else "x"], [f"t{n + 1}"], "ab"[n]) for n in range(2)]
    nodes += [node("Abs", ["t2"], ["y"], "abs")]
    network = model(nodes, {"x": [1]}, {"y": [1]})
    assert compact(network, ["a", "b"], ["abs"]) == ["op:Relu"]
    assert compact(network, ["a"], ["abs", "b"]) == ["name:a"]
    assert compact(network, ["abs"], []) == ["name:abs"]


def test_sizes_are_bound_to_inputs_and_stated_shapes_are_forgotten():
    network = model([node("Relu", ["x"], ["y"], "r")], {"x": ["N", 4]}, {"y": ["N", 4]})
    skeleton = skeleton_proto(network)
    bind(skeleton, {"N": 3})
    assert [dim.dim_value for dim in skeleton.graph.input[0].type.tensor_type.shape.dim] == [3, 4]
    assert not skeleton.graph.output[0].type.tensor_type.HasField("shape")
    assert infer(network, {"N": 3}).tensors["y"].shape == (3, 4)


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_numbers_are_followed_up_to_a_length(length):
    """A shape made of numbers is known where no tensor of the model is too long for them to be followed."""
    long = onnx.TensorProto(name="long", data_type=TensorProto.FLOAT, dims=[length], data_location=1)
    long.external_data.add(key="location", value="nothing")
    nodes = [node("Reshape", ["x", "shape"], ["y"], "reshape"), node("Identity", ["long"], ["z"], "identity")]
    onnx_model = proto(nodes, {"x": [4]}, {}, [constant("shape", [2, 2]), long])
    onnx_model.graph.output.append(helper.make_empty_tensor_value_info("y"))
    inferred = infer_shapes(onnx_model)
    assert [dim.dim_value for dim in inferred.graph.output[0].type.tensor_type.shape.dim] == [2, 2]


def test_equal_models_make_equal_files(tmp_path):
    network = model([node("Relu", ["x"], ["y"], "r")], {"x": [1]}, {"y": [1]})
    save_model(network, tmp_path / "a.onnx")
    save_model(network, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_model_without_onnxs_operators_is_not_too_old_for_them():
    onnx_model = proto([node("Own", ["x"], ["y"], "o", domain="own")], {"x": [1]}, {"y": [1]}, domains=["own"])
    kept = [entry for entry in onnx_model.opset_import if entry.domain == "own"]
    del onnx_model.opset_import[:]
    onnx_model.opset_import.extend(kept)
    assert "old-opset" not in {quirk.kind for quirk in summary(from_proto(onnx_model)).quirks}


def branches(made_by, **more):
    """An If whose branches hold one node each."""

    def branch(name):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        return helper.make_graph([made_by(f"{name}_out", f"{name}_node")], name, [], [out])

    chosen = node("If", ["c"], ["y"], "if", then_branch=branch("t"), else_branch=branch("e"))
    return proto([chosen], {"x": [2, 4], "c": (TensorProto.BOOL, [])}, {"y": None}, **more)


def test_shapes_behind_an_operator_of_a_vendor_are_found_inside_branches():
    onnx_model = branches(
        lambda out, name: node("QuickGelu", ["x"], [out], name, domain="com.microsoft"), domains=["com.microsoft"]
    )
    assert [tensor.shape for tensor in from_proto(onnx_model).outputs] == [(2, 4)]


def test_devices_that_are_none_are_left_out_of_branches_too():
    onnx_model = branches(lambda out, name: node("Relu", ["x"], [out], name))
    onnx_model.graph.node[0].attribute[1].g.node[0].device_configurations.add(configuration_id="two")
    assert [quirk.kind for quirk in from_proto(onnx_model).quirks] == ["devices"]
