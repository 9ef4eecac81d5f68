"""How long the graph view takes on a decoder of 10,000 nodes with hierarchical names.

Against `onnx.load` plus one pass of shape inference on the same file, in the same run:
load and index, first picture, opening a block, a search. Run it with

    python benchmarks/graph_view.py [--layers 164] [--runs 5]

Goals: index at most 1.5 times `onnx.load` + shape inference, first picture at most 1 s, opening a block at most 200 ms.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

HEADS, WIDTH, HIDDEN = 4, 64, 128


def decoder(layers: int) -> onnx.ModelProto:  # noqa: PLR0915 - one model, top to bottom
    """Return a decoder as an exporter writes it: 61 nodes a layer, rotary embedding, a mask that feeds every layer."""
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, onnx.TensorProto] = {}
    rng = np.random.default_rng(0)

    def op(kind: str, name: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"{name}_output_0"], name, **attributes))
        return f"{name}_output_0"

    def weight(name: str, *shape: int) -> str:
        values = rng.standard_normal(shape).astype(np.float32) * 0.02
        return constant(name, values)

    def constant(name: str, values: np.ndarray) -> str:
        weights[name] = numpy_helper.from_array(values, name)
        return name

    def linear(name: str, x: str, a: int, b: int) -> str:
        return op(
            "Add", f"{name}/Add", op("MatMul", f"{name}/MatMul", x, weight(f"{name}.w", a, b)), weight(f"{name}.b", b)
        )

    def norm(name: str, x: str) -> str:
        square = op("Pow", f"{name}/Pow", x, two)
        mean = op("ReduceMean", f"{name}/ReduceMean", square, axes=[-1])
        root = op("Sqrt", f"{name}/Sqrt", op("Add", f"{name}/Add", mean, epsilon))
        unit = op("Mul", f"{name}/Mul", x, op("Div", f"{name}/Div", one, root))
        return op("Mul", f"{name}/Mul_1", unit, weight(f"{name}.scale", WIDTH))

    def rotary(name: str, x: str) -> str:
        half = WIDTH // HEADS // 2
        ends = [constant(f"at{at}", np.array([at])) for at in (0, half, 2 * half)]
        last = constant("last", np.array([-1]))
        left = op("Slice", f"{name}/Slice", x, ends[0], ends[1], last)
        right = op("Slice", f"{name}/Slice_1", x, ends[1], ends[2], last)
        turned = op("Concat", f"{name}/Concat", op("Neg", f"{name}/Neg", right), left, axis=-1)
        return op("Add", f"{name}/Add", op("Mul", f"{name}/Mul", x, cos), op("Mul", f"{name}/Mul_1", turned, sin))

    def heads(name: str, x: str, at: int) -> str:
        shape = constant("split", np.array([0, -1, HEADS, WIDTH // HEADS]))
        split = op("Reshape", f"{name}/Reshape{f'_{at}' if at else ''}", x, shape)
        return op("Transpose", f"{name}/Transpose{f'_{at}' if at else ''}", split, perm=[0, 2, 1, 3])

    one = constant("one", np.float32(1).reshape(()))
    two, epsilon = constant("two", np.float32(2).reshape(())), constant("epsilon", np.float32(1e-6).reshape(()))
    cos = op("Cos", "/model/rotary/Cos", "angles")
    sin = op("Sin", "/model/rotary/Sin", "angles")
    mask = op(
        "Mul",
        "/model/mask/Mul",
        op("Sub", "/model/mask/Sub", one, "mask"),
        constant("low", np.float32(-1e4).reshape(())),
    )
    x = op("Gather", "/model/embed/Gather", weight("embed", 100, WIDTH), "ids")
    for at in range(layers):
        layer = f"/model/layers.{at}"
        h = norm(f"{layer}/input_layernorm", x)
        q, k, v = (linear(f"{layer}/self_attn/{which}_proj", h, WIDTH, WIDTH) for which in "qkv")
        q = rotary(f"{layer}/self_attn/q_rotary", heads(f"{layer}/self_attn", q, 0))
        k = rotary(f"{layer}/self_attn/k_rotary", heads(f"{layer}/self_attn", k, 1))
        v = heads(f"{layer}/self_attn", v, 2)
        k = op("Transpose", f"{layer}/self_attn/Transpose_3", k, perm=[0, 1, 3, 2])
        scores = op("MatMul", f"{layer}/self_attn/MatMul", q, k)
        scores = op("Mul", f"{layer}/self_attn/Mul", scores, constant("scale", np.float32(0.25).reshape(())))
        scores = op("Add", f"{layer}/self_attn/Add", scores, mask)
        shares = op("Softmax", f"{layer}/self_attn/Softmax", scores, axis=-1)
        mixed = op("MatMul", f"{layer}/self_attn/MatMul_1", shares, v)
        mixed = op("Transpose", f"{layer}/self_attn/Transpose_4", mixed, perm=[0, 2, 1, 3])
        mixed = op("Reshape", f"{layer}/self_attn/Reshape_3", mixed, constant("join", np.array([0, -1, WIDTH])))
        x = op("Add", f"{layer}/Add", x, linear(f"{layer}/self_attn/o_proj", mixed, WIDTH, WIDTH))
        h = norm(f"{layer}/post_attention_layernorm", x)
        gate = linear(f"{layer}/mlp/gate_proj", h, WIDTH, HIDDEN)
        gate = op("Mul", f"{layer}/mlp/act_fn/Mul", gate, op("Sigmoid", f"{layer}/mlp/act_fn/Sigmoid", gate))
        both = op("Mul", f"{layer}/mlp/Mul", gate, linear(f"{layer}/mlp/up_proj", h, WIDTH, HIDDEN))
        x = op("Add", f"{layer}/Add_1", x, linear(f"{layer}/mlp/down_proj", both, HIDDEN, WIDTH))
    logits = linear("/lm_head", norm("/model/norm", x), WIDTH, 100)
    value = helper.make_tensor_value_info
    inputs = [value("ids", TensorProto.INT64, [1, "n"]), value("mask", TensorProto.FLOAT, [1, 1, "n", "n"])]
    inputs.append(value("angles", TensorProto.FLOAT, [1, 1, "n", WIDTH // HEADS]))
    outputs = [value(logits, TensorProto.FLOAT, [1, "n", 100])]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, list(weights.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(path: Path) -> dict[str, float]:
    """Return seconds for every step, once; nothing is kept from one call to the next but Python's own imports."""
    from workbench.graph.load import load_model
    from workbench.views.graphs.network import network_of
    from workbench.views.graphs.picture import GraphPicture
    from workbench.views.graphs.scene import _layout
    from workbench.views.graphs.scopes import MOST_VISIBLE
    from workbench.views.graphs.view import GraphView

    _layout.cache_clear()
    took: dict[str, float] = {}
    took["onnx.load + shape inference"] = timed(lambda: onnx.shape_inference.infer_shapes(onnx.load(path)))
    start = time.perf_counter()
    model = load_model(path)
    took["load_model"] = time.perf_counter() - start
    start = time.perf_counter()
    network = network_of(model)
    took["index the operators for the view"] = time.perf_counter() - start
    start = time.perf_counter()
    view = GraphPicture(network, "decoder")
    svg = view.svg()
    took["first picture (scopes, layout, SVG)"] = time.perf_counter() - start
    took["the same as PNG"] = timed(view.png)
    layers = next(path for path in view.scopes.tree.scopes if "…" in path)
    view.shown = view.scopes.expand(view.shown, layers)
    view.svg()

    def open_block() -> None:
        view.shown = view.scopes.expand(view.shown, "model/layers.7/self_attn")
        view.svg()

    took["open one block"] = timed(open_block)

    def double_click() -> None:
        """Make the new scene and its marks, ready to be sent."""
        live.toggle("model/layers.9/mlp/")
        live.scene_state()
        live.mark_state()

    live = GraphView(network)
    live.expand(layers)
    live.scene_state()
    took["open one block by double click"] = timed(double_click)
    took["search"] = timed(lambda: view.scopes.search(r"layers\.\d+7/.*softmax"))
    if not svg.startswith("<svg") or view.panel().visible() > MOST_VISIBLE:
        raise SystemExit("this is no picture to be measured")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=164)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decoder.onnx"
        model = decoder(options.layers)
        onnx.save(model, path)
        count = len(model.graph.node)
        runs = [measure(path) for _ in range(options.runs)]
    best = {step: min(run[step] for run in runs) for step in runs[0]}
    middle = {step: statistics.median(run[step] for run in runs) for step in runs[0]}
    base = middle["onnx.load + shape inference"]
    print(f"{count:,} nodes, {options.runs} runs, {platform.machine()}, Python {platform.python_version()}")
    print(f"{'':38s}{'least':>10s}{'median':>10s}{'ratio':>8s}")
    for step, seconds in middle.items():
        print(f"{step:38s}{best[step] * 1e3:8.0f} ms{seconds * 1e3:7.0f} ms{seconds / base:8.2f}")
    if options.json:
        options.json.write_text(json.dumps({"nodes": count, "median_s": middle, "least_s": best}, indent=1))


if __name__ == "__main__":
    main()
