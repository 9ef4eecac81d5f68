"""Every edit inside of subgraphs and local functions, and kept to a part of the model by a selector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.holders import CASES, HOLDERS, RNG, SHAPE, WEIGHTS, Case, arguments_at, held, node, pieces
from tests.kit.models import assert_same, model, random_feeds, run
from workbench.errors import EditError, SelectorError
from workbench.graph.edits.inside import tensor_at
from workbench.graph.edits.registry import EDITS, applicable, edit_by_name
from workbench.graph.edits.wide import WideEdit
from workbench.graph.select.selectors import pick
from workbench.graph.weights import is_stripped
from workbench.recipe import ModelReference, Recipe


def content(network: Any, at: str) -> list[str]:
    """What stands inside, in words."""
    entries = [f"{a} {n.op_type} {sorted(n.attributes)}" for a, n in network.nodes.items() if a.startswith(at)]
    tensors = {str(v.name) for a, n in network.nodes.items() if a.startswith(at) for v in (*n.inputs, *n.outputs) if v}
    return [*entries, *sorted(tensors)]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", EDITS)
def test_every_edit_works_inside_or_says_why_not(name, holder, tmp_path):
    case, at = CASES.get(name), HOLDERS[holder]
    if case is None or holder not in case.holders:
        word = "main graph" if case is None else "local function"
        assert word in " ".join((EDITS[name].__doc__ or "").split()), (
            f"{name} has neither a test inside of a {holder} nor a reason"
        )
        return
    outcome = held(case, holder)
    arguments = arguments_at(case, at)
    if name == "restore_weights":
        (tmp_path / "whole.onnx").write_bytes(outcome.to_bytes())
        arguments["source"] = str(tmp_path / "whole.onnx")
        outcome = edit_by_name("strip_weights", keep=10)(outcome).model
    result = edit_by_name(name, **arguments)(outcome)
    after = result.model
    assert result.changed
    if name == "restore_weights":
        assert after.to_bytes() == (tmp_path / "whole.onnx").read_bytes()
        return
    if name == "strip_weights":
        assert len(after.to_bytes()) < len(outcome.to_bytes()) - 300
        return
    if name == "extract":
        assert [str(node.op_type) for node in after.nodes.values() if node.op_type != "Constant"] == ["Mul"]
        a = RNG.normal(size=SHAPE).astype(np.float32)
        np.testing.assert_array_equal(run(after, {after.inputs[0].name: a})[0], a * WEIGHTS["k"].astype(np.float32))
        return
    assert content(after, at) != content(outcome, at) or name == "mark_output"
    outputs = [tensor.name for tensor in outcome.outputs]
    for feeds in both_ways(outcome):
        second = run(after, feeds, outputs)
        if case.same and case.valid:
            first = run(outcome, feeds, outputs)
            np.testing.assert_allclose(second[0], first[0], atol=case.atol * np.abs(first[0]).max())
        assert np.isfinite(second[0]).all()
    wide = issubclass(EDITS[name], WideEdit)
    assert not wide or not edit_by_name(name, **arguments)(after).changed or name == "split_bias"


def both_ways(network: Any) -> list[dict[str, Any]]:
    feeds = random_feeds(network)
    return [feeds | {"cond": np.array(way)} for way in (True, False)] if "cond" in feeds else [feeds]


WIDE = [name for name, kind in EDITS.items() if issubclass(kind, WideEdit)]


@pytest.mark.parametrize("name", WIDE)
def test_only_keeps_an_edit_to_what_it_names(name, tmp_path):
    """The same case twice in one model: the edit is done at the first, and the second stays as it was."""
    case = CASES[name]
    nodes, weights = pieces(case, "twice")
    halves = []
    for half, (start, end) in {"one": ("x0", "x1"), "two": ("x1", "x2")}.items():
        rename = {"x": start, "y": end}
        for one in nodes:
            inputs = [rename.get(i, f"{half}/{i}") for i in one.input]
            network = helper.make_node(one.op_type, inputs, [rename.get(o, f"{half}/{o}") for o in one.output])
            network.name = f"{half}/{one.name}"
            network.attribute.extend(one.attribute)
            halves.append(network)
    copies = []
    for half in ("one", "two"):
        for tensor in weights:
            copy = type(tensor)()
            copy.CopyFrom(tensor)
            copy.name = f"{half}/{tensor.name}"
            copies.append(copy)
    if name == "remove_dead":
        halves.append(helper.make_node("Relu", ["two/dead"], ["two/deader"], "two/deader"))
    network = model(halves, {"x0": SHAPE}, {"x2": SHAPE}, copies, opset=case.opset, ir_version=10)
    arguments = dict(case.arguments)
    if name == "restore_weights":
        (tmp_path / "whole.onnx").write_bytes(network.to_bytes())
        arguments["source"] = str(tmp_path / "whole.onnx")
        network = edit_by_name("strip_weights", keep=10)(network).model
    whole = edit_by_name(name, **arguments)(network).model
    arguments.pop("only", None)  # a case may need one anyway
    there = edit_by_name(name, only=pick("scope", "two"), **arguments)
    assert there.only == "scope:two"
    part = there(network).model
    assert stored(part, "one") == stored(network, "one")
    assert stored(part, "two") != stored(network, "two")
    assert stored(whole, "one") != stored(network, "one")
    if name not in ("strip_weights", "restore_weights") and case.same:
        assert_same(network, part, atol=1e-6)
    with pytest.raises(SelectorError, match=r"matches nothing.*Did you mean scope:one"):
        edit_by_name(name, only="scope:onee", **arguments)(network)
    # It is a line of the recipe, and absent from it where it was not given.
    recipe = Recipe(model=ModelReference(file="m.onnx", sha256="0")).with_step(there)
    assert "only: scope:two" in recipe.to_yaml()
    assert "only:" not in Recipe(model=recipe.model).with_step(edit_by_name(name, **arguments)).to_yaml()


def stored(network: Any, half: str) -> list[Any]:
    """All that is said of one half of a model."""
    actual: list[Any] = []
    for address, one in network.nodes.items():
        if address.startswith(half):
            actual.append((address, one.op_type, sorted(one.attributes), [str(v and v.name) for v in one.inputs]))
    return actual + [
        (name, is_stripped(value.const_value)) for name, value in network.initializers.items() if name.startswith(half)
    ]


def test_what_is_picked_is_what_an_offered_edit_acts_on():
    case = CASES["remove_noops"]
    holder = held(Case([*case.nodes[:1], node("Identity", "a", "b2"), node("Relu", "b2", "y")]), "if")
    offered = next(edit for edit in applicable(holder, ["hold/then/a"]) if edit.do == "remove_noops")
    assert offered.only == "name:hold/then/a"
    assert {"hold/then/b2"} == {a for a, n in offered(holder).model.nodes.items() if n.op_type == "Identity"}


def test_extract_takes_along_what_a_branch_reads_from_around_it():
    holder = held(CASES["extract"], "if")
    part = edit_by_name("extract", inputs=[], outputs=["hold/then/b2"])(holder).model
    assert [str(tensor) for tensor in part.inputs] == ["n float[1x4x5x5]"]
    assert [node.op_type for node in part.nodes.values()] == ["Relu", "Mul"]
    n = RNG.normal(size=SHAPE).astype(np.float32)
    expected = np.maximum(n, 0) * WEIGHTS["k"].astype(np.float32)
    np.testing.assert_array_equal(run(part, {"n": n})[0], expected)


def test_extract_of_a_body_wants_its_inputs_named():
    holder = held(CASES["extract"], "loop")
    part = edit_by_name("extract", inputs=["hold/body/x"], outputs=["hold/body/y"])(holder).model
    assert [tensor.name for tensor in part.inputs] == ["x"]
    with pytest.raises(EditError, match="Name every input it needs"):
        edit_by_name("extract", inputs=[], outputs=["hold/body/y"])(holder)
    with pytest.raises(EditError, match="lie in different graphs"):
        edit_by_name("extract", inputs=["v"], outputs=["n", "hold/body/y"])(holder)


def test_extract_from_a_function_needs_calls_that_agree():
    holder = held(CASES["extract"], "function")
    assert str(tensor_at(holder, "function(local:Hold)/a")) == "function(local:Hold)/a float[1x4x5x5]"
    proto = holder.proto
    proto.graph.node.append(helper.make_node("Hold", ["other"], ["z2"], "hold2", domain="local"))
    proto.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 4]))
    proto.graph.output.append(helper.make_tensor_value_info("z2", TensorProto.FLOAT, None))
    from workbench.graph.load import from_proto

    torn = from_proto(proto)
    with pytest.raises(EditError, match="its shape or element type is unknown"):
        edit_by_name("extract", **arguments_at(CASES["extract"], HOLDERS["function"]))(torn)


def test_a_bodys_tensor_comes_out_stacked():
    holder = held(CASES["mark_output"], "loop")
    after = edit_by_name("mark_output", tensor="hold/body/a")(holder).model
    assert after.outputs[1].name == "hold/a"
    assert after.outputs[1].shape[1:] == tuple(SHAPE)
    feeds = random_feeds(holder)
    z, a = run(after, feeds)
    first = np.maximum(-feeds["v"], 0)
    np.testing.assert_array_equal(a, [first, np.maximum(-first, 0)])
    np.testing.assert_array_equal(z, run(holder, feeds)[0])


@pytest.mark.parametrize("stated", [{}, {"scan_output_axes": [1], "scan_output_directions": [1]}])
def test_a_scans_tensor_comes_out_stacked_from_the_front(stated):
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Add", ["s", "part"], ["t"], "t"),
        helper.make_node("Identity", ["t"], ["s_out"], "s_out"),
        helper.make_node("Neg", ["t"], ["o"], "o"),
    ]
    one = [value(name, TensorProto.FLOAT, [2]) for name in ("s", "part", "s_out", "o")]
    body = helper.make_graph(nodes, "body", one[:2], one[2:])
    scan = helper.make_node("Scan", ["start", "x"], ["last", "all"], "scan", body=body, num_scan_inputs=1, **stated)
    network = model([scan], {"start": [2], "x": [3, 2]}, {"last": [2], "all": [None, None]})
    after = edit_by_name("mark_output", tensor="scan/body/t")(network).model
    feeds = random_feeds(network)
    expected = np.cumsum(feeds["x"], axis=0) + feeds["start"]
    np.testing.assert_allclose(run(after, feeds)[2], expected, rtol=1e-5)


def test_a_tensor_comes_out_of_two_levels():
    inner = held(CASES["mark_output"], "if").proto.graph.node[1]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"], "go_on"),
            helper.make_node("Neg", ["v"], ["n"], "front"),
            inner,
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("v", TensorProto.FLOAT, SHAPE)],
        [value("go_on", TensorProto.BOOL, []), value("z", TensorProto.FLOAT, SHAPE)],
    )
    loop = helper.make_node("Loop", ["times", "", "first"], ["y"], "loop", body=body)
    times = numpy_helper.from_array(np.int64(3), "times")
    network = model([loop], {"first": SHAPE, "cond": (TensorProto.BOOL, [])}, {"y": SHAPE}, [times])
    after = edit_by_name("mark_output", tensor="loop/body/hold/then/a")(network).model
    v = RNG.normal(size=SHAPE).astype(np.float32)
    out = run(after, {"first": v, "cond": np.array(True)})
    assert out[1].shape == (3, *SHAPE)
    np.testing.assert_array_equal(out[1][0], np.maximum(-v, 0))


def test_a_branchs_tensor_needs_a_partner():
    holder = held(CASES["mark_output"], "if")
    after = edit_by_name("mark_output", tensor="hold/then/a")(holder).model
    v = RNG.normal(size=SHAPE).astype(np.float32)
    for way, expected in ((True, np.maximum(-v, 0)), (False, np.abs(v))):
        np.testing.assert_array_equal(run(after, {"v": v, "cond": np.array(way)})[1], expected)
    lone = held(Case([node("Relu", "x", "lonely"), node("Neg", "lonely", "y")]), "if")
    with pytest.raises(EditError, match=r"the other branch makes no FLOAT tensor.*otherwise='hold/else/\.\.\.'"):
        edit_by_name("mark_output", tensor="hold/then/lonely")(lone)
    named = edit_by_name("mark_output", tensor="hold/then/lonely", otherwise="hold/else/u")(lone).model
    assert [tensor.name for tensor in named.outputs] == ["z", "hold/lonely"]
    other = held(Case([node("Cast", "x", "a", to=TensorProto.FLOAT16), node("Neg", "x", "y")]), "if")
    with pytest.raises(EditError, match="is not like it"):
        edit_by_name("mark_output", tensor="hold/then/a")(other)


def test_a_functions_tensor_is_no_output():
    holder = held(CASES["mark_output"], "function")
    with pytest.raises(EditError, match="each call has its own"):
        edit_by_name("mark_output", tensor="function(local:Hold)/a")(holder)


def test_real_subgraphs(shared):
    """Silero VAD holds its network in branches of an If, with more Ifs in them."""
    from workbench.graph.load import load_model

    network = load_model(shared / "models/silero_vad_16k_op15/model.onnx")
    inner = [a for a, n in network.nodes.items() if n.op_type == "Conv" and "/" in a]
    assert inner
    for address in inner[:2]:
        offered = next(edit for edit in applicable(network, [address]) if edit.do == "extract")
        assert [node.op_type for node in offered(network).model.nodes.values()] == ["Conv"]
