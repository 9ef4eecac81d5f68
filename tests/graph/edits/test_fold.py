"""Folding constants is exact; folding BatchNormalization is right to float32's precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import assert_same, constant, model, weight
from workbench.graph.edits import fold_constants
from workbench.graph.edits.fold_batch_norm import FoldBatchNorm
from workbench.graph.edits.fold_constants import FoldConstants
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import from_proto, load_model
from workbench.graph.stored.content import identity
from workbench.precision.lowering.lowering import activation_tensors, lower
from workbench.precision.plan.plan import PrecisionPlan
from workbench.session import tried

REAL = [
    "ultraface_rfb320",
    "vit_mnist_selftrained",
    "gtcrn_simple",
    "mnist_cntk",
    "tinyvit_demo",
    "dtln_1",
    "cct_fp32_op20",
]


def idle(network):
    """Weights that nobody reads."""
    return {name for name, value in network.initializers.items() if not value.uses()}


@pytest.mark.parametrize("name", REAL)
def test_folding_constants_is_exact_on_real_models(shared, name):
    before = load_model(shared / "models" / name / "model.onnx")
    result = FoldConstants()(before)
    assert_same(before, result.model)
    assert idle(result.model) <= idle(before)
    assert not [node for node in result.model.nodes.values() if node.op_type == "Constant"]
    # What is folded stays folded, and folding again gives the very model.
    assert FoldConstants()(result.model).model is result.model


def test_folding_leaves_what_depends_on_the_processor():
    network = model(
        [helper.make_node("Exp", ["c"], ["e"], "exp"), helper.make_node("Mul", ["x", "e"], ["y"], "mul")],
        {"x": [2]},
        {"y": [2]},
        [constant("c", [1.0, 2.0], "float32")],
    )
    assert not FoldConstants()(network).changed


def test_folding_leaves_the_original_alone(shared):
    before = load_model(shared / "models" / "vit_mnist_selftrained" / "model.onnx")
    bytes_before = before.to_bytes()
    FoldConstants()(before)
    before.__dict__.pop("proto")
    assert before.to_bytes() == bytes_before


@pytest.mark.parametrize(("times", "folds"), [([2, 0], True), ([2**21, 0], False)])
def test_what_is_nothing_at_last_is_folded_where_it_was_little_before(times, folds):
    # NumPy tiles one axis after the other: 32 MiB are made first.
    nodes = [helper.make_node("Tile", ["w", "n"], ["t"], "tile"), helper.make_node("Concat", ["x", "t"], ["y"], axis=1)]
    network = model(nodes, {"x": [4, 2]}, {"y": None}, [weight("w", 2, 2), constant("n", times, "int64")])
    assert FoldConstants()(network).changed is folds


def test_folding_never_makes_a_much_larger_model(shared):
    bloater = load_model(shared / "quirks/polygraphy/tests/models/constant_fold_bloater.onnx")
    assert len(FoldConstants()(bloater).model.to_bytes()) < 2 * len(bloater.to_bytes())


def norm(channels):
    rng = np.random.default_rng(channels)
    parts = {
        "scale": rng.uniform(0.5, 2, channels),
        "shift": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "var": rng.uniform(0.1, 3, channels),
    }
    return [numpy_helper.from_array(value.astype(np.float32), name) for name, value in parts.items()]


def layer_and_norm(op, shape, weight_shape, channels, rank, *, bias, **attributes):
    """A layer with a BatchNormalization of `channels` behind it."""
    feeds = ["x", "w", *(["b"] if bias else [])]
    return model(
        [
            helper.make_node(op, feeds, ["a"], "layer", **attributes),
            helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["y"], "norm", epsilon=1e-3),
        ],
        {"x": shape},
        {"y": [None] * rank},
        [weight("w", *weight_shape), *([weight("b", channels)] if bias else []), *norm(channels)],
    )


@settings(deadline=None, max_examples=25)
@given(
    op=st.sampled_from(["Conv", "ConvTranspose"]),
    group=st.integers(1, 3),
    width=st.integers(1, 3),
    out=st.integers(1, 3),
    kernel=st.sampled_from([1, 3]),
    bias=st.booleans(),
)
def test_batch_norm_folds_into_convolutions_with_groups(op, group, width, out, kernel, bias):
    channels_in, channels_out = group * width, group * out
    shape = (channels_out, width) if op == "Conv" else (channels_in, out)
    before = layer_and_norm(
        op, [1, channels_in, 5, 5], (*shape, kernel, kernel), channels_out, 4, bias=bias, group=group
    )
    result = FoldBatchNorm()(before)
    assert list(result.model.nodes) == ["layer"]
    assert_same(before, result.model, atol=2e-6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transposed", [0, 1])
def test_batch_norm_folds_into_gemm(transposed, bias):
    shape = (4, 6) if transposed else (6, 4)
    before = layer_and_norm("Gemm", [3, 6], shape, 4, 2, bias=bias, transB=transposed)
    result = FoldBatchNorm()(before)
    assert list(result.model.nodes) == ["layer"]
    assert_same(before, result.model, atol=2e-6)


def test_batch_norm_stays_where_the_layer_is_read_twice():
    before = model(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "conv"),
            helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], "norm"),
            helper.make_node("Add", ["a", "b"], ["y"], "add"),
        ],
        {"x": [1, 2, 3, 3]},
        {"y": [1, 2, 3, 3]},
        [weight("w", 2, 2, 1, 1), *norm(2)],
    )
    assert not FoldBatchNorm()(before).changed


def test_batch_norm_in_training_mode_stays():
    proto = layer_and_norm("Conv", [1, 2, 3, 3], (2, 2, 1, 1), 2, 4, bias=False).proto
    proto.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    assert not FoldBatchNorm()(from_proto(proto)).changed


def test_batch_norm_of_real_models(shared):
    for name, left in (("ultraface_rfb320", 0), ("gtcrn_simple", 0)):
        before = load_model(shared / "models" / name / "model.onnx")
        result = FoldBatchNorm()(before)
        assert sum(node.op_type == "BatchNormalization" for node in result.model.nodes.values()) == left
        assert idle(result.model) <= idle(before)
        assert_same(before, result.model, atol=2e-5)


def test_edits_keep_documentation_and_metadata():
    from onnx import load_from_string

    proto = layer_and_norm("Conv", [1, 2, 3, 3], (2, 2, 1, 1), 2, 4, bias=False).proto
    proto.doc_string = "about it"
    proto.metadata_props.add(key="who", value="me")
    proto.graph.node[0].doc_string = "about the layer"
    proto.graph.node[0].metadata_props.add(key="line", value="7")
    after = load_from_string(FoldBatchNorm()(from_proto(proto)).model.to_bytes())
    assert (after.doc_string, after.metadata_props[0].value) == ("about it", "me")
    assert (after.graph.node[0].doc_string, after.graph.node[0].metadata_props[0].value) == ("about the layer", "7")


@pytest.mark.parametrize(
    ("values", "dtype", "to", "folds"),
    [
        ([-7.6, 7.4], "float32", TensorProto.INT4, False),
        ([0.3, 500.0], "float32", TensorProto.FLOAT8E4M3FN, False),
        ([0.3, 500.0], "float32", TensorProto.INT8, False),
        ([float("nan")], "float32", TensorProto.INT64, False),
        ([-7.6, 7.4], "float32", TensorProto.INT8, True),
        ([-7.6, 6e4], "float32", TensorProto.FLOAT16, True),
        ([3, -2], "int64", TensorProto.FLOAT, True),
    ],
)
def test_a_cast_is_folded_where_every_runtime_casts_alike(values, dtype, to, folds):
    nodes = [
        helper.make_node("Cast", ["k"], ["c"], "cast", to=to),
        helper.make_node("Cast", ["c"], ["f"], "back", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "f"], ["y"], "mul"),
    ]
    network = model(
        nodes, {"x": [len(values)]}, {"y": [len(values)]}, [constant("k", values, dtype)], opset=21, ir_version=10
    )
    result = edit_by_name("fold_constants")(network)
    assert ("cast" not in result.model.nodes) == folds
    if np.isfinite(values).all():
        assert_same(network, result.model)


def behind_identities(readers, rows, *, transposed=False):
    """One weight that every layer reads behind an Identity of its own."""
    nodes, last = [], "x"
    for at in range(readers):
        nodes.append(helper.make_node("Identity", ["w"], [f"w{at}"], f"share{at}"))
        if transposed:
            nodes.append(helper.make_node("Transpose", [f"w{at}"], [f"t{at}"], f"turn{at}"))
        nodes.append(helper.make_node("MatMul", [last, f"{'t' if transposed else 'w'}{at}"], [f"m{at}"], f"layer{at}"))
        last = f"m{at}"
    values = np.random.default_rng(0).normal(scale=rows**-0.5, size=(rows, rows)).astype(np.float32)
    return model(nodes, {"x": [1, rows]}, {last: [1, rows]}, [numpy_helper.from_array(values, "w")])


@pytest.mark.parametrize("transposed", [False, True])
def test_a_weight_behind_identities_is_stored_once(transposed, monkeypatch):
    # What twelve readers of a weight of 85 MB would spend if each had its copy, three of this one do.
    monkeypatch.setattr(fold_constants, "LARGEST_SUM", 0)
    monkeypatch.setattr(fold_constants, "LARGEST_TIMES", 2)
    monkeypatch.setattr(fold_constants, "LARGEST_GROWTH", 0)
    before = behind_identities(8, 256, transposed=transposed)
    after = FoldConstants()(before).model
    assert [node.op_type for node in after.nodes.values()] == ["MatMul"] * 8
    assert_same(before, after)
    whole = len(before.to_bytes())
    for precision, share in (("fp16", 1 / 2), ("int8", 1 / 4)):
        resolution = PrecisionPlan().with_rule("*", precision).resolve(after)
        tuned = lower(after, resolution, dict.fromkeys(activation_tensors(after, resolution), 4.0)).model
        assert len(tuned.to_bytes()) < 1.1 * share * whole


def test_the_constants_of_the_model_that_is_folded_keep_their_names():
    nodes = [
        helper.make_node("Constant", [], ["k"], "k", value=numpy_helper.from_array(np.float32(2))),
        helper.make_node("Mul", ["x", "k"], ["y"], "mul"),
    ]
    network = model(nodes, {"x": [4]}, {"y": [4]})
    before = identity(network)
    assert tried(network, edit_by_name("fold_constants")).changed
    assert identity(network) == before
