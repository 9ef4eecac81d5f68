"""Which node an error is about, and what is said where it is about none: each form of what TensorRT prints."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from tests.kit.models import model, proto, weight
from workbench.backends.compiler.nvinfer import Compilation, LogLine, ParserIssue
from workbench.backends.verdict.blame import blame, first_line
from workbench.graph import from_proto

node = helper.make_node
CHAIN = [
    node("Conv", ["x", "w"], ["a"], "c1"),
    node("Relu", ["a"], ["b"]),  # without a name, so that its address is its tensor's
    node("Add", ["b", "v"], ["c"], "sum"),
    node("Mul", ["c", "v"], ["d"], "prod:uct"),
    node("Relu", ["d"], ["y"], "last"),
]
NETWORK = model(CHAIN, {"x": [1, 2, 4, 4]}, {"y": [1, 3, 4, 4]}, [weight("w", 3, 2, 1, 1), weight("v", 1)])
ADDRESSES = ["c1", "b", "sum", "prod:uct", "last"]
NO_GPU = "CUDA driver version is insufficient"


def issue(text="no", *, index=-1, name="", function="check", stack=()):
    return ParserIssue(index, name, "", "UNSUPPORTED", text, function, stack)


def blamed(*issues, log=(), parsed=False, built=False, network=NETWORK):
    lines = tuple(LogLine(*line) for line in log)
    return blame(network, Compilation("1.7", parsed, built, None, None, issues, (), (), lines, 0.1, 0.2))


def test_the_model_has_these_nodes():
    assert list(NETWORK.nodes) == ADDRESSES


@pytest.mark.parametrize(
    ("told", "nodes"),
    [
        (issue(name="sum", index=0), ["sum"]),
        (issue(name="sum", index=0, stack=("f",)), ["sum"]),
        (issue(name="unknown", index=2), ["sum"]),
        (issue(index=0), ["c1"]),
        (issue(index=1), ["b"]),
        (issue(index=4), ["last"]),
        (issue(index=5), []),
        (issue(index=6), []),
        (issue(index=-1), []),
        (issue(index=0, stack=("f",)), []),  # the index counts in a function of the model
        (issue(function="importRelu"), ["b", "last"]),
        (issue(function="importRelu", index=2), ["sum"]),
        (issue(function="importSoftmax"), []),
        (issue(function="Relu"), []),
    ],
)
def test_an_error_of_the_parser_is_brought_to_its_node_by_name_index_or_importer(told, nodes):
    messages, problems = blamed(told)
    text = f"no (in function {told.function}, UNSUPPORTED)"
    assert messages == dict.fromkeys(nodes, text)
    assert [problem.message for problem in problems] == [text] * (not nodes)


def test_a_plugin_that_needs_a_gpu_says_so_and_the_noise_about_it_is_left_out():
    log = [("ERROR", f"0: {NO_GPU}"), ("WARNING", "something"), *(("ERROR", f"{at}: {NO_GPU}") for at in (1, 2))]
    texts = [
        ("a plugin\n[checkMacros.cpp::catchCudaError::1] Error: cudaError 35 (no)", log, f"a plugin@; 2: {NO_GPU}"),
        ("a plugin", log[1:2], "a plugin@"),
        ("a kernel", log, "a kernel@"),
    ]
    for text, lines, expected in texts:
        messages, _ = blamed(issue(text, name="c1"), log=lines)
        assert messages == {"c1": expected.replace("@", " (in function check, UNSUPPORTED)")}


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("(IConvolutionLayer c1 has no kernel)", ["c1"]),
        ("IConvolutionLayer c1: no kernel", ["c1"]),
        ("ILayer with blanks: no kernel, node c1", ["c1"]),
        ("for {ForeignNode[sum]}", ["sum"]),
        ("operation 'prod:uct' failed", ["prod:uct"]),
        ("Node last: failed", ["last"]),
        ("node sum, failed", ["sum"]),
        ("sum has no runners", ["sum"]),
        ("node sum_OutputLayer failed", ["sum"]),
        ("node sum_U0 failed", ["sum"]),
        ("node sum_17 failed", ["sum"]),
        ("node sum_ failed", ["sum"]),
        ("node sum_V0 failed", []),
        ("node other failed, and node sum", ["sum"]),
        ("node other failed", []),
        ("Constant (w) has a wrong type", ["c1"]),
        ("constant (v) has a wrong type", ["sum", "prod:uct"]),
        ("constant (a) has a wrong type", []),
        ("nothing of use", []),
    ],
)
def test_an_error_of_the_builder_is_brought_to_the_node_it_names_or_that_reads_the_weight(text, nodes):
    messages, problems = blamed(parsed=True, log=[("ERROR", text)])
    assert messages == dict.fromkeys(nodes, text)
    assert [problem.message for problem in problems] == [text] * (not nodes)


def test_words_about_attention_are_about_all_there_is():
    nodes = [node("Attention", ["q", "q", "q"], ["a"], "one"), node("Attention", ["a", "a", "a"], ["y"], "two")]
    shape = {"q": [1, 2, 16, 16]}
    network = model(nodes, shape, {"y": [1, 2, 16, 16]}, opset=23, ir_version=12)
    text = "Attention operation was not supported by a dedicated kernel"
    assert blamed(parsed=True, log=[("ERROR", text)], network=network) == ({"one": text, "two": text}, ())
    assert blamed(parsed=True, log=[("ERROR", text)])[0] == {}


def test_only_errors_of_a_build_that_failed_count_and_not_those_that_say_nothing_of_it():
    log = [
        ("WARNING", "node c1"),
        ("INTERNAL_ERROR", "node sum"),
        ("ERROR", "node last: cudaError 35"),
        ("ERROR", "[myelinCache.h] node last"),
        ("ERROR", "The timing cache will not be used! node last"),
        ("ERROR", "it failed"),
    ]
    messages, problems = blamed(parsed=True, log=log)
    assert messages == {"sum": "node sum"}
    assert [problem.message for problem in problems] == ["it failed"]
    assert blamed(parsed=True, built=True, log=log) == blamed(log=log) == ({}, ())
    _, (problem,) = blamed(parsed=True, log=log[:1])
    assert problem.message == "the builder returned no engine and said nothing"


# What is said where no node is to blame


def told(text, network=NETWORK):
    (problem,) = blamed(parsed=True, log=[("ERROR", text)], network=network)[1]
    assert problem.message == text
    return problem.reason, problem.fix


def test_an_old_operator_set_is_converted_where_there_is_one():
    old = model(CHAIN[1:2], {"a": [2]}, {"b": [2]}, opset=6)
    reason, fix = told("ONNX Pre-opset 7 is not read", old)
    assert reason == "opset 6: the parser reads 7 and newer"
    assert (fix.edit, dict(fix.arguments)) == ("convert_opset", {"version": 13})
    none = proto(CHAIN[1:2], {"a": [2]}, {"b": [2]}, domains=["my.ops"])
    del none.opset_import[0]
    assert told("pre-opset 7 is not read", from_proto(none)) == ("no operator set is imported", None)


def test_more_axes_than_there_may_be_are_those_of_an_input():
    words = "Failed to convert ONNX dimensions"
    unknown = {"u": None, "a": [1] * 8, "b": [1] * 9}
    wide = model([node("Identity", [name], [f"{name}y"], name) for name in unknown], unknown, {"uy": None})
    reason, fix = told(words, wide)
    assert reason == "input 'b' has 9 axes; TensorRT has at most 8"
    assert fix.text.startswith("Merge axes that stay together")
    assert told("another word", wide)[0] == "the compiler failed and named no node: another word"
    assert told(words)[0] == f"the compiler failed and named no node: {words}"


@pytest.mark.parametrize(
    ("text", "reason", "fix"),
    [
        ("HW-specific datatypes: no", "HW-specific datatypes: no", "Choose a precision that the target has."),
        (
            "Tensor t has datatype int4 but is not consumed by",
            "'t' is an input of type INT4, or is used like one",
            "Quantize and dequantize inside of the model",
        ),
        (
            "Tensor t has datatype fp8 but is not produced by",
            "'t' is an output of type FP8, or is used like one",
            "Quantize and dequantize inside of the model",
        ),
        ("not within workspace limit", "no kernel fits into the workspace limit", "Raise the workspace limit."),
        (
            "could not find any implementation for node {ForeignNode[a...b]}",
            "no kernel computes the region from a to b as a whole",
            "Constrain fewer layer precisions",
        ),
        (
            "10: Could not find any implementation for node w + w/QuantizeLinear + c1 + sum.",
            "no kernel computes c1 + sum as one",
            "Give the nodes behind it INT8 as well, or leave it in floating point.",
        ),
        (
            "10: Could not find any implementation for node w + v.",
            "the compiler failed and named no node: 10: Could not find any implementation for node w + v.",
            None,
        ),
        (
            "convertMyelinWeightsToFp32",
            "TensorRT 8 takes no weights stored as INT8 where Myelin compiles the layer",
            "Lower it for the target tensorrt-8.6",
        ),
        (
            "chooseHigherPrecision",
            "TensorRT 8 takes no weights stored as INT8 here, it seems where it merges convolutions",
            "Lower it for the target tensorrt-8.6",
        ),
        ("Myelin failed", "the compiler failed and named no node: Myelin failed", None),
    ],
)
def test_what_failed_without_a_node_has_its_reason_and_what_helps(text, reason, fix):
    actual = told(text)
    assert actual[0] == reason
    assert actual[1] is None if fix is None else actual[1].text.startswith(fix)


@pytest.mark.parametrize(("words", "hinted"), [("Myelin failed", True), ("graphScope failed", True), ("failed", False)])
def test_recurrence_is_what_a_compiler_is_seen_to_fail_at(words, hinted):
    nodes = [node("RNN", ["x", "w", "w"], ["y"], "r"), node("LSTM", ["x", "w", "w"], ["z"], "l"), CHAIN[1]]
    network = model(nodes, {"x": [1, 2, 3], "a": [2]}, {"y": None, "z": None}, [weight("w", 1, 4, 3)])
    reason, fix = told(words, network)
    assert reason == f"the compiler failed and named no node: {words}"
    assert (fix is not None) == hinted
    if hinted:
        assert fix.text.startswith("The model has LSTM, RNN, where this compiler was seen to fail; unroll")


FAILED = "Failed to import initializer: {} (in function importModel)"


def test_a_weight_that_cannot_be_read_is_named_with_why():
    odd = helper.make_tensor("odd", TensorProto.INT16, [2], [1, 2])
    known = helper.make_tensor("known", TensorProto.FLOAT, [2], [1, 2])
    nodes = [node("Identity", [name], [f"y{name}"], f"n{name}") for name in ("odd", "known", "x")]
    network = model(nodes, {"x": [2]}, {"yx": [2]}, [odd, known])
    assert told(FAILED.format("odd"), network) == ("weight 'odd' is INT16, which TensorRT does not know", None)
    missing = "weight 'known' cannot be read: its content is missing or has another size than its shape"
    assert told(FAILED.format("known"), network) == (missing, None)
    unknown = ("a weight or an input has a type that TensorRT does not know", None)
    assert told(FAILED.format("other"), network) == told("Failed to import initializer", network) == unknown
    assert told("Failed to convert ONNX date type", network) == unknown


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (helper.make_tensor_value_info("s", TensorProto.STRING, [2]), "input 's' is STRING"),
        (helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [2]), "input 's' is a sequence of FLOAT"),
    ],
)
def test_an_input_of_a_type_that_tensorrt_does_not_know_is_named(value, reason):
    made = proto([node("Identity", ["s"], ["t"], "n")], {"x": [2]}, {"t": None})
    made.graph.input.append(value)
    assert told("Failed to convert ONNX date type", from_proto(made))[0] == f"{reason}, which TensorRT does not know"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a" * 240, "a" * 240),
        ("a" * 241, "a" * 237 + "..."),
        ("\nfirst\nsecond", "first"),
        ("Invalid Node - a\nInvalid Node - b\nwhy", "why"),
        ("Invalid Node - a", "Invalid Node - a"),
        ('x && "too short"', 'x && "too short"'),
        ('x && "long enough!"', "long enough!"),
    ],
)
def test_the_first_line_that_says_something_fits_a_table(text, line):
    assert first_line(text) == line
