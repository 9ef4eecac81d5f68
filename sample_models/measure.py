"""Measure the sample models, in floating point and in plain INT8, with ONNX Runtime and its own quantizer.

This is the reference that the workbench's figures are held against, so it uses nothing of the workbench.

    python sample_models/measure.py            prints the table of README.md
    python sample_models/measure.py --write    and stores the figures in models.json
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from glyphs import INPUT_NAME, SPLITS, glyphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "BATCH",
    "CALIBRATION_COUNT",
    "TEST_COUNT",
    "Spread",
    "macs",
    "main",
    "outputs",
    "quantized",
    "spread",
    "top1",
]

FOLDER = Path(__file__).resolve().parent
TEST_COUNT = 2000
CALIBRATION_COUNT = 500
BATCH = 100
_QUANTIZED = ["Conv", "Gemm", "MatMul"]


def outputs(
    model: onnx.ModelProto, images: NDArray[np.float32], *, names: Sequence[str] | None = None
) -> Iterable[list[NDArray[Any]]]:
    """Run a model batch by batch on the CPU, with Q/DQ computed as written.

    Parameters
    ----------
    model
        The model.
    images
        float32 [N, 1, 32, W].
    names
        Outputs to fetch; all of them if left out.

    Yields
    ------
    outputs
        One array an output for each batch of up to `BATCH` images.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for start in range(0, len(images), BATCH):
        yield session.run(names, {INPUT_NAME: images[start : start + BATCH]})


def top1(model: onnx.ModelProto, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of images whose largest logit is the label's, 0 to 1."""
    found = np.concatenate([logits.argmax(1) for (logits, *_) in outputs(model, images)])
    return float((found == labels).mean())


def quantized(
    path: Path, calibration: NDArray[np.float32], *, keep_float: Sequence[str] = (), gather: str = "MinMax"
) -> onnx.ModelProto:
    """Quantize a model with onnxruntime.quantization: symmetric INT8, weights per channel, ranges from data.

    BatchNormalization is folded first. Inputs of Conv, Gemm and MatMul are quantized, outputs and biases are not.

    Parameters
    ----------
    path
        The floating-point model.
    calibration
        float32 [N, 1, 32, W]; what the ranges are measured on.
    keep_float
        Names of nodes left in floating point.
    gather
        Calibration method of ONNX Runtime: MinMax, Entropy or Percentile.

    Returns
    -------
    model
        The model with Q/DQ nodes.
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc] # it ships no types
        def __init__(self) -> None:
            self._batches = iter(np.array_split(calibration, math.ceil(len(calibration) / BATCH)))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT_NAME: batch}

    with tempfile.TemporaryDirectory() as folder:
        folded, written = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(path, folded, skip_symbolic_shape=True)
        quantization.quantize_static(
            folded,
            written,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            nodes_to_exclude=list(keep_float),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[gather],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": _QUANTIZED,
            },
        )
        return onnx.load(written)


def macs(path: Path) -> dict[str, int]:
    """Multiply-accumulates of each Conv, Gemm, MatMul and GRU for one image of 32 columns, by node name."""
    model = onnx.load(path)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    axes[0].dim_value = 1
    axes[3].dim_value = axes[3].dim_value or 32
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info}
    shapes |= {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.output}
    shapes |= {weight.name: list(weight.dims) for weight in graph.initializer}
    counts = {}
    for node in graph.node:
        if node.op_type == "Conv":
            counts[node.name] = math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            counts[node.name] = math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
        elif node.op_type == "GRU":
            weights = math.prod(shapes[node.input[1]]) + math.prod(shapes[node.input[2]])
            counts[node.name] = shapes[node.input[0]][0] * weights
    return counts


@dataclass(frozen=True)
class Spread:
    """How the values of a Conv's input spread over its one INT8 scale.

    Attributes
    ----------
    largest
        Largest magnitude, which min-max calibration makes the end of the scale.
    percentile
        99.9th percentile of the magnitudes.
    channels
        Each channel's largest magnitude, float32 [channels].
    lost
        Share of the nonzero values that round to zero, being under half a step of largest / 127.
    """

    largest: float
    percentile: float
    channels: NDArray[np.float32]
    lost: float


def spread(path: Path, node: str, images: NDArray[np.float32]) -> Spread:
    """Measure the input of a Conv over images, float32 [N, 1, 32, W]."""
    model = onnx.load(path)
    tensor = next(n.input[0] for n in model.graph.node if n.name == node)
    model.graph.output.append(onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None))
    seen: NDArray[np.float32] = np.abs(np.concatenate([x for (x,) in outputs(model, images, names=[tensor])]))
    largest = float(seen.max())
    return Spread(
        largest=largest,
        percentile=float(np.quantile(seen, 0.999)),
        channels=seen.max(axis=(0, 2, 3)),
        lost=float((seen[seen > 0] < largest / 254).mean()),
    )


def _measure(entry: dict[str, Any]) -> dict[str, Any]:
    """Renew the measured figures of a model's entry."""
    path = FOLDER / entry["file"]
    model = onnx.load(path)
    images, labels = glyphs(TEST_COUNT, SPLITS["test"])
    calibration, _ = glyphs(CALIBRATION_COUNT, SPLITS["calibration"])
    measured = {
        "parameters": sum(math.prod(w.dims) for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT),
        "macs": sum(macs(path).values()),
        "expected_fp32_top1": top1(model, images, labels),
        "expected_int8_minmax_top1": top1(quantized(path, calibration), images, labels),
    }
    kept = entry.get("keep_float", [])
    if kept:
        mixed = quantized(path, calibration, keep_float=kept)
        measured["expected_mixed_top1"] = top1(mixed, images, labels)
        measured["mixed_int8_macs"] = 1.0 - sum(macs(path)[name] for name in kept) / measured["macs"]
    return entry | {key: round(value, 4) for key, value in measured.items()}


def _print_spreads(path: Path, nodes: Sequence[str]) -> None:
    """Print, as a Markdown table, what a few layers' inputs look like and what quantizing each alone costs."""
    images, labels = glyphs(TEST_COUNT, SPLITS["test"])
    calibration, _ = glyphs(CALIBRATION_COUNT, SPLITS["calibration"])
    print("| input of | largest | 99.9% below | channels: least, median | nonzero lost | top-1, only this in INT8 |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for node in nodes:
        seen = spread(path, node, calibration)
        others = [name for name in macs(path) if name != node]
        alone = top1(quantized(path, calibration, keep_float=others), images, labels)
        print(
            f"| `{node}` | {seen.largest:.1f} | {seen.percentile:.1f} "
            f"| {seen.channels.min():.2f}, {np.median(seen.channels):.1f} | {seen.lost:.0%} | {alone:.2%} |"
        )


def main(arguments: list[str] | None = None) -> None:
    """Print every model's figures as a Markdown table; store them if asked to."""
    parser = argparse.ArgumentParser(description="Measure the sample models.")
    parser.add_argument("--write", action="store_true", help="store the figures in models.json")
    options = parser.parse_args(arguments)
    listing = FOLDER / "models.json"
    document = json.loads(listing.read_text())
    document["models"] = [_measure(entry) for entry in document["models"]]
    print("| model | parameters | MACs | FP32 top-1 | INT8 top-1 | INT8 with layers kept | MACs in INT8 then |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for entry in document["models"]:
        mixed, share = entry.get("expected_mixed_top1"), entry.get("mixed_int8_macs")
        print(
            f"| {entry['name']} | {entry['parameters'] / 1e3:.0f} k | {entry['macs'] / 1e6:.2f} M "
            f"| {entry['expected_fp32_top1']:.2%} | {entry['expected_int8_minmax_top1']:.2%} "
            f"| {'' if mixed is None else f'{mixed:.2%}'} | {'' if share is None else f'{share:.1%}'} |"
        )
    for entry in document["models"]:
        if entry.get("keep_float"):
            print()
            _print_spreads(FOLDER / entry["file"], entry["keep_float"])
    if options.write:
        listing.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
