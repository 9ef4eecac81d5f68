"""Gemm of tensors that are no matrices becomes MatMul and Add with the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, model, run, weight
from workbench.errors import EditError
from workbench.graph.edits.registry import edit_by_name

node = helper.make_node
X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


def gemm(operands=("x", "w", "b"), shape=(2, 5, 3), *, inputs=None, more=(), outputs=("y",), **attributes):
    """A Gemm of three columns to four behind one axis too many, and what else there is."""
    kernel = (4, 3) if attributes.get("transB") else (3, 4)
    weights = [one for one in (weight("w", *kernel), weight("b", 4)) if one.name not in (inputs or {})]
    nodes = [node("Gemm", list(operands), ["y"], "g", **attributes), *more]
    result = [*shape[:-1], 4]
    return model(nodes, {"x": list(shape)} | (inputs or {}), dict.fromkeys(outputs, result), weights)


def numbers(network):
    return {name: value.const_value.numpy() for name, value in network.initializers.items()}


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize(("alpha", "beta"), [(None, None), (0.5, None), (None, 3.0), (0.5, 3.0), (1.0, 1.0)])
def test_it_is_the_product_and_the_sum(turned, alpha, beta):
    stated = {name: value for name, value in (("alpha", alpha), ("beta", beta)) if value is not None}
    network = gemm(transB=turned, **stated)
    held = numbers(network)
    done = edit_by_name("expand_gemm")(network)
    assert done.notes == ("wrote 1 Gemm as MatMul and Add",)
    assert [(name, one.op_type) for name, one in done.model.nodes.items()] == [("g/product", "MatMul"), ("g", "Add")]
    kernel = held["w"].T if turned else held["w"]
    expected = (alpha or 1) * (X @ kernel) + (beta or 1) * held["b"]
    np.testing.assert_allclose(run(done.model, {"x": X})[0], expected, rtol=1e-5, atol=1e-5)
    assert set(done.model.initializers) == {"w/columns", "b" if beta in (None, 1.0) else "b/scaled"}


def test_without_a_third_operand_it_is_the_product():
    done = edit_by_name("expand_gemm")(gemm(("x", "w")))
    assert [(name, one.op_type) for name, one in done.model.nodes.items()] == [("g", "MatMul")]
    np.testing.assert_allclose(run(done.model, {"x": X})[0], X @ numbers(gemm())["w"], rtol=1e-5)


def test_who_knows_the_result_finds_it_as_before():
    more = [node("Relu", ["y"], ["r"], "relu"), node("Neg", ["r"], ["z"], "neg")]
    for outputs in (("y", "z"), ("z",)):
        done = edit_by_name("expand_gemm")(gemm(more=more, outputs=outputs)).model
        assert list(done.nodes) == ["g/product", "g", "relu", "neg"]
        assert done.nodes["g"].outputs[0].name == "y"
        assert [str(tensor) for tensor in done.outputs] == [f"{name} float[2x5x4]" for name in outputs]
        assert str(done.tensor("y")) == "y float[2x5x4]"
        product = X @ numbers(gemm())["w"] + numbers(gemm())["b"]
        np.testing.assert_allclose(run(done, {"x": X})[-1], -np.maximum(product, 0), rtol=1e-5, atol=1e-6)


def unknown(**more):
    """A Gemm of which nobody knows how many axes its first input has."""
    nodes = [node("Reshape", ["x", "s"], ["r"], "reshape"), node("Gemm", ["r", "w", "b"], ["y"], "g", **more)]
    inputs = {"x": [6], "s": (TensorProto.INT64, ["n"])}
    return model(nodes, inputs, {"y": [None, 4]}, [weight("w", 3, 4), weight("b", 4)])


def test_it_is_expanded_in_the_whole_model_where_it_is_known_to_be_of_no_matrix():
    assert edit_by_name("expand_gemm")(gemm()).changed
    assert edit_by_name("expand_gemm")(gemm(shape=(2, 5, 1, 3))).changed
    behind = gemm(("r", "w"), more=[node("Relu", ["x"], ["r"], "relu")])
    assert edit_by_name("expand_gemm")(behind).changed
    assert not edit_by_name("expand_gemm")(gemm(shape=(2, 3))).changed
    assert not edit_by_name("expand_gemm")(unknown()).changed
    assert edit_by_name("expand_gemm", only="name:g")(unknown()).changed
    assert not edit_by_name("expand_gemm", only="name:reshape")(unknown()).changed


def test_each_is_expanded():
    nodes = [
        node("Relu", ["x"], ["r"], "relu"),
        node("Gemm", ["r", "w", "b"], ["a"], "g"),
        node("Gemm", ["a", "v"], ["y"], "h"),
    ]
    weights = [weight("w", 3, 4), weight("b", 4), weight("v", 4, 2)]
    network = model(nodes, {"x": [5, 3]}, {"y": [5, 2]}, weights)
    done = edit_by_name("expand_gemm", only="op:Gemm")(network)
    assert done.notes == ("wrote 2 Gemm as MatMul and Add",)
    assert list(done.model.nodes) == ["relu", "g/product", "g", "h"]
    assert_same(network, done.model, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (gemm(shape=(3, 5), transA=1), "its first operand is transposed, or its second is no constant"),
        (gemm(shape=(5, 3), inputs={"w": [3, 4]}), "its first operand is transposed, or its second is no constant"),
        *(
            (
                gemm(shape=(5, 3), inputs={"b": [4]}, beta=beta),
                "its third operand is no constant and multiplied by beta",
            )
            for beta in (0.5, 3.0)
        ),
    ],
)
def test_what_cannot_be_written_so_is_refused(network, message):
    with pytest.raises(EditError) as refused:
        edit_by_name("expand_gemm", only="name:g")(network)
    assert (refused.value.where, refused.value.what) == ("g", message)
