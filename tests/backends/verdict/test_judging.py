"""From what a compiler said to a verdict on every node, to other shapes, and to a model that is mended.

What the compiler says is made up here, so that each answer is seen; test_verdict.py and test_causes.py ask a real one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, weight
from workbench.backends.compiler import NetworkLayer
from workbench.backends.compiler.nvinfer import Compilation, LogLine, ParserIssue
from workbench.backends.profiles import ProfileInput
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.backends.verdict import checking, mending
from workbench.backends.verdict.blame import Problem
from workbench.backends.verdict.cause import Fix
from workbench.backends.verdict.checking import DEFAULT_LIMITS, check, judge
from workbench.backends.verdict.mending import Mended, mend
from workbench.backends.verdict.offers import Offers
from workbench.backends.verdict.verdict import NodeVerdict
from workbench.child import Child, ChildError, Outcome
from workbench.errors import BackendError, EditError

node = helper.make_node
NO_PLUGIN = "Plugin not found"
DOUBLE = TensorProto.DOUBLE
NETWORK = model(
    [
        node("Relu", ["x"], ["a"], "plain"),
        node("Neg", ["d"], ["b"], "double"),
        node("Own", ["a"], ["c"], "own", domain="my.ops"),
        node("Identity", ["i"], ["e"], "int16"),
    ],
    {"x": [2], "d": (DOUBLE, [2]), "i": (TensorProto.INT16, [2])},
    {"b": (DOUBLE, [2]), "c": [2], "e": (TensorProto.INT16, [2])},
    domains=["my.ops"],
)


def compilation(*issues, log=(), parsed=False, built=False, layers=(), profile=()):
    lines = tuple(LogLine("ERROR", text) for text in log)
    return Compilation("1.7", parsed, built, None, 9 if built else None, issues, layers, profile, lines, 0.5, 1.5)


def refused(name, text="it is refused"):
    return ParserIssue(-1, name, "", "CODE", text, "check")


def judged(made, network=NETWORK, target="sm86"):
    return judge(network, target, Outcome(made, 3.0, 77, ("printed",)), compiler="TensorRT-RTX 1.7")


def statuses(made):
    return {one.node: (one.status, one.cause) for one in judged(made).nodes}


def test_a_node_of_a_built_engine_is_accepted_or_quietly_changed():
    assert statuses(compilation(parsed=True, built=True)) == {
        "plain": ("accepted", None),
        "double": ("changed", "double"),
        "own": ("accepted", None),
        "int16": ("accepted", None),
    }
    plain, double, *_ = judged(compilation(parsed=True, built=True)).nodes
    assert (plain.reason, plain.fix, plain.message) == (None, None, None)
    assert double.reason == "DOUBLE is computed as FP32"


def test_a_node_is_refused_where_it_is_blamed_and_suspected_where_it_carries_what_others_are_refused_for():
    words = "its plugin needs CUDA driver version is insufficient"
    made = judged(compilation(refused("plain"), refused("own", f"{NO_PLUGIN}\nmore"), refused("double", words)))
    assert {one.node: (one.status, one.cause) for one in made.nodes} == {
        "plain": ("refused", None),
        "double": ("undecided", "needs-gpu"),
        "own": ("refused", "custom-domain"),
        "int16": ("refused", "data-type"),  # the compiler does not name it
    }
    plain, _, own, int16 = made.nodes
    message = "it is refused (in function check, CODE)"
    assert (plain.reason, plain.message, plain.fix) == (message, message, None)
    assert (own.op, own.reason) == ("my.ops.Own", "my.ops.Own is custom; TensorRT has no plugin")
    assert own.message == f"{NO_PLUGIN}\nmore (in function check, CODE)"
    assert (int16.op, int16.message) == ("Identity", None)
    assert made.problems == ()


def test_a_node_that_was_not_judged_was_parsed_or_not_reached():
    layer = NetworkLayer("l", "ACTIVATION", ("plain",), ("FLOAT",), ("FLOAT",), "FLOAT")
    stopped = compilation(refused("own"), layers=(layer,))
    assert statuses(stopped)["plain"] == ("parsed", None)
    assert statuses(stopped)["double"] == ("not reached", None)
    assert statuses(compilation(parsed=True, log=["node own failed"]))["double"] == ("parsed", None)
    quantized = model(
        [
            node("DequantizeLinear", ["q", "s"], ["a"], "bias"),
            node("Relu", ["a"], ["y"], "relu"),
        ],
        {"q": (TensorProto.INT32, [2])},
        {"y": [2]},
        [weight("s")],
    )
    made = judged(compilation(refused("relu")), quantized)
    assert [(one.node, one.status, one.cause) for one in made.nodes] == [
        ("bias", "suspected", "int32-bias"),
        ("relu", "refused", None),
    ]
    assert made.nodes[0].reason.startswith("DequantizeLinear of INT32")


def test_what_fails_without_a_node_is_a_problem_unless_a_known_cause_explains_it():
    failed = compilation(parsed=True, log=["it failed"])
    assert judged(failed).problems == ()
    plain = model([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]})
    assert [one.message for one in judged(failed, plain).problems] == ["it failed"]
    named = compilation(parsed=True, log=["it failed", "node plain failed"])
    assert [one.message for one in judged(named).problems] == ["it failed"]


def layer(name, kind, outputs=("FLOAT",), arithmetic="FLOAT", nodes=("plain",)):
    return NetworkLayer(name, kind, nodes, ("HALF",), outputs, arithmetic)


@pytest.mark.parametrize(
    ("kinds", "main"),
    [
        (["SHUFFLE", "ACTIVATION", "CONVOLUTION", "CAST"], 2),
        (["MATRIX_MULTIPLY", "CONVOLUTION"], 0),
        (["CONSTANT", "SHUFFLE"], 0),
        (["ACTIVATION", "QUANTIZE"], 1),
        (["ACTIVATION", "DEQUANTIZE"], 1),
        (["POOLING", "DECONVOLUTION"], 1),
        (["SQUEEZE", "POOLING"], 1),
    ],
)
def test_a_node_is_told_by_the_layer_that_says_most_of_it(kinds, main):
    layers = tuple(layer(f"l{at}", kind, (f"T{at}",), f"A{at}") for at, kind in enumerate(kinds))
    other = layer("other", "CONVOLUTION", nodes=("own", "plain"), outputs=("LAST",), arithmetic="later")
    plain, double, own, _ = judged(compilation(parsed=True, built=True, layers=layers)).nodes
    assert (plain.layers, plain.types, plain.arithmetic) == (len(kinds), (f"T{len(kinds) - 1}",), f"A{main}")
    assert (double.layers, double.types, double.arithmetic) == (0, (), None)
    plain, _, own, _ = judged(compilation(parsed=True, built=True, layers=(*layers, other))).nodes
    assert (plain.layers, plain.types, own.layers, own.arithmetic) == (len(kinds) + 1, ("LAST",), 1, "later")


def test_a_verdict_keeps_what_was_measured_and_printed():
    profile = (ProfileInput("x", ShapeRange.fixed((1,)), stated=False),)
    made = judged(compilation(parsed=True, built=True, profile=profile))
    assert (made.model, made.target, made.compiler, made.accepted) == (NETWORK.name, "sm86", "TensorRT-RTX 1.7", True)
    assert (made.engine_bytes, made.parse_s, made.build_s, made.peak_bytes) == (9, 0.5, 1.5, 77)
    assert (made.profile, made.log, made.tried, made.layers) == (profile, ("printed",), (), ())


def test_shapes_are_to_blame_only_where_there_is_a_profile():
    error = refused("plain", "it failed in processCheck")
    profile = (ProfileInput("x", ShapeRange.fixed((1,)), stated=False),)
    assert judged(compilation(error, profile=profile)).nodes[0].cause == "shapes"
    assert judged(compilation(error)).nodes[0].cause is None


def test_types_are_those_of_the_target():
    half = model(
        [node("Relu", ["x"], ["y"], "r")], {"x": (TensorProto.BFLOAT16, [2])}, {"y": (TensorProto.BFLOAT16, [2])}
    )
    assert judged(compilation(parsed=True), half, "sm75").nodes[0].cause == "bf16-target"
    assert judged(compilation(parsed=True), half, "sm120").nodes[0].cause is None


# Asking the compiler

DYNAMIC = model([node("Relu", ["x"], ["y"], "r")], {"x": ["n", "t"], "z": [4]}, {"y": ["n", "t"]})


@pytest.fixture
def compiler(monkeypatch):
    """Return a function that has a compiler take the model for some lengths of its second axis alone."""
    asked = []

    def answers(*lengths, failure=(), seconds=0.0):
        clock = SimpleNamespace(now=0.0)

        def compile_for(opened, target, options, *, child):
            asked.append((opened, target, options, child))
            shapes = (options.profiles or ({},))[0].get("x")
            taken = shapes or ShapeRange((1, 128), (1, 128), (8, 128))
            profile = (ProfileInput("x", taken, stated=shapes is not None),)
            clock.now += seconds
            made = compilation(*failure, parsed=True, built=taken.opt[1] in lengths, profile=profile)
            return Outcome(made, 1.0, 0, ())

        monkeypatch.setattr(checking, "compile_for", compile_for)
        monkeypatch.setattr(checking, "time", SimpleNamespace(monotonic=lambda: clock.now))
        asked.clear()
        return asked

    return answers


def lengths(asked):
    return [options.profiles and dict(options.profiles[0])["x"].opt for _, _, options, _ in asked]


def test_a_model_is_asked_for_once_where_it_is_taken(compiler):
    asked = compiler(128)
    verdict = check(DYNAMIC, "sm89")
    assert (verdict.accepted, verdict.tried, verdict.target) == (True, (), "sm89")
    assert asked == [(DYNAMIC, "sm89", BuildOptions(), DEFAULT_LIMITS)]
    limits = Child(timeout_s=1.0)
    options = BuildOptions(optimization_level=1)
    asked = compiler(128)
    check(DYNAMIC.proto, options=options, child=limits)
    ((opened, *rest),) = asked
    assert (opened.digest, rest) == (DYNAMIC.digest, ["sm86", options, limits])
    assert (DEFAULT_LIMITS.timeout_s, DEFAULT_LIMITS.memory_bytes) == (15 * 60, 16 << 30)


def test_shapes_may_be_given_as_one_or_as_a_range(compiler):
    asked = compiler(7)
    wide = ShapeRange((1, 7), (2, 7), (3, 7))
    assert check(DYNAMIC, shapes={"x": (2, 7)}, options=BuildOptions(tf32=False)).accepted
    assert check(DYNAMIC, shapes={"x": wide}).accepted
    assert [options for _, _, options, _ in asked] == [
        BuildOptions(profiles=({"x": ShapeRange.fixed((2, 7))},), tf32=False),
        BuildOptions(profiles=({"x": wide},)),
    ]


def test_other_shapes_are_tried_until_some_are_taken(compiler):
    asked = compiler(256)
    verdict = check(DYNAMIC)
    assert lengths(asked) == [None, (1, 128), (1, 256)]
    assert verdict.accepted
    assert [one.stated for one in verdict.profile] == [False]  # nobody gave them
    assert [[one.range.opt for one in profile] for profile in verdict.tried] == [[(1, 128)], [(1, 128)]]
    assert [profile[0].stated for profile in verdict.tried] == [False, False]


def test_where_no_shapes_are_taken_the_first_answer_stands_with_what_else_was_tried(compiler):
    asked = compiler()
    verdict = check(DYNAMIC)
    assert lengths(asked) == [None, (1, 128), (1, 256), (1, 16), (1, 512), (1, 1)]
    assert verdict.profile[0].range.max == (8, 128)
    assert [profile[0].range.opt for profile in verdict.tried] == [(1, 128), (1, 256), (1, 16), (1, 512), (1, 1)]


@pytest.mark.parametrize(("seconds", "trials"), [(0.0, 5), (20.0, 4), (30.0, 3), (61.0, 1)])
def test_trials_end_after_a_minute(compiler, seconds, trials):
    asked = compiler(seconds=seconds)
    check(DYNAMIC)
    assert len(asked) == 1 + trials


@pytest.mark.parametrize(
    ("more", "failure"),
    [
        ({"shapes": {"x": (2, 7)}}, ()),
        ({"options": BuildOptions(profiles=({}, {}))}, ()),
        ({}, [refused("r", NO_PLUGIN)]),  # it is refused in any shape
        ({}, [refused("r", "a plugin: CUDA driver version is insufficient")]),
    ],
)
def test_no_other_shapes_are_tried_where_shapes_were_given_or_are_not_the_reason(compiler, more, failure):
    asked = compiler(failure=failure)
    verdict = check(DYNAMIC, **more)
    assert (verdict.accepted, verdict.tried, len(asked)) == (False, (), 1)


@pytest.mark.parametrize("text", ["it failed in processCheck", "a reason that is not known"])
def test_other_shapes_are_tried_where_shapes_are_the_reason_or_none_is_known(compiler, text):
    asked = compiler(failure=[refused("r", text)])
    for options in (None, BuildOptions(profiles=({},))):
        asked.clear()
        check(DYNAMIC, options=options)
        assert len(asked) == 6


@pytest.mark.parametrize("kind", ["crashed", "timeout", "memory", "cancelled", "raised"])
def test_a_compiler_that_crashes_or_meets_a_limit_is_a_verdict(monkeypatch, kind):
    def fails(*_, **__):
        raise ChildError("it ended", kind=kind, log=("printed",), where="there", fix="Do that.")

    monkeypatch.setattr(checking, "compile_for", fails)
    if kind in ("cancelled", "raised"):
        with pytest.raises(ChildError, match="it ended"):
            check(NETWORK)
        return
    made = check(NETWORK, "sm80")
    assert made.problems == (Problem("it ended", Fix("Do that."), "there"),)
    assert made.nodes[:2] == (NodeVerdict("plain", "Relu", "not reached"), NodeVerdict("double", "Neg", "not reached"))
    assert (made.accepted, made.layers, made.profile, made.engine_bytes) == (False, (), (), None)
    assert (made.parse_s, made.build_s, made.peak_bytes, made.log, made.target) == (0, 0, 0, ("printed",), "sm80")


def test_a_crash_without_advice_has_none(monkeypatch):
    def fails(*_, **__):
        raise ChildError("it ended", kind="crashed")

    monkeypatch.setattr(checking, "compile_for", fails)
    assert check(NETWORK).problems == (Problem("it ended", None, None),)


def test_what_cannot_be_asked_is_an_error(monkeypatch):
    def fails(*_, **__):
        raise BackendError("no such target")

    monkeypatch.setattr(checking, "compile_for", fails)
    with pytest.raises(BackendError, match="no such target"):
        check(NETWORK)


# What is offered


@dataclass(frozen=True)
class Counted:
    """A model that so many edits help."""

    steps: int


@pytest.fixture
def edits(monkeypatch):
    """Edits by what they do; returns the calls."""
    calls = []

    def edit_by_name(name, **arguments):
        def edit(network):
            calls.append((name, arguments))
            if name == "impossible":
                raise EditError("there is no way")
            changed = name == "helps"
            after = replace(network, steps=network.steps - 1) if changed else network
            return SimpleNamespace(changed=changed, model=after, notes=(f"{name} of {network.steps}",))

        edit.do = name
        return edit

    monkeypatch.setattr("workbench.graph.edits.edit_by_name", edit_by_name)
    monkeypatch.setattr(mending, "edit_by_name", edit_by_name)
    return calls


HELPS, USELESS, IMPOSSIBLE = (Fix("Do it.", name, {"a": 1}) for name in ("helps", "useless", "impossible"))


def test_an_edit_is_offered_where_it_can_be_done_and_changes_something(edits):
    offers = Offers(Counted(2))
    helps = replace(HELPS, edit="useless")

    def offered(fix):
        of_node = offers.of_node(NodeVerdict("n", "Relu", "refused", fix=fix)).fix
        assert offers.of_whole(Problem("why", fix)).fix == of_node
        return of_node

    assert (offered(None), offered(Fix("Think."))) == (None, Fix("Think."))
    assert edits == []
    assert offered(helps) == Fix("Do it.")
    assert offered(IMPOSSIBLE) == Fix("Do it. The workbench cannot do that here: there is no way")
    assert offered(replace(IMPOSSIBLE, arguments={"a": 2})).edit is None
    assert edits == [("useless", {"a": 1}), ("impossible", {"a": 1}), ("impossible", {"a": 2})]  # each once


def test_an_edit_that_changes_something_is_offered_as_it_is(monkeypatch):
    monkeypatch.setattr("workbench.graph.edits.edit_by_name", lambda *_, **__: lambda _: SimpleNamespace(changed=True))
    assert Offers(NETWORK).of_whole(Problem("why", HELPS)).fix is HELPS


# What is mended


def verdicts(monkeypatch, fixes_of):
    """Have a check offer what a function says of a model."""
    asked = []

    def checks(network, target, *, shapes):
        asked.append((network.steps, target, shapes))
        return SimpleNamespace(fixes=tuple(fixes_of(network.steps)))

    monkeypatch.setattr(mending, "check", checks)
    return asked


@pytest.mark.usefixtures("edits")
def test_fixes_are_applied_as_often_as_one_changes_something(monkeypatch):
    asked = verdicts(monkeypatch, lambda steps: (IMPOSSIBLE, HELPS, USELESS) if steps else ())
    start = Counted(2)
    mended = mend(start, "sm89", shapes={"x": (1,)})
    assert asked == [(2, "sm89", {"x": (1,)}), (1, "sm89", {"x": (1,)}), (0, "sm89", {"x": (1,)})]
    assert mended.model.steps == 0
    assert [edit.do for edit in mended.edits] == ["helps", "helps"]
    assert mended.notes == (
        *("not applied: impossible: there is no way", "helps of 2"),
        *("not applied: impossible: there is no way", "helps of 1"),
    )
    assert (len(mended.verdicts), mended.verdict) == (3, mended.verdicts[2])


@pytest.mark.usefixtures("edits")
@pytest.mark.parametrize("fixes", [(), (USELESS,), (IMPOSSIBLE, USELESS)])
def test_nothing_is_edited_where_nothing_helps(monkeypatch, fixes):
    asked = verdicts(monkeypatch, lambda _: fixes)
    start = Counted(2)
    mended = mend(start)
    assert isinstance(mended, Mended)
    assert mended.model is start
    assert (mended.edits, len(mended.notes)) == ((), int(IMPOSSIBLE in fixes))
    assert asked == [(2, "sm86", None)]
