"""Models at the border of what is equal, long, named and counted."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model, proto, weight
from workbench.errors import EditError, ModelError
from workbench.graph.edits.lent_weights import _is_equal
from workbench.graph.edits.pattern import _stated_rank
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.inspection.difference import GraphChange, GraphDiff
from workbench.graph.load import from_proto
from workbench.graph.message import written
from workbench.graph.select import keys
from workbench.graph.shapes.inference import FARTHEST, LONGEST, _is_long
from workbench.graph.shapes.shapes import _reason
from workbench.graph.stored.wire import _message
from workbench.graph.tensor import Tensor

RELU = [helper.make_node("Relu", ["x"], ["y"], "r")]


def test_weights_are_equal_where_type_shape_and_numbers_are():
    def tensor(values, dtype=np.float32):
        return ir.tensor(np.array(values, dtype))

    assert _is_equal(tensor([1, 2]), tensor([1, 2]))
    assert not _is_equal(tensor([1, 2]), tensor([1, 3]))
    assert not _is_equal(tensor([[0, 0]]), tensor([0, 0]))
    assert not _is_equal(tensor([0, 0]), tensor([0, 0], np.int32))


def test_a_model_without_a_graph_is_named_by_what_it_is_called():
    with pytest.raises(ModelError, match=r"^model: no graph in it"):
        from_proto(onnx.ModelProto())
    empty = onnx.ModelProto()
    empty.graph.name = "net"
    with pytest.raises(ModelError, match=r"^net: no graph in it"):
        from_proto(empty)


@pytest.mark.parametrize(
    ("shape", "long"),
    [
        ([LONGEST], False),
        ([LONGEST + 1], True),
        ([1, LONGEST + 1], False),
        ([1, FARTHEST], False),
        ([1, FARTHEST + 1], True),
        ([], False),
        (["N"], False),
        ([-1], True),
        ([0], False),
    ],
)
def test_an_axis_is_long_from_another_length_on_where_it_is_alone(shape, long):
    assert _is_long(helper.make_tensor_value_info("x", TensorProto.INT64, shape)) == long


def test_what_is_left_of_a_difference_is_counted():
    changes = tuple(GraphChange("weight", f"w{at}", "changed") for at in range(5))
    lines = GraphDiff(changes).text(most=3).splitlines()
    assert lines[0] == "5 weight"
    assert (len(lines), lines[-1]) == (5, "  ... and 2 more")
    assert len(GraphDiff(changes).text(most=5).splitlines()) == 6


def test_types_that_there_are_are_suggested_for_one_that_there_is_not():
    network = model(RELU, {"x": [2]}, {"y": [2]})
    assert None not in keys.WORDS["dtype"](network)
    assert {str(one).lower() for one in keys.WORDS["dtype"](network)} & {"float", "fp32", "float32"}


@pytest.mark.parametrize("field", [b"\x0d\x01\x02\x03\x04", b"\x09\x01\x02\x03\x04\x05\x06\x07\x08"])
def test_numbers_of_four_and_eight_bytes_are_kept(field):
    content = field + b"\x08\x07"
    weights = {}
    assert _message(io.BytesIO(content), len(content), "tensor", weights, []) == content
    with pytest.raises(ValueError, match="the file ends early"):
        _message(io.BytesIO(field[:-1]), len(field) - 1, "tensor", weights, [])


def test_a_part_that_cannot_be_written_says_why():
    for error in (TypeError("first\nsecond"), TypeError()):
        with pytest.raises(ModelError, match=r"a part of it cannot be written: (first|TypeError)"), written("m"):
            raise error


def test_weights_are_restored_from_a_model_whose_own_are_there(tmp_path):
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "a")]
    whole = proto(nodes, {"x": [4096]}, {"y": [4096]}, [weight("w", 4096)])
    onnx.save(whole, tmp_path / "whole.onnx")
    stripped = edit_by_name("strip_weights")(from_proto(whole)).model
    restored = edit_by_name("restore_weights", source=str(tmp_path / "whole.onnx"))(stripped).model
    np.testing.assert_array_equal(
        restored.initializers["w"].const_value.numpy(), from_proto(whole).initializers["w"].const_value.numpy()
    )
    for other in (weight("w", 4095), weight("v", 4096), numpy_helper.from_array(np.zeros(4096), "w")):
        odd = proto([helper.make_node("Identity", [other.name], ["y"], "a")], {}, {"y": None}, [other])
        odd.graph.output[0].type.tensor_type.elem_type = other.data_type
        onnx.save(odd, tmp_path / "other.onnx")
        with pytest.raises(EditError, match="it has no weight of this name, shape and element type"):
            edit_by_name("restore_weights", source=str(tmp_path / "other.onnx"))(stripped)


def test_the_rank_of_a_tensor_is_that_of_its_stated_shape():
    assert _stated_rank(ir.Value(name="x", shape=ir.Shape([2, None]))) == 2
    assert _stated_rank(ir.Value(name="x")) is None


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (None, "of an unknown type"),
        (Tensor("x", (1,), None), "of an unknown type"),
        (Tensor("x", None, None, form="sequence"), "a sequence"),
    ],
)
def test_shapes_are_unknown_behind_what_is_no_tensor_of_a_type(tensor, kind):
    network = model(RELU, {"x": [2]}, {"y": [2]})
    (relu,) = network.nodes.values()
    assert _reason(relu, {} if tensor is None else {"x": tensor}, network) == f"Relu reads 'x', {kind}"
