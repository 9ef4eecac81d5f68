"""Calibrating on an NVIDIA GPU: what one pass costs beside a plain forward of the same provider, in one run.

    python benchmarks/calibration_gpu.py --out gpu.json

Needs a GPU, onnxruntime-gpu and CuPy. The file is written anew after every step, so that what was measured stays where
a later step fails; `--steps` does some of them alone. First of all the counts of equal arrays are compared with the
processor's, bin for bin. Ratios are medians over rounds in which the contestants take turns. A plain forward is ONNX
Runtime's CUDA provider with the model's own output and an input that lies on the device already; a pass reads samples
on the host, brings them over, exposes 54 tensors and counts them. "warm" leaves out making the session, in which
cuDNN tries its algorithms; "whole" is all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.models import resnet50
from workbench.calibration.cuda.counter import Counter
from workbench.calibration.cuda.layout import KernelTuning
from workbench.calibration.cuda.machine import Gpu, tuned
from workbench.calibration.cuda.passing import Pass, view
from workbench.calibration.damage import Damage
from workbench.calibration.methods import ranges
from workbench.calibration.observer import observe
from workbench.calibration.samples import Samples
from workbench.calibration.sources import open_samples
from workbench.calibration.statistics import Statistics, TensorStatistics
from workbench.graph.load import load_model
from workbench.names import METHODS, QUANTIZED
from workbench.precision.lowering.lowering import activation_tensors
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.runtime import Device, Session, on_device

CUTS = [
    (512, 3, 2, True),
    (512, 3, 1, True),
    (512, 3, 4, True),
    (512, 2, 4, True),
    (768, 2, 2, True),
    (768, 2, 1, True),
    (768, 2, 4, True),
    (512, 1, 2, True),
    (1024, 1, 2, True),
    (1024, 1, 4, True),
    (1024, 2, 1, True),
    (512, 3, 2, False),
]
"""Threads, blocks, loads and whether counters are shared: how the kernel is cut."""
EXACT = ("values", "zeros", "nans", "infs", "tiny", "minimum", "maximum", "first", "top", "reach")


class Noise(Samples):
    """Seeded images; 64 of them, again and again, so that making them costs nothing."""

    fingerprint = "noise"

    def __init__(self, count: int) -> None:
        self.count = count
        base = np.random.default_rng(1).normal(size=(64, 3, 224, 224)).astype(np.float32)
        self.images = base * (0.5 + np.arange(64, dtype=np.float32) % 13 / 10)[:, None, None, None]

    def __iter__(self):  # noqa: ANN204
        for i in range(self.count):
            yield {"input": self.images[i % 64]}

    def __len__(self) -> int:
        return self.count

    def describe(self) -> dict[str, object]:  # noqa: D102
        return {"noise": self.count}


class Run:
    """What all steps share."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.images, self.batch, self.rounds = folder, options.images, options.batch, options.rounds
        self.file = folder / "m.onnx"
        self.file.write_bytes(resnet50().SerializeToString())
        self.model = load_model(self.file)
        self.tensors = activation_tensors(self.model, BEST_PRACTICE.resolve(self.model))

    def statistics(self) -> Statistics:  # noqa: D102
        return Statistics({name: TensorStatistics() for name in self.tensors})

    def ready(self, device: str, tuning: KernelTuning | None = None) -> Pass:
        """Return a pass that has run a few batches."""
        made = Pass(Device.of(device), self.model, self.statistics(), Damage(self.model), tuning)
        made.run(Noise(4 * self.batch), batch=self.batch)
        return made


def seconds(run) -> float:  # noqa: ANN001
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def environment(_: Run) -> dict[str, object]:
    """Return what is measured on."""
    import cupy
    import onnxruntime

    query = "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu"
    told = "nvidia-smi is not here"
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "nvidia-smi": dict(zip(query.split(","), told.split(", "), strict=False)),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "CUDA runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cores": os.cpu_count(),
        "kernel": vars(tuned()),
    }


def counts(_: Run) -> dict[str, object]:
    """Count equal arrays on both devices; say which fields of which differ."""
    import cupy

    rng = np.random.default_rng(3)
    differ = []
    # In global memory too, as on GPUs of little shared memory; the list runs over where scales jump.
    for name, tuning in (("shared", None), ("global", KernelTuning(shared=False))):
        tensors = []
        scales = (1.0, 1.2, 0.2, 50.0, 3.0)
        for scale in scales:
            normal = rng.normal(size=(6, 1 << 20)).astype(np.float32) * np.float32(scale)
            normal[5, ::1000] = [np.nan, np.inf, -np.inf, 0][int(scale) % 4]
            batch = [
                np.maximum(normal[0], 0),
                normal[1],
                (rng.standard_t(2, 300_011) * scale).astype(np.float32),
                np.clip(3 * normal[2], 0, 6),
                np.full(5000, scale, np.float32),
                np.ldexp(normal[3], -140).astype(np.float32),
                np.ldexp(normal[3], 100).astype(np.float32),
                normal[4, :3].copy(),
                np.zeros(100, np.float32),
                normal[5],
                rng.integers(0, 2**32, 100_003, dtype=np.uint32).view(np.float32),
            ]
            tensors.append(batch)
        found, wanted = ([TensorStatistics() for _ in tensors[0]] for _ in range(2))
        stream = cupy.cuda.Stream(non_blocking=True)
        counter = Counter(found, Gpu(len(found), stream, tuning))
        launched = []
        for batch in tensors:
            with stream:
                launched.append(counter.launch([cupy.asarray(array) for array in batch]))
            if len(launched) > 2:
                counter.take(launched.pop(0))
        for launch in launched:
            counter.take(launch)
        counter.empty()
        with np.errstate(all="ignore"):
            for batch in tensors:
                for one, array in zip(wanted, batch, strict=True):
                    one.update(array)
        for at, (one, other) in enumerate(zip(found, wanted, strict=True)):
            differ += [f"{name} {at} {field}" for field in EXACT if getattr(one, field) != getattr(other, field)]
            differ += [f"{name} {at} bins"] * (not np.array_equal(one.counts, other.counts))
            differ += [f"{name} {at} equal bins"] * (not np.array_equal(one.lines, other.lines))
            if np.isfinite(other.squares) and abs(one.squares - other.squares) > 1e-5 * other.squares:
                differ.append(f"{name} {at} squares {one.squares} {other.squares}")
    return {"arrays": 2 * len(scales) * len(wanted), "differ": differ}


def kernel(run: Run) -> dict[str, object]:
    """Time one launch over the tensors of a batch, as the kernel is cut."""
    import cupy

    feed = next(_feeds(run, Noise(run.batch)))
    with cupy.cuda.Device(0), on_device("cuda"):
        stream = cupy.cuda.Stream(non_blocking=True)
        session = Session(
            run.model, outputs=[name for name in run.tensors if name != "input"], observing=True, stream=stream.ptr
        )
        inputs = {name: cupy.asarray(array) for name, array in feed.arrays.items()}
        cupy.cuda.Device(0).synchronize()
        values = session.enqueue(inputs)
        cupy.cuda.Device(0).synchronize()
        found = {**inputs, **{name: view(value) for name, value in values.items()}}
        arrays = [found[name] for name in run.tensors]
        total = sum(array.size for array in arrays)
        zeros = sum(int((array == 0).sum()) for array in arrays)
        result: dict[str, object] = {"values": total, "GB": total * 4 / 1e9, "zeros": zeros / total}
        for threads, blocks, unroll, kept in CUTS:
            stream, tuning = cupy.cuda.Stream(non_blocking=True), KernelTuning(threads, blocks, unroll, shared=kept)
            counter = Counter([TensorStatistics() for _ in arrays], Gpu(len(arrays), stream, tuning))
            counter.take(counter.launch(arrays))
            times = []
            for _ in range(8):
                begin, end = cupy.cuda.Event(), cupy.cuda.Event()
                begin.record(stream)
                launches = [counter.launch(arrays) for _ in range(6)]  # the host is ahead of all but the first
                end.record(stream)
                for launch in launches:
                    counter.take(launch)
                times.append(cupy.cuda.get_elapsed_time(begin, end) / len(launches))
            name = f"{threads} threads, {blocks} blocks, {unroll} loads{'' if kept else ', global'}"
            middle = float(np.median(times))
            result[name] = {"ms": middle, "best": min(times), "GB/s": total * 4e-6 / middle}
    return result


def _feeds(run: Run, samples: Samples):  # noqa: ANN202
    from workbench.calibration.samples import feeds

    return feeds(samples, run.model, batch=run.batch)


def plain(run: Run, device: str, outputs: list[str] | None = None):  # noqa: ANN201
    """Return what runs so many batches that lie on the device, and waits for each."""
    import cupy
    import onnxruntime

    from workbench.runtime.bytes import serialized

    content = run.file.read_bytes() if outputs is None else serialized(run.model, outputs)
    session = onnxruntime.InferenceSession(content, providers=Device.of(device).providers())
    if "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError("the CUDA provider does not load")
    names = [output.name for output in session.get_outputs()]
    given = cupy.asarray(next(_feeds(run, Noise(run.batch))).arrays["input"])
    binding = session.io_binding()
    binding.bind_input("input", "cuda", 0, np.float32, given.shape, given.data.ptr)

    def go(images: int) -> None:
        for _ in range(images // run.batch):
            for name in names:
                binding.bind_output(name, "cuda", 0)
            session.run_with_iobinding(binding)

    go(4 * run.batch)
    go.kept = given
    return go


def one_pass(run: Run, device: str) -> dict[str, object]:
    """Time a warm pass, and one that only exposes, to a plain forward."""
    exposed = [name for name in run.tensors if name != "input"]
    forward, showing, ready = plain(run, device), plain(run, device, exposed), run.ready(device)
    samples = Noise(run.images)
    turns = []
    for _ in range(run.rounds):
        turns.append([seconds(lambda: forward(run.images)), seconds(lambda: showing(run.images))])
        turns[-1].append(seconds(lambda: ready.run(samples, batch=run.batch)))
    times = np.array(turns)
    ratio = times / times[:, :1]
    return {
        "images": run.images,
        "plain ms an image": 1e3 * float(np.median(times[:, 0])) / run.images,
        "exposed, of plain": float(np.median(ratio[:, 1])),
        "pass, of plain": float(np.median(ratio[:, 2])),
        "pass, of plain, all rounds": sorted(ratio[:, 2].round(4).tolist()),
        "seconds a round": times.round(4).tolist(),
    }


def pass_fp32(run: Run) -> dict[str, object]:
    return one_pass(run, "cuda")


def pass_tf32(run: Run) -> dict[str, object]:
    return one_pass(run, "cuda:0+tf32")


def under_way(run: Run) -> dict[str, object]:
    """Say what several batches at once are worth, and more steps ahead."""
    from workbench.calibration.cuda import passing

    forward, samples = plain(run, "cuda:0+tf32"), Noise(run.images)
    result = {}
    before = passing.UNDER_WAY, passing.AHEAD
    try:
        for name, passing.UNDER_WAY, passing.AHEAD in (("1", 1, 4), ("2", 2, 4), ("3", 3, 4), ("4", 4, 8)):
            ready = run.ready("cuda:0+tf32")
            turns = np.array(
                [
                    (seconds(lambda: forward(run.images)), seconds(lambda: ready.run(samples, batch=run.batch)))  # noqa: B023
                    for _ in range(max(2, run.rounds - 2))
                ]
            )
            result[f"{name} batches under way, of plain with TF32"] = float(np.median(turns[:, 1] / turns[:, 0]))
    finally:
        passing.UNDER_WAY, passing.AHEAD = before
    return result


def whole(run: Run) -> dict[str, object]:
    """Time a whole pass with its session, what ranges by every method cost, and the host's memory."""
    result: dict[str, object] = {}
    statistics = Statistics()
    for images in (8 * run.batch, run.images, 4 * run.images):
        begin = time.perf_counter()
        statistics = observe(run.model, run.tensors, Noise(images), batch=run.batch, device="cuda")
        took = time.perf_counter() - begin
        status = Path("/proc/self/status").read_text().splitlines()
        rss = int(next(line for line in status if line.startswith("VmRSS")).split()[1])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result[f"{images} images"] = {"s": took, "RSS MB": rss / 1024, "peak MB": peak / 1024}
    result["every method, s"] = seconds(lambda: [ranges(statistics, m, target=t) for m in METHODS for t in QUANTIZED])
    return result


def against_cpu(run: Run) -> dict[str, object]:
    """Say how far largest values and ranges are from the processor's, with TF32 off and on."""
    from workbench.calibration.agreement import against_processor

    result: dict[str, object] = {}
    samples = Noise(32)
    here = observe(run.model, run.tensors, samples, batch=32)
    for device in ("cuda:0", "cuda:0+tf32"):
        there = observe(run.model, run.tensors, samples, batch=32, device=device)
        result[device] = {"said": str(against_processor(run.model, run.tensors, samples, Device.of(device), batch=8))}
        for method in METHODS:
            a, b = (ranges(one, method, target="int8") for one in (here, there))
            apart = [abs(a[name].amax - b[name].amax) / a[name].amax for name in a]
            result[device][method] = {"median": float(np.median(apart)), "most": max(apart)}
    return result


def two_cores(run: Run) -> dict[str, object]:
    """Time the same pass on two cores of the processor, in a process of its own."""
    code = f"""
import os, sys, time
os.cpu_count = lambda: 2
sys.path[:0] = {sys.path!r}
from pathlib import Path
from benchmarks.calibration_gpu import Noise, load_model, observe, activation_tensors, BEST_PRACTICE
model = load_model(Path({str(run.file)!r}))
tensors = activation_tensors(model, BEST_PRACTICE.resolve(model))
observe(model, tensors, Noise(16), batch=8)
start = time.perf_counter(); observe(model, tensors, Noise(16), batch=8); few = time.perf_counter() - start
start = time.perf_counter(); observe(model, tensors, Noise(144), batch=8)
print((time.perf_counter() - start - few) / 128)
"""
    command = [sys.executable, "-c", code]
    if shutil.which("taskset"):
        command = ["taskset", "-c", "0,1", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    if done.returncode:
        return {"failed": done.stderr[-1500:]}
    return {"s an image": float(done.stdout.split()[-1]), "pinned to two cores": "taskset" in command}


def jpegs(run: Run) -> dict[str, object]:
    """Time a folder of JPEGs: decoding alone, and the pass."""
    from PIL import Image

    folder = run.folder / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    count = max(run.batch, run.images // 2)
    coarse = rng.integers(0, 256, (16, 24, 32, 3), dtype=np.uint8)
    for at in range(count):
        image = Image.fromarray(coarse[at % 16]).resize((500, 375), Image.Resampling.BICUBIC).rotate(at % 7)
        image.save(folder / f"{at:04}.jpg", quality=90)
    from workbench.calibration.preprocessing import Preprocessing

    look = Preprocessing(size=(224, 224), scale=1.0, mean=(127.0, 127.0, 127.0), std=(60.0, 60.0, 60.0))
    samples = open_samples(folder, run.model, preprocessing=look)
    ready, forward = run.ready("cuda"), plain(run, "cuda")
    decoding = seconds(lambda: [None for _ in samples])
    took = seconds(lambda: ready.run(samples, batch=run.batch))
    floor = seconds(lambda: forward(count))
    return {
        "images": count,
        "size": "500 x 375",
        "decoding alone, ms an image": 1e3 * decoding / count,
        "pass, ms an image": 1e3 * took / count,
        "plain forward, ms an image": 1e3 * floor / count,
        "pass, of the slower of the two": took / max(decoding, floor),
    }


def calibrators(run: Run) -> dict[str, object]:
    """Time ONNX Runtime's own calibrators on the same provider, TF32 off, batch as ours."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    def reader(images: int) -> CalibrationDataReader:
        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.feeds = _feeds(run, Noise(images))

            def get_next(self):  # noqa: ANN202
                feed = next(self.feeds, None)
                return None if feed is None else dict(feed.arrays)

        return Reader()

    result = {}
    for method in ("MinMax", "Entropy", "Percentile"):
        kinds, out = ["Conv", "Gemm", "Add"], str(run.folder / f"{method}.onnx")
        calibrator = create_calibrator(run.file, kinds, out, calibrate_method=CalibrationMethod[method])
        calibrator.set_execution_providers([("CUDAExecutionProvider", {"use_tf32": "0"})])
        calibrator.collect_data(reader(run.batch))  # cuDNN's choice of algorithms is not counted
        images = 2 * run.batch
        begin = time.perf_counter()
        calibrator.collect_data(reader(images))
        calibrator.compute_data()
        result[method] = {"ms an image": 1e3 * (time.perf_counter() - begin) / images, "images": images}
    return result


def modelopt(run: Run) -> dict[str, object]:
    """Time NVIDIA's quantize() as a whole: it places Q/DQ nodes too."""
    if importlib.util.find_spec("modelopt") is None:
        return {"left out": "modelopt is not installed"}
    from modelopt.onnx.quantization import quantize

    result = {}
    options = {"calibration_method": "max", "calibration_eps": ["cuda:0"], "high_precision_dtype": "fp32"}
    for images in (run.batch, 3 * run.batch):
        data = {"input": np.stack([sample["input"] for sample in Noise(images)])}
        begin = time.perf_counter()
        quantize(str(run.file), calibration_data=data, output_path=str(run.folder / "q.onnx"), **options)
        result[f"{images} images, s"] = time.perf_counter() - begin
    return result


def session(run: Run) -> dict[str, object]:
    """Calibrate, compare and measure sensitivity in a workbench, on both devices."""
    import workbench

    images = np.stack([sample["input"] for sample in Noise(16)])
    result: dict[str, object] = {}
    for device in (None, "cuda"):
        wb = workbench.open_model(run.file)
        wb.prepare()
        times = {"calibrate s": seconds(lambda: wb.calibrate({"input": images}, batch=8, device=device))}  # noqa: B023
        if device:
            result["said"] = wb.ranges.statistics.device
        wb.plan.use("int8")
        wb.tune()
        begin = time.perf_counter()
        found = wb.compare(runs=0, device=device)
        times |= {"compare s": time.perf_counter() - begin, "SQNR dB": found.worst_sqnr_db, "note": found.note}
        begin = time.perf_counter()
        order = wb.sensitivity(device=device).ranking()
        times |= {"sensitivity s": time.perf_counter() - begin, "worst nodes": list(order)[:5]}
        result[device or "cpu"] = times
    return result


STEPS = {
    "environment": environment,
    "counts": counts,
    "pass FP32": pass_fp32,
    "pass TF32": pass_tf32,
    "kernel": kernel,
    "two cores": two_cores,
    "whole": whole,
    "against the processor": against_cpu,
    "JPEGs": jpegs,
    "under way": under_way,
    "session": session,
    "ONNX Runtime's calibrators": calibrators,
    "ModelOpt": modelopt,
    "environment at the end": environment,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("calibration_gpu.json"))
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", default=",".join(STEPS), help="some of them, with commas between")
    parser.add_argument("--seconds", type=float, default=390, help="no step begins later than this")
    options = parser.parse_args()
    began = time.perf_counter()
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), options)
        for name, step in STEPS.items():
            if not any(name.startswith(wanted) for wanted in options.steps.split(",")):
                continue
            start = time.perf_counter()
            if start - began > options.seconds:
                results[name] = {"left out": "the time was over"}
                continue
            try:
                results[name] = step(run)
            except Exception:  # noqa: BLE001 - the other steps are of worth without it
                results[name] = {"failed": traceback.format_exc()[-3000:]}
            results[name]["took s"] = round(time.perf_counter() - start, 2)
            options.out.write_text(json.dumps(results, indent=1, default=str))
            print(name, json.dumps(results[name], default=str)[:3000], flush=True)
            with contextlib.suppress(Exception):
                import cupy

                cupy.get_default_memory_pool().free_all_blocks()
    passed, cores = results.get("pass FP32", {}), results.get("two cores", {})
    if "plain ms an image" in passed and "s an image" in cores:
        ours = passed["plain ms an image"] * passed["pass, of plain"]
        results["times the two-core pass"] = 1e3 * cores["s an image"] / ours
        options.out.write_text(json.dumps(results, indent=1, default=str))
        print("times the two-core pass", results["times the two-core pass"])


if __name__ == "__main__":
    main()
