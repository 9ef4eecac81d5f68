"""What two trainings of one network share."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, proto, weight
from workbench.graph.blueprint import _lines, structure_digest
from workbench.graph.load import from_proto
from workbench.graph.model import Model

node = helper.make_node


def stated():
    body = helper.make_graph(
        [node("Add", ["x", "bias"], ["z"], "add")],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2])],
        [weight("bias", 2)],
    )
    given = onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    leaky = node("LeakyRelu", ["a"], ["b"], "leaky")
    leaky.attribute.append(given)
    opsets = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "F", ["a"], ["b"], [leaky], opsets, ["slope"])
    nodes = [
        node("If", ["yes"], ["t"], "if", then_branch=body, else_branch=body),
        node("Constant", [], ["k"], "k", value=constant("k", [3, 5])),
        node("F", ["t"], ["f"], "call", domain="own", slope=0.5),
        node("Clip", ["f", "", "most"], ["y"], "clip"),
        node("Own", ["y"], ["o"], "o", domain="own", list=[1, 2], word="text"),
    ]
    made = proto(
        nodes,
        {"x": ["N", 2], "yes": (TensorProto.BOOL, [])},
        {"y": [None, 2], "o": [1]},
        [constant("most", 6, "float32"), constant("axes", [1, 0])],
        domains=["own"],
        functions=[function],
    )
    made.graph.output[1].ClearField("type")
    return made


def test_it_is_made_of_all_but_numbers_that_are_learnt():
    loaded = from_proto(stated())
    lines = list(_lines(loaded))
    assert lines == [
        "[('', 17), ('own', 1)]",
        "in  [('x', 'FLOAT', ['N', '2']), ('yes', 'BOOL', [])]",
        "out  [('y', 'FLOAT', ['None', '2']), ('o', '', None)]",
        "weight most FLOAT []",
        "weight axes INT64 [2] 01000000000000000000000000000000",
        "node if  If  (['yes'], ['t']) [('else_branch', 'graph'), ('then_branch', 'graph')]",
        "node k  Constant  ([], ['k']) [('value', 'INT64 [2] 03000000000000000500000000000000')]",
        "node call own F  (['t'], ['f']) [('slope', 'FLOAT 0.5')]",
        "node clip  Clip  (['f', None, 'most'], ['y']) []",
        "node o own Own  (['y'], ['o']) [('list', 'INTS [1, 2]'), ('word', \"STRING 'text'\")]",
        "in if/else/ []",
        "out if/else/ [('z', 'FLOAT', ['N', '2'])]",
        "weight if/else/bias FLOAT [2]",
        "node if/else/add  Add  (['x', 'bias'], ['z']) []",
        "in if/then/ []",
        "out if/then/ [('z', 'FLOAT', ['N', '2'])]",
        "weight if/then/bias FLOAT [2]",
        "node if/then/add  Add  (['x', 'bias'], ['z']) []",
        "in function(own:F)/ [('a', '', None)]",
        "out function(own:F)/ [('b', '', None)]",
        "node function(own:F)/leaky  LeakyRelu  (['a'], ['b']) [('alpha', 'FLOAT slope')]",
    ]
    content = "".join(f"{line}\0" for line in lines).encode()
    assert structure_digest(loaded) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("array", "counts"),
    [
        (np.zeros(128, np.int64), True),
        (np.zeros(129, np.int64), False),
        (np.zeros(3, np.int32), False),
        (np.zeros(3, np.float32), False),
    ],
)
def test_whole_numbers_of_up_to_a_kibibyte_count(array, counts):
    def digest(last):
        array[-1] = last
        made = proto([node("Identity", ["w"], ["y"], "i")], {}, {"y": None}, [constant("w", array, array.dtype)])
        return structure_digest(from_proto(made))

    assert (digest(1) != digest(2)) == counts


def test_a_weight_without_content_is_there():
    graph = from_proto(stated()).thaw()
    graph.graph.register_initializer(ir.Value(name="bare", const_value=ir.tensor([1.0])))
    graph.graph.initializers["bare"].const_value = None
    assert "weight bare nothing" in list(_lines(Model(graph)))
