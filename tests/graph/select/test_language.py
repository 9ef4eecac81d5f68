"""Selectors: what they match, how they are written, what they say when nothing matches."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import SelectorError
from workbench.graph.load import from_proto, load_model
from workbench.graph.select.language import parse, select
from workbench.graph.select.selectors import between, everything, nodes, pick, related


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


@pytest.fixture(scope="module")
def model():
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], "/stem/Conv", kernel_shape=[1, 1]),
            helper.make_node("Relu", ["a"], ["b"], "/stem/Relu"),
            helper.make_node("Conv", ["b", "w2"], ["c"], "/encoder/layer.0/Conv", kernel_shape=[1, 1]),
            helper.make_node("Add", ["c", "b"], ["d"], "/encoder/layer.0/Add"),
            helper.make_node("Cast", ["d"], ["e e"], "/encoder/Cast (half)", to=TensorProto.FLOAT16),
            helper.make_node("Shape", ["x"], ["y2"], "/Shape"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 3, 3])],
        [
            helper.make_tensor_value_info("e e", TensorProto.FLOAT16, [1, 2, 3, 3]),
            helper.make_tensor_value_info("y2", TensorProto.INT64, [4]),
        ],
        [weight("w1", 2, 2, 1, 1), weight("w2", 2, 2, 1, 1)],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


STEM, RELU, CONV, ADD = "/stem/Conv", "/stem/Relu", "/encoder/layer.0/Conv", "/encoder/layer.0/Add"
CAST, SHAPE = "/encoder/Cast (half)", "/Shape"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*", [STEM, RELU, CONV, ADD, CAST, SHAPE]),
        ("name:/stem/*", [STEM, RELU]),
        ("name:*?onv", [STEM, CONV]),
        ('name:"/encoder/Cast (half)"', [CAST]),
        (r"re:layer\.\d+/", [CONV, ADD]),
        ("op:Conv", [STEM, CONV]),
        ("op:Conv|Add", [STEM, CONV, ADD]),
        ("op:Conv|Add & scope:/encoder", [CONV, ADD]),
        ("scope:/encoder/*", [CONV, ADD, CAST]),
        ("scope:/*/layer.*", [CONV, ADD]),
        ("scope:**/layer.0", [CONV, ADD]),
        ("op:Conv & scope:/encoder/* & !name:*/stem*", [CONV]),
        ("op:Conv & !scope:/encoder | op:Shape", [STEM, SHAPE]),
        ("op:Conv & (scope:/stem | op:Shape)", [STEM]),
        ("dtype:fp16", [CAST]),
        ("dtype:int64", [SHAPE]),
        ("has:weights", [STEM, CONV]),
        ("reads:b", [CONV, ADD]),
        ("makes:b", [RELU]),
        ("between(b, d)", [CONV, ADD]),
        ('between(a, "e e")', [RELU, CONV, ADD, CAST]),
        ("upstream(op:Add)", [STEM, RELU, CONV]),
        ("downstream(name:/stem/Relu)", [CONV, ADD, CAST]),
        ("consumers(op:Relu)", [CONV, ADD]),
        ("producers(op:Add)", [RELU, CONV]),
        ("op:Conv | between(c, d)", [STEM, CONV, ADD]),
    ],
)
def test_matches_in_graph_order(model, text, expected):
    assert select(model, text) == expected
    assert parse(str(parse(text))) == parse(text)


def test_python_form_is_the_text_form(model):
    selector = pick("op", "Conv") & pick("scope", "/encoder/*") & ~pick("name", "*/stem*")
    assert selector == parse("op:Conv & scope:/encoder/* & !name:*/stem*")
    assert str(selector) == "op:Conv & scope:/encoder/* & !name:*/stem*"
    assert between("a", "b") | related("consumers", everything) == parse("between(a, b) | consumers(*)")
    assert select(model, nodes(CAST, STEM)) == [STEM, CAST]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("op:Convv", r"op:Convv: matches nothing. Did you mean op:Conv"),
        ("op:Convolution", "Did you mean op:Conv"),
        ("name:/encoder/layer.0/Cnov", "Did you mean name:/encoder/layer.0/Conv"),
        ("scope:/encodr", "Did you mean scope:/encoder"),
        ("op:Conv & name:layer.0", "for 'name:layer.0' does not. Did you mean name:/encoder/layer.0/Add"),
        ("between(bb, d)", "Did you mean b"),
        ("op:Conv & op:Add", "no node fulfils all of it at once"),
        ("consumers(op:Cast)", "matches nothing"),
        ("has:wheels", "a node has weights or a subgraph"),
    ],
)
def test_no_match_suggests_near_names(model, text, message):
    with pytest.raises(SelectorError, match=message):
        select(model, text)


def test_no_match_is_fine_where_none_is_required(model):
    assert select(model, "op:LSTM", required=False) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty selector: at column 1: a selector is missing"),
        ("Conv_3", "Write name:Conv_3"),
        ("opp:Conv", "there is no key 'opp'. Did you mean op"),
        ("op:Conv &", "column 10: a selector is missing"),
        ("(op:Conv", "a closing parenthesis is missing"),
        ("op:Conv )", "column 9: something is left over"),
        ("op:", "a value is missing"),
        ('name:"abc', "a quote that is not closed"),
        ("re:*", "not a regular expression"),
        ("between(a)", "between needs two tensors"),
        ("upstreem(op:Add)", "Did you mean upstream"),
    ],
)
def test_unreadable_text_says_where(text, message):
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert message in str(caught.value)


values = st.text(st.sampled_from("ab*?/:.\\|&!()\"', \t[]"), max_size=6)
leaves = st.one_of(
    st.just(everything),
    st.builds(pick, st.sampled_from(["name", "op", "scope", "reads", "makes", "dtype"]), values, values),
    st.builds(pick, st.just("name"), values),
    st.builds(between, values, values),
)
selectors = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a & b, inner, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a: ~a, inner),
        st.builds(related, st.sampled_from(["upstream", "downstream", "consumers", "producers"]), inner),
    ),
    max_leaves=6,
)


@given(selectors)
def test_text_form_round_trips(selector):
    assert parse(str(selector)) == selector


@given(values)
def test_nodes_names_exactly_one(name):
    pattern = nodes(name)
    other = type("M", (), {"nodes": {name: None, name + "x": None, "x" + name: None}})()
    assert pattern.match(other) == [name]


def test_reaches_into_subgraphs(shared):
    model = load_model(shared / "models" / "silero_vad_16k_op15" / "model.onnx")
    (lstm,) = set(select(model, "op:LSTM & scope:**/then"))
    holder = lstm.partition("/then/")[0]
    assert set(select(model, "has:subgraph")) == {a for a, node in model.nodes.items() if node.op_type == "If"}
    # What a branch computes, the node that holds it gives on.
    assert holder in select(model, related("downstream", nodes(lstm)))
