"""The pattern language: how it is read, what it matches, what a replacement writes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

from tests.kit.models import constant, model
from workbench.errors import EditError
from workbench.graph.edits.pattern import Match, PatternNode, apply_replacement, find, read_pattern

node = helper.make_node


def graph(*nodes, weights=(), outputs=("y",), inputs=("x", "z"), opset=17, domains=("own",)):
    """A graph on inputs [2, 3, 5]; each node is called after its first result."""
    for one in nodes:
        one.name = one.name or one.output[0]
    shapes = dict.fromkeys(inputs, (TensorProto.FLOAT, [2, 3, 5]))
    network = model(nodes, shapes, dict.fromkeys(outputs), weights, opset=opset, domains=domains, ir_version=10)
    return network.thaw().graph


def names(part, text, **more):
    """The nodes of each match, the one that makes the result first."""
    return [[one.name for one in match.nodes] for match in find(part, read_pattern(text), **more)]


def values(part, text):
    """What each name of the pattern is bound to in the only match."""
    (match,) = find(part, read_pattern(text))
    return {name: getattr(value, "name", value) for name, value in match.values.items()}


def test_a_pattern_is_read_line_by_line():
    text = " a, b = own.ops::Cut{axis=-1, mode = fast}( x , $k )\n\n y = Add(a, 0.5) | Sub(a, b)\n"
    outs = ("a", "b")
    assert read_pattern(text) == (
        (PatternNode("Cut", "own.ops", ("x", "$k"), (("axis", "-1"), ("mode", "fast")), outs),),
        (PatternNode("Add", "", ("a", "0.5"), (), ("y",)), PatternNode("Sub", "", ("a", "b"), (), ("y",))),
    )
    assert read_pattern("y = Noise()") == ((PatternNode("Noise", "", (), (), ("y",)),),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n ", "the pattern is empty. Write lines such as y = Mul(x, 0.5)."),
        ("y = Neg(x)\n  y Neg", "y Neg: this is no node of a pattern. Write lines such as y = Mul(x, 0.5)."),
        ("y = Neg(x) | Abs", "y = Neg(x) | Abs: this is no node of a pattern. Write lines such as y = Mul(x, 0.5)."),
        (" y = Elu{alpha }(x)", "y = Elu{alpha }(x): an attribute is written name=value. Mend 'alpha'."),
    ],
)
def test_what_is_no_pattern_is_refused_with_its_line(text, message):
    with pytest.raises(EditError) as refused:
        read_pattern(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("number", "matches"),
    [(0.5, True), (0.500004, True), (0.499996, True), (0.500006, False), (0.499994, False), (-0.5, False)],
)
def test_a_number_is_a_constant_of_that_value_to_one_part_in_a_hundred_thousand(number, matches):
    for held in (number, [number], [[number]]):
        part = graph(node("Mul", ["x", "k"], ["y"]), weights=[constant("k", held, "float64")])
        assert bool(names(part, "y = Mul(x, 0.5)")) is matches
    many = graph(node("Mul", ["x", "k"], ["y"]), weights=[constant("k", [number] * 5, "float32")])
    assert not names(many, "y = Mul(x, 0.5)")
    assert not names(graph(node("Mul", ["x", "z"], ["y"])), "y = Mul(x, 0.5)")


@pytest.mark.parametrize(
    ("dtype", "number", "matches"),
    [
        ("float16", 0.79788456, True),
        ("float16", 0.7974, True),  # the number of FP16 below the nearest
        ("float16", 0.7969, False),
        ("bfloat16", 0.79788456, True),
        ("bfloat16", 0.7891, False),
        ("float32", 0.79788, True),
        ("float32", 0.7979, False),
    ],
)
def test_a_number_of_a_coarser_type_is_looked_for_to_its_last_digit(dtype, number, matches):
    held = np.asarray(number, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    part = graph(node("Mul", ["x", "k"], ["y"]), weights=[from_array(held, "k")])
    assert bool(names(part, "y = Mul(x, 0.79788456)")) is matches


@pytest.mark.parametrize(("number", "matches"), [(0.0, True), (9e-12, True), (1.1e-11, False), (-1.1e-11, False)])
def test_nothing_is_next_to_nothing(number, matches):
    part = graph(node("Mul", ["x", "k"], ["y"]), weights=[constant("k", number, "float64")])
    assert bool(names(part, "y = Mul(x, 0)")) is matches
    negative = graph(node("Mul", ["x", "k"], ["y"]), weights=[constant("k", -2.00001, "float64")])
    assert names(negative, "y = Mul(x, -2)")


def test_a_name_is_the_same_tensor_everywhere_and_a_dollar_a_constant():
    weights = [constant("k", [1, 2, 3, 4, 5], "float32")]
    assert names(graph(node("Sub", ["x", "x"], ["y"])), "y = Sub(a, a)")
    assert not names(graph(node("Sub", ["x", "z"], ["y"])), "y = Sub(a, a)")
    assert values(graph(node("Sub", ["x", "k"], ["y"]), weights=weights), "y = Sub(a, $b)") == {
        "y": "y",
        "a": "x",
        "$b": "k",
    }
    assert not names(graph(node("Sub", ["x", "z"], ["y"])), "y = Sub(a, $b)")
    assert not names(
        graph(node("Clip", ["x", "", "k"], ["y"]), weights=[constant("k", 1, "float32")]), "y = Clip(x, a, b)"
    )


def test_inputs_that_are_not_there_at_the_end_do_not_count():
    weights = [constant("k", 1, "float32")]
    for inputs, matches in ((["x"], True), (["x", ""], True), (["x", "", ""], True), (["x", "k"], False)):
        assert bool(names(graph(node("Clip", inputs, ["y"]), weights=weights), "y = Clip(x)")) is matches
    assert names(graph(node("Clip", ["x", "k"], ["y"]), weights=weights), "y = Clip(x) | Clip(x, k)")


def test_operators_of_two_inputs_that_may_be_swapped_match_in_either_order():
    for op, swapped in (("Add", True), ("Mul", True), ("Max", True), ("Sub", False), ("Div", False)):
        part = graph(node("Neg", ["x"], ["n"]), node(op, ["z", "n"], ["y"]))
        assert bool(names(part, f"n = Neg(a) \n y = {op}(n, b)")) is swapped
        assert names(part, f"n = Neg(a) \n y = {op}(b, n)") == [["y", "n"]]
    three = graph(node("Neg", ["x"], ["n"]), node("Max", ["z", "x", "n"], ["y"]))
    assert not names(three, "n = Neg(a) \n y = Max(n, b, c)")
    assert names(three, "n = Neg(a) \n y = Max(b, c, n)")
    # One way round is a match, and the other is the same.
    assert names(graph(node("Add", ["x", "z"], ["y"])), "y = Add(a, b)") == [["y"]]


def test_alternatives_are_tried_one_after_the_other():
    by = {"a": constant("k", 2, "float32")}
    for op in ("Div", "Mul", "Pow"):
        part = graph(node(op, ["x", "k"], ["y"]), weights=by.values())
        assert names(part, "y = Div(x, 2) | Mul(x, 3) | Mul(x, 2) | Pow(x, 2)") == [["y"]]
    part = graph(node("LeakyRelu", ["x"], ["y"], alpha=0.25))
    assert names(part, "y = LeakyRelu{alpha=0.5}(x) | LeakyRelu{alpha=0.25}(x)") == [["y"]]
    assert not names(graph(node("Sub", ["x", "k"], ["y"]), weights=by.values()), "y = Div(x, 2) | Mul(x, 2)")


def test_an_operator_is_of_its_domain():
    part = graph(node("Gelu", ["x"], ["y"], domain="own"))
    assert names(part, "y = own::Gelu(x)") == [["y"]]
    assert not names(part, "y = Gelu(x)")
    assert not names(part, "y = other::Gelu(x)")


def test_a_result_is_read_at_the_place_where_the_pattern_has_it():
    text = "a, b = Split{axis=1}(x) \n y = Neg(b)"
    for read, matches in (("b", True), ("a", False)):
        part = graph(node("Split", ["x"], ["a", "b"], axis=1), node("Neg", [read], ["y"]))
        assert names(part, text) == ([["y", "a"]] if matches else [])


def test_the_inside_of_a_match_is_read_by_nobody_else():
    inner = [node("Neg", ["x"], ["n"]), node("Abs", ["n"], ["y"])]
    text = "n = Neg(x) \n y = Abs(n)"
    assert names(graph(*inner), text) == [["y", "n"]]
    assert not names(graph(*inner, outputs=("y", "n")), text)
    assert not names(graph(*inner, node("Exp", ["n"], ["e"]), outputs=("y", "e")), text)
    # All that the pattern's last node makes beside its result is inside, too.
    top = node("TopK", ["x", "k"], ["y", "places"])
    count = [constant("k", [2])]
    assert names(graph(top, weights=count), "v, p = TopK(x, $k)") == [["y"]]
    assert not names(graph(top, weights=count, outputs=("y", "places")), "v, p = TopK(x, $k)")
    assert not names(
        graph(top, node("Neg", ["places"], ["n"]), weights=count, outputs=("y", "n")), "v, p = TopK(x, $k)"
    )


def test_a_match_lies_in_one_graph_and_shares_no_node_with_another():
    result = helper.make_tensor_value_info("r", TensorProto.FLOAT, [2, 3, 5])
    branch = helper.make_graph([node("Abs", ["n"], ["r"], "abs")], "b", [], [result])
    choice = node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch)
    inputs = {"x": [2, 3, 5], "c": (TensorProto.BOOL, [])}
    held = model([node("Neg", ["x"], ["n"], "neg"), choice], inputs, {"y": None})
    inner = held.nodes["if/then/abs"].graph
    assert not names(inner, "n = Neg(x) \n y = Abs(n)")
    chain = graph(*(node("Neg", [a], [b]) for a, b in zip(["x", "a", "b", "c"], ["a", "b", "c", "y"], strict=True)))
    assert names(chain, "a = Neg(x) \n y = Neg(a)") == [["b", "a"], ["y", "c"]]


ATTRIBUTES = [
    ("LeakyRelu", {"alpha": 0.25}, "alpha=0.25", True),
    ("LeakyRelu", {"alpha": 0.250002}, "alpha=0.25", True),
    ("LeakyRelu", {"alpha": 0.26}, "alpha=0.25", False),
    ("LeakyRelu", {}, "alpha=0.01", True),
    ("LeakyRelu", {}, "alpha=0.02", False),
    ("Softmax", {"axis": 1}, "axis=1", True),
    ("Softmax", {"axis": 1}, "axis=2", False),
    ("Softmax", {}, "axis=-1", True),
    ("Gelu", {"approximate": "tanh"}, "approximate=tanh", True),
    ("Gelu", {"approximate": "tanh"}, "approximate=none", False),
    ("Gelu", {}, "approximate=none", True),
    ("Transpose", {"perm": [0, 2, 1]}, "perm=0", False),
    ("ReduceMean", {"axes": [1]}, "axes=1", True),
    ("ReduceMean", {"axes": [1, 2]}, "axes=1", False),
    ("ReduceMean", {"axes": [2]}, "axes=1", False),
    ("ReduceMean", {}, "axes=1", False),
    ("Relu", {}, "nothing=1", False),
]


@pytest.mark.parametrize(("op", "stated", "asked", "matches"), ATTRIBUTES)
def test_an_attribute_has_its_value_or_its_default(op, stated, asked, matches):
    part = graph(node(op, ["x"], ["y"], **stated), opset=20 if op == "Gelu" else 17)
    assert bool(names(part, f"y = {op}{{{asked}}}(x)")) is matches


def test_operators_of_other_domains_have_no_defaults():
    part = graph(node("LeakyRelu", ["x"], ["y"], domain="own"))
    assert not names(part, "y = own::LeakyRelu{alpha=0.01}(x)")


def test_a_number_or_a_word_among_the_attributes_is_bound():
    assert values(graph(node("LeakyRelu", ["x"], ["y"], alpha=0.25)), "y = LeakyRelu{alpha=@a}(x)")["@a"] == 0.25
    gelu = graph(node("Gelu", ["x"], ["y"], approximate="tanh"), opset=20)
    assert values(gelu, "y = Gelu{approximate=@how}(x)")["@how"] == "tanh"
    assert not names(graph(node("Transpose", ["x"], ["y"], perm=[0, 2, 1])), "y = Transpose{perm=@p}(x)")
    assert not names(graph(node("Relu", ["x"], ["y"])), "y = Relu{nothing=@n}(x)")


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize(
    ("axes", "rank", "count"),
    [
        ([-1], 3, 1),
        ([2], 3, 1),
        ([1, 2], 3, 2),
        ([-1, -2], 3, 2),
        ([2, -2], 3, 2),
        ([0, 1, 2], 3, 3),
        ([0], 3, None),
        ([1], 3, None),
        ([0, 2], 3, None),
        ([-1], None, 1),
        ([-1, -2], None, 2),
        ([2], None, None),
        ([0], None, None),
        ([-1, 0], None, None),
        ([], 3, None),
    ],
)
def test_the_last_axes_are_counted_however_they_are_stated(axes, rank, count, opset):
    if opset == 17:
        part = graph(node("ReduceMean", ["x"], ["y"], axes=axes or None))
    else:
        part = graph(node("ReduceMean", ["x", "axes"], ["y"]), weights=[constant("axes", axes)], opset=18)
    found = list(find(part, read_pattern("y = ReduceMean{axes=last@n}(x)"), lambda _: rank))
    assert [match.values["@n"] for match in found] == ([] if count is None else [count])


@pytest.mark.parametrize(
    ("axis", "rank", "count"), [(-1, 3, 1), (2, 3, 1), (1, 3, 2), (-3, 3, 3), (0, 3, 3), (-2, None, 2), (1, None, None)]
)
def test_an_axis_and_all_behind_it_are_counted(axis, rank, count):
    weights = [constant("k", [1] * 5, "float32")]
    part = graph(node("LayerNormalization", ["x", "k"], ["y"], axis=axis), weights=weights)
    found = list(find(part, read_pattern("y = LayerNormalization{axis=last@n}(x, $k)"), lambda _: rank))
    assert [match.values["@n"] for match in found] == ([] if count is None else [count])


def test_as_many_last_axes_are_counted_everywhere():
    for axes, matches in (([-1], True), ([-2, -1], False)):
        part = graph(node("ReduceMean", ["x"], ["m"], axes=[-1]), node("ReduceMax", ["m"], ["y"], axes=axes))
        assert bool(names(part, "m = ReduceMean{axes=last@n}(x) \n y = ReduceMax{axes=last@n}(m)")) is matches


def test_without_more_the_rank_is_what_the_graph_states():
    stated = graph(node("ReduceMean", ["x"], ["y"], axes=[2]))
    assert names(stated, "y = ReduceMean{axes=last@n}(x)")
    unknown = graph(node("Neg", ["x"], ["n"]), node("ReduceMean", ["n"], ["y"], axes=[2]))
    assert not names(unknown, "y = ReduceMean{axes=last@n}(n)")


def test_a_copy_of_a_match_is_another():
    match = Match(["node"], {"x": 1.0})
    copy = match.copy()
    copy.nodes.append("other")
    copy.values["y"] = 2.0
    assert (match.nodes, match.values, copy.rank) == (["node"], {"x": 1.0}, match.rank)


def replaced(part, pattern, replacement, *, dtype=np.float32, opset=17):
    for match in find(part, read_pattern(pattern)):
        apply_replacement(part, match, read_pattern(replacement), np.dtype(dtype), opset)
    return [
        f"{one.name}: {', '.join(v.name for v in one.outputs)} = {one.op_type}({', '.join(v.name for v in one.inputs)})"
        for one in part
    ]


def test_a_replacement_takes_the_place_and_the_names():
    part = graph(
        node("Neg", ["x"], ["n"]),
        node("Add", ["n", "k"], ["y"], "add"),
        node("Exp", ["y"], ["e"]),
        weights=[constant("k", 3, "float32")],
        outputs=("y", "e"),
    )
    assert replaced(part, "n = Neg(x) \n y = Add(n, 3)", "d = Sub(3, x) \n s = Relu(d) \n y = Abs(s)") == [
        "add_Sub_0: add_Sub_0_d = Sub(add_Sub_0_constant, x)",
        "add_Relu_1: add_Relu_1_s = Relu(add_Sub_0_d)",
        "add: y = Abs(add_Relu_1_s)",
        "e: e = Exp(y)",
    ]
    assert list(part.initializers) == ["add_Sub_0_constant"]
    assert part.initializers["add_Sub_0_constant"].const_value.numpy() == np.float32(3)
    assert [value.name for value in part.outputs] == ["y", "e"]


def test_several_results_of_a_replacement_are_bound():
    part = graph(node("Neg", ["x"], ["y"]))
    assert replaced(part, "y = Neg(x)", "a, b = own::Cut(x) \n y = Sub(b, a)") == [
        "y_Cut_0: y_Cut_0_a, y_Cut_0_b = Cut(x)",
        "y: y = Sub(y_Cut_0_b, y_Cut_0_a)",
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("+3", 3), ("-3", -3), ("3.5", 3.5), ("1e3", 1000.0), ("fast", "fast"), ("@a", 0.25), ("$k", 0.5)],
)
def test_attributes_are_numbers_words_or_what_was_bound(text, value):
    weights = [constant("k", [0.5], "float32")]
    part = graph(node("LeakyRelu", ["x"], ["l"], alpha=0.25), node("Mul", ["l", "k"], ["y"]), weights=weights)
    replaced(part, "l = LeakyRelu{alpha=@a}(x) \n y = Mul(l, $k)", f"y = own::Op{{how={text}}}(x)")
    (one,) = part
    held = one.attributes["how"].value
    assert (held, type(held)) == (value, type(value))
    assert list(part.initializers) == []


def test_what_was_bound_can_become_an_operand():
    part = graph(node("LeakyRelu", ["x"], ["y"], alpha=0.25))
    assert replaced(part, "y = LeakyRelu{alpha=@a}(x)", "y = Mul(x, @a)", dtype=np.float16) == [
        "y: y = Mul(x, y_constant)"
    ]
    held = part.initializers["y_constant"].const_value.numpy()
    assert (held.dtype, held.item()) == (np.float16, 0.25)


@pytest.mark.parametrize(("opset", "as_input"), [(17, False), (18, True)])
def test_last_axes_are_written_out(opset, as_input):
    part = graph(node("LpNormalization", ["x"], ["y"], axis=1), opset=opset)
    text = "m = ReduceMean{axes=last@n}(x) \n y = LayerNormalization{axis=last@n}(x, m)"
    replaced(part, "y = LpNormalization{axis=last@n}(x)", text, opset=opset)
    mean, layer = part
    assert layer.attributes["axis"].as_int() == -2
    if as_input:
        held = mean.inputs[1].const_value.numpy()
        assert (held.dtype, held.tolist()) == (np.int64, [-2, -1])
        assert "axes" not in mean.attributes
    else:
        assert mean.attributes["axes"].as_ints() == (-2, -1)


@pytest.mark.parametrize(
    ("op", "opset", "inputs"),
    [
        ("ReduceSum", 12, 1),
        ("ReduceSum", 13, 2),
        ("ReduceMax", 17, 1),
        ("Unsqueeze", 12, 1),
        ("Unsqueeze", 13, 2),
        ("own::ReduceSum", 18, 1),
    ],
)
def test_axes_are_an_input_where_this_operator_of_onnx_reads_them(op, opset, inputs):
    part = graph(node("Neg", ["x"], ["y"]), opset=opset)
    replaced(part, "y = Neg(x)", f"y = {op}{{axes=1}}(x)", opset=opset)
    (one,) = part
    assert (len(one.inputs), "axes" in one.attributes) == (inputs, inputs == 1)
    if inputs == 2:
        assert one.inputs[1].const_value.numpy().tolist() == [1]


@pytest.mark.parametrize(("domain", "found"), [("", True), ("own", False)])
def test_axes_are_looked_for_among_the_inputs_of_operators_of_onnx(domain, found):
    weights = [constant("k", [-1], "int64")]
    part = graph(node("ReduceMax", ["x", "k"], ["y"], domain=domain), weights=weights, opset=18)
    prefix = f"{domain}::" if domain else ""
    assert bool(names(part, f"y = {prefix}ReduceMax{{axes=-1}}(x)")) == found
    assert bool(names(part, f"y = {prefix}ReduceMax{{axes=-1}}(x, $k)")) is False


def test_one_axis_is_a_list_of_one():
    part = graph(node("Neg", ["x"], ["y"]))
    replaced(part, "y = Neg(x)", "y = own::Cut{axes=1}(x)", opset=18)
    (one,) = part
    assert list(one.attributes["axes"].as_ints()) == [1]


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        ("y = Abs(q)", "q: the replacement reads what the pattern does not bind. Bind it in the pattern."),
        ("y = Mul(x, @how)", "@how: the replacement reads what the pattern does not bind. Bind it in the pattern."),
        ("y = Elu{alpha=x}(x)", "x: only a constant of one element can become an attribute"),
        ("y = Elu{alpha=$k}(x)", "$k: only a constant of one element can become an attribute"),
        ("y = Softmax{axis=last@how}(x)", "last@how: the replacement counts axes that the pattern does not"),
    ],
)
def test_a_replacement_that_cannot_be_written_is_refused(replacement, message):
    weights = [constant("k", [1, 2, 3, 4, 5], "float32")]
    part = graph(
        node("Gelu", ["x"], ["g"], approximate="tanh"), node("Mul", ["g", "k"], ["y"]), weights=weights, opset=20
    )
    pattern = "g = Gelu{approximate=@how}(x) \n y = Mul(g, $k)"
    with pytest.raises(EditError) as refused:
        replaced(part, pattern, replacement)
    assert str(refused.value) == message
