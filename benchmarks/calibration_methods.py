"""Which method to calibrate with: the error at the model's outputs that each one's ranges lead to.

    python benchmarks/calibration_methods.py

Real models of ../shared in INT8 as the workbench lowers them, calibrated on the first half of the data and judged on
the second, Q/DQ computed as written by ONNX Runtime. SQNR is over all outputs together, in dB; more is better.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from workbench.calibration.methods import ranges
from workbench.calibration.observer import observe
from workbench.calibration.samples import feeds
from workbench.calibration.sources import open_samples
from workbench.graph.load import load_model
from workbench.names import METHODS
from workbench.precision.lowering.lowering import activation_tensors, lower
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.runtime.session import Session
from workbench.session import Workbench

SHARED = Path(__file__).resolve().parents[2] / "shared"


def inputs(name: str) -> np.ndarray:
    if name == "mnist_cntk":
        content = gzip.decompress((SHARED / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        return np.frombuffer(content, np.uint8, offset=16)[: 1024 * 784].reshape(-1, 1, 28, 28).astype(np.float32)
    with np.load(SHARED / "calibration_caches" / "recorded" / f"{name}.inputs.npz") as file:
        x = next(iter(file.values())).astype(np.float32)
    return (x - 127) / 128 if name == "ultraface_rfb320" else x


def main() -> None:
    for name in ("mnist_cntk", "ultraface_rfb320", "yolox_nano"):
        wb = Workbench(load_model(SHARED / "models" / name / "model.onnx"))
        wb.prepare()
        model, x = wb.model, inputs(name)
        half, entry = len(x) // 2, model.inputs[0].name
        resolution = BEST_PRACTICE.resolve(model)
        known = open_samples({entry: x[:half, None]}, model)
        statistics = observe(model, activation_tensors(model, resolution), known)
        held_out = [feed.arrays for feed in feeds(open_samples({entry: x[half:, None]}, model), model)]
        reference = Session(model)
        exact = [reference.run(arrays) for arrays in held_out]
        results = []
        for method in METHODS:
            chosen = {tensor: r.amax for tensor, r in ranges(statistics, method).items()}
            session = Session(lower(model, resolution, chosen).model)
            signal = noise = 0.0
            for arrays, wanted in zip(held_out, exact, strict=True):
                for output, got in session.run(arrays).items():
                    signal += float((wanted[output].astype(np.float64) ** 2).sum())
                    noise += float(((wanted[output] - got.astype(np.float64)) ** 2).sum())
            results.append(f"{method} {10 * np.log10(signal / noise):.2f}")
        print(
            f"{name:18} {half} + {len(x) - half} samples, {len(statistics)} tensors: {', '.join(results)}", flush=True
        )


if __name__ == "__main__":
    main()
