"""How long a large model takes to open: ours against ``onnx.load`` and one pass of shape inference, in one run.

    python benchmarks/graph_index.py [--nodes 10000] [--rounds 15]

The model is a decoder with hierarchical names, generated with seeded weights. Each round times both, one after the
other, in processor seconds; what a round leaves for Python's garbage collector is collected between them, and counted
for neither. The ratio is the median of the rounds' ratios; that of the fastest times is printed beside it. The goal is
at most 1.5. Two widths: with next to no weights, and with some.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.graph.load import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL = 1.5
HEADS = 4
WIDTHS = (64, 192)


def decoder(nodes: int, width: int = 64) -> onnx.ModelProto:
    """Make a decoder of about `nodes` nodes: per block two spelt-out normalizations, attention, a gated MLP."""
    made: list[onnx.NodeProto] = []
    rng = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    def add(op: str, scope: str, *inputs: str, **attributes: object) -> str:
        name = f"{scope}/{op}_{len(made)}"
        made.append(helper.make_node(op, list(inputs), [f"{name}_output_0"], name, **attributes))
        return f"{name}_output_0"

    def linear(scope: str, x: str) -> str:
        w = constant(f"{scope}.weight", rng.normal(size=(width, width)).astype(np.float32))
        b = constant(f"{scope}.bias", rng.normal(size=width).astype(np.float32))
        return add("Add", scope, add("MatMul", scope, x, w), b)

    def normalized(scope: str, x: str) -> str:
        power = add("Pow", scope, x, "two")
        root = add("Sqrt", scope, add("Add", scope, add("ReduceMean", scope, power, axes=[-1]), "epsilon"))
        scale = constant(f"{scope}.weight", rng.normal(size=width).astype(np.float32))
        return add("Mul", scope, add("Div", scope, x, root), scale)

    def heads(scope: str, x: str, perm: list[int]) -> str:
        return add("Transpose", scope, add("Reshape", scope, x, "split"), perm=perm)

    for name, array in (
        ("two", np.float32(2)),
        ("epsilon", np.float32(1e-5)),
        ("root", np.float32((width / HEADS) ** 0.5)),
        ("split", np.array([0, -1, HEADS, width // HEADS])),
        ("join", np.array([0, -1, width])),
    ):
        constant(name, np.asarray(array))
    x, block = "x", 0
    while len(made) < nodes:
        scope = f"/model/layers.{block}"
        attention = f"{scope}/self_attn"
        h = normalized(f"{scope}/input_layernorm", x)
        q = heads(attention, linear(f"{attention}/q_proj", h), [0, 2, 1, 3])
        k = heads(attention, linear(f"{attention}/k_proj", h), [0, 2, 3, 1])
        v = heads(attention, linear(f"{attention}/v_proj", h), [0, 2, 1, 3])
        scores = add("Softmax", attention, add("Div", attention, add("MatMul", attention, q, k), "root"), axis=-1)
        mixed = add("Transpose", attention, add("MatMul", attention, scores, v), perm=[0, 2, 1, 3])
        mixed = linear(f"{attention}/o_proj", add("Reshape", attention, mixed, "join"))
        x = add("Add", scope, x, mixed)
        h = normalized(f"{scope}/post_attention_layernorm", x)
        gate = linear(f"{scope}/mlp/gate_proj", h)
        gate = add("Mul", f"{scope}/mlp/act", gate, add("Sigmoid", f"{scope}/mlp/act", gate))
        both = add("Mul", f"{scope}/mlp", gate, linear(f"{scope}/mlp/up_proj", h))
        x = add("Add", scope, x, linear(f"{scope}/mlp/down_proj", both))
        block += 1
    graph = helper.make_graph(
        made,
        "decoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", width])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", "sequence", width])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def theirs(path: Path) -> None:
    onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True)


def ours(path: Path) -> None:
    """Load, name, index (addresses, producers, consumers, depth) and infer every shape."""
    model = load_model(path)
    assert model.index.depth  # noqa: S101 - it is what is timed
    assert model.tensors  # noqa: S101


def seconds(call: Callable[[Path], None], path: Path) -> float:
    gc.collect()
    start = time.process_time()
    call(path)
    return time.process_time() - start


def measure(nodes: int, rounds: int, width: int) -> dict[str, float]:
    """Return the file's size, median and least times in seconds, and the ratios of the two."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.onnx"
        onnx.save(decoder(nodes, width), path)
        size = path.stat().st_size
        times = [(seconds(theirs, path), seconds(ours, path)) for _ in range(rounds)]
    first, second = zip(*times, strict=True)
    return {
        "bytes": size,
        "onnx_s": statistics.median(first),
        "onnx_least_s": min(first),
        "workbench_s": statistics.median(second),
        "workbench_least_s": min(second),
        "ratio": statistics.median(b / a for a, b in times),
        "ratio_of_least": min(second) / min(first),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, onnx {onnx.__version__}, {options.nodes} nodes")
    for width in WIDTHS:
        found = measure(options.nodes, options.rounds, width)
        print(f"width {width}, {found['bytes'] / 1e6:.0f} MB")
        print(f"{'':30s} median   least")
        print(f"  onnx.load + shape inference  {found['onnx_s']:.3f} s {found['onnx_least_s']:.3f} s")
        print(f"  load_model + index + shapes  {found['workbench_s']:.3f} s {found['workbench_least_s']:.3f} s")
        print(f"  ratio                        {found['ratio']:.2f}    {found['ratio_of_least']:.2f}", end="")
        print(f"    (goal: at most {GOAL})")


if __name__ == "__main__":
    main()
