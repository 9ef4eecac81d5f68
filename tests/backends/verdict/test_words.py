"""What a verdict says and holds, on verdicts made by hand: without a compiler."""

from __future__ import annotations

import json
from types import SimpleNamespace

import onnx_ir as ir
import pytest

from workbench.backends.compiler import NetworkLayer
from workbench.backends.profiles import ProfileInput
from workbench.backends.protocol import ShapeRange
from workbench.backends.verdict import Cell, Matrix, quantization
from workbench.backends.verdict.assumed import OTHERS, alternatives, as_assumed
from workbench.backends.verdict.blame import Problem
from workbench.backends.verdict.cause import Fix
from workbench.backends.verdict.verdict import NodeVerdict, Verdict
from workbench.graph.tensor import Tensor

FIX, EDIT = Fix("Do it."), Fix("Convert it.", "convert_opset", {"version": 13})


def verdict(*nodes, **more):
    fields = {"problems": (), "layers": (), "profile": (), "engine_bytes": None, "peak_bytes": 0, "log": ()} | more
    return Verdict(
        "m", "sm86", "rtx 1.7", **{"accepted": False, "parse_s": 0.5, "build_s": 1.25, **fields, "nodes": nodes}
    )


def node(name, status, **more):
    return NodeVerdict(name, "Conv", status, **more)


def test_a_verdict_says_what_became_of_the_nodes_and_of_like_ones_once():
    made = verdict(
        node("a", "accepted"),
        node("b", "refused", reason="no", fix=FIX),
        node("c", "refused", reason="no", fix=FIX),
        NodeVerdict("c2", "Gemm", "refused", reason="no", fix=FIX),
        node("d", "refused", reason="no"),
        node("e", "changed", reason="wider"),
        NodeVerdict("e2", "Gemm", "changed", reason="wider"),
        node("f", "suspected", reason="like b"),
        node("g", "not reached"),
        problems=(Problem("all of it", EDIT, "text"), Problem("and this", None, "text")),
    )
    counts = "1 accepted, 4 refused, 2 changed, 1 suspected, 1 not reached"
    assert str(made).splitlines() == [
        f"m for sm86 by rtx 1.7: refused; {counts}; parser 0.50 s, builder 1.25 s",
        "  all of it. Convert it.",
        "  and this",
        "  refused: b (Conv) and 2 more: no. Do it.",
        "  refused: d (Conv): no",
        "  changed: e (Conv) and 1 more: wider",
        "  1 more nodes, not reached, carry a known cause",
    ]
    assert [one.node for one in made.refused] == ["b", "c", "c2", "d"]
    assert made.fixes == (EDIT,)
    assert [row[0] for row in made._card().rows] == ["b", "c", "c2", "d", "e", "e2", "f", "g"]
    assert made._card().notes == ()
    assert made._card().rows[0] == ("b", "Conv", "refused", "no", "Do it.")
    assert made._card().rows[-1] == ("g", "Conv", "not reached", "", "")


def test_a_verdict_that_took_every_node_shows_its_words_instead_of_them():
    made = verdict(node("a", "accepted"), accepted=True, problems=(Problem("odd", None, "text"),))
    assert (made._card().rows, made._card().notes) == ((), ("  odd",))


def test_an_edit_that_helps_several_is_named_once_those_of_the_whole_first():
    other = Fix("Do that.", "fold", {})
    made = verdict(
        node("a", "refused", fix=other),
        node("b", "refused", fix=FIX),
        node("c", "refused", fix=Fix("Convert it.", "convert_opset", {"version": 13})),
        node("d", "refused"),
        problems=(Problem("all", EDIT, "text"), Problem("and", None, "text"), Problem("again", FIX, "text")),
    )
    assert made.fixes == (EDIT, other)


def _records(frame):
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def test_nodes_and_layers_are_tables():
    layers = (
        NetworkLayer("l", "CONVOLUTION", ("a", "b"), ("FLOAT", "HALF"), ("HALF", "INT8"), "HALF"),
        NetworkLayer("m", "CONSTANT", (), (), ("FLOAT",), None),
    )
    words = {"reason": "no", "message": "No!", "types": ("HALF", "INT8"), "arithmetic": "HALF", "layers": 2}
    made = verdict(node("a", "refused", fix=EDIT, **words), node("b", "accepted"), layers=layers)
    assert _records(made.to_frame()) == [
        {"node": "a", "op": "Conv", "status": "refused", "reason": "no", "fix": "Convert it.", "edit": "convert_opset"}
        | {"layers": 2, "types": "HALF, INT8", "arithmetic": "HALF", "message": "No!"},
        {"node": "b", "op": "Conv", "status": "accepted", "reason": None, "fix": None, "edit": None}
        | {"layers": 0, "types": "", "arithmetic": None, "message": None},
    ]
    assert _records(made.layers_frame()) == [
        {"layer": "l", "kind": "CONVOLUTION", "nodes": "a, b", "inputs": "FLOAT, HALF", "outputs": "HALF, INT8"}
        | {"arithmetic": "HALF"},
        {"layer": "m", "kind": "CONSTANT", "nodes": "", "inputs": "", "outputs": "FLOAT", "arithmetic": None},
    ]


@pytest.mark.parametrize(
    ("statuses", "more", "word"),
    [
        (["accepted"], {"accepted": True}, "accepted"),
        (["undecided", "accepted"], {}, "undecided (needs a GPU)"),
        (["undecided", "refused"], {}, "refused"),
        (["undecided"], {"problems": (Problem("p", None, "t"),)}, "refused"),
        (["undecided"], {"accepted": True}, "accepted"),
        (["accepted"], {}, "refused"),
    ],
)
def test_what_needs_a_gpu_is_undecided_where_nothing_else_is_wrong(statuses, more, word):
    made = verdict(*(node(f"n{k}", status) for k, status in enumerate(statuses)), **more)
    assert f": {word}; " in str(made)
    assert made.undecided == word.startswith("undecided")


def test_assumed_shapes_are_said_with_what_was_tried():
    given = ProfileInput("z", ShapeRange.fixed((4,)), stated=True)
    wide = ProfileInput("x", ShapeRange((1, 3), (1, 3), (8, 3)), stated=False)
    tried = ((ProfileInput("x", ShapeRange.fixed((1, 7)), stated=False), given),)
    assert "shapes" not in str(verdict(profile=(given,)))
    assert str(verdict(profile=(wide, given), accepted=True)).splitlines()[1] == "  shapes were assumed: x 1x3 to 8x3"
    refused = str(verdict(profile=(wide, given), tried=tried)).splitlines()[1]
    assert refused == (
        "  refused for assumed shapes: x 1x3 to 8x3; and for x 1x7; give those it is made for, like --shape x:1x3"
    )
    accepted = str(verdict(profile=(wide, given), tried=tried, accepted=True)).splitlines()[1]
    assert accepted.endswith("x 1x3 to 8x3; refused for x 1x7")


def test_other_shapes_keep_what_was_given_and_stated():
    profile = (
        ProfileInput("x", ShapeRange((1, 3, 224, 224), (1, 3, 224, 224), (8, 3, 224, 224)), stated=False),
        ProfileInput("s", ShapeRange((1, 128), (1, 128), (8, 128)), stated=False),
        ProfileInput("z", ShapeRange.fixed((128, 128)), stated=True),
    )
    shapes = {"x": ("N", 3, "H", "W"), "s": ("N", "L"), "z": ("A", "B")}
    inputs = [Tensor(name, shape, "FLOAT") for name, shape in shapes.items()]
    others = list(alternatives(profile, inputs))
    assert [(one["x"].opt, one["s"].opt) for one in others] == [
        ((1, 3, side, side), (1, length)) for side, length in OTHERS
    ]
    assert [(side, length) for side, length in OTHERS] == [(224, 128), (256, 256), (64, 16), (640, 512), (32, 1)]
    for one in others:
        assert one["z"] == profile[2].range
        assert one["x"].min == one["x"].opt == one["x"].max
    assert list(alternatives(profile[2:], inputs)) == []
    scalar = (ProfileInput("n", ShapeRange.fixed((128,)), stated=False),)  # an input that holds a shape has its values
    assert list(alternatives(scalar, [Tensor("n", (), "INT64")])) == []
    assert list(alternatives(scalar, [Tensor("n", ("a", "b"), "INT64")])) == []
    assert list(alternatives(scalar, [Tensor("n", None, "INT64")])) == list(alternatives(scalar, [])) == []
    assert list(alternatives((ProfileInput("n", ShapeRange.fixed(()), stated=False),), [])) == []
    again = as_assumed(tuple(ProfileInput(one.name, one.range, stated=True) for one in profile), profile)
    assert [one.stated for one in again] == [False, False, True]


def cell(release, outcome, reason=""):
    return Cell(release, "sm86", outcome, {}, reason)


def test_a_matrix_says_why_and_what_changed_from_each_release_to_the_next():
    made = Matrix("m", (cell("1.5", "accepted"), cell("1.6", "refused", "no FP32"), cell("1.7", "refused", "no FP32")))
    lines = made.text().splitlines()
    assert lines[1:4] == ["1.5           accepted", "1.6           refused", "1.7           refused"]
    assert "changed from 1.5 to 1.6:" in lines
    assert lines[-2:] == ["changed from 1.6 to 1.7:", "  nothing"]
    assert sum("no FP32" in line and "->" not in line for line in lines) == 1
    changes = made.to_dict()["changes"]
    assert [(one["before"], one["after"], bool(one["what"])) for one in changes] == [
        ("1.5", "1.6", True),
        ("1.6", "1.7", False),
    ]
    assert made.card().notes == tuple(lines[4:])


def written(**changed):
    node = {"node": "a", "op": "Conv", "status": "refused", "reason": "no", "types": [], "arithmetic": None}
    verdict = {"target": "sm86", "accepted": False, "nodes": [node], "problems": [], "parse_s": 1.0, "build_s": 0.5}
    return Cell.of("1.7", json.loads(json.dumps(verdict | changed)))


def test_a_verdict_that_was_written_is_read_as_a_cell():
    undecided = {"node": "a", "op": "Conv", "status": "undecided", "reason": "?", "types": [], "arithmetic": None}
    refused = undecided | {"status": "refused", "reason": "no"}
    made = written()
    assert (made.outcome, made.reason, made.seconds, made.target) == ("refused", "a (Conv): no", 1.5, "sm86")
    assert written(accepted=True, nodes=[]).outcome == "accepted"
    assert written(nodes=[undecided]).outcome == "undecided"
    assert written(nodes=[undecided], accepted=True).outcome == "accepted"
    assert written(nodes=[undecided, refused]).outcome == "refused"
    assert written(nodes=[]).outcome == "refused"
    assert written(nodes=[undecided | {"status": "parsed"}]).outcome == "refused"
    whole = written(nodes=[undecided], problems=[{"reason": "all", "text": "of it"}])
    assert (whole.outcome, whole.reason) == ("refused", "of it")
    assert written(nodes=[], problems=[{"reason": "all", "text": ""}]).reason == "all"


def test_a_cell_has_of_each_node_what_two_releases_are_compared_by():
    facts = {"op": "Conv", "status": "refused", "reason": "no", "types": ["HALF"], "arithmetic": "HALF"}
    made = written(nodes=[{"node": "a", "message": "No!", "layers": 3, **facts}])
    assert made.nodes == {"a": facts}
    assert Cell("1.7", "sm86", "accepted", {}) == Cell("1.7", "sm86", "accepted", {}, "", 0.0)
    first, second = (Problem(text, None, text) for text in ("one", "two"))
    several = written(nodes=[], problems=[vars(one) | {"text": one.reason} for one in (first, second)])
    assert several.reason == "one"


def facts(**changed):
    return {"op": "Conv", "status": "accepted", "reason": None, "types": ["HALF", "INT8"], "arithmetic": None} | changed


def changed(before, after):
    cells = (Cell("1", "sm86", "accepted", before), Cell("2", "sm86", "accepted", after))
    return Matrix("m", cells).changes("1", "2")


@pytest.mark.parametrize(("count", "shown"), [(7, "7"), (8, "8"), (9, "8 and 1 more"), (19, "8 and 11 more")])
def test_a_change_names_eight_nodes(count, shown):
    nodes, _, more = shown.partition(" and ")
    names = [f"n{at}" for at in range(count)]
    (said,) = changed(dict.fromkeys(names, facts()), dict.fromkeys(names, facts(types=[])))
    listed = ", ".join(f"{name} (Conv)" for name in names[: int(nodes)])
    assert said == f"types HALF+INT8 -> none of {listed}" + (f" and {more}" if more else "")


def test_what_changed_is_told_of_nodes_that_both_releases_know():
    before = {"a": facts(), "b": facts(), "c": facts(reason="why"), "gone": facts()}
    after = {
        "a": facts(arithmetic="HALF"),
        "b": facts(types=("HALF", "INT8")),  # a tuple of types is the same as a list of them
        "c": facts(status="changed"),
        "new": facts(op="Relu"),
    }
    assert changed(before, after) == (
        "status accepted -> changed of c (Conv)",
        "arithmetic none -> HALF of a (Conv)",
        "reason why -> none of c (Conv)",
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (("accepted", ""), ("refused", "no FP8"), ("accepted -> refused (no FP8)",)),
        (("refused", "no FP8"), ("accepted", ""), ("refused -> accepted (no FP8)",)),
        (("refused", "one"), ("undecided", "two"), ("refused -> undecided (two)",)),
        (("accepted", ""), ("unknown", ""), ("accepted -> unknown",)),
        (("refused", "one"), ("refused", "two"), ()),
    ],
)
def test_another_outcome_is_told_with_its_reason(before, after, said):
    cells = tuple(Cell(str(at), "sm86", outcome, {}, reason) for at, (outcome, reason) in enumerate((before, after)))
    assert Matrix("m", cells).changes("0", "1") == said


def test_a_matrix_is_plain_values_and_one_screen():
    cells = tuple(
        Cell(
            release,
            target,
            "accepted" if target == "sm86" else "refused",
            {"a": facts()},
            "no" * (target == "sm75"),
            1.5,
        )
        for release in ("1.6", "1.7")
        for target in ("sm86", "sm75")
    )
    made = Matrix("m", cells)
    assert made.to_dict()["cells"][1] == {
        "release": "1.6",
        "target": "sm75",
        "outcome": "refused",
        "reason": "no",
        "seconds": 1.5,
        "nodes": {"a": facts()},
    }
    card = made.card()
    assert card.headline == "m: 2 of 4 combinations take it"
    assert card.header == ("TensorRT-RTX", "sm86", "sm75")
    assert card.rows == (("1.6", "accepted", "refused"), ("1.7", "accepted", "refused"))
    assert card.notes == ("1.6 sm75, 1.7 sm75: no", "changed from 1.6 to 1.7:", "  nothing")
    assert made.text().splitlines()[:3] == [
        "TensorRT-RTX  sm86      sm75",
        "1.6           accepted  refused",
        "1.7           accepted  refused",
    ]
    assert (made.accepted, Matrix("m", cells[::2]).accepted) == (False, True)


def test_the_cell_of_a_release_and_a_gpu_is_theirs():
    cells = tuple(Cell(release, target, "accepted", {}) for release in ("1.6", "1.5") for target in ("sm86", "sm75"))
    matrix = Matrix("m", cells)
    for cell in cells:
        assert matrix.cell(cell.release, cell.target) is cell


@pytest.mark.parametrize(("kind", "word"), [("UINT4", "INT4, symmetric"), ("INT2", "INT4"), ("UINT16", "INT8, or")])
def test_a_width_that_tensorrt_does_not_have_is_changed_to_the_one_next_to_it(monkeypatch, kind, word):
    monkeypatch.setattr(quantization, "quantized_type", lambda _: ir.DataType[kind])
    cause = quantization.width(SimpleNamespace(node=SimpleNamespace(op_type="QuantizeLinear")))
    assert word in cause.fix.text
