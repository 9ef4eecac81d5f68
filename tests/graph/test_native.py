"""ONNX's native code: here where it is safe, and in a helper where it may crash."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from tests.kit.models import proto
from workbench.graph import native
from workbench.graph.native import NativeError, check_model, convert_version, infer_shapes
from workbench.helper import Failed, HelperDiedError, NoHelperError

RELU = proto([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": None})


@pytest.fixture
def called(monkeypatch):
    """Which functions are called in the helper; here they are called in this process."""
    names = []

    def call(function, *arguments):
        names.append(function.__name__)
        return function(*arguments)

    monkeypatch.setattr(native.helper, "call", call)
    return names


@pytest.mark.parametrize("op", ["DictVectorizer", "RegexFullMatch", None])
def test_what_may_crash_goes_to_the_helper(called, op):
    made = onnx.ModelProto()
    made.CopyFrom(RELU)
    made.doc_string = op or "Vectorizer"
    inferred = infer_shapes(made)
    assert called == ([] if op is None else ["_infer"])
    assert [dim.dim_value for dim in inferred.graph.output[0].type.tensor_type.shape.dim] == [2]
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [3]))
    assert infer_shapes(made).graph.output[0] == made.graph.output[0]
    with pytest.raises(onnx.shape_inference.InferenceError, match="differ in dimension 0"):
        infer_shapes(made, strict_mode=True, check_type=True)


def test_models_are_converted_and_checked_there(called):
    assert convert_version(RELU, 20).opset_import[0].version == 20
    wrong = proto([helper.make_node("Relu", ["x", "x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    right = proto([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    check_model(right.SerializeToString())
    with pytest.raises(onnx.checker.ValidationError, match="has input size 2"):
        check_model(wrong.SerializeToString())
    # Types are checked, too.
    right.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [3]))
    with pytest.raises(onnx.shape_inference.InferenceError, match="differ in dimension 0"):
        check_model(right.SerializeToString())
    assert called == ["_convert", "_check", "_check", "_check"]


def answering(monkeypatch, answer):
    def call(*_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(native.helper, "call", call)


def test_a_helper_that_died_or_refused_is_one_line(monkeypatch):
    answering(monkeypatch, HelperDiedError(-11))
    for ask, what in (
        (lambda: check_model(b""), "checker"),
        (lambda: convert_version(RELU, 20), "converter"),
        (lambda: native._elsewhere("shape inference", native._infer, b"", {}), "shape inference"),
    ):
        with pytest.raises(NativeError) as caught:
            ask()
        assert str(caught.value) == f"ONNX's {what} crashed in native code (SIGSEGV)"
    answering(monkeypatch, Failed(("ValidationError",), "not valid"))
    with pytest.raises(NativeError, match=r"^not valid$"):
        check_model(b"")


def test_without_a_helper_it_is_done_here(monkeypatch):
    answering(monkeypatch, NoHelperError())
    assert convert_version(RELU, 20).opset_import[0].version == 20
