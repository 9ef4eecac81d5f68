"""Patterns: what matches, and that fused, expanded and replaced graphs compute the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tests.kit.models import assert_same, constant, model, weight
from workbench.errors import EditError
from workbench.graph.edits.convert_opset import ConvertOpset
from workbench.graph.edits.outputs import MarkOutput
from workbench.graph.edits.pattern import find, read_pattern
from workbench.graph.edits.patterns import EXPANSIONS, FUSIONS
from workbench.graph.edits.rewrite import Expand, Fuse, ReplacePattern
from workbench.graph.load import load_model


def ops(network):
    return sorted(node.op_type for node in network.nodes.values())


def expanded(name, opset):
    """A model in which one function is spelt out, made by `Expand` from its operator."""
    attributes = {"gelu_tanh": {"approximate": "tanh"}, "layer_norm": {"axis": -1, "epsilon": 1e-3}}.get(name, {})
    op = {"gelu": "Gelu", "gelu_tanh": "Gelu", "silu": "Swish", "layer_norm": "LayerNormalization"}[name]
    feeds = ["x", "scale", "bias"] if name == "layer_norm" else ["x"]
    return model(
        [helper.make_node(op, feeds, ["y"], "it", **attributes)],
        {"x": [2, 3, 8]},
        {"y": [2, 3, 8]},
        [weight("scale", 8), weight("bias", 8)][: 2 * (name == "layer_norm")],
        opset=opset,
        ir_version=10,
    )


@pytest.mark.parametrize(("name", "opset"), [("gelu", 20), ("gelu_tanh", 20), ("layer_norm", 17), ("layer_norm", 18)])
def test_expanding_and_fusing_compute_the_same(name, opset):
    outcome = expanded(name, opset)
    plain = Expand(pattern=name)(outcome)
    assert plain.changed
    assert len(plain.model.nodes) > 4
    assert_same(outcome, plain.model, atol=3e-6)
    fused = Fuse(pattern=name)(plain.model)
    assert ops(fused.model) == ops(outcome)
    assert_same(outcome, fused.model, atol=3e-6)
    assert list(fused.model.nodes) == ["it"]
    assert [tensor.name for tensor in fused.model.outputs] == ["y"]
    again = Fuse(pattern=name)(fused.model)
    assert again.model is fused.model


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 24, reason="this onnx package does not know Swish yet")
def test_silu_fuses_where_the_operator_set_has_it():
    network = model(
        [helper.make_node("Sigmoid", ["x"], ["s"], "s"), helper.make_node("Mul", ["s", "x"], ["y"], "m")],
        {"x": [2, 3]},
        {"y": [2, 3]},
        opset=24,
        ir_version=10,
    )
    fused = Fuse(pattern="silu")(network)
    assert ops(fused.model) == ["Swish"]
    plain = Expand(pattern="silu")(fused.model)
    assert ops(plain.model) == ["Mul", "Sigmoid"]
    # ONNX's own reference: not every onnxruntime knows this operator set.
    feeds = {"x": np.linspace(-4, 4, 6, dtype=np.float32).reshape(2, 3)}
    expected = feeds["x"] / (1 + np.exp(-feeds["x"]))
    for changed in (fused, plain):
        np.testing.assert_allclose(ReferenceEvaluator(changed.model.proto).run(None, feeds)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("half_first", [0, 1, 2])
@pytest.mark.parametrize("divide", [False, True])
@pytest.mark.parametrize("swap", [False, True])
def test_every_spelling_of_gelu(half_first, divide, swap):
    def two(op, a, b, out):
        return helper.make_node(op, [b, a] if swap and op != "Div" else [a, b], [out], out)

    first = two("Div", "x", "root", "d") if divide else two("Mul", "x", "inverse", "d")
    products = [
        [two("Mul", "x", "a", "m"), two("Mul", "m", "half", "y")],
        [two("Mul", "x", "half", "m"), two("Mul", "m", "a", "y")],
        [two("Mul", "a", "half", "m"), two("Mul", "x", "m", "y")],
    ][half_first]
    nodes = [first, helper.make_node("Erf", ["d"], ["e"], "e"), two("Add", "e", "one", "a"), *products]
    numbers = {"half": 0.5, "one": 1.0} | ({"root": 2**0.5} if divide else {"inverse": 0.5**0.5})
    network = model(
        nodes,
        {"x": [4, 4]},
        {"y": [4, 4]},
        [constant(name, value, "float32") for name, value in numbers.items()],
        opset=20,
        ir_version=10,
    )
    fused = Fuse(pattern="gelu")(network)
    assert ops(fused.model) == ["Gelu"]
    assert list(fused.model.initializers) == []
    assert_same(network, fused.model, atol=2e-6)


def test_no_fusion_where_something_else_reads_the_inside():
    outcome = Expand(pattern="gelu")(expanded("gelu", 20)).model
    erf = next(node for node in outcome.nodes.values() if node.op_type == "Erf")
    watched = MarkOutput(tensor=erf.outputs[0].name)(outcome).model
    assert not Fuse(pattern="gelu")(watched).changed


@pytest.mark.parametrize("pattern", ["gelu", "gelu_tanh"])
def test_no_offer_that_the_check_would_refuse(pattern):
    """A spelling whose constants are 1e-3 off is another function."""
    plain = Expand(pattern=pattern)(expanded(pattern, 20)).model
    for off, offered in ((1e-3, False), (1e-6, True)):
        graph = plain.thaw()
        for value in graph.graph.initializers.values():
            array = value.const_value.numpy()
            if array not in (0.5, 1.0, 3.0):
                value.const_value = ir.tensor(array * np.float32(1 + off), name=value.name)
        other = plain.replaced(graph)
        assert [edit.pattern for edit in Fuse.offers(other, [])] == [pattern] * offered


def test_no_fusion_with_other_numbers():
    network = model(
        [
            helper.make_node("Mul", ["x", "root"], ["d"], "d"),
            helper.make_node("Erf", ["d"], ["e"], "e"),
            helper.make_node("Add", ["e", "one"], ["a"], "a"),
            helper.make_node("Mul", ["x", "a"], ["m"], "m"),
            helper.make_node("Mul", ["m", "half"], ["y"], "y"),
        ],
        {"x": [4]},
        {"y": [4]},
        [constant("root", 0.8, "float32"), constant("one", 1.0, "float32"), constant("half", 0.5, "float32")],
        opset=20,
    )
    assert not Fuse(pattern="gelu")(network).changed


def spelled(axes, shape, scale, opset=17, keepdims=1):
    """A layer normalization over some axes, spelled out, with a scale and a bias of a shape."""
    reduced = {} if opset >= 18 else {"axes": axes}
    more = ["axes"] if opset >= 18 else []
    return model(
        [
            helper.make_node("ReduceMean", ["x", *more], ["m"], "m", keepdims=keepdims, **reduced),
            helper.make_node("Sub", ["x", "m"], ["d"], "d"),
            helper.make_node("Mul", ["d", "d"], ["s"], "s"),
            helper.make_node("ReduceMean", ["s", *more], ["v"], "v", keepdims=keepdims, **reduced),
            helper.make_node("Add", ["v", "eps"], ["e"], "e"),
            helper.make_node("Sqrt", ["e"], ["r"], "r"),
            helper.make_node("Div", ["d", "r"], ["n"], "n"),
            helper.make_node("Mul", ["n", "scale"], ["w"], "w"),
            helper.make_node("Add", ["w", "bias"], ["y"], "y"),
        ],
        {"x": shape},
        {"y": shape},
        [weight("scale", *scale), weight("bias", *scale), constant("eps", 1e-3, "float32"), constant("axes", axes)],
        opset=opset,
        ir_version=10,
    )


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize(
    ("axes", "shape", "scale", "axis"),
    [
        ([-1], [2, 3, 8], [8], -1),
        ([2], [2, 3, 8], [8], -1),
        ([-2, -1], [2, 3, 8], [3, 8], -2),
        ([-1, -2], [2, 3, 8], [1, 3, 8], -2),
        ([1, 2], [2, 3, 8], [8], -2),
        ([1, 2, 3], ["N", 3, 4, 5], [3, 1, 1], -3),
        ([-1], ["N", "T", 8], [], -1),
    ],
)
def test_layer_norm_over_any_last_axes(axes, shape, scale, axis, opset):
    outcome = spelled(axes, shape, scale, opset)
    fused = Fuse(pattern="layer_norm")(outcome).model
    assert ops(fused) == ["LayerNormalization"]
    assert fused.nodes["y"].attributes["axis"].as_int() == axis
    assert_same(outcome, fused, atol=3e-6)
    # Out again, counted from the front as exporters do.
    front = fused.thaw()
    node = next(iter(front.graph))
    node.attributes.add(type(node.attributes["axis"])("axis", node.attributes["axis"].type, axis + len(shape)))
    plain = Expand(pattern="layer_norm")(fused.replaced(front)).model
    assert "LayerNormalization" not in ops(plain)
    assert_same(outcome, plain, atol=3e-6)
    again = Fuse(pattern="layer_norm")(plain).model
    assert ops(again) == ["LayerNormalization"]


@pytest.mark.parametrize(
    ("axes", "shape", "scale", "keepdims"),
    [
        ([1], [2, 3, 8], [8], 1),  # not the last
        ([-3, -1], [2, 3, 8], [8], 1),  # a gap
        ([-1], [8, 8], [8], 0),  # it subtracts along another axis
        ([-1], [2, 3, 8], [3, 8], 1),  # the scale spans more than what is normalized
        ([-1], ["N", "T", "C"], [], 1),  # one number for a length that nobody knows
    ],
)
def test_what_only_looks_like_a_layer_norm_stays(axes, shape, scale, keepdims):
    assert not Fuse(pattern="layer_norm")(spelled(axes, shape, scale, keepdims=keepdims)).changed


@pytest.mark.skipif(onnx.defs.onnx_opset_version() < 24, reason="this onnx package does not know Swish yet")
def test_silu_names_the_conversion_it_needs():
    network = model(
        [helper.make_node("Sigmoid", ["x"], ["s"], "s"), helper.make_node("Mul", ["s", "x"], ["y"], "m")],
        {"x": [2, 3]},
        {"y": [2, 3]},
    )
    with pytest.raises(EditError, match=r"wb\.edit\('convert_opset', version=24\)"):
        Fuse(pattern="silu")(network)
    assert ops(Fuse(pattern="silu")(ConvertOpset(version=24)(network).model).model) == ["Swish"]


def test_an_old_operator_set_is_refused_with_what_to_do():
    outcome = expanded("layer_norm", 17)
    with pytest.raises(EditError, match=r"Convert it first: wb\.edit\('convert_opset', version=20\)"):
        Fuse(pattern="gelu")(outcome)


def test_inside_a_subgraph():
    def branch(name, op):
        nodes = [
            helper.make_node("Sigmoid", ["x"], [f"{name}s"], "s"),
            helper.make_node(op, ["x", f"{name}s"], [f"{name}y"], "m"),
        ]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, [3])])

    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("t", "Mul"), else_branch=branch("e", "Add"))
    network = model([node], {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})
    result = ReplacePattern(pattern="s = Sigmoid(x) \n y = Mul(s, x)", replacement="y = HardSwish(x)")(network)
    assert set(result.model.nodes) == {"if", "if/then/m", "if/else/s", "if/else/m"}
    assert result.model.nodes["if/then/m"].op_type == "HardSwish"


def test_a_plugin_style_operator_takes_a_matchs_place():
    outcome = Expand(pattern="gelu")(expanded("gelu", 20)).model
    erf = "\n".join(FUSIONS["gelu"].patterns[0].splitlines())
    result = ReplacePattern(pattern=erf, replacement="y = my.plugins::FastGelu{bits=8, gain=0.5, mode=fast}(x)")(
        outcome
    )
    (node,) = result.model.nodes.values()
    assert (node.domain, node.op_type) == ("my.plugins", "FastGelu")
    assert {name: attribute.value for name, attribute in node.attributes.items()} == {
        "bits": 8,
        "gain": 0.5,
        "mode": "fast",
    }
    assert result.model.ir_model.opset_imports["my.plugins"] == 1


def test_selector_limits_where():
    network = model(
        [
            helper.make_node("Neg", ["x"], ["a"], "one/a"),
            helper.make_node("Neg", ["a"], ["b"], "one/b"),
            helper.make_node("Neg", ["b"], ["c"], "two/a"),
            helper.make_node("Neg", ["c"], ["y"], "two/b"),
        ],
        {"x": [3]},
        {"y": [3]},
    )
    result = ReplacePattern(pattern="a = Neg(x) \n y = Neg(a)", replacement="y = Identity(x)", only="scope:two")(
        network
    )
    assert list(result.model.nodes) == ["one/a", "one/b", "two/b"]
    assert_same(network, result.model)
    # Overlapping matches don't both count: b and c share no node with a and b.
    assert len(list(find(network.thaw().graph, read_pattern("a = Neg(x) \n y = Neg(a)")))) == 2


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ("y Mul(x, 1)", "y = Abs(x)", "this is no node of a pattern"),
        ("", "y = Abs(x)", "the pattern is empty"),
        ("y = Mul{alpha}(x, 1)", "y = Abs(x)", "an attribute is written name=value"),
        ("y = Neg(x)", "y = Abs(z)", "the replacement reads what the pattern does not bind"),
    ],
)
def test_unreadable_patterns(pattern, replacement, message):
    network = model([helper.make_node("Neg", ["x"], ["y"], "n")], {"x": [3]}, {"y": [3]})
    with pytest.raises(EditError, match=message):
        ReplacePattern(pattern=pattern, replacement=replacement)(network)


def test_every_table_can_be_read():
    for table in (FUSIONS, EXPANSIONS):
        for rewrite in table.values():
            assert read_pattern(rewrite.replacement)
            assert all(read_pattern(pattern) for pattern in rewrite.patterns)


def test_real_models(shared):
    vit = load_model(shared / "models/vit_mnist_selftrained/model.onnx")
    newer = ConvertOpset(version=20)(vit).model
    fused = Fuse(pattern="gelu")(newer)
    assert fused.notes == ("fused 4 gelu",)
    assert_same(newer, fused.model, atol=1e-5)
    plain = Expand(pattern="layer_norm")(vit)
    assert plain.notes == ("expanded 9 layer_norm",)
    assert_same(vit, plain.model, atol=1e-5)
    back = Fuse(pattern="layer_norm")(plain.model)
    assert back.notes == ("fused 9 layer_norm",)
    cct = load_model(shared / "models/cct_fp32_op20/model.onnx")
    assert Expand(pattern="gelu")(cct).notes == ("expanded 2 gelu",)
    assert_same(cct, Expand(pattern="gelu")(cct).model, atol=1e-5)


def test_half_precision_gets_half_constants():
    network = model(
        [helper.make_node("Gelu", ["x"], ["y"], "g")],
        {"x": (TensorProto.FLOAT16, [4])},
        {"y": (TensorProto.FLOAT16, [4])},
        opset=20,
        ir_version=10,
    )
    plain = Expand(pattern="gelu")(network).model
    assert {value.const_value.numpy().dtype for value in plain.initializers.values()} == {np.dtype(np.float16)}
    assert_same(network, plain, atol=3e-3)
