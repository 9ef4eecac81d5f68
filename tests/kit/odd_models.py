"""Valid models that say things few models say: one small function each, by what is odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.kit.models import constant, proto, weight

if TYPE_CHECKING:
    from collections.abc import Callable

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
node = helper.make_node
OPSET = [helper.make_opsetid("", 18)]


def function(name, inputs, outputs, nodes, attributes=(), **more):
    return helper.make_function("my.ops", name, inputs, outputs, nodes, OPSET, attributes, **more)


def with_functions(calls, outputs, functions, weights=()):
    return proto(
        calls, {"x": [2, 4]}, outputs, weights, opset=18, domains=["my.ops"], ir_version=10, functions=functions
    )


def function_of_one_node():
    block = function("Block", ["a"], ["o"], [node("Relu", ["a"], ["o"])])
    return with_functions([node("Block", ["x"], ["y"], "b", domain="my.ops")], {"y": [2, 4]}, [block])


def function_with_weights_handed_in():
    body = [node("MatMul", ["a", "k"], ["t"]), node("Relu", ["t"], ["o"])]
    block = function("Block", ["a", "k"], ["o"], body)
    call = node("Block", ["x", "w"], ["y"], "b", domain="my.ops")
    return with_functions([call], {"y": [2, 3]}, [block], [weight("w", 4, 3)])


def function_with_constants():
    body = [node("Constant", [], ["k"], value_int=1), node("Cast", ["k"], ["f"], to=1), node("Sub", ["f", "a"], ["o"])]
    return with_functions(
        [node("Block", ["x"], ["y"], "b", domain="my.ops")], {"y": [2, 4]}, [function("Block", ["a"], ["o"], body)]
    )


def function_in_a_function():
    inner = function("Inner", ["a"], ["o"], [node("Relu", ["a"], ["o"])])
    opsets = [*OPSET, helper.make_opsetid("my.ops", 1)]
    body = [node("Inner", ["a"], ["t"], domain="my.ops"), node("Inner", ["t"], ["o"], domain="my.ops")]
    outer = helper.make_function("my.ops", "Outer", ["a"], ["o"], body, opsets)
    return with_functions([node("Outer", ["x"], ["y"], "b", domain="my.ops")], {"y": [2, 4]}, [inner, outer])


def function_with_attributes():
    leaky = node("LeakyRelu", ["a"], ["t"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    cast = node("Cast", ["t"], ["o"])
    cast.attribute.append(onnx.AttributeProto(name="to", ref_attr_name="kind", type=onnx.AttributeProto.INT))
    defaults = [helper.make_attribute("kind", 1)]
    block = function("Block", ["a"], ["o"], [leaky, cast], ["slope"], attribute_protos=defaults)
    return with_functions([node("Block", ["x"], ["y"], "b", domain="my.ops", slope=0.25)], {"y": [2, 4]}, [block])


def function_with_a_branch():
    def branch(op):
        outputs = [helper.make_tensor_value_info("r", FLOAT, None)]
        return helper.make_graph([node(op, ["a"], ["r"])], op, [], outputs)

    body = [
        node("ReduceSum", ["a"], ["s"], keepdims=0),
        node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        node("If", ["c"], ["o"], then_branch=branch("Relu"), else_branch=branch("Neg")),
    ]
    return with_functions(
        [node("Block", ["x"], ["y"], "b", domain="my.ops")], {"y": [2, 4]}, [function("Block", ["a"], ["o"], body)]
    )


def function_with_several_results_and_one_unread():
    body = [node("Split", ["a"], ["o", "p"], axis=1, num_outputs=2)]
    block = function("Block", ["a"], ["o", "p"], body)
    return with_functions([node("Block", ["x"], ["y", ""], "b", domain="my.ops")], {"y": [2, 2]}, [block])


def function_that_nobody_calls():
    idle = function("Idle", ["a", "b"], ["o"], [node("Add", ["a", "b"], ["o"])])
    return with_functions([node("Relu", ["x"], ["y"], "r")], {"y": [2, 4]}, [idle])


def sequence_as_output():
    onnx_model = proto([node("SplitToSequence", ["x"], ["s"], "split", axis=0)], {"x": [2, 4]}, {})
    onnx_model.graph.output.append(helper.make_tensor_sequence_value_info("s", FLOAT, None))
    return onnx_model


def sequence_as_input():
    onnx_model = proto([node("ConcatFromSequence", ["s"], ["y"], "join", axis=0)], {}, {"y": [None, 4]})
    onnx_model.graph.input.append(helper.make_tensor_sequence_value_info("s", FLOAT, [None, 4]))
    return onnx_model


def optional_inside():
    nodes = [node("Optional", ["x"], ["o"], "wrap"), node("OptionalGetElement", ["o"], ["y"], "take")]
    return proto(nodes, {"x": [2, 4]}, {"y": [2, 4]}, opset=18)


def map_as_output():
    classify = node(
        "LinearClassifier",
        ["x"],
        ["label", "p"],
        "classify",
        domain="ai.onnx.ml",
        coefficients=[0.1, 0.2, -0.1, -0.2],
        intercepts=[0.0, 0.0],
        classlabels_ints=[0, 1],
        post_transform="SOFTMAX",
    )
    zipped = node("ZipMap", ["p"], ["z"], "zip", domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    onnx_model = proto([classify, zipped], {"x": ["N", 2]}, {"label": (INT64, ["N"])}, domains=["ai.onnx.ml"])
    kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    onnx_model.graph.output.append(helper.make_value_info("z", helper.make_sequence_type_proto(kind)))
    return onnx_model


def text_as_weight():
    words = helper.make_tensor("words", STRING, [2], [b"cat", b"dog"])
    return proto([node("Gather", ["words", "i"], ["y"], "g")], {"i": (INT64, [1])}, {"y": (STRING, [1])}, [words])


def much_text_as_weight():
    words = helper.make_tensor("words", STRING, [400], [b"a word of some length %d" % n for n in range(400)])
    return proto([node("Gather", ["words", "i"], ["y"], "g")], {"i": (INT64, [1])}, {"y": (STRING, [1])}, [words])


def text_constants():
    nodes = [
        node("Constant", [], ["k"], "k", value_strings=[b"cat", b"dog"]),
        node("Gather", ["k", "i"], ["y"], "g"),
        node("Constant", [], ["z"], "z", value_string=b"bird"),
    ]
    return proto(nodes, {"i": (INT64, [1])}, {"y": (STRING, [1]), "z": (STRING, [])})


def _sparse(linear=True, length=8):
    values = helper.make_tensor("s", FLOAT, [2], [1.0, 2.0])
    at = ([2], [0, 3]) if linear else ([2, 2], [0, 0, 1, 1])
    dims = [length] if linear else [2, length // 2]
    return helper.make_sparse_tensor(values, helper.make_tensor("i", INT64, *at), dims)


def sparse_weight():
    onnx_model = proto([node("Add", ["x", "s"], ["y"], "add")], {"x": [2, 4]}, {"y": [2, 4]}, ir_version=10)
    onnx_model.graph.sparse_initializer.append(_sparse(linear=False))
    return onnx_model


def sparse_constant():
    nodes = [node("Constant", [], ["k"], "k", sparse_value=_sparse()), node("Add", ["x", "k"], ["y"], "add")]
    return proto(nodes, {"x": [8]}, {"y": [8]})


def sparse_constant_in_a_branch():
    def branch(name):
        nodes = [node("Constant", [], [f"{name}k"], sparse_value=_sparse()), node("Add", ["x", f"{name}k"], [name])]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, FLOAT, [8])])

    outcome = node("If", ["c"], ["y"], "if", then_branch=branch("t"), else_branch=branch("e"))
    return proto([outcome], {"x": [8], "c": (TensorProto.BOOL, [])}, {"y": [8]})


def sparse_constant_in_a_function():
    body = [node("Constant", [], ["k"], sparse_value=_sparse()), node("Add", ["a", "k"], ["o"])]
    call = node("Block", ["x"], ["y"], "b", domain="my.ops")
    outcome = with_functions([call], {"y": [8]}, [function("Block", ["a"], ["o"], body)])
    outcome.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", FLOAT, [8]))
    return outcome


def old_version_with_constants():
    nodes = [
        node("Constant", [], ["k"], "k", value=constant("", [4, 2])),
        node("Reshape", ["x", "k"], ["r"], "reshape"),
        node("Relu", ["r"], ["y"], "relu"),
    ]
    return proto(nodes, {"x": [8]}, {"y": [4, 2]}, opset=7, ir_version=3)


def negative_axes():
    relu = [node("Relu", ["x"], ["t"], "relu"), node("Neg", ["t"], ["y"], "neg")]
    onnx_model = proto(relu, {"x": [-1, 4]}, {"y": [-1, 4]})
    onnx_model.graph.value_info.append(helper.make_tensor_value_info("t", FLOAT, [-1, -1]))
    return onnx_model


def scalars():
    nodes = [node("Mul", ["s", "x"], ["m"], "mul"), node("ReduceSum", ["m"], ["y"], "sum", keepdims=0)]
    return proto(nodes, {"s": [], "x": ["N", 4]}, {"y": []})


def no_inputs():
    return proto([node("MatMul", ["a", "b"], ["y"], "mm")], {}, {"y": [4, 4]}, [weight("a", 4, 4), weight("b", 4, 4)])


def output_is_an_input():
    return proto([node("Relu", ["x"], ["y"], "relu")], {"x": [2, 4]}, {"y": [2, 4], "x": [2, 4]})


def output_is_a_weight():
    return proto([node("Relu", ["x"], ["y"], "relu")], {"x": [2, 4]}, {"y": [2, 4], "w": [2]}, [weight("w", 2)])


def no_elements():
    none = constant("none", np.zeros((0, 4)), "float32")
    return proto([node("Concat", ["x", "none"], ["y"], "join", axis=0)], {"x": [2, 4]}, {"y": [2, 4]}, [none])


def small_types():
    dq = node("DequantizeLinear", ["q", "s"], ["d"], "dq", axis=0, block_size=2)
    four = helper.make_tensor("q", TensorProto.INT4, [4, 3], [1, -2, 3, -4, 5, -6, 7, -8, 0, 1, 2, 3])
    scale = constant("s", np.full((2, 3), 0.5), "float32")
    nodes = [dq, node("MatMul", ["x", "d"], ["y"], "mm")]
    return proto(nodes, {"x": [2, 4]}, {"y": [2, 3]}, [four, scale], opset=21, ir_version=10)


def without_content():
    empty = TensorProto(name="w", data_type=FLOAT, dims=[4, 3])
    return proto([node("MatMul", ["x", "w"], ["y"], "mm")], {"x": [2, 4]}, {"y": [2, 3]}, [empty])


def every_note():
    onnx_model = proto(
        [node("MatMul", ["x", "w"], ["t"], "mm", doc_string="a product"), node("Relu", ["t"], ["y"], "relu")],
        {"x": ["N", 4]},
        {"y": ["N", 3]},
        [weight("w", 4, 3)],
        opset=21,
        ir_version=11,
    )
    onnx_model.graph.value_info.append(helper.make_tensor_value_info("t", FLOAT, ["N", 3], doc_string="inner"))
    onnx_model.doc_string, onnx_model.domain, onnx_model.model_version = "a model", "org.example", 7
    onnx_model.producer_name, onnx_model.producer_version = "exporter", "1.2"
    onnx_model.graph.doc_string = "a graph"
    onnx_model.graph.initializer[0].doc_string = "a weight"
    onnx_model.graph.input[0].type.denotation = "IMAGE"
    onnx_model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    holders = (
        onnx_model,
        onnx_model.graph,
        onnx_model.graph.node[0],
        onnx_model.graph.initializer[0],
        onnx_model.graph.value_info[0],
    )
    for place, holder in enumerate((*holders, onnx_model.graph.input[0], onnx_model.graph.output[0])):
        for key in "ab":
            holder.metadata_props.add(key=key, value=f"{key}{place}")
    annotation = onnx_model.graph.quantization_annotation.add(tensor_name="t")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    return onnx_model


def notes_in_constants():
    tensor = constant("k", [1.0, 2.0, 3.0, 4.0], "float32")
    tensor.metadata_props.add(key="origin", value="layer1")
    nodes = [node("Constant", [], ["k"], "k", value=tensor), node("Add", ["x", "k"], ["y"], "add")]
    return proto(nodes, {"x": [2, 4]}, {"y": [2, 4]}, ir_version=10)


def how_to_train():
    outcome = every_note()
    outcome.training_info.add().algorithm.name = "sgd"
    return outcome


def several_devices():
    onnx_model = proto([node("Relu", ["x"], ["y"], "relu")], {"x": [2, 4]}, {"y": [2, 4]}, opset=21, ir_version=11)
    onnx_model.configuration.add(name="pair", num_devices=2, device=["CUDA:0", "CUDA:1"])
    onnx_model.graph.node[0].device_configurations.add(configuration_id="pair", pipeline_stage=1)
    return onnx_model


ODD: dict[str, Callable[[], onnx.ModelProto]] = {
    made.__name__: made
    for made in (
        function_of_one_node,
        function_with_weights_handed_in,
        function_with_constants,
        function_in_a_function,
        function_with_attributes,
        function_with_a_branch,
        function_with_several_results_and_one_unread,
        function_that_nobody_calls,
        sequence_as_output,
        sequence_as_input,
        optional_inside,
        map_as_output,
        text_as_weight,
        much_text_as_weight,
        text_constants,
        sparse_weight,
        sparse_constant,
        sparse_constant_in_a_branch,
        sparse_constant_in_a_function,
        old_version_with_constants,
        negative_axes,
        scalars,
        no_inputs,
        output_is_an_input,
        output_is_a_weight,
        no_elements,
        small_types,
        without_content,
        every_note,
        notes_in_constants,
        how_to_train,
        several_devices,
    )
}
