"""The verdict of the real TensorRT-RTX compiler, on real models and on small ones made for one cause each."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.backends.compiler import rtx as tensorrt_rtx
from workbench.backends.compiler.nvinfer import Compilation, LogLine
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.backends.verdict.checking import check, judge
from workbench.backends.verdict.mending import mend
from workbench.child import Child, ChildError, Outcome
from workbench.errors import BackendError, ModelError
from workbench.graph.load import from_proto, load_model

pytestmark = pytest.mark.skipif(
    not tensorrt_rtx.rtx_capabilities().build, reason="tensorrt_rtx is not installed: pip install trt-workbench[rtx]"
)

FP8 = TensorProto.FLOAT8E4M3FN


def qdq_model(zero_point: np.ndarray | TensorProto, opset: int = 13) -> onnx.ModelProto:
    """A Conv with Q/DQ on input and weight."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 3, 3, 3)).astype(np.float32)
    if isinstance(zero_point, np.ndarray):
        zero_point = numpy_helper.from_array(zero_point, "zero")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"], name="q"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], name="dq"),
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["wq"], name="qw"),
        helper.make_node("DequantizeLinear", ["wq", "scale", "zero"], ["wd"], name="dqw"),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
    ]
    return model_of(
        nodes,
        [("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [("z", TensorProto.FLOAT, [1, 8, 16, 16])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(0.05), "scale"), zero_point],
        opset,
    )


def model_of(nodes, inputs, outputs, weights=(), opset=13, domains=()) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(*entry) for entry in outputs],
        list(weights),
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def two_inputs(op: str, left: int, right: int, opset: int = 13) -> onnx.ModelProto:
    return model_of(
        [helper.make_node(op, ["a", "b"], ["c"], name="it")],
        [("a", left, [2, 4, 4]), ("b", right, [2, 4, 4])],
        [("c", left, [2, 4, 4])],
        opset=opset,
    )


def fp8_zero(kind: int = FP8) -> TensorProto:
    return TensorProto(name="zero", data_type=kind, raw_data=b"\0")


@pytest.mark.parametrize(
    ("name", "target"), [("mnist_cntk", "sm120"), ("iris_mlp", "sm80"), ("ultraface_rfb320", "sm75")]
)
def test_floating_point_models_are_accepted(shared, name, target):
    verdict = check(shared / "models" / name / "model.onnx", target)
    assert verdict.accepted
    assert {node.status for node in verdict.nodes} == {"accepted"}
    assert verdict.engine_bytes > 10_000
    convolutions = [n for n in verdict.nodes if n.op in ("Conv", "Gemm")]
    assert convolutions
    assert all(n.types == ("FLOAT",) and n.arithmetic == "FLOAT" and n.layers for n in convolutions)
    assert target in str(verdict)
    assert "accepted" in str(verdict)


def test_turing_has_no_fp32_matrix_product(shared):
    verdict = check(shared / "models/iris_mlp/model.onnx", "sm75")
    assert [(n.node, n.cause) for n in verdict.refused] == [("Gemm_0", "turing-matrix-product")]
    assert verdict.problems == ()


def test_the_default_profile_is_shown(shared):
    verdict = check(shared / "models/iris_mlp/model.onnx")
    (entry,) = verdict.profile
    assert (entry.range, entry.stated) == (ShapeRange((1, 4), (1, 4), (8, 4)), False)


def test_shapes_make_the_difference_between_refused_and_accepted(shared):
    path = shared / "models/silero_vad_op18_ifless/model.onnx"
    refused = check(path, shapes={"input": (1, 128), "state": (2, 1, 128)})
    assert [n.cause for n in refused.refused] == ["shapes"]
    assert "/then/" in refused.refused[0].node or "/else/" in refused.refused[0].node
    accepted = check(path, shapes={"input": (1, 512), "state": (2, 1, 128)})
    assert accepted.accepted
    assert all(entry.stated for entry in accepted.profile)


@pytest.mark.parametrize(
    ("name", "cause", "count"),
    [
        ("candy_style", "unknown-op", 8),
        ("qonnx_tfc_2w2a", "custom-domain", 8),
        ("microllama_fp32", "unknown-op", 17),
        ("cct_fp32_op12", "gemm-rank", 1),
    ],
)
def test_refused_operators_are_named_with_the_cause(shared, name, cause, count):
    verdict = check(shared / "models" / name / "model.onnx")
    assert not verdict.accepted
    assert [n.cause for n in verdict.refused] == [cause] * count
    assert all(n.fix is not None and n.message for n in verdict.refused)
    assert verdict.problems == ()


def test_a_failure_that_names_no_node_is_a_problem_of_the_whole(shared):
    verdict = check(shared / "models/dtln_1/model.onnx")
    assert not verdict.accepted
    assert verdict.refused == ()
    assert len(verdict.problems) == 1
    assert "LSTM" in verdict.problems[0].fix.text


def test_int32_biases_are_refused_suspected_and_mended(shared):
    model = load_model(shared / "models/ultraface_rfb320_qdq/model.onnx")
    mended = mend(model, "sm86")
    first = mended.verdicts[0]
    assert [n.cause for n in first.refused] == ["int32-bias"]
    suspected = [n for n in first.nodes if n.status == "suspected"]
    assert {n.cause for n in suspected} == {"int32-bias", "operand-constant"}
    assert [edit.do for edit in mended.edits] == ["dequantize_constants"]
    assert mended.verdict.accepted
    table = mended.verdict.to_frame().set_index("node")
    assert set(table[table.op == "Conv"].arithmetic) == {"INT8"}

    import onnxruntime as ort

    image = np.random.default_rng(0).normal(size=(1, 3, 240, 320)).astype(np.float32)
    before, after = (
        ort.InferenceSession(m.to_bytes(), providers=["CPUExecutionProvider"]).run(None, {"input": image})
        for m in (model, mended.model)
    )
    for old, new in zip(before, after, strict=True):
        assert old.std() > 0.01
        np.testing.assert_allclose(new, old, atol=1e-5)


def test_a_quantized_elementwise_constant_is_brought_to_its_node(shared):
    """The builder names the constant, not the node that reads it."""
    proto = onnx.load(shared / "models/ultraface_rfb320_qdq/model.onnx")
    from workbench.graph.edits.dequantize_constants import _parts, _replace

    model = from_proto(proto)
    graph = model.thaw()
    for node in list(graph.graph):
        if (
            node.op_type == "DequantizeLinear"
            and node.inputs[0].dtype is not None
            and node.inputs[0].dtype.name == "INT32"
        ):
            _replace(node, graph.graph, *_parts(node))
    verdict = check(model.replaced(graph))
    assert [n.cause for n in verdict.refused] == ["operand-constant"]
    assert verdict.refused[0].op == "DequantizeLinear"
    assert verdict.problems == ()


@pytest.mark.parametrize("zero", [np.uint8(128), np.int8(5)])
def test_asymmetric_zero_points_are_refused_and_mended(zero):
    mended = mend(from_proto(qdq_model(np.array(zero))))
    assert [n.cause for n in mended.verdicts[0].refused] == ["asymmetric"]
    assert [edit.do for edit in mended.edits] == ["symmetric_qdq"]
    assert mended.verdict.accepted
    assert {n.status for n in mended.verdict.nodes} == {"accepted"}


def test_uint8_is_accepted_but_changed_and_mended():
    mended = mend(from_proto(qdq_model(np.array(0, np.uint8))))
    first = mended.verdicts[0]
    assert first.accepted
    by_name = {n.node: n for n in first.nodes}
    assert (by_name["q"].status, by_name["q"].types) == ("changed", ("INT8",))
    assert by_name["conv"].status == "accepted"
    assert {n.status for n in mended.verdict.nodes} == {"accepted"}


def test_int8_qdq_gives_int8_arithmetic():
    verdict = check(qdq_model(np.array(0, np.int8)), "sm80")
    by_name = {n.node: n for n in verdict.nodes}
    assert (by_name["conv"].arithmetic, by_name["conv"].types) == ("INT8", ("FLOAT",))
    assert by_name["relu"].arithmetic == "FLOAT"
    frame = verdict.layers_frame()
    assert list(frame[frame.nodes == "conv"].kind) == ["CONVOLUTION"]


@pytest.mark.parametrize(("target", "accepted"), [("sm86", False), ("sm89", True)])
def test_fp8_depends_on_the_target(target, accepted):
    verdict = check(qdq_model(fp8_zero(), opset=19), target)
    assert verdict.accepted is accepted
    assert {n.cause for n in verdict.refused} == (set() if accepted else {"fp8-target"})
    if accepted:
        assert {n.node: n for n in verdict.nodes}["conv"].arithmetic == "FP8"
    assert verdict.problems == ()


@pytest.mark.parametrize(
    ("model", "target", "cause"),
    [
        (two_inputs("Add", TensorProto.BFLOAT16, TensorProto.BFLOAT16), "sm75", "bf16-target"),
        (two_inputs("Add", TensorProto.FLOAT16, TensorProto.FLOAT), "sm86", "mixed-types"),
        (two_inputs("Add", TensorProto.INT16, TensorProto.INT16, 14), "sm86", "data-type"),
        (two_inputs("Add", TensorProto.UINT8, TensorProto.UINT8, 14), "sm86", "operand-type"),
        (two_inputs("MatMul", TensorProto.INT32, TensorProto.INT32), "sm86", "operand-type"),
        (two_inputs("BitwiseAnd", TensorProto.UINT8, TensorProto.UINT8, 18), "sm86", "unsupported-op"),
        (qdq_model(fp8_zero(TensorProto.FLOAT8E5M2), opset=19), "sm89", "fp8-kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_causes(model, target, cause):
    verdict = check(model, target)
    assert not verdict.accepted
    assert {n.cause for n in verdict.refused} == {cause}


def test_double_is_accepted_but_computed_as_float():
    verdict = check(two_inputs("Add", TensorProto.DOUBLE, TensorProto.DOUBLE))
    assert verdict.accepted
    assert [(n.status, n.cause, n.types) for n in verdict.nodes] == [("changed", "double", ("FLOAT",))]


def test_an_old_opset_is_said():
    model = two_inputs("Add", TensorProto.FLOAT, TensorProto.FLOAT, opset=5)
    verdict = check(model)
    assert not verdict.accepted
    value = [p.reason for p in verdict.problems] + [n.reason for n in verdict.refused]
    assert any("opset 5" in text for text in value)


def test_an_old_opset_is_mended():
    mended = mend(from_proto(two_inputs("Sub", TensorProto.FLOAT, TensorProto.FLOAT, opset=6)))
    assert [(edit.do, edit.version) for edit in mended.edits] == [("convert_opset", 13)]
    assert mended.verdict.accepted


@pytest.mark.parametrize("result", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_mixed_types_are_mended_by_a_cast(result):
    model = two_inputs("Add", TensorProto.FLOAT16, TensorProto.FLOAT)
    model.graph.output[0].type.tensor_type.elem_type = result
    mended = mend(from_proto(model))
    assert [edit.do for edit in mended.edits] == ["cast_operands"]
    assert mended.verdict.accepted
    (cast,) = (node for node in mended.model.nodes.values() if node.op_type == "Cast")
    assert cast.attributes["to"].as_int() == result
    onnx.checker.check_model(mended.model.proto, full_check=True)


def test_a_gemm_on_more_than_matrices_is_mended(shared):
    mended = mend(load_model(shared / "models" / "cct_fp32_op12" / "model.onnx"))
    assert "expand_gemm" in {edit.do for edit in mended.edits}
    assert not any(node.cause == "gemm-rank" for node in mended.verdict.nodes)
    assert mended.verdict.accepted, str(mended.verdict)


def test_a_fix_that_does_not_apply_is_said_and_the_verdict_stays():
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], "gemm", transA=1)
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    model = model_of([gemm], [("x", TensorProto.FLOAT, [2, 3, 4])], [("y", TensorProto.FLOAT, None)], [weight])
    mended = mend(from_proto(model))
    assert not mended.verdict.accepted
    assert mended.edits == ()
    assert mended.verdict.fixes == ()
    assert "The workbench cannot do that here: " in mended.verdict.refused[0].fix.text


def test_the_precision_of_a_product_is_seen_through_a_reshape():
    """The parser reshapes a matrix for a product with more axes, behind its dequantization."""
    weight = numpy_helper.from_array(np.random.default_rng(0).integers(-9, 9, (8, 8)).astype(np.int8), "w")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["v"], "v"),
        helper.make_node("MatMul", ["d", "v"], ["y"], "product"),
    ]
    constants = [weight, numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")]
    ends = [("x", TensorProto.FLOAT, [2, 4, 8])], [("y", TensorProto.FLOAT, [2, 4, 8])]
    model = model_of(nodes, *ends, constants)
    verdict = check(model)
    assert {node.node: node.arithmetic for node in verdict.nodes}["product"] == "INT8"


def test_without_a_gpu_a_plugin_operator_is_undecided_not_refused(shared):
    verdict = check(shared / "quirks/polygraphy/tests/models/roialign.onnx")
    if verdict.accepted:
        pytest.skip("there is a GPU here, so the plugin could be made")
    assert verdict.undecided
    assert [n.status for n in verdict.nodes] == ["undecided"]
    assert "undecided" in str(verdict)


def test_external_weights_are_found(shared):
    assert check(shared / "quirks/polygraphy/tests/models/ext_weights_same_dir/ext_weights.onnx").accepted


def test_time_and_memory_limits_are_verdicts(shared):
    path = shared / "models/ultraface_rfb320/model.onnx"
    late = check(path, child=Child(timeout_s=0.1))
    assert not late.accepted
    assert "ran past its limit" in late.problems[0].reason
    assert "lower the optimization level" in late.problems[0].fix.text
    big = check(path, child=Child(memory_bytes=40 * 2**20))
    assert not big.accepted
    assert "its limit is 40 MiB" in big.problems[0].reason
    assert {n.status for n in big.nodes} == {"not reached"}


def test_cancel_is_an_error_not_a_verdict(shared):
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(ChildError, match="cancelled"):
        check(shared / "models/ultraface_rfb320/model.onnx", child=Child(cancel=cancel))


def test_progress_and_log_are_streamed(shared):
    steps, lines = [], []
    verdict = check(
        shared / "models/ultraface_rfb320/model.onnx", child=Child(on_progress=steps.append, on_line=lines.append)
    )
    assert tuple(lines) == verdict.log
    assert any("[INFO]" in line for line in lines)
    assert steps
    assert steps[-1].done == 1.0


def test_bad_input():
    with pytest.raises(ModelError):
        check("no/such/file.onnx")
    model = qdq_model(np.array(0, np.int8))
    with pytest.raises(BackendError, match=r"unknown target 'sm90'.*sm75, sm80, sm86"):
        check(model, "sm90")
    with pytest.raises(BackendError, match=r"names other, which is no input.*The inputs are x"):
        check(two_inputs_dynamic(), shapes={"other": (1, 2)})
    with pytest.raises(BackendError, match=r"has shape \(-1, 4\); the profile asks for \(2, 5\)"):
        check(two_inputs_dynamic(), shapes={"x": (2, 5)})
    with pytest.raises(BackendError, match="ended with TensorRT 8"):
        check(model, options=BuildOptions(weak_types=("fp16",)))


def two_inputs_dynamic() -> onnx.ModelProto:
    return model_of(
        [helper.make_node("Relu", ["x"], ["y"], name="it")],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
    )


@pytest.mark.parametrize(
    ("name", "where", "reason"),
    [
        ("attention", "mm1_1", "Assertion rank >= 1 failed"),
        ("bad_graph_conditionally_invalid", "If_Node", "Must have inputs with equal ranks"),
    ],
)
def test_the_reason_is_the_compilers_own_where_no_cause_is_known(shared, name, where, reason):
    verdict = check(shared / f"quirks/polygraphy/tests/models/{name}.onnx")
    assert [n.node for n in verdict.refused] == [where]
    assert reason in verdict.refused[0].reason
    assert verdict.problems == ()


def test_weights_without_content_are_named(shared):
    verdict = check(shared / "quirks/polygraphy/tests/models/weightless.matmul.fp16.onnx")
    assert [p.reason for p in verdict.problems] == [
        "weight 'b' cannot be read: its content is missing or has another size than its shape"
    ]


def test_a_failed_build_is_told_by_what_failed_it_and_not_by_an_unread_timing_cache(shared):
    # What TensorRT 8.6.0 said of a ViT whose MatMul weights are stored as INT8.
    values = (
        "1: [myelinCache.h::deserializeFromBuffer::52] Error Code 1: Myelin (Myelin error from unknown graph)",
        "4: The timing cache will not be used!",
        (
            "2: [graphOptimizer.cpp::convertMyelinWeightsToFp32::7903] Error Code 2: Internal Error (Assertion "
            "params.weights.type() != DataType::kINT8 failed. )"
        ),
    )
    log = tuple(LogLine("ERROR", text) for text in values)
    outcome = Compilation("8.6.0", True, False, None, None, (), (), (), log, 0.1, 0.2)
    model = load_model(shared / "models/mnist_cntk/model.onnx")
    verdict = judge(model, "sm90", Outcome(outcome, 1.0, 0, ()), compiler="tensorrt 8.6.0")
    (problem,) = verdict.problems
    assert "no weights stored as INT8" in problem.reason
    assert "target tensorrt-8.6" in problem.fix.text


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        # What TensorRT 8.6.0 said of yolox_nano whose weights are stored as INT8.
        (
            (
                "2: [graphOptimizer.cpp::chooseHigherPrecision::7079] Error Code 2: Internal Error (Assertion dt1 == "
                "DataType::kFLOAT || dt1 == DataType::kHALF failed. )"
            ),
            "no weights stored as INT8 here",
        ),
        # And of a ViT whose linear layers alone have Q/DQ, with FP16 constrained elsewhere.
        (
            (
                "10: [optimizer.cpp::computeCosts::3873] Error Code 10: Internal Error (Could not find any "
                "implementation for node {ForeignNode[blocks.0/norm1.scale...(Unnamed Layer* 1138) [ElementWise]]}.)"
            ),
            "the region from blocks.0/norm1.scale to (Unnamed Layer* 1138) [ElementWise]",
        ),
    ],
)
def test_what_failed_a_build_is_told_without_a_node(message, reason, shared):
    outcome = Compilation("8.6.0", True, False, None, None, (), (), (), (LogLine("ERROR", message),), 0.1, 0.2)
    model = load_model(shared / "models/mnist_cntk/model.onnx")
    verdict = judge(model, "sm90", Outcome(outcome, 1.0, 0, ()), compiler="tensorrt 8.6.0")
    (problem,) = verdict.problems
    assert reason in problem.reason
    assert problem.fix is not None
