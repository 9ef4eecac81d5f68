"""What is said of engines that were made by hand: comparisons, findings, memory, precisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import helper

from tests.kit.models import proto
from tests.kit.places import RECORDED
from workbench.engine.breakdown import (
    Transitions,
    layer_brief,
    layer_label,
    precision_share,
    roofline_dots,
    transitions,
)
from workbench.engine.compare import EngineComparison, LayerGroup, _change, _unique, compare_engines
from workbench.engine.dialects.inspector11 import read_io_tensors
from workbench.engine.export import engine_onnx
from workbench.engine.finding import EngineScene, Finding, Suggestion
from workbench.engine.findings import find
from workbench.engine.formats import MOST_ELEMENTS, TensorFormat, read_dims, tensor_bytes
from workbench.engine.fusion import fusion_map
from workbench.engine.lints import compute
from workbench.engine.load import load_report
from workbench.engine.precision import Realized, _status
from workbench.engine.report import Binding, EngineReport, EngineTensor, Layer, LayerTime, RunTimes, Weights
from workbench.engine.source import SourceGraph, SourceNode
from workbench.engine.summary import load_engine, summarize
from workbench.engine.traits import ConvShape, conv_shape, layer_precision, tensor_cores
from workbench.engine.vanished import why_vanished
from workbench.engine.work import layer_bytes, layer_ops, memory_timeline
from workbench.engine.worse import judge_against
from workbench.errors import ReportError
from workbench.graph.load import from_proto

FP32, FP16, INT8 = (TensorFormat(kind, kind, "linear") for kind in ("fp32", "fp16", "int8"))


def tensor(name, *dims, form=FP32):
    return EngineTensor(name, dims or (1, 4), form)


def layer(name, kind="CaskConvolution", ms=None, inputs=(), outputs=(), **more):
    time = None if ms is None else LayerTime(name, ms)
    return Layer(name=name, type=kind, inputs=tuple(inputs), outputs=tuple(outputs), time=time, **more)


def report(*layers, name="engine", **more):
    return EngineReport(name=name, layers=tuple(layers), dialect="by hand", **more)


# Two engines side by side


def group(name, ms, layers=(1, 1), precision=("fp16", "int8"), change="same layers", nodes=None):
    names = tuple(tuple(f"{name}{at}" for at in range(count)) for count in layers)
    return LayerGroup(nodes or (name,), names, ms, precision, ("", change))


GROUPS = (
    group("a", (1.0, 0.5)),
    group("b", (1.0, 3.0), (1, 2), ("fp16", "fp32"), "this layer became 2: b0 | b1"),
    group("c", (None, 2.0), (1, 1), (None, "fp32"), "cut differently"),
    group("d", (0.0, 0.25), (0, 1), (None, "int8"), "only in two", nodes=("d", "e", "f")),
    group("g", (2.0, 2.0), (2, 1), ("int8+fp16", "fp16"), "these 2 layers became one: g0 | g1"),
)
COMPARISON = EngineComparison(("one", "two"), GROUPS, (4.0, 8.0))


def test_a_comparison_in_words_has_the_largest_changes_first():
    assert COMPARISON.summary().splitlines() == [
        "one: 4.000 ms in layers",
        "two: 8.000 ms in layers, 0.50x one",
        "4 of 5 groups are in every engine",
        "two loses 2.0000 ms in b (fp16 -> fp32)",
        "two saves 0.5000 ms in a (fp16 -> int8)",
        "two loses 0.2500 ms in d ... f (3) (None -> int8)",
        "two: 4 groups are fused differently",
        "  b: this layer became 2: b0 | b1",
        "  c: cut differently",
        "  d ... f (3): only in two",
        "  g: these 2 layers became one: g0 | g1",
    ]
    assert COMPARISON.summary(top=1).count("\n") == 5
    without = replace(COMPARISON, totals=(None, 8.0))
    assert without.summary().splitlines()[:2] == ["one: no profile", "two: 8.000 ms in layers"]


def test_a_comparison_as_a_table_and_a_card():
    table = COMPARISON.table()
    assert list(table["nodes"]) == ["a", "b", "c", "d + e + f", "g"]
    assert list(table["two layers"]) == [1, 2, 1, 1, 1]
    assert table["two speedup"][:2].tolist() == [2.0, 1 / 3]
    assert table["two speedup"][2:4].isna().all()
    assert "one speedup" not in table
    rows = repr(COMPARISON).splitlines()
    assert [row.split()[0] for row in rows if row.strip() and row.split()[0] in "abcdg"][:3] == ["b", "a", "d"]
    assert GROUPS[0].speedup(1) == 2.0
    assert GROUPS[2].speedup(1) is None


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ([], [], "same layers"),
        (["a"], [], "only in one"),
        ([], ["a"], "only in two"),
        (["a", "b"], ["b", "a"], "same layers"),
        (["a", "b"], ["a + b"], "these 2 layers became one: a | b"),
        (["a + b"], ["a", "b"], "this layer became 2: a | b"),
        (["a", "b + c"], ["a + b", "c"], "cut differently: a | b + c became a + b | c"),
        (["a"], ["b"], "cut differently: a became b"),
        (["a + b", "c"], ["a", "b", "c"], "2 layers became 3: a + b | c became a | b | c"),
        (["a", "b", "c"], ["a + b", "c"], "3 layers became 2: a | b | c became a + b | c"),
    ],
)
def test_how_a_fusion_changed_is_said(before, after, change):
    assert _change(before, after, "one", "two") == change


def test_engines_of_one_name_are_numbered():
    assert _unique(["a", "b", "a"]) == ["a (1)", "b", "a (3)"]


def test_an_engine_that_got_worse_says_where():
    before = report(layer("r", "Reformat"), layer("a0"), name="one", timing=RunTimes({"median": 2.0}))
    after = report(
        *(layer(name, "Reformat") for name in ("r", "s")), layer("b1"), name="two", timing=RunTimes({"median": 2.1})
    )
    layers, reformats, precision, times = judge_against(before, after, COMPARISON, tolerance=4.9)
    assert (layers.passed, layers.message) == (False, "2 -> 3")
    assert layers.details == ("b: this layer became 2: b0 | b1", "d ... f (3): only in two")
    assert (reformats.passed, reformats.message, reformats.details) == (False, "1 -> 2", ("r", "s"))
    assert (precision.passed, precision.message) == (False, "wider in 1 of 5 groups")
    assert precision.details == ("b: fp16 -> fp32",)
    assert not times.passed
    assert times.message == "2.0000 -> 2.1000 ms (+5.0%, median of inferences; allowed +4.9%)"
    assert times.details == ("b: +2.0000 ms", "d ... f (3): +0.2500 ms")
    *_, times = judge_against(before, after, COMPARISON, tolerance=5.01)
    assert (times.passed, times.details) == (True, ())
    same = judge_against(before, before, replace(COMPARISON, groups=GROUPS[:1]))
    assert [(one.passed, one.details) for one in same] == [(True, ())] * 4
    assert same[2].message == "nowhere wider"
    assert same[3].message == "2.0000 -> 2.0000 ms (+0.0%, median of inferences; allowed +0%)"


def test_without_times_of_whole_inferences_those_of_layers_are_compared():
    before, after = report(layer("a", ms=1.0), layer("b", ms=1.0)), report(layer("a", ms=1.0))
    timed = replace(before, timing=RunTimes({"median": 9.0}))
    for one in (before, timed):
        times = judge_against(one, after, COMPARISON)[3]
        assert (times.passed, times.message) == (True, "2.0000 -> 1.0000 ms (-50.0%, sum of layers; allowed +0%)")
    for one, other in ((report(layer("a")), after), (before, report(layer("a")))):
        times = judge_against(one, other, COMPARISON)[3]
        assert (times.passed, times.message) == (False, "not measured: give times of both engines")


@pytest.mark.parametrize(
    ("requested", "got", "status"),
    [
        ("fp16", "fp16", "as requested"),
        ("fp16", "bf16", "different"),
        ("int8", "fp16", "wider"),
        ("fp32", "tf32", "narrower"),
        ("tf32", "fp32", "wider"),
        ("fp16", "fp16+int8", "narrower"),
        ("fp16", "fp16+fp32", "wider"),
        ("fp16", "int8+fp32", "wider"),
        ("int8", "fp8", "different"),
        ("fp16", "bool+fp16", "different"),
    ],
)
def test_a_precision_is_wider_narrower_or_another(requested, got, status):
    assert _status(requested, Realized("n", got, ("l",), "")) == status


def test_what_an_engine_does_not_tell_is_unknown_and_what_it_does_not_have_vanished():
    assert _status("fp16", Realized("n", None, ("l",), "")) == "unknown"
    assert _status("fp16", Realized("n", None, (), "")) == "vanished"


# Findings


@pytest.mark.parametrize(
    ("suggestion", "line"),
    [
        (Suggestion("edit", (), "set_batch", (("size", 8),)), 'wb.edit("set_batch", size=8)'),
        (Suggestion("edit", (), "remove_qdq"), 'wb.edit("remove_qdq")'),
        (Suggestion("build", (), "o", (("a", 1), ("b", "c"))), "BuildOptions(a=1, b='c')"),
        (Suggestion("build", (), "in words"), "in words"),
        (Suggestion("precision", ("a", "b", "c"), "fp16"), 'wb.plan.set("name:a|b|c", "fp16")'),
        (Suggestion("precision", ("a", "b", "c", "d"), "fp16"), 'wb.plan.set("name:a|b|c|...", "fp16")'),
        (Suggestion("quantize_input", ("a",), "t"), 'wb.plan.set("name:a", "int8")'),
    ],
)
def test_a_suggestion_is_a_line_of_python(suggestion, line):
    assert suggestion.line == line


def test_where_a_finding_is_has_its_first_layer_and_how_many_more():
    one = Finding(kind="k", title="t", evidence="e", fix="f", layers=("a",))
    assert (one.where, one.cost_ms, one.bound) == ("a", None, "at most")
    assert replace(one, layers=("a", "b", "c")).where == "a and 2 more"


def convolution(name="conv", maps=8, channels=8, *, ms=1.0, form=FP16, tactic="", groups=1, **more):
    """A convolution of 1 x 1 over 4 x 4 pixels."""
    attributes = {"Kernel": [1, 1], "OutMaps": maps, "Groups": groups}
    ends = [tensor("x", 2, channels, 4, 4, form=form)], [tensor("y", 2, maps, 4, 4, form=form)]
    return layer(name, "CaskConvolution", ms, *ends, tactic=tactic, attributes=attributes, **more)


def findings(*layers, bindings=(), kind=None):
    made = report(*layers, bindings=tuple(bindings))
    return [one for one in find(made, fusion_map(made)) if kind in (None, one.kind)]


@pytest.mark.parametrize(("batch", "found"), [(0, False), (1, True), (7, True), (8, False), (-1, False)])
def test_a_batch_below_eight_is_small(batch, found):
    image = Binding("x", "input", (batch, 3, 4, 4), FP16)
    actual = findings(convolution(), bindings=[Binding("n", "input", (5,), FP32), image], kind="small-batch")
    assert bool(actual) == found
    assert not found or actual[0].title == f"Batch of {batch}"
    assert not findings(layer("p", "PoolingV2"), bindings=[image], kind="small-batch")


@pytest.mark.parametrize(
    ("form", "maps", "channels", "share"),
    [(FP16, 8, 8, 0), (FP16, 12, 8, 0.25), (FP16, 12, 12, 0.4375), (INT8, 16, 8, 0.5), (FP16, 8, 7, 0.125)],
)
def test_the_cost_of_odd_channels_is_the_padding(form, maps, channels, share):
    before = layer("before", "PointWiseV2", 1.0, [tensor("i")], [tensor("x", 2, channels, 4, 4, form=form)])
    actual = findings(before, convolution("c", maps, channels, ms=2.0, form=form), kind="alignment")
    assert len(actual) == bool(share)
    if share:
        assert actual[0].cost_ms == pytest.approx(2.0 * share)
        assert f"{share:.0%} of the work is padding" in actual[0].evidence
    # Of the first layer the input has the channels that an image has.
    alone = findings(convolution("c", maps, channels, form=form), kind="alignment")
    assert bool(alone) == (maps == 12)
    assert not findings(before, convolution("c", maps, channels, form=form, groups=2), kind="alignment")


@pytest.mark.parametrize(
    ("tactic", "cores"),
    [
        ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc_tilesize64x64x64_tensor16x8x16", True),
        ("ampere_h16816gemm", True),
        ("volta_scudnn_128x64_relu", False),
        ("ampere_sgemm_32x32", False),
        ("something", None),
        ("", None),
    ],
)
def test_tensor_cores_are_in_the_name_of_a_tactic(tactic, cores):
    assert tensor_cores(convolution(tactic=tactic)) is cores
    actual = findings(convolution(tactic=tactic), kind="no-tensor-cores")
    assert len(actual) == (cores is False)
    depthwise = convolution(tactic=tactic, channels=8, groups=8)
    assert conv_shape(depthwise) == ConvShape(8, 8, 8)
    assert conv_shape(depthwise).depthwise
    assert not findings(depthwise, kind="no-tensor-cores")


def test_an_engine_without_a_reduced_precision_is_one_finding_and_else_each_layer():
    wide = [convolution("a", form=FP32, ms=1.0), convolution("b", form=FP32, ms=0.5)]
    (one,) = findings(*wide, kind="silent-fp32")
    assert (one.title, one.cost_ms, one.layers) == ("No layer runs below FP32/TF32", 1.5, ("a", "b"))
    assert one.evidence.startswith("2 of 2 computing layers")
    each = findings(*wide, convolution("c"), kind="silent-fp32")
    assert [(one.layers, one.cost_ms) for one in each] == [(("a",), 1.0), (("b",), 0.5)]
    assert each[0].title == "Conv in FP32 in an engine of reduced precision"
    assert findings(*[replace(one, time=None) for one in wide], kind="silent-fp32")[0].cost_ms is None


def test_a_tactic_in_tf32_is_not_fp32():
    assert layer_precision(convolution(form=FP32, tactic="sm80_xmma_tf32")).name == "tf32"
    assert layer_precision(convolution(form=FP16, tactic="sm80_xmma_tf32")).name == "fp16"
    assert layer_precision(convolution(form=FP32, tactic="other")).name == "fp32"


# Bytes and operations


def test_operations_of_a_convolution_and_of_a_product():
    # 2 samples, 4 x 4 pixels, 8 maps of 8 channels, a multiply-add counted as two.
    assert layer_ops(convolution()) == 2 * 2 * 16 * 8 * 8
    assert layer_ops(convolution(groups=4)) == 2 * 2 * 16 * 8 * 2
    product = layer("p", "gemm", 1.0, [tensor("a", 3, 5)], [tensor("b", 3, 7)])
    assert layer_ops(product) == 2 * 21 * 5
    assert layer_ops(layer("p", "gemm", 1.0, [tensor("a", -1, 5)], [tensor("b", 3, 7)])) is None
    assert layer_ops(layer("p", "PoolingV2", 1.0, [tensor("a", 3, 5)])) is None
    assert layer_ops(layer("p", "CaskDeconvolutionV2", 1.0, [tensor("a", 3, 5)])) is None
    strided = replace(
        convolution(),
        attributes={
            "Kernel": [3, 3],
            "OutMaps": 1,
            "Groups": 1,
            "Stride": [2, 2],
            "PrePadding": [1, 1],
            "PostPadding": [0, 0],
            "Dilation": [1, 1],
        },
    )
    # (4 + 1 - 2 - 1) // 2 + 1 = 2 pixels a side
    assert layer_ops(strided) == 2 * 2 * 4 * 1 * 8 * 9


def test_bytes_of_a_layer_are_those_of_all_that_it_reads_and_writes():
    weights = (Weights("Weights", "fp16", 3), Weights("Bias", "int4", 3))
    whole = replace(convolution(), weights=weights)
    assert whole.weight_bytes == 6 + 2
    assert layer_bytes(whole) == 2 * (2 * 8 * 16 * 2) + 8
    assert layer_bytes(replace(whole, weights=(Weights("Weights", None, 3),))) is None
    assert layer_bytes(layer("n")) is None
    dots = roofline_dots(report(whole, convolution("untimed", ms=None)))
    assert len(dots) == 1
    assert dots[0].intensity == pytest.approx(layer_ops(whole) / layer_bytes(whole))
    assert dots[0].rate == pytest.approx(layer_ops(whole) / 1e-3)


def test_a_tensor_lives_from_who_writes_it_to_the_last_who_reads_it():
    a, b, c, d = (tensor(name, 1, size) for name, size in (("a", 1), ("b", 10), ("c", 100), ("d", 1000)))
    layers = [
        layer("one", "PointWiseV2", 1.0, [a], [b]),
        layer("two", "PointWiseV2", 1.0, [b], [c]),
        layer("view", "NoOp", 0.0, [c], [tensor("v", 1, 100)]),
        layer("three", "PointWiseV2", 1.0, [tensor("v", 1, 100), b], [d]),
        layer("other", "PointWiseV2", 1.0, [a], [b], profile=1),
    ]
    ends = (Binding("a", "input", (1, 1), FP32), Binding("d", "output", (1, 1000), FP32))
    memory = memory_timeline(report(*layers, bindings=ends))
    assert memory.layers == ("one", "two", "view", "three")
    assert memory.live == (40, 440, 440, 440)
    assert memory.ends == (4, 0, 0, 4000)
    assert (memory.peak, memory.unknown) == (440, ())
    unknown = replace(layers[0], outputs=(EngineTensor("b", None, FP32),))
    assert memory_timeline(report(unknown)).unknown == ("b",)
    assert memory_timeline(report(unknown), profile=1).peak == 0


@pytest.mark.parametrize(
    ("raw", "dims"),
    [
        ([], ()),
        ([0, 4], (0, 4)),
        ([0, 2**50], None),
        ([MOST_ELEMENTS], (MOST_ELEMENTS,)),
        ([MOST_ELEMENTS + 1], None),
        ([-1, 4], (-1, 4)),
        ([True], None),
        ([1.0], None),
        ("1", None),
    ],
)
def test_a_shape_is_a_list_of_lengths_that_a_tensor_can_have(raw, dims):
    assert read_dims(raw) == dims


def test_the_axis_of_channels_is_padded():
    eight = TensorFormat("", "int8", "channels-last", 8)
    assert [tensor_bytes(dims, eight) for dims in ((3,), (2, 3), (3, 2, 2), (2, 3, 2, 2), (2, 8, 1, 1), ())] == [
        *(8, 16, 32, 64, 16, 1)
    ]
    four = TensorFormat("", "fp4", "linear")
    assert [tensor_bytes((count,), four) for count in (0, 1, 2, 3)] == [0, 1, 1, 2]


# Breakdowns


def test_layers_are_called_by_their_source_nodes():
    plain = layer("name", metadata="[ONNX Layer: a]\x1e[ONNX Layer: b]\x1e[ONNX Layer: c]")
    assert layer_label(plain) == "a + b + c"
    assert layer_brief(plain) == "a +2"
    assert layer_brief(layer("x", metadata="[ONNX Layer: a]")) == "a"
    assert layer_brief(layer("x")) == layer_label(layer("x")) == "x"


def test_transitions_look_through_what_only_moves():
    layers = [
        layer("a", "PointWiseV2", 1.0, [tensor("x", form=FP32)], [tensor("t", form=FP32)]),
        layer("r", "Reformat", 0.25, [tensor("t", form=FP32)], [tensor("u", form=FP16)]),
        layer("s", "Reformat", 0.5, [tensor("u", form=FP16)], [tensor("v", form=FP16)]),
        layer("b", "PointWiseV2", 1.0, [tensor("v", form=FP16)], [tensor("y", form=FP16)]),
    ]
    ends = (Binding("x", "input", (1, 4), FP32), Binding("y", "output", (1, 4), FP32))
    assert transitions(report(*layers, bindings=ends)) == Transitions(
        ("fp16", "fp32"), ((0, 1), (1, 1)), ((0.0, 0.0), (0.75, 0.0))
    )
    shares = precision_share(report(*layers, layer("n", "NoOp", 3.0, [tensor("x")])))
    assert [(one.precision, one.layers, one.ms) for one in shares] == [("fp16", 2, 1.5), ("fp32", 2, 1.25)]


def test_a_layer_that_is_not_there_is_named():
    made = report(layer("a", ms=1.0), layer("b"))
    assert made.layer("b").name == "b"
    with pytest.raises(ReportError, match="engine: there is no layer 'c'"):
        made.layer("c")
    assert (made.layers_ms, made.profiled) == (1.0, True)
    assert (report(layer("b")).layers_ms, report(layer("b")).profiled) == (None, False)
    table = made.layers_table()
    assert table["percent"][0] == 100.0
    assert table["ms"].isna().tolist() == [False, True]
    assert LayerTime("a", 2.0, 1.0).typical_ms == 1.0
    assert LayerTime("a", 2.0).typical_ms == 2.0


def test_an_engine_as_onnx_has_a_node_a_layer_and_numbered_parts_of_a_buffer():
    layers = [
        layer("a", "Conv/V2", 1.5, [tensor("x", -1, 4)], [tensor("t")]),
        layer("b", None, None, [tensor("x", -1, 4)], [tensor("t", form=FP16)]),
        layer("c", "k", None, [tensor("t")], [tensor("y")]),
    ]
    made = engine_onnx(report(*layers, bindings=(Binding("y", "output"),)))
    assert [(node.op_type, list(node.output)) for node in made.graph.node] == [
        ("Conv_V2", ["t"]),
        ("unknown", ["t (2)"]),
        ("k", ["y"]),
    ]
    assert [value.name for value in made.graph.input] == ["x"]
    assert [value.name for value in made.graph.output] == ["t (2)", "y"]
    assert [value.name for value in made.graph.value_info] == ["t"]
    (first, second) = made.graph.input[0].type.tensor_type.shape.dim
    assert (first.HasField("dim_value"), second.dim_value) == (False, 4)
    assert {one.name for one in made.graph.node[0].attribute} >= {"kind", "milliseconds", "precision"}
    assert "milliseconds" not in {one.name for one in made.graph.node[1].attribute}


def test_two_engines_of_which_one_has_another_name():
    def engine(names, name):
        raw = [{"Name": one, "LayerType": "gemm", "Metadata": f"[ONNX Layer: {one}]"} for one in names]
        return load_report({"Layers": raw}, name=name)

    comparison = compare_engines([engine(["a", "b"], "one"), engine(["b", "c"], "two")])
    assert [(one.nodes, one.change[1]) for one in comparison.groups] == [
        (("a",), "only in one"),
        (("b",), "same layers"),
        (("c",), "only in two"),
    ]
    with pytest.raises(ReportError, match="one and two share no source node: 'a' against 'c'"):
        compare_engines([engine(["a", "b"], "one"), engine(["c", "d"], "two")])


@pytest.mark.parametrize("raw", [[1], [{}, "a"], {}, {"a": {}}, "text", None])
def test_what_is_no_list_of_tensors_is_refused(raw):
    with pytest.raises(ReportError, match="`I/O Tensors` is not a list of objects"):
        read_io_tensors(raw, "graph.json")
    assert read_io_tensors([], "graph.json") == ([], ())


def test_an_engine_is_set_against_another_plan_where_that_is_another():
    stem = RECORDED / "resnet50.qdq"
    plain = load_engine(f"{stem}.graph.json", profile=f"{stem}.profile.json")
    assert plain.against({}) is plain
    asked = plain.against({"stem/conv": "fp32"})
    assert asked is not plain
    assert [(one.node, one.requested) for one in asked.verdicts] == [("stem/conv", "fp32")]
    assert asked.against({"stem/conv": "fp32"}) is asked
    assert asked.against({}).verdicts == []


def test_a_card_has_the_slowest_layers_first_and_those_without_a_time_last():
    times = [("a", None), ("b", 0.5), ("c", 2.0), ("d", None)]
    layers = tuple(Layer(name=name, time=None if ms is None else LayerTime(name, ms, ms)) for name, ms in times)
    assert [row[0] for row in EngineReport(name="e", layers=layers, dialect="d")._card().rows] == ["c", "b", "a", "d"]


def test_rows_are_aligned_to_sixteen_bytes():
    """NVIDIA, "Matrix Multiplication Background": what Tensor Cores run without padding."""
    width = {"fp16": 2, "bf16": 2, "int8": 1, "fp8": 1, "tf32": 4}
    assert {name: multiple * width[name] for name, multiple in compute._MULTIPLE.items()} == dict.fromkeys(width, 16)


# What random mutants had survived


def test_only_an_add_of_a_constant_is_folded_into_a_bias():
    conv = SourceNode("conv", "Conv", ("x", "w"), ("c",))
    for op, other, folded in (("Add", "b", True), ("Mul", "b", False), ("Add", "r", False)):
        relu = SourceNode("relu", "Relu", ("x",), ("r",))
        node = SourceNode("it", op, ("c", other), ("y",))
        graph = SourceGraph((conv, relu, node), frozenset("wb"), frozenset("x"), frozenset("y"))
        assert ("it" in why_vanished(graph, ["conv", "relu"])) == folded


def test_what_a_foreign_graph_computes_in_is_told_by_its_tactic_or_not_at_all():
    name = "{ForeignNode[a...b]}"
    told = layer_precision(layer(name, "Myelin", inputs=[tensor("x")], tactic="sm80_tf32"))
    assert (told.name, told.evidence) == ("tf32", "tactic sm80_tf32")
    closed = layer_precision(layer(name, "Myelin", inputs=[tensor("x")]))
    assert closed.name is None
    assert closed.evidence.startswith("a whole graph compiled by Myelin")


@pytest.mark.parametrize(("form", "found"), [(FP16, True), (INT8, True), (FP32, False)])
def test_a_foreign_graph_in_fp32_is_wide_beside_reduced_layers_alone(form, found):
    conv = convolution("conv", form=form)
    foreign = layer("{ForeignNode[a...b]}", "Myelin", 1.0, [tensor("y", 2, 8, 4, 4)], [tensor("z", 1, 4)])
    made = report(conv, foreign)
    scene = EngineScene(made, fusion_map(made))
    assert bool(list(compute.wide_myelin(scene))) == found


@pytest.mark.parametrize(("inner", "ops"), [(1, 2**61), (2, None)])
def test_operations_are_counted_below_2_to_the_62(inner, ops):
    ends = [tensor("x", 2**30, inner)], [tensor("y", 2**30, 2**30)]
    assert layer_ops(layer("g", "MatrixMultiply", 1.0, *ends)) == ops


def test_tensors_are_told_with_who_makes_and_who_reads_them():
    made = report(
        layer("a", "PointWiseV2", None, [tensor("x")], [tensor("t")]),
        layer("b", "PointWiseV2", None, [tensor("t")], [tensor("y")]),
    )
    table = made.tensors_table().set_index("tensor")
    assert list(table.index) == ["x", "t", "y"]
    assert [table["made_by"][name] for name in ("t", "y")] == ["a", "b"]
    assert table["used_by"].to_list() == [["a"], ["b"], []]


def test_no_output_channels_are_none_and_not_unknown():
    assert conv_shape(convolution(maps=0)).out_channels == 0
    assert conv_shape(convolution(maps=-1)).out_channels is None
    assert conv_shape(convolution(maps=2**31)).out_channels is None


def test_of_several_wide_outputs_the_first_is_named():
    conv = layer("conv", "CaskConvolution", 1.0, [tensor("x", form=INT8)], [tensor("p", form=FP16), tensor("q")])
    after = layer("next", "PointWiseV2", 1.0, [tensor("p", form=FP16), tensor("q")], [tensor("y")])
    (one,) = findings(conv, after, kind="float-output")
    assert one.title == "INT8 conv that writes FP16"
    assert one.evidence.startswith("p is fp16")


def test_a_summary_keeps_a_model_that_was_loaded_and_no_message():
    graph = proto([helper.make_node("Relu", ["x"], ["y"], "a")], {"x": [1, 4]}, {"y": [1, 4]})
    made = report(layer("a", "PointWiseV2", None, [tensor("x")], [tensor("y")]))
    loaded = from_proto(graph)
    assert summarize(made, model=loaded).model is loaded
    assert summarize(made, model=graph).model is None
    assert summarize(made).model is None


def test_times_of_a_layer_that_are_too_many_are_added_up_once():
    raw = {"Layers": [{"Name": "a", "LayerType": "Relu"}] * 2}
    times = [{"name": "a", "averageMs": ms, "medianMs": ms} for ms in (1.0, 2.0, 4.0)]
    first, second = load_report(raw, profile=times).layers
    assert (first.ms, first.typical_ms) == (7.0, 7.0)
    assert (second.ms, second.typical_ms) == (0.0, 0.0)
