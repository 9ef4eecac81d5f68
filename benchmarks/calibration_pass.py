"""Calibrating a ResNet-50-shaped model: what one pass costs, beside ONNX Runtime's calibrators, in one run.

    python benchmarks/calibration_pass.py --images 64

Every contestant runs in a process of its own, so that its peak memory is its own; times are per image and divided by
those of a plain forward pass (all of ONNX Runtime's optimizations, all cores, the same batch) of the same process. Our
passes and plain ones take turns, a few rounds of them, and ratios are medians over the rounds: on a machine that others
use too, a ratio of two single times says little. A pass includes making its session; what a further image costs is the
difference of two passes. Compiled loops are loaded before.

ModelOpt takes part where it is installed. Its extra `onnx` asks for CUDA packages (cupy, onnxruntime-gpu), which its
calibration on a processor does not need: 0.47 runs without them, beside onnxruntime and PyTorch for processors, after

    pip install --no-deps nvidia-modelopt onnxscript
    pip install nvidia-ml-py omegaconf pulp regex rich safetensors onnxconverter-common onnx-graphsurgeon onnxslim lief
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.models import resnet50
from workbench.calibration.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable


class Noise(Samples):
    """Seeded images, made as they are asked for."""

    fingerprint = "noise"

    def __init__(self, count: int) -> None:
        self.count = count
        self.base = np.random.default_rng(1).normal(size=(8, 3, 224, 224)).astype(np.float32)

    def __iter__(self):  # noqa: ANN204
        for i in range(self.count):
            yield {"input": self.base[i % 8] * np.float32(0.5 + (i % 13) / 10)}

    def __len__(self) -> int:
        return self.count

    def describe(self) -> dict[str, object]:  # noqa: D102
        return {"noise": self.count}


def seconds(run) -> float:  # noqa: ANN001
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def wall_and_cpu(run) -> np.ndarray:  # noqa: ANN001
    """Return wall seconds, and seconds of processor time of all threads, which other processes disturb less."""
    start = np.array([time.perf_counter(), time.process_time()])
    run()
    return np.array([time.perf_counter(), time.process_time()]) - start


def peak() -> float:
    """Return this process's peak memory so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def forward(folder: Path, images: int, batch: int) -> Callable[[], np.ndarray]:
    """Return what measures the seconds an image of a plain forward pass, wall and processor."""
    import onnxruntime as ort

    session = ort.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
    batches = [np.stack([s["input"] for s in Noise(batch)])] * (images // batch)
    session.run(None, {"input": batches[0]})
    return lambda: wall_and_cpu(lambda: [session.run(None, {"input": x}) for x in batches]) / images


def memory_of_a_pass(folder: Path, images: int, batch: int) -> dict[str, object]:
    """Measure the peak memory of one pass and nothing else."""
    from workbench.calibration.observer import observe
    from workbench.graph.load import load_model
    from workbench.precision.lowering.lowering import activation_tensors
    from workbench.precision.plan.plan import BEST_PRACTICE

    model = load_model(folder / "m.onnx")
    observe(model, activation_tensors(model, BEST_PRACTICE.resolve(model)), Noise(images), batch=batch)
    return {"peak MB": peak()}


def one_pass(folder: Path, images: int, batch: int, every: bool, rounds: int) -> dict[str, object]:
    from workbench.calibration.methods import ranges
    from workbench.calibration.observer import observe
    from workbench.graph.load import load_model
    from workbench.names import METHODS, QUANTIZED
    from workbench.precision.lowering.lowering import activation_tensors
    from workbench.precision.plan.plan import BEST_PRACTICE

    model = load_model(folder / "m.onnx")
    if every:
        tensors = ["input", *(o.name for node in model.top_nodes.values() for o in node.outputs)]
    else:
        tensors = activation_tensors(model, BEST_PRACTICE.resolve(model))
    observe(model, tensors, Noise(batch), batch=batch)  # loads the compiled loops
    statistics = None
    few = min(images, 2 * batch)

    def run(count: int) -> np.ndarray:
        def go() -> None:
            nonlocal statistics
            statistics = observe(model, tensors, Noise(count), batch=batch)

        return wall_and_cpu(go)

    plain = forward(folder, max(batch, min(images, 32) // batch * batch), batch)
    turns = np.array([(plain(), run(few), run(images)) for _ in range(rounds)])  # rounds, three contestants, two clocks
    floor, less, all_of_it = turns.transpose(1, 0, 2)
    each = all_of_it / images
    further = (all_of_it - less) / max(images - few, 1)
    beyond = {
        f"a further image after {few}": np.median(further[:, 0] / floor[:, 0]),
        "of its processor time": np.median(further[:, 1] / floor[:, 1]),
    }
    memory = peak()
    statistics.save(folder / "statistics.npz")
    methods = seconds(lambda: [ranges(statistics, m, target=t) for m in METHODS for t in QUANTIZED])
    again = seconds(lambda: [ranges(statistics, m, target=t) for m in METHODS for t in QUANTIZED])
    return {
        "ratio": np.median(each[:, 0] / floor[:, 0]),
        "of processor time": np.median(each[:, 1] / floor[:, 1]),
        **({} if images == few else beyond),
        "s/image": each[:, 0].min(),
        "plain s/image": floor[:, 0].min(),
        "tensors": len(tensors),
        "peak MB": memory,
        "file MB": (folder / "statistics.npz").stat().st_size / 1e6,
        "methods s": methods,
        "methods again s": again,
        "values/image": sum(t.values for t in statistics.values()) / images,
    }


def onnxruntime_calibrator(folder: Path, images: int, method: str) -> dict[str, object]:
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.samples = iter(Noise(images))

        def get_next(self):  # noqa: ANN202
            sample = next(self.samples, None)
            return None if sample is None else {"input": sample["input"][None]}

    calibrator = create_calibrator(
        folder / "m.onnx", [], str(folder / "augmented.onnx"), calibrate_method=CalibrationMethod[method]
    )
    calibrator.set_execution_providers(["CPUExecutionProvider"])

    def run() -> None:
        calibrator.collect_data(Reader())
        calibrator.compute_data()

    return {"s/image": seconds(run) / images, "peak MB": peak()}


def modelopt(folder: Path, images: int, method: str) -> dict[str, object]:
    """Measure NVIDIA's quantize() as a whole: it has no calibration by itself, and places Q/DQ nodes too."""
    from modelopt.onnx.quantization import quantize

    data = {"input": np.stack([sample["input"] for sample in Noise(images)])}
    options = {"calibration_method": method, "calibration_eps": ["cpu"], "log_level": "ERROR"}
    out = str(folder / "quantized.onnx")
    source = str(folder / "m.onnx")
    took = seconds(
        lambda: quantize(source, calibration_data=data, output_path=out, high_precision_dtype="fp32", **options)
    )
    return {"s/image": took / images, "peak MB": peak()}


def contestant(name: str, folder: Path, images: int, batch: int, rounds: int) -> None:
    if name in {"pass", "pass, all tensors"}:
        result = one_pass(folder, images, batch, name != "pass", rounds)
    elif name == "memory":
        result = memory_of_a_pass(folder, images, batch)
    else:
        plain = forward(folder, 16, 1)
        theirs = onnxruntime_calibrator
        if name.startswith("modelopt "):
            theirs, name = modelopt, name.removeprefix("modelopt ")
        result = {"plain s/image": min(plain()[0] for _ in range(2)), **theirs(folder, images, name)}
    if "s/image" in result:
        result.setdefault("ratio", result["s/image"] / result["plain s/image"])
    print(json.dumps(result, default=float))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help="passes and plain passes, in turns")
    parser.add_argument("--many", type=int, default=0, help="peak memory of passes over 16 and so many images")
    parser.add_argument(
        "--peers",
        default="MinMax,Percentile,Entropy,modelopt max,modelopt entropy",
        help="calibrators of onnxruntime.quantization; methods of ModelOpt, left out where it is not installed",
    )
    parser.add_argument("--peer-images", type=int, default=16, help="these keep every activation in memory")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contestant:
        contestant(args.contestant, args.folder, args.images, args.batch, args.rounds)
        return
    print(f"{os.cpu_count()} cores; ours: batch {args.batch}; theirs: batch 1, as their readers have it")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.onnx").write_bytes(resnet50().SerializeToString())
        runs = [("pass", 16, 1), ("pass", args.images, args.rounds), ("pass, all tensors", args.images, args.rounds)]
        runs += [("memory", 16, 1), ("memory", args.many, 1)] * bool(args.many)
        peers = [peer for peer in args.peers.split(",") if peer]
        if any(p.startswith("modelopt") for p in peers) and importlib.util.find_spec("modelopt") is None:
            peers = [peer for peer in peers if not peer.startswith("modelopt")]
            print("modelopt is not installed and left out; see the top of this file")
        runs += [(peer, args.peer_images, 1) for peer in peers]
        for name, images, rounds in runs:
            command = [sys.executable, __file__, "--contestant", name, "--folder", folder]
            command += ["--images", str(images), "--batch", str(args.batch), "--rounds", str(rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name:18} {images:5} images: failed\n{done.stderr[-2000:]}")
                continue
            result = json.loads(done.stdout.splitlines()[-1])
            text = ", ".join(f"{k} {v:.4g}" for k, v in result.items())
            print(f"{name:18} {images:5} images: {text}", flush=True)


if __name__ == "__main__":
    main()
