"""What each lint says of an engine made to show it, and of what it is silent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import helper

from tests.engine.test_words import FP16, FP32, INT8, convolution, findings, layer, report, tensor
from tests.kit.models import proto
from workbench.engine.finding import EngineScene, Finding, Suggestion
from workbench.engine.findings import find
from workbench.engine.formats import TensorFormat
from workbench.engine.fusion import fusion_map
from workbench.engine.report import Binding

BF16, FP8 = (TensorFormat(kind, kind, "linear") for kind in ("bf16", "fp8"))
WIDE32 = TensorFormat("int8", "int8", "vectorized", 32)
UNTOLD = TensorFormat("N/A", None, None)


def scene(*layers, **more):
    made = report(*layers, **more)
    return EngineScene(made, fusion_map(made))


def step(name, kind, source, target, before=FP16, after=FP16, ms=1.0, **more):
    """A layer from one tensor, or several, to another."""
    sources = source.split()
    return layer(name, kind, ms, [tensor(one, form=before) for one in sources], [tensor(target, form=after)], **more)


def only(kind, *layers, **more):
    (finding,) = findings(*layers, kind=kind, **more)
    return finding


# What lints look at


def test_neighbours_are_found_in_order_whatever_only_moves_between_them():
    first, second = step("m1", "PointWiseV2", "x", "t1"), step("m2", "PointWiseV2", "x", "t2")
    moves = [step("r1", "Reformat", "t1", "u1"), step("r2", "NoOp", "t2", "u2")]
    end = step("end", "CaskConvolution", "w u1 u2", "y")  # nothing in the engine writes w
    actual = scene(first, second, *moves, end)
    assert [one.name for one in actual.before(end)] == ["m1", "m2"]
    assert [one.name for one in actual.after(first)] == ["end"]
    assert actual.before(first) == []


@pytest.mark.parametrize(
    ("kind", "first"), [("Quantize", True), ("Reformat", True), ("PointWiseV2", False), ("SoftMaxV2", False)]
)
def test_a_layer_is_first_where_only_its_input_is_quantized_before_it(kind, first):
    end = step("end", "CaskConvolution", "t", "y")
    assert scene(step("one", kind, "x", "t"), end).first(end) == first
    behind = [step("zero", "PointWiseV2", "i", "x"), step("one", kind, "x", "t"), end]
    assert not scene(*behind).first(end)


def test_a_card_says_what_goes_away_and_what_may_be_had_at_most():
    one = Finding(kind="k", title="Title", evidence="e", fix="f", layers=("a", "b"), cost_ms=1.25)
    assert repr(one).splitlines()[0] == "Title, at most 1.25 ms: a and 1 more"
    assert repr(replace(one, bound="all")).splitlines()[0] == "Title, 1.25 ms: a and 1 more"
    assert repr(replace(one, cost_ms=None)).splitlines()[0] == "Title: a and 1 more"


def test_findings_are_sorted_by_cost_and_what_costs_nothing_is_known_to():
    casts = [step(f"__myl_Cast_myl0_{at}", "kgen", f"a{at}", f"b{at}", ms=ms) for at, ms in enumerate((0.0, None, 0.5))]
    assert [one.cost_ms for one in findings(*casts, kind="cast")] == [0.5, 0.0, None]


def test_nodes_of_a_finding_are_those_that_the_model_tells():
    graph = proto([helper.make_node("Cast", ["x"], ["y"], "told", to=1)], {"x": [1, 4]}, {"y": [1, 4]})
    made = report(step("__myl_Cast_myl0_1", "kgen", "x", "y"))
    assert [one.nodes for one in find(made)] == [()]
    assert [one.nodes for one in find(made, fusion_map(made, graph))] == [("told",)]


# Precision


def test_wide_layers_are_found_one_by_one_except_those_that_were_asked_for():
    narrow = convolution("narrow", metadata="[ONNX Layer: n]")
    asked = convolution("asked", form=FP32, metadata="[ONNX Layer: a]")
    wide = convolution("wide", form=FP32, metadata="[ONNX Layer: w]")
    unnamed = replace(step("__myl_AddRelu_myl0_1", "kgen", "x", "y", FP32, FP32), metadata="")
    made = report(narrow, asked, wide, unnamed)
    silent = [one for one in find(made, requested={"a": "fp32"}) if one.kind == "silent-fp32"]
    assert [(one.layers, one.nodes) for one in silent] == [(("wide",), ("w",)), (("__myl_AddRelu_myl0_1",), ())]
    assert [one.suggestion for one in silent] == [Suggestion("precision", ("w",), "fp16"), None]
    assert silent[0].evidence == "its first input is fp32 linear"


def test_of_an_engine_in_floating_point_all_computing_layers_are_told_at_once():
    layers = [
        convolution("a", form=FP32, ms=None),
        convolution("b", form=FP32, ms=0.25),
        step("r", "Reformat", "x", "y"),
    ]
    one = only("silent-fp32", *layers)
    assert one.evidence == "2 of 2 computing layers are in FP32 or TF32, none in a reduced precision"
    assert one.cost_ms == 0.25


def test_a_myelin_graph_that_reads_fp32_is_told_where_something_writes_it():
    name = "{ForeignNode[a...b]}"
    conv = step("conv", "CaskConvolution", "x", "t", FP16, FP32)
    reader = step("reader", "PointWiseV2", "t", "u", FP32, FP32)
    one = only("wide-myelin", conv, reader, step(name, "Myelin", "t", "y", FP32, FP32, ms=2.0))
    assert (one.layers, one.nodes, one.cost_ms) == ((name,), (name,), 2.0)
    assert one.evidence == "t is fp32 linear; the file does not tell of its 1 nodes one by one"
    # Not where it reads the engine's own input, or reads it narrow.
    assert not findings(conv, step(name, "Myelin", "i", "y", FP32, FP32), kind="wide-myelin")
    assert not findings(conv, step(name, "Myelin", "t", "y", FP16, FP16), kind="wide-myelin")


def wider(layers, **requested):
    made = report(*layers)
    (one,) = [one for one in find(made, requested=requested) if one.kind == "wider-than-asked"]
    return one


def test_a_layer_that_is_wider_than_asked_names_what_hands_it_too_many_bits():
    wide = step("wide", "PointWiseV2", "x", "t", FP32, FP32)
    narrow = step("narrow", "PointWiseV2", "x", "u", FP16, FP16)
    asked = step("asked", "PointWiseV2", "x", "v", FP32, FP32)
    reader = layer(
        "a + b + c + d",
        "PointWiseV2",
        2.0,
        [tensor("t"), tensor("u", form=FP16), tensor("v"), tensor("w")],
        [tensor("y")],
    )
    requested = dict.fromkeys("abcd", "fp16") | {"asked": "fp32"}
    one = wider([wide, narrow, asked, reader], **requested)
    assert (one.title, one.nodes, one.layers) == (
        "FP16 was asked for, FP32 was made",
        tuple("abcd"),
        ("a + b + c + d",),
    )
    assert one.fix == "See whether every input of a, b, c is in fp16: one wide input keeps the layer wide"
    assert (one.cost_ms, one.suggestion) == (2.0, Suggestion("precision", ("wide",), "fp16"))


@pytest.mark.parametrize(("made", "handed"), [(UNTOLD, FP16), (FP16, UNTOLD), (INT8, INT8)])
def test_what_hands_on_as_few_bits_as_asked_or_is_not_told_is_not_to_blame(made, handed):
    """A precision that is not told may be the narrowest there is."""
    maker = layer("maker", "PointWiseV2", 1.0, [tensor("x", form=made)], [tensor("t", form=UNTOLD)])
    reader = layer("reader", "PointWiseV2", 1.0, [tensor("u", form=FP32), tensor("t", form=handed)], [tensor("y")])
    asked = "int8" if made is INT8 else "fp4"
    assert wider([maker, reader], reader=asked).suggestion is None


# Kernels


@pytest.mark.parametrize(
    ("form", "fix", "suggested"),
    [(FP32, "Allow TF32, or plan FP16", "fp16"), (FP16, "Pad its channels", None), (INT8, "Pad its channels", None)],
)
def test_what_helps_a_kernel_without_tensor_cores_depends_on_its_precision(form, fix, suggested):
    quick = convolution("quick", form=form, tactic="tensor16x8x16")
    one = only("no-tensor-cores", quick, convolution("slow", 12, 8, form=form, tactic="a_ffma"))
    assert (one.layers, one.evidence) == (("slow",), "tactic a_ffma; 8 -> 12 channels")
    assert one.fix.startswith(fix)
    assert (one.suggestion and one.suggestion.value) == suggested


def test_channels_that_are_not_told_are_unknown():
    bare = layer("c", "CaskConvolution", 1.0, [tensor("x", 5, form=FP16)], [tensor("y", 5, form=FP16)], tactic="ffma")
    assert only("no-tensor-cores", bare).evidence == "tactic ffma; unknown -> unknown channels"


def test_padding_is_told_of_each_side_behind_layers_that_have_none():
    first = convolution("first", 12, 8, form=FP32)
    grouped = convolution("grouped", 12, 8, groups=2)
    before = step("before", "PointWiseV2", "i", "x")
    odd = replace(convolution("odd", 12, 20, ms=2.0), outputs=(tensor("z", form=FP16),))
    one = only("alignment", first, grouped, before, odd)
    assert one.layers == ("odd",)
    assert one.evidence == (
        "12 output channels and 20 input channels, no multiple of 8 (fp16): 38% of the work is padding"
    )
    assert one.fix == "Train it with channels that are a multiple of 8"
    assert one.cost_ms == pytest.approx(2.0 * (1 - 12 / 16 * 20 / 24))
    assert only("alignment", before, replace(odd, time=None)).cost_ms is None


def conv(activation="NONE", name="conv", target="t"):
    return step(name, "CaskConvolution", "x", target, attributes={"Activation": activation})


def test_a_sum_of_two_branches_is_told_of_the_one_that_it_could_be_part_of():
    pool = step("pool", "PoolingV2", "x", "p")
    one = only("unfused", pool, conv(), step("add", "PointWiseV2", "p t", "y"))
    assert one.evidence == "add follows conv; nothing stands between them: no kernel joins the two in this precision"
    assert (one.layers, one.title, one.bound) == (("add", "conv"), "Conv not fused with what follows", "all")
    assert one.suggestion is None


@pytest.mark.parametrize("activation", ["RELU", "CLIP"])
def test_what_has_an_activation_is_fused(activation):
    assert not findings(conv(activation), step("add", "PointWiseV2", "t", "y"), kind="unfused")


def test_only_quantization_is_looked_through_for_what_was_not_fused():
    end = step("end", "PointWiseV2", "u", "y")
    one = only("unfused", conv(), step("q", "Quantize", "t", "u"), end)
    assert one.evidence == "end follows conv; q stands between them"
    assert one.fix == "Move the Q/DQ behind end: take the graph's own out, and let a plan place it"
    assert one.suggestion == Suggestion("edit", (), "remove_qdq")
    assert not findings(conv(), step("s", "SoftMaxV2", "t", "u"), end, kind="unfused")


def test_another_precision_is_advised_for_tensorrt_alone():
    layers = conv(), step("end", "PointWiseV2", "t", "y")
    fix = "Use an activation that fuses (Relu, Clip)"
    assert only("unfused", *layers).fix == f"{fix}, or another precision"
    (one,) = [one for one in find(report(*layers, backend="onnxruntime")) if one.kind == "unfused"]
    assert one.fix == fix


def test_three_readers_of_a_wide_output_are_named_and_the_first_is_to_be_quantized():
    plain = step("plain", "CaskConvolution", "x", "t", FP16, FP16)
    wide = step("wide", "CaskConvolution", "t", "u", INT8, FP16)
    readers = [step(name, "PointWiseV2", "u", f"{name} out") for name in "abcd"]
    one = only("float-output", plain, wide, *readers)
    assert (one.layers, one.title) == (("wide",), "INT8 conv that writes FP16")
    assert one.evidence == "u is fp16 linear, read by a, b, c"
    assert one.fix == "Quantize that input of a as well"
    assert one.suggestion == Suggestion("quantize_input", tuple("abcd"), "u")


# Layers that move


def reformatted(before, after, *more, source="t", target="u"):
    return only("reformat", *more, step("r", "Reformat", source, target, before, after))


MAKER, READER = step("maker", "PoolingV2", "x", "t"), step("reader", "PoolingV2", "u", "y")


def test_a_reformat_at_an_end_of_the_engine_is_for_the_application():
    first = reformatted(FP32, WIDE32, READER)
    assert (first.title, first.suggestion) == (
        "Reformat at the engine's input",
        Suggestion("build", (), "first input format: int8"),
    )
    assert first.fix == ("Allow int8 CHW32 as the input's format and hand over data in it, if the application can")
    last = reformatted(WIDE32, FP32, MAKER)
    assert (last.title, last.suggestion) == (
        "Reformat at the engine's output",
        Suggestion("build", (), "last output format: int8"),
    )
    assert last.evidence == "int8 CHW32 -> fp32 linear, 0.00 MiB, between maker and the engine's output"


@pytest.mark.parametrize(
    ("before", "after", "holder", "narrow"),
    [
        (FP16, INT8, "maker", "int8"),
        (INT8, FP16, "reader", "int8"),
        (FP32, BF16, "maker", "bf16"),
        (FP16, FP32, "reader", "fp16"),
        (WIDE32, BF16, "reader", "int8"),
        (FP16, FP8, "maker", "fp8"),
    ],
)
def test_where_precision_changes_the_wider_side_is_to_be_narrower(before, after, holder, narrow):
    maker, reader = step("maker", "PoolingV2", "x", "t", before, before), step("reader", "PoolingV2", "u", "y", after)
    other = step("other", "PoolingV2", "u", "z", after)
    one = reformatted(before, after, maker, reader, other)
    assert one.title == f"Reformat where precision changes ({before.dtype} to {after.dtype})"
    assert one.fix == f"Give both sides one precision: run {holder} in {narrow} if accuracy allows"
    nodes = ("maker",) if holder == "maker" else ("reader", "other")
    assert one.suggestion == Suggestion("precision", nodes, narrow)


@pytest.mark.parametrize(("before", "after"), [(FP16, BF16), (BF16, FP16), (INT8, FP8)])
def test_of_two_types_of_one_width_what_comes_before_is_to_be_as_what_comes_after(before, after):
    maker, reader = step("maker", "PoolingV2", "x", "t", before, before), step("reader", "PoolingV2", "u", "y", after)
    one = reformatted(before, after, maker, reader)
    assert one.fix == f"Give both sides one precision: run maker in {after.dtype} if accuracy allows"
    assert one.suggestion == Suggestion("precision", ("maker",), after.dtype)


def test_where_nobody_computes_in_the_wider_type_the_side_is_named_and_nothing_suggested():
    maker, reader = step("maker", "PoolingV2", "x", "t", INT8), step("reader", "PoolingV2", "u", "y", INT8)
    one = reformatted(FP16, INT8, maker, reader)
    assert one.fix == "Give both sides one precision: run the wider side in int8 if accuracy allows"
    assert one.suggestion is None


def test_between_two_layouts_the_builder_may_look_further():
    one = reformatted(FP16, replace(FP16, layout="channels-last"), MAKER, READER)
    assert one.title == "Reformat between two layouts"
    assert one.suggestion == Suggestion("build", (), "builder", (("optimization_level", 5),))


def test_free_reformats_are_passed_over_and_formats_that_are_not_told_are_said_to_be():
    free = step("free", "Reformat", "t", "u", UNTOLD, UNTOLD, ms=0.0)
    one = only("reformat", MAKER, free, READER, step("r", "Reformat", "y", "z", UNTOLD, FP16))
    assert (one.layers, one.title) == (("r",), "Reformat whose formats are not told")
    bare = only("reformat", layer("r", "Reformat", 1.0))
    assert (bare.title, bare.evidence) == (
        "Reformat between two layouts",
        "nothing -> nothing, between the engine's input and the engine's output",
    )


def q(name, source, target, before=FP16):
    return step(name, "Quantize", source, target, before, INT8)


def test_a_q_stands_alone_after_what_does_not_write_it():
    one = only("lone-qdq", MAKER, q("q", "t", "u"), READER)
    assert (one.title, one.bound, one.nodes) == ("Q/DQ left standing alone after pool", "all", ("q",))
    assert one.fix == "maker does not write int8 itself: quantize all its inputs, or move the Q up through it"
    assert one.suggestion == Suggestion("precision", ("maker",), "int8")


@pytest.mark.parametrize("other", ["CaskConvolution", "SoftMaxV2"])
def test_a_q_stands_alone_where_its_input_is_read_unquantized_too(other):
    one = only("lone-qdq", MAKER, q("q", "t", "u"), READER, step("other", other, "t", "z"))
    assert one.title == "Q/DQ left standing alone because its input is also read unquantized"
    assert one.fix == "Quantize that input of other as well, so that maker writes int8 itself"
    assert one.suggestion == Suggestion("quantize_input", ("other",), "t")


def test_a_q_stands_alone_beside_others_of_the_same_tensor():
    alone = findings(MAKER, q("b", "t", "u"), q("a", "t", "v"), q("c", "t", "w"), READER, kind="lone-qdq")
    first = alone[0]
    assert first.title == "Q/DQ left standing alone because its input is quantized with another scale as well"
    assert first.fix == (
        "Give the tensors of b and a and c one range, as the inputs of a Concat that is quantized want it"
    )
    assert first.suggestion is None


def test_a_dq_stands_alone_before_what_computes_in_floating_point():
    dq = step("dq", "Dequantize", "t", "u", INT8, FP16)
    one = only("lone-qdq", MAKER, dq, READER, step("other", "CaskConvolution", "u", "z", FP32, FP32))
    assert one.title == "Q/DQ left standing alone before a layer in fp16"
    assert one.fix == "Quantize reader as well, or end quantization earlier"
    assert one.suggestion == Suggestion("precision", ("reader", "other"), "int8")
    unknown = only("lone-qdq", MAKER, dq, step("odd", "PoolingV2", "u", "y", UNTOLD, UNTOLD))
    assert unknown.title.endswith("before a layer in unknown precision")


def test_a_q_or_dq_at_an_end_of_the_engine():
    first, last = q("q", "x", "u"), step("dq", "Dequantize", "t", "y", INT8, FP32)
    one = only("lone-qdq", first, READER)
    assert (one.title, one.suggestion) == (
        "Q/DQ left standing alone at the engine's input",
        Suggestion("build", (), "quantized engine input"),
    )
    other = only("lone-qdq", MAKER, last)
    assert (other.title, other.suggestion) == ("Q/DQ left standing alone at the engine's output", None)


CAST = "__myl_Cast_myl0_1"


def test_a_cast_is_told_to_be_at_an_end_or_between_layers():
    cast = step(CAST, "kgen", "t", "u", FP32, FP16)
    assert only("cast", cast, READER).title == "Cast at the engine's end"
    assert only("cast", MAKER, cast).title == "Cast at the engine's end"
    between = only("cast", MAKER, cast, READER)
    assert (between.title, between.evidence) == (
        "Cast between layers",
        "fp32 linear -> fp16 linear, between maker and reader",
    )


def test_a_cast_between_layers_goes_away_where_both_compute_in_the_narrower_type():
    wide = step("wide", "PoolingV2", "x", "t", FP32, FP32)
    one = only("cast", wide, step(CAST, "kgen", "t", "u", FP32, FP16), READER)
    assert one.suggestion == Suggestion("precision", ("wide",), "fp16")
    for odd in (UNTOLD, TensorFormat("int32", "int32", "linear")):
        assert only("cast", wide, step(CAST, "kgen", "t", "u", FP32, odd), READER).suggestion is None
    joined = layer(CAST, "kgen", 1.0, [tensor("t"), tensor("w", form=INT8)], [tensor("u", form=FP16)])
    assert only("cast", wide, joined, READER).suggestion == Suggestion("precision", ("wide",), "fp16")
    silent = layer(CAST, "kgen", 1.0, [tensor("t")])
    assert only("cast", wide, silent).suggestion is None


def test_the_type_of_an_input_can_be_chosen_where_it_is_one_of_the_engines():
    cast = step(CAST, "kgen", "x", "u", FP32, FP16)
    ends = [Binding("x", "input", (1, 4), FP32)]
    choice = Suggestion("edit", (), "set_input_type", (("input", "x"), ("dtype", "FLOAT16")))
    assert only("cast", cast, READER, bindings=ends).suggestion == choice
    assert only("cast", cast, READER).suggestion is None


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [(FP32, INT8, True), (INT8, FP32, True), (FP16, FP16, False), (UNTOLD, INT8, False), (INT8, UNTOLD, False)],
)
def test_a_slice_that_converts_has_two_types(before, after, found):
    cut = layer("cut", "Slice", 1.0, [tensor("x", form=before), tensor("size", form=BF16)], [tensor("y", form=after)])
    actual = findings(cut, kind="converting-slice")
    assert [(one.title, one.cost_ms) for one in actual] == [("Slice that converts its data", 1.0)] * found
    assert not findings(layer("cut", "Slice", 1.0, [tensor("x")]), kind="converting-slice")


@pytest.mark.parametrize(("dims", "found"), [((4, 10), True), ((4, 3, 8, 8), True), ((8, 10), False), ((4,), False)])
def test_a_batch_is_that_of_the_first_input_of_several_axes(dims, found):
    ends = [Binding("o", "output", (1, 4), FP32), Binding("u", "input"), Binding("x", "input", dims, FP32)]
    actual = findings(convolution(), bindings=ends, kind="small-batch")
    assert [one.title for one in actual] == ["Batch of 4"] * found
    for one in actual:
        assert one.evidence == f"x is {list(dims)}: throughput grows with the batch until the GPU is full"
        assert one.suggestion == Suggestion("edit", (), "set_batch", (("size", 8),))
