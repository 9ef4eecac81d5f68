"""One small case for every edit, to be put inside of an If, a Loop or a local function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import model

SHAPE = [1, 4, 5, 5]
HOLDERS = {"if": "hold/then/", "loop": "hold/body/", "function": "function(local:Hold)/"}
RNG = np.random.default_rng(3)
WEIGHTS = {
    "w": RNG.normal(size=(4, 4, 1, 1)),
    "b": RNG.normal(size=4),
    "c": RNG.normal(size=(4, 1, 1)),
    "p": RNG.uniform(0.5, 2, 4),
    "k": RNG.normal(size=(1, 4, 5, 5)),
    "l": np.ones((1, 4, 5, 5)),
    "two": np.float32(2),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "root": np.float32(2**0.5),
    "step": np.float32(0.05),
    "whole": RNG.integers(-9, 9, (1, 4, 1, 1)).astype(np.int32),
    "zero": np.uint8(120),
    "narrow": RNG.normal(size=(4, 1, 1)).astype(np.float16),
    "square": RNG.normal(size=(5, 5)),
    "rows": np.array([20, 5]),
    "shape": np.array(SHAPE),
}


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    """A node of a piece, named after its result; each word of `inputs` is a tensor of the piece or a weight."""
    return op, inputs.split(), output, attributes


@dataclass(frozen=True)
class Case:
    """Nodes that make ``y`` of ``x``, and the edit's arguments; ``{at}`` in them is the address of the subgraph."""

    nodes: list[Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    holders: tuple[str, ...] = ("if", "loop", "function")
    opset: int = 17
    atol: float = 1e-6
    same: bool = True
    valid: bool = True


CASES: dict[str, Case] = {
    "cast_operands": Case([node("Add", "x narrow", "y")], {"node": "{at}y"}, valid=False),
    "expand_gemm": Case(
        [node("Reshape", "x rows", "r"), node("Gemm", "r square", "g"), node("Reshape", "g shape", "y")],
        {"only": "name:*g"},
    ),
    "fold_constants": Case([node("Mul", "two half", "k2"), node("Mul", "x k2", "y")]),
    "fold_batch_norm": Case([node("Conv", "x w", "a"), node("BatchNormalization", "a p b b p", "y")]),
    "merge_bias": Case([node("Conv", "x w", "a"), node("Add", "a c", "y")]),
    "split_bias": Case([node("Conv", "x w b", "y")]),
    "fuse": Case(
        [
            node("Div", "x root", "d"),
            node("Erf", "d", "e"),
            node("Add", "e one", "a"),
            node("Mul", "x a", "m"),
            node("Mul", "m half", "y"),
        ],
        {"pattern": "gelu"},
        opset=20,
    ),
    "expand": Case([node("Gelu", "x", "y")], {"pattern": "gelu"}, opset=20),
    "replace_pattern": Case(
        [node("Neg", "x", "a"), node("Neg", "a", "y")],
        {"pattern": "a = Neg(x) \n y = Neg(a)", "replacement": "y = Identity(x)"},
    ),
    "remove_noops": Case([node("Identity", "x", "a"), node("Relu", "a", "y")]),
    "remove_dead": Case([node("Neg", "x", "dead"), node("Relu", "x", "y")]),
    "share_weights": Case([node("Mul", "x l", "a"), node("Mul", "a l_copy", "y")], holders=("if", "loop")),
    "insert": Case([node("Relu", "x", "a"), node("Neg", "a", "y")], {"tensor": "{at}a", "op": "Relu"}),
    "bypass": Case([node("Identity", "x", "a"), node("Neg", "a", "y")], {"node": "{at}a"}),
    "delete": Case([node("Neg", "x", "dead"), node("Relu", "x", "y")], {"node": "{at}dead"}),
    "replace_node": Case(
        [node("Relu", "x", "a"), node("Neg", "a", "y")],
        {"node": "{at}a", "op": "LeakyRelu", "attributes": {"alpha": 0}},
    ),
    "rename_node": Case([node("Relu", "x", "y")], {"node": "{at}y", "to": "other"}),
    "rename_tensor": Case([node("Relu", "x", "a"), node("Neg", "a", "y")], {"tensor": "{at}a", "to": "other"}),
    "extract": Case(
        [node("Relu", "x", "a"), node("Mul", "a k", "b2"), node("Neg", "b2", "y")],
        {"inputs": ["{at}a"], "outputs": ["{at}b2"]},
        same=False,
    ),
    "mark_output": Case([node("Relu", "x", "a"), node("Neg", "a", "y")], {"tensor": "{at}a"}, holders=("if", "loop")),
    "convert_opset": Case([node("ReduceMean", "x", "m", axes=[3]), node("Add", "x m", "y")], {"version": 18}),
    "dequantize_constants": Case([node("DequantizeLinear", "whole step", "d"), node("Add", "x d", "y")]),
    "remove_qdq": Case(
        [node("QuantizeLinear", "x step", "q"), node("DequantizeLinear", "q step", "d"), node("Relu", "d", "y")],
        same=False,
    ),
    "symmetric_qdq": Case(
        [
            node("QuantizeLinear", "x step zero", "q"),
            node("DequantizeLinear", "q step zero", "d"),
            node("Relu", "d", "y"),
        ],
        same=False,
    ),
    "state_kernel_shape": Case([node("Conv", "x w", "y")]),
    "strip_weights": Case([node("Mul", "x k", "y")], {"keep": 10}, holders=("if", "loop"), same=False),
    "restore_weights": Case([node("Mul", "x k", "y")], {"source": "whole.onnx"}, holders=("if", "loop")),
}


def pieces(case: Case, holder: str) -> tuple[list[Any], list[Any]]:
    """The nodes of a case and its weights, which are Constant nodes in a function."""
    nodes, names = [], []
    for op, inputs, output, attributes in case.nodes:
        names += [name for name in inputs if name.removesuffix("_copy") in WEIGHTS]
        nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
    weights = []
    for name in dict.fromkeys(names):
        array = np.asarray(WEIGHTS[name.removesuffix("_copy")])
        weights.append(numpy_helper.from_array(array.astype(np.float32) if array.dtype == np.float64 else array, name))
    if holder == "function":
        nodes = [helper.make_node("Constant", [], [w.name], w.name, value=w) for w in weights] + nodes
    return nodes, [] if holder == "function" else weights


def held(case: Case, holder: str) -> Any:
    """A model with a case inside of an If, a Loop or a local function; a Neg is around it."""
    nodes, weights = pieces(case, holder)
    value = helper.make_tensor_value_info
    around = [helper.make_node("Neg", ["v"], ["n"], "front")]
    if holder == "function":
        opset = helper.make_opsetid("", case.opset)
        function = helper.make_function("local", "Hold", ["x"], ["y"], nodes, [opset])
        call = helper.make_node("Hold", ["n"], ["z"], "hold", domain="local")
        options = {"functions": [function], "domains": ["local"]}
        return model([*around, call], {"v": SHAPE}, {"z": SHAPE}, opset=case.opset, ir_version=10, **options)
    out = [value("y", TensorProto.FLOAT, SHAPE)]
    if holder == "if":
        renamed = [
            helper.make_node(n.op_type, ["n" if i == "x" else i for i in n.input], n.output, n.name) for n in nodes
        ]
        for new, old in zip(renamed, nodes, strict=True):
            new.attribute.extend(old.attribute)
        then = helper.make_graph(renamed, "t", [], out, weights)
        other = [helper.make_node("Abs", ["n"], ["a"], "a"), helper.make_node("Abs", ["a"], ["u"], "u")]
        otherwise = helper.make_graph(other, "e", [], [value("u", TensorProto.FLOAT, SHAPE)])
        call = helper.make_node("If", ["cond"], ["z"], "hold", then_branch=then, else_branch=otherwise)
        return model(
            [*around, call],
            {"v": SHAPE, "cond": (TensorProto.BOOL, [])},
            {"z": SHAPE},
            opset=case.opset,
            ir_version=10,
        )
    keep = helper.make_node("Identity", ["go"], ["go_on"], "go_on")
    scalars = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])]
    body = helper.make_graph(
        [keep, *nodes],
        "body",
        [*scalars, value("x", TensorProto.FLOAT, SHAPE)],
        [value("go_on", TensorProto.BOOL, []), *out],
        weights,
    )
    times = numpy_helper.from_array(np.int64(2), "times")
    call = helper.make_node("Loop", ["times", "", "n"], ["z"], "hold", body=body)
    return model([*around, call], {"v": SHAPE}, {"z": SHAPE}, [times], opset=case.opset, ir_version=10)


def arguments_at(case: Case, at: str) -> dict[str, Any]:
    def placed(value: Any) -> Any:
        if isinstance(value, list):
            return [placed(item) for item in value]
        return value.replace("{at}", at) if isinstance(value, str) else value

    return {name: placed(value) for name, value in case.arguments.items()}
