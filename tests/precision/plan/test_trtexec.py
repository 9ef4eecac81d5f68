"""Precisions that were told to trtexec."""

from __future__ import annotations

import pytest

from tests.kit.networks import Net, network
from workbench.errors import PrecisionError
from workbench.precision.plan.trtexec import import_trtexec, parse_spec


def named(*names):
    net = Net()
    x = "x"
    for name in names:
        x = net.op("Relu", x)
        net.nodes[-1].name = name
    return net.model(x)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a:fp16", [("a", ("fp16",))]),
        ("a:fp16,b:fp32", [("a", ("fp16",)), ("b", ("fp32",))]),
        ("a:fp16,*:fp32", [("*", ("fp32",)), ("a", ("fp16",))]),
        ("a:0,b:fp16", [("a:0,b", ("fp16",))]),
        ("Conv(a, b):0:int8,c:fp16+int32", [("Conv(a, b):0", ("int8",)), ("c", ("fp16", "int32"))]),
        ("model/conv*:fp16", [("model/conv*", ("fp16",))]),
    ],
)
def test_names_may_hold_commas_and_colons(text, entries):
    assert parse_spec(text) == entries


@pytest.mark.parametrize("text", ["a", "a:fp64", "a:fp16,b", ":fp16"])
def test_what_is_no_entry_is_refused(text):
    with pytest.raises(PrecisionError, match=r"layer:type"):
        parse_spec(text)


def test_later_entries_win_and_the_star_is_for_the_rest():
    model = named("a", "a, b", "ab", "c?")
    imported = import_trtexec(
        "trtexec --onnx=m.onnx --layerPrecisions='a, b:fp32,a*:bf16,*:fp16,c?:fp32' --fp16", model
    )
    got = {node: decision.requested for node, decision in imported.plan.resolve(model).decisions.items()}
    assert got == {"a": "bf16", "a, b": "bf16", "ab": "bf16", "c?": "fp32"}
    assert imported.notes == ()


def test_a_question_mark_is_a_letter_for_trtexec():
    model = named("c?", "cd")
    plan = import_trtexec("--layerPrecisions=c?:fp16", model).plan
    assert [d.node for d in plan.resolve(model).decisions.values() if d.requested == "fp16"] == ["c?"]


def test_int8_outputs_are_quantized_inputs_of_their_readers():
    model = network("conv", "conv")
    imported = import_trtexec("--layerOutputTypes=Conv_0:int8", model)
    assert imported.plan.resolve(model).nodes("int8") == ["Conv_1"]


def test_what_is_no_rule_is_noted():
    imported = import_trtexec("--layerPrecisions a:int32,nobody:fp16 --layerOutputTypes=a:fp16+fp32", named("a"))
    assert imported.plan.rules == ()
    assert len(imported.notes) == 3
    for note, message in zip(imported.notes, ("is no precision", "is called so", "different types"), strict=True):
        assert message in note


def test_an_output_type_is_the_finer_word_wherever_it_stands():
    imported = import_trtexec("--layerOutputTypes=a:fp32 --layerPrecisions a:fp16+fp16 --fp16", named("a"))
    assert [str(rule) for rule in imported.plan.rules] == ["name:a -> fp16", "name:a -> fp32"]
    assert import_trtexec("trtexec --layerPrecisions", named("a")).plan.rules == ()
    fp8 = import_trtexec("--layerOutputTypes=Conv_0:fp8", network("conv", "conv")).plan
    assert [(rule.precision, rule.select != "name:Conv_0") for rule in fp8.rules] == [("fp8", True)]


@pytest.mark.parametrize("mark", ["", "'"])
def test_of_a_command_line_that_is_none_eighty_characters_are_shown(mark):
    with pytest.raises(PrecisionError) as caught:
        import_trtexec(mark + "x" * 100, named("a"))
    assert caught.value.where == (mark + "x" * 100)[:80]


def test_a_command_line_without_precisions_is_refused():
    with pytest.raises(PrecisionError, match="no --layerPrecisions"):
        import_trtexec("trtexec --onnx=m.onnx --fp16", named("a"))
    with pytest.raises(PrecisionError, match="not a command line"):
        import_trtexec("trtexec --layerPrecisions='a:fp16", named("a"))
