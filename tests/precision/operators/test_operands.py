"""What a product reads decides what is quantized: constants, computed tensors, what is quantized, infinities."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.networks import Net
from workbench.evaluate.metrics import sqnr_db
from workbench.graph.load import from_proto
from workbench.graph.quantization import MOVES
from workbench.handoff.tuning_report import macs_share
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.runtime.session import Session
from workbench.session import Workbench

SHAPE = (6, 6)


def made(nodes, inputs, weights, *, opset=21):
    """A model of float32 inputs, all `SHAPE`, whose result is y."""
    info = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    entries = [info(name, TensorProto.FLOAT, SHAPE) for name in inputs]
    graph = helper.make_graph(nodes, "g", entries, [info("y", TensorProto.FLOAT, None)], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    proto.graph.output[0].CopyFrom(onnx.shape_inference.infer_shapes(proto).graph.output[0])
    return from_proto(proto)


def tuned(model):
    wb = Workbench(model)
    samples = [{t.name: normal(*t.shape, seed=seed) for t in model.inputs} for seed in range(4)]
    wb.calibrate(samples, method="minmax")
    wb.plan.use("int8")
    return wb, samples


def behind_pairs(node):
    return [v is not None and (p := v.producer()) is not None and p.op_type == "DequantizeLinear" for v in node.inputs]


def normal(*shape, seed=5):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
@pytest.mark.parametrize("operands", [("w", "x"), ("x", "w"), ("x", "z"), ("x", "x")])
@pytest.mark.parametrize("flags", [{}, {"transA": 1}, {"transB": 1}])
def test_both_operands_of_a_product_are_quantized_whatever_they_are(op, operands, flags):
    if op == "MatMul" and flags:
        return
    nodes = [helper.make_node("Relu", ["x"], ["z"], "relu"), helper.make_node(op, operands, ["y"], "product", **flags)]
    wb, samples = tuned(made(nodes, ["x"], {"w": normal(*SHAPE)} if "w" in operands else {}))
    assert behind_pairs(wb.tuned.nodes["product"]) == [True, True]
    assert macs_share(wb) == 1
    assert wb.compare(samples, runs=0).worst_sqnr_db > 25


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_weight_that_no_scale_covers_leaves_its_node_in_floating_point(op, bad):
    weight = normal(4, 4, 1, 1) if "Conv" in op else normal(*SHAPE)
    weight.flat[3] = bad
    net = Net()
    if "Conv" in op:
        nodes = net.model(net.op(op, net.conv("x"), net.constant(weight)))
    else:
        flat = net.op("Reshape", net.conv("x"), net.constant(np.array([-1, 6])))
        nodes = net.model(net.op(op, flat, net.constant(weight)), shape=[1, 4, 3, 3])
    wb, _ = tuned(nodes)
    decisions = {d.op_type: d for d in wb.plan.resolve().decisions.values()}
    last = decisions[op] if op != "Conv" else list(wb.plan.resolve().decisions.values())[-1]
    assert last.precision == "fp32"
    assert f"holds {bad} (1 of {weight.size} numbers" in last.reasons[0]
    assert wb.plan.resolve()["Conv_0"].precision == "int8"


MOVERS = {
    "Cast": ({"to": TensorProto.FLOAT}, []),
    "DepthToSpace": None,
    "Expand": ({}, [np.array([6, 6])]),
    "Flatten": ({}, []),
    "Identity": ({}, []),
    "Reshape": ({}, [np.array([6, 6])]),
    "Slice": ({}, [np.array([0, 0]), np.array([6, 6])]),
    "SpaceToDepth": None,
    "Split": ({"num_outputs": 1}, []),
    "Squeeze": None,
    "Tile": ({}, [np.array([1, 1])]),
    "Transpose": ({}, []),
    "Unsqueeze": None,
}


@pytest.mark.parametrize("move", [name for name, how in MOVERS.items() if how is not None])
def test_what_was_moved_since_it_was_quantized_is_not_quantized_again(move):
    assert set(MOVERS) == MOVES
    attributes, more = MOVERS[move]
    extra = {f"m{i}": array for i, array in enumerate(more)}
    weight = normal(*SHAPE) * np.logspace(0, -2, 6, dtype=np.float32)[:, None]
    scale = np.abs(weight).max(1) / np.float32(127)
    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "ws"], ["wd"], "dq", axis=0),
        helper.make_node("Identity", ["wd"], ["wi"], "between"),
        helper.make_node(move, ["wi", *extra], ["wt"], "move", **attributes),
        helper.make_node("MatMul", ["x", "wt"], ["a"], "weight_only"),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], "d"),
        helper.make_node(move, ["d", *extra], ["f"], "moved", **attributes),
        helper.make_node("MatMul", ["f", "wt"], ["b"], "whole"),
        helper.make_node("MatMul", ["b", "v"], ["y"], "plain"),
    ]
    weights = {
        "w8": np.rint(weight / scale[:, None]).astype(np.int8),
        "ws": scale,
        "v": normal(*SHAPE, seed=6),
        "s": np.float32(0.2),
        "z": np.int8(0),
    }
    model = made(nodes, ["x"], weights | extra)
    wb, samples = tuned(model)
    resolution = wb.plan.resolve()
    assert resolution.to_quantize() == ["plain"]
    assert resolution["whole"].own
    assert resolution["weight_only"].precision == "fp32"
    assert "nothing is quantized twice" in resolution.explain("weight_only")
    assert macs_share(wb) == pytest.approx(2 / 3)
    sessions = Session(model), Session(wb.tuned)
    first, second = (session.run(samples[0])["y"].astype(np.float64) for session in sessions)
    assert sqnr_db(float((first**2).sum()), float(((first - second) ** 2).sum())) > 25


@pytest.mark.parametrize(
    ("dtype", "precision"), [("FLOAT8E4M3FN", "fp8"), ("INT8", "int8"), ("UINT8", "int8"), ("INT4", None)]
)
@pytest.mark.parametrize("says", ["zero point", "attribute"])
def test_the_type_of_a_pair_is_read_where_it_stands(dtype, precision, says):
    kind = TensorProto.DataType.Value(dtype)
    zero = [helper.make_tensor("z", kind, [], [0])] if says == "zero point" else []
    attributes = {} if zero else {"output_dtype": kind}
    names = [tensor.name for tensor in zero]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", *names], ["q"], "q", **attributes),
        helper.make_node("DequantizeLinear", ["q", "s", *names], ["d"], "d"),
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"], "wd"),
        helper.make_node("MatMul", ["d", "wd"], ["y"], "product"),
    ]
    info = helper.make_tensor_value_info
    weights = [helper.make_tensor("w", kind, SHAPE, [1] * 36), numpy_helper.from_array(np.float32(0.1), "s"), *zero]
    graph = helper.make_graph(nodes, "g", [info("x", 1, SHAPE)], [info("y", 1, SHAPE)], weights)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    decision = BEST_PRACTICE.resolve(model)["product"]
    assert decision.precision == (precision or "fp32")
    assert decision.own == (precision is not None)
