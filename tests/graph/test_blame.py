"""What fails for a model that is not valid is said against the model."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from tests.kit.models import model, proto
from workbench.errors import EditError, ModelError
from workbench.graph import damage
from workbench.graph.damage import _first_line, blamed_on, blaming
from workbench.graph.model import Model

node = helper.make_node


@pytest.fixture(scope="module")
def valid():
    return model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})


@pytest.fixture(scope="module")
def wrong():
    return model([node("Relu", ["x", "x"], ["y"], "twice")], {"x": [2]}, {"y": [2]})


def blamed(loaded, error):
    with pytest.raises(Exception) as caught, blamed_on(loaded):  # noqa: PT011 - which one is asked
        raise error
    return caught.value


def test_an_error_is_the_models_where_the_checker_says_so(valid, wrong):
    ours, theirs = EditError("no"), KeyError("x")
    assert blamed(wrong, ours) is ours
    assert blamed(valid, theirs) is theirs
    said = blamed(wrong, theirs)
    assert isinstance(said, ModelError)
    assert said.__cause__ is theirs
    assert str(said).startswith("g: not valid ONNX: Node(twice) with schema(::Relu:14) has input size 2")
    short = blamed(wrong, MemoryError())
    assert str(short) == "g: it needs more memory than there is. Use a machine with more memory."


def test_the_file_is_asked_where_there_is_one(valid, wrong, tmp_path):
    path = tmp_path / "m.onnx"
    gone = Model(wrong.ir_model, path=path)
    assert str(blamed(gone, KeyError())).startswith(f"{path}: not valid ONNX: Node(twice)")
    onnx.save(valid.proto, path)
    assert isinstance(blamed(gone, KeyError()), KeyError)
    onnx.save(wrong.proto, path)
    assert str(blamed(gone, KeyError())).startswith(f"{path}: not valid ONNX: Node(twice)")


@pytest.mark.parametrize("saved", [True, False])
def test_types_and_shapes_are_checked_too(saved, tmp_path):
    stated = proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [3]})
    path = tmp_path / "m.onnx"
    if saved:
        onnx.save(stated, path)
    said = str(blamed(Model(ir.from_proto(stated), path=path), KeyError()))
    assert said.startswith(
        f"{path}: not valid ONNX: [ShapeInferenceError] Inference error(s): (op_type:Relu, node name: r)"
    )


def test_where_the_checker_may_crash_it_is_asked_in_the_helper(tmp_path, monkeypatch):
    def refuse(content):
        asked.append(content)
        raise ValueError("no")

    asked = []
    monkeypatch.setattr(damage, "check_model", refuse)
    made = model([node("DictVectorizer", ["x"], ["y"], "n", domain="ai.onnx.ml")], {"x": [2]}, {"y": [2]})
    path = tmp_path / "m.onnx"
    there = Model(made.ir_model, path=path)
    for one in (made, there):
        assert str(blamed(one, KeyError())).endswith(
            "not valid ONNX: no. Export or copy it again, or repair the named part."
        )
    path.write_bytes(b"m")
    blamed(there, KeyError())
    assert asked == [made.proto.SerializeToString()] * 2 + [str(path)]


def test_an_output_of_any_rank_is_no_reason_and_a_node_beside_it_is():
    def shapeless(op, *inputs):
        made = proto([node(op, inputs, ["y"], "it")], {"x": [2]}, {"y": [2]})
        made.graph.output[0].type.tensor_type.ClearField("shape")
        return Model(ir.from_proto(made))

    assert isinstance(blamed(shapeless("Relu", "x"), KeyError()), KeyError)
    assert "has input size 2" in str(blamed(shapeless("Relu", "x", "x"), KeyError()))


def test_a_part_that_cannot_be_written_is_the_reason_where_the_model_is_valid(valid):
    deep = ir.serde.SerdeError("outer")
    deep.__cause__ = TypeError("inner\nmore")
    assert str(blamed(valid, deep)).startswith("g: not valid ONNX: a part of it cannot be written: inner.")


def test_who_is_blamed_is_the_first_argument_or_what_it_has(valid, wrong):
    class Holder:
        def __init__(self, **parts):
            self.__dict__.update(parts)

    @blaming
    def fail(_thing, *, error):
        raise error

    for thing in (wrong, Holder(model=wrong), Holder(state=Holder(model=wrong)), Holder(state=wrong, model=valid)):
        with pytest.raises(ModelError, match="twice"):
            fail(thing, error=KeyError())
    assert fail.__name__ == "fail"


def test_of_what_a_library_says_one_line_is_told():
    assert _first_line(ValueError("\n  one \ntwo")) == "one"
    assert _first_line(ValueError("")) == "ValueError"
    assert _first_line(ValueError("x" * 301)) == "x" * 300
