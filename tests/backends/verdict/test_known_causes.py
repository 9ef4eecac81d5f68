"""Each known cause: the node and the words that it is known by, what is like them and is none, and what is then said.

That the words are those of the real compiler is shown by test_causes.py and test_verdict.py, which ask it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model
from workbench.backends.verdict.cause import Cause, CauseSite, Fix, dtype_of
from workbench.backends.verdict.causes import find_cause

FLOAT, FLOAT16, BFLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16
INT8, UINT8, INT32, FP8 = ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT32, ir.DataType.FLOAT8E4M3FN
NO_PLUGIN = "Plugin not found, are the plugin name, version, and namespace correct?"
NO_GPU = "CUDA driver version is insufficient for CUDA runtime version"
NO_ATTENTION = "Attention operation was not supported by a dedicated kernel"


def value(name, kind=FLOAT):
    return ir.Value(name=name, type=None if kind is None else ir.TensorType(kind))


def constant(name, array):
    stored = ir.tensor(array, name=name)
    return ir.Value(name=name, type=ir.TensorType(stored.dtype), const_value=stored)


def node(op, *inputs, domain="", **attributes):
    """A node; an input is a type, a value, or None."""
    values = [
        one if one is None or isinstance(one, ir.Value) else value(f"x{at}", one) for at, one in enumerate(inputs)
    ]
    made = ir.Node(domain, op, values, [ir.AttrInt64(*pair) for pair in attributes.items()], num_outputs=1)
    made.outputs[0].name = "y"
    return made


def site(op, *inputs, message="", opset=23, target=86, dynamic=False, domain="", **attributes):
    made = node(op, *inputs or (FLOAT,), domain=domain, **attributes)
    return CauseSite(made, opset, target, message, dynamic, "the/address")


def words(cause):
    return None if cause is None else (cause.name, cause.reason)


# Operators


@pytest.mark.parametrize(
    ("op", "kind", "message", "cause"),
    [
        ("MatMul", FLOAT, "FP32 GEMM is not supported", "turing-matrix-product"),
        ("MatMul", FLOAT, "FP32 GEMM is slow", None),
        ("Attention", FLOAT, "only supports Attention nodes with one output", "attention-outputs"),
        ("Relu", FLOAT, "only supports Attention nodes with one output", None),
        ("Add", FLOAT, NO_ATTENTION, None),
        ("Attention", FLOAT, "another word", None),
        ("Attention", FLOAT, NO_ATTENTION, "attention-type"),
        ("Attention", None, NO_ATTENTION, "attention-type"),
        ("Attention", FLOAT16, NO_ATTENTION, "attention-shape"),
        ("Attention", BFLOAT16, NO_ATTENTION, "attention-shape"),
        ("Dropout", FLOAT, "it is in training mode", "training"),
        ("Relu", FLOAT, f"a plugin: {NO_GPU}", "needs-gpu"),
        ("Relu", FLOAT, "a plugin", None),
        ("Relu", FLOAT, NO_GPU, None),
        ("Gemm", FLOAT, "GEMM must have 2D inputs", "gemm-rank"),
        ("Conv", FLOAT, "GEMM must have 2D inputs", None),
        ("MatMul", FLOAT, "GEMM must have 2D inputs", None),
        ("Gemm", FLOAT, "GEMM must have inputs", None),
        ("Relu", FLOAT, "node r has no runners", "no-kernel"),
        ("TopK", FLOAT, "k must resolve to a build-time constant", "computed"),
        ("TopK", FLOAT, "it is not a constant", "computed"),
        ("TopK", FLOAT, "inputs.at(1).is_weights() failed", "computed"),
        ("TopK", FLOAT, "k must be an initializer", "computed"),
        ("TopK", FLOAT, "k, which is not an initializer", "computed"),
        ("TopK", FLOAT, "k is a shape tensor and must have type Int", "computed"),
        ("TopK", FLOAT, "k is an initializer", None),
        ("Det", FLOAT, NO_PLUGIN, "unsupported-op"),
        ("Det", FLOAT, "no plugin creator version", "unsupported-op"),
        ("Det", FLOAT, "it failed to load", "unsupported-op"),
        ("Det", FLOAT, "false (in function check)", "unsupported-op"),
        ("Det", FLOAT, "it is false (in function check)", None),
        ("MatMulInteger", INT8, NO_PLUGIN, "integer-operator"),
        ("ConvInteger", INT8, "false (in function check)", "integer-operator"),
        ("QLinearConv", INT8, NO_PLUGIN, "integer-operator"),
        ("DynamicQuantizeLinear", FLOAT, NO_PLUGIN, "integer-operator"),
        ("NoSuchOp", FLOAT, "anything", "unknown-op"),
        ("NoSuchOp", FLOAT, "", None),
        ("Relu", FLOAT, "", None),
        ("Relu", FLOAT, "anything", None),
    ],
)
def test_a_cause_is_known_by_operator_and_words(op, kind, message, cause):
    found = find_cause(site(op, kind, message=message))
    assert (None if found is None else found.name) == cause
    assert found is None or found.undecided == (cause == "needs-gpu")
    assert found is None or not (found.quiet or found.unnamed)


@pytest.mark.parametrize(
    ("made", "cause", "reason"),
    [
        (site("MatMul", message="FP32 GEMM is not supported", target=75), "turing-matrix-product",
         "TensorRT-RTX has no FP32 matrix product for sm75; after this one, others may follow"),
        (site("Attention", FLOAT, message=NO_ATTENTION), "attention-type",
         "no kernel for Attention on FLOAT; there are such for FP16 and BF16"),
        (site("Attention", None, message=NO_ATTENTION), "attention-type",
         "no kernel for Attention on this type; there are such for FP16 and BF16"),
        (site("Attention", FLOAT16, message=NO_ATTENTION), "attention-shape",
         "no kernel for this Attention: they want heads of at least 9 channels"),
        (site("Attention", BFLOAT16, FLOAT, message=NO_ATTENTION), "attention-shape",
         "no kernel for this Attention: they want heads of at least 9 channels"),
        (site("TopK", message="it has no runners", target=120), "no-kernel",
         "the builder has no kernel for TopK on sm120"),
        (site("Relu", message="no", opset=6), "old-opset", "opset 6: the parser reads 7 and newer"),
        (site("Nope", message="no", opset=7), "unknown-op",
         "Nope is no operator of ONNX opset 7, and TensorRT has no plugin of this name"),
        # An operator that ONNX has, but not yet in this opset.
        (site("Gelu", message="no", opset=19), "unknown-op",
         "Gelu is no operator of ONNX opset 19, and TensorRT has no plugin of this name"),
        (site("Add", message="must have same input types. But they are of types Half and Float"), "mixed-types",
         "its inputs are Half and Float; a strongly typed network converts nothing by itself"),
        (site("Add", message="unsupported input type of UINT8 and so on"), "operand-type",
         "Add on UINT8 is not supported"),
        (site("MatMul", message="But type is Int32."), "operand-type", "MatMul on Int32 is not supported"),
        (site("Add", message="no UINT8 types for intermediate tensors"), "uint8-inside",
         "UINT8 between nodes; TensorRT has it for inputs and outputs alone"),
    ],
)  # fmt: skip
def test_a_cause_is_told_with_what_it_is_about(made, cause, reason):
    assert words(find_cause(made)) == (cause, reason)


@pytest.mark.parametrize(
    ("opset", "domain", "message", "old"),
    [
        (6, "", "no", True),
        (6, "ai.onnx", "no", True),
        (1, "", "no", True),
        (7, "", "no", False),
        (6, "", "", False),
        (6, "my.ops", "no", False),
    ],
)
def test_an_opset_is_old_where_something_is_refused_that_it_is_the_opset_of(opset, domain, message, old):
    found = find_cause(site("Relu", opset=opset, domain=domain, message=message))
    assert (found is not None and found.name == "old-opset") == old
    if old:
        text = "Convert the operator set to 13, or export with it."
        assert found.fix == Fix(text, "convert_opset", {"version": 13})


@pytest.mark.parametrize(
    ("domain", "op", "cause", "words"),
    [
        ("ai.onnx.contrib", "BBox", "extensions", "ai.onnx.contrib.BBox is an operator of onnxruntime-extensions"),
        ("a.b", "BBox", "custom-domain", "a.b.BBox is custom; TensorRT has no plugin"),
        ("my.ops", "QLinearAdd", "custom-domain", "my.ops.QLinearAdd is custom; TensorRT has no plugin"),
        ("com.microsoft", "BiasGelu", "custom-domain", "written by ONNX Runtime's optimizer"),
        ("com.microsoft", "QuickGelu", "custom-domain", "written by ONNX Runtime's optimizer"),
        ("com.microsoft.nchwc", "Conv", "custom-domain", "com.microsoft.nchwc.Conv was written by ONNX Runtime's"),
        ("com.microsoft", "QLinearAdd", "integer-operator", "written by ONNX Runtime's quantizer"),
        ("com.microsoft", "DequantizeLinear", "integer-operator", "written by ONNX Runtime's quantizer"),
        ("com.microsoft", "QAttention", "integer-operator", "written by ONNX Runtime's quantizer"),
        ("com.microsoft", "MatMulIntegerToFloat", "integer-operator", "written by ONNX Runtime's quantizer"),
        ("com.microsoft", "DynamicQuantizeMatMul", "integer-operator", "written by ONNX Runtime's quantizer"),
        ("com.microsoft", "MatMulNBits", "integer-operator", "written by ONNX Runtime's quantizer"),
    ],
)
def test_an_operator_of_another_domain_is_told_by_who_writes_such(domain, op, cause, words):
    found = find_cause(site(op, domain=domain, message=NO_PLUGIN))
    assert found.name == cause
    assert words in found.reason
    assert find_cause(site(op, domain=domain, message="false (in function check)")) is None  # that is no plugin's


@pytest.mark.parametrize(
    ("op", "mode", "message", "trains"),
    [
        ("BatchNormalization", {"training_mode": 1}, "no", True),
        ("BatchNormalization", {"training_mode": 0}, "no", False),
        ("BatchNormalization", {}, "no", False),
        ("BatchNormalization", {"training_mode": 1}, "", False),
        ("Add", {"training_mode": 1}, "no", False),
        ("Relu", {"training_mode": 1}, "no", False),
        ("Relu", {}, "in training mode", True),
    ],
)
def test_a_node_trains_by_its_attribute_or_by_what_is_said(op, mode, message, trains):
    found = find_cause(site(op, message=message, **mode))
    assert (found is not None) == trains
    assert not trains or found.name == "training"


@pytest.mark.parametrize(
    ("message", "dynamic", "told"),
    [
        ("failed in processCheck", True, True),
        ("inherently negative length", True, True),
        ("failed in processCheck", False, False),
        ("something else", True, False),
    ],
)
def test_shapes_may_be_wrong_where_they_are_those_of_a_profile(message, dynamic, told):
    found = find_cause(site("Relu", message=message, dynamic=dynamic))
    assert (found is not None and found.name == "shapes") == told
    assert find_cause(CauseSite(node("Relu", FLOAT), 17, 86, message)) is None


def test_an_edit_is_for_the_node_that_it_is_offered_at():
    gemm = find_cause(site("Gemm", message="GEMM must have 2D inputs"))
    assert (gemm.fix.edit, dict(gemm.fix.arguments)) == ("expand_gemm", {"only": "name:the/address"})
    mixed = find_cause(site("Add", message="must have same input types. But they are of types A and B"))
    assert (mixed.fix.edit, dict(mixed.fix.arguments)) == ("cast_operands", {"node": "the/address"})


# Types of tensors


@pytest.mark.parametrize(
    ("kind", "name", "since", "near"),
    [
        ("FLOAT4E2M1", "fp4", 100, "sm120."),
        ("FLOAT8E4M3FN", "fp8", 89, "sm89."),
        ("INT4", "int4", 80, "sm80."),
        ("BFLOAT16", "bf16", 80, "sm80."),
    ],
)
def test_a_type_needs_a_gpu_that_has_it(kind, name, since, near):
    made = site("Relu", ir.DataType[kind], target=since - 1)
    found = find_cause(made)
    also = " (Blackwell: sm100, sm120)" if name == "fp4" else ""
    reason = f"{name.upper()} needs sm{since} or newer{also}; the target is sm{since - 1}"
    assert (found.name, found.reason, found.unnamed) == (f"{name}-target", reason, True)
    assert found.fix.text.endswith(near)
    assert find_cause(replace(made, target=since)) is None


@pytest.mark.parametrize(
    ("kind", "message", "cause", "reason"),
    [
        ("FLOAT8E5M2", "", "fp8-kind", "FLOAT8E5M2: TensorRT knows FP8 only as E4M3FN"),
        ("FLOAT8E5M2FNUZ", "no", "fp8-kind", "FLOAT8E5M2FNUZ: TensorRT knows FP8 only as E4M3FN"),
        ("FLOAT8E4M3FNUZ", "", "fp8-kind", "FLOAT8E4M3FNUZ: TensorRT knows FP8 only as E4M3FN"),
        ("FLOAT8E8M0", "", "data-type", "FLOAT8E8M0: the parser reads no such tensors"),
        ("STRING", "", "data-type", "STRING tensors do not exist in TensorRT"),
        ("INT16", "no", "data-type", "INT16 tensors do not exist in TensorRT"),
        ("DOUBLE", "", "double", "DOUBLE is computed as FP32"),
        ("DOUBLE", "no", None, None),
        ("UNDEFINED", "", None, None),
        ("INT64", "", None, None),
    ],
)
def test_a_type_that_tensorrt_does_not_have_is_named(kind, message, cause, reason):
    found = find_cause(site("Relu", ir.DataType[kind], target=120, message=message))
    assert words(found) == (None if cause is None else (cause, reason))
    if found is not None:
        assert (found.quiet, found.unnamed) == (cause == "double", cause != "double")


def test_a_cast_to_a_type_is_a_tensor_of_it():
    assert find_cause(site("Cast", to=TensorProto.INT16)).name == "data-type"
    assert find_cause(site("Blast", to=TensorProto.INT16)) is None
    assert find_cause(site("Relu", to=TensorProto.INT16)) is None
    assert find_cause(site("Cast")) is None
    kinds = list(site("Cast", FLOAT16, None, to=TensorProto.INT16).types())
    assert kinds == [FLOAT16, ir.DataType.INT16]


def test_types_and_axes_are_those_that_are_stated_or_stored_or_else_inferred():
    nodes = [
        helper.make_node("Reshape", ["x", "k"], ["wide"], "reshape"),
        helper.make_node("Neg", ["wide"], ["y"], "neg"),
    ]
    eight, nine = np.array([1] * 7 + [6]), np.array([1] * 8 + [6])
    for shape, told in ((eight, None), (nine, ("rank", "a tensor of 9 axes; TensorRT has at most 8"))):
        network = model(nodes, {"x": [6]}, {"y": shape.tolist()}, [numpy_helper.from_array(shape, "k")])
        made = CauseSite(network.nodes["neg"], 17, 86, address="neg", model=network)
        wide = made.node.inputs[0]
        assert words(find_cause(made)) == told
        assert told is None or find_cause(made).unnamed
        assert (made.dtype(wide), dtype_of(wide), made.rank(wide)) == (FLOAT, dtype_of(wide), len(shape))
        reshape = replace(made, node=network.nodes["reshape"])
        assert [reshape.rank(one) for one in reshape.node.inputs] == [1, 1]
        assert [reshape.dtype(one) for one in reshape.node.inputs] == [FLOAT, ir.DataType.INT64]
        assert (made.rank(None), made.dtype(None), dtype_of(None)) == (None, None, None)
        alone = replace(made, model=None)
        assert (alone.rank(wide), alone.dtype(wide)) == (None, dtype_of(wide))


# Quantization


def quantized(op, kind, *, zero=0, source=None, **more):
    """A Q/DQ node with a zero point of a type."""
    zero_point = constant("z", np.asarray(zero, kind.numpy()))
    return site(op, source or (kind if op == "DequantizeLinear" else FLOAT), FLOAT, zero_point, **more)


@pytest.mark.parametrize(
    ("op", "kind", "cause"),
    [
        ("DequantizeLinear", "INT32", "int32-bias"),
        ("DequantizeLinear", "INT8", None),
        ("DequantizeLinear", "FLOAT8E4M3FN", None),
        ("Add", "INT32", None),
        ("QuantizeLinear", "INT32", None),
    ],
)
def test_a_bias_in_32_bits_is_not_dequantized(op, kind, cause):
    found = find_cause(site(op, ir.DataType[kind], FLOAT, target=89))
    assert (found.name if found is not None and found.name == "int32-bias" else None) == cause
    if cause:
        assert found.fix.edit == "dequantize_constants"


@pytest.mark.parametrize("op", ["QuantizeLinear", "DequantizeLinear"])
@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        ("INT16", "Quantize to INT8, or leave this in floating point."),
        ("UINT16", "Quantize to INT8, or leave this in floating point."),
        ("UINT4", "Quantize to INT4, symmetric around 0."),
        ("INT2", "Quantize to INT4, symmetric around 0."),
        ("UINT2", "Quantize to INT4, symmetric around 0."),
    ],
)
def test_a_width_that_tensorrt_does_not_quantize_to(op, kind, fix):
    found = find_cause(site(op, FLOAT, FLOAT, value("z", ir.DataType[kind])))
    reason = f"{kind} quantization: TensorRT has INT8, FP8, and for weights INT4 and FP4"
    assert found == Cause("width", reason, Fix(fix), unnamed=True)


@pytest.mark.parametrize(
    ("kind", "zero", "message", "cause", "quiet"),
    [
        (INT8, 0, "", None, None),
        (INT8, 5, "", "asymmetric", False),
        (INT8, [0, -3, 0], "no", "asymmetric", False),
        (INT8, [0, 0], "no", None, None),
        (UINT8, 128, "", "asymmetric", False),
        (UINT8, 0, "", "uint8", True),
        (UINT8, 0, "no", "uint8", False),
        (FP8, 0, "", None, None),
    ],
)
def test_quantization_is_symmetric_and_signed(kind, zero, message, cause, quiet):
    for op in ("QuantizeLinear", "DequantizeLinear"):
        found = find_cause(quantized(op, kind, zero=zero, message=message, target=89))
        assert (found and (found.name, found.quiet)) == (cause and (cause, quiet))
        assert found is None or found.fix.edit == "symmetric_qdq"


def test_a_zero_point_that_is_not_there_or_not_known_is_none():
    for inputs in ((INT8, FLOAT), (INT8, FLOAT, None), (INT8, FLOAT, INT8)):
        assert find_cause(site("DequantizeLinear", *inputs)) is None
    offset = constant("z", np.asarray(7, np.int8))
    assert find_cause(site("Clip", INT8, INT8, offset)) is None  # the third input of something else


def product(op, *sources, opset=17):
    """A product whose operands are types, or a type that was dequantized and then went through some operators."""
    operands = []
    for at, source in enumerate(sources):
        kind, *through = source if isinstance(source, tuple) else (source,)
        if isinstance(source, tuple):
            made = node("DequantizeLinear", kind, FLOAT).outputs[0]
            for moved in through:
                made = node(moved, made, value("how")).outputs[0]
            made.name, made.type = f"d{at}", ir.TensorType(FLOAT)
            operands.append(made)
        else:
            operands.append(value(f"x{at}", kind))
    return site(op, *operands, opset=opset, target=89)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (product("MatMul", (INT8,), (FP8,)), True),
        (product("Conv", (FP8,), (INT8,)), True),
        (product("Gemm", (FP8, "Cast", "Transpose"), (INT8, "Reshape", "Flatten", "Identity")), True),
        (product("ConvTranspose", (FP8, "Slice"), (INT8, "Squeeze", "Unsqueeze")), True),
        (product("MatMul", (FP8, "Relu"), (INT8,)), False),
        (product("MatMul", (FP8,), (FP8,)), False),
        (product("MatMul", (INT8,), FLOAT), False),
        (product("Gemm", (INT8,), (INT8,), (FP8,)), False),  # what is added is no operand of the product
        (product("Add", (INT8,), (FP8,)), False),
        (product("Relu", (INT8,), (FP8,)), False),
    ],
)
def test_both_operands_of_a_product_are_quantized_to_one_type(made, told):
    found = find_cause(made)
    assert (found is not None) == told
    if told:
        assert (found.name, found.unnamed) == ("two-kinds", True)


@pytest.mark.parametrize(("reader", "told"), [("Add", True), ("MatMul", False)])
def test_a_quantized_constant_is_for_products(reader, told):
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], "dq"),
        helper.make_node(reader, ["x", "d"], ["y"], "reader"),
    ]
    weights = [numpy_helper.from_array(np.ones((2, 2), np.int8), "w"), numpy_helper.from_array(np.float32(0.1), "s")]
    network = model(nodes, {"x": [2, 2]}, {"y": [2, 2]}, weights)
    found = find_cause(CauseSite(network.nodes["dq"], 17, 86))
    assert (found and (found.name, found.fix.edit)) == (("operand-constant", "dequantize_constants") if told else None)
    assert find_cause(CauseSite(network.nodes["reader"], 17, 86)) is None
