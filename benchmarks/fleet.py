"""A fleet of real models with one worker and with two, in turns: how much of the time two of them take.

Run it from the repository: python benchmarks/fleet.py MODELS [--rounds N]. MODELS is a folder with a folder a model
that holds ``model.onnx``. A worker has one core, alone or beside the other; the process that waits for them has all.
Prints the seconds of every run and the ratio of the medians. Two workers need two free cores, so it prints the load of
the machine, too, and what the processor's time of all processes says: how many cores a run had, which is a little more
than 1 and 2 where nothing else runs, and the ratio were all of it dealt out evenly.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import yaml

from workbench.graph import load_model
from workbench.jobs.fleet import fleet

NAMES = (
    "ultraface_rfb320 yunet_120x160 mnist_cntk ppocr_cls tinyvit_demo vit_mnist_selftrained dtln_1 gtcrn_simple "
    "magika_fast_v2_1 iris_mlp tbefn_180x320 yolox_nano hand_keypoint_mlp dnsmos_model_v8 cct_fp32_op20 "
    "ppocr_det_en_v3 ultraface_rfb640_masked"
).split()


def drawn(model: Path, count: int = 8) -> dict[str, np.ndarray]:
    """Return samples for a model: random numbers, one where an axis is open."""
    rng = np.random.default_rng(0)
    arrays = {}
    for tensor in load_model(model).inputs:
        shape = [size if isinstance(size, int) else (1 if at == 0 else 64) for at, size in enumerate(tensor.shape)]
        arrays[tensor.name] = rng.random((count, *shape)).astype(tensor.numpy_dtype)
    return arrays


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sites = {}
        for name in NAMES:
            model = options.models.resolve() / name / "model.onnx"
            np.savez(folder / f"{name}.npz", **drawn(model))
            sites[name] = {"model": str(model), "samples": f"{name}.npz"}
        plan = folder / "fleet.yaml"
        plan.write_text(yaml.safe_dump({"fleet": 1, "sites": sites}))
        seconds: dict[int, list[float]] = {1: [], 2: []}
        processor: dict[int, list[float]] = {1: [], 2: []}
        passed = 0
        for _ in range(options.rounds):
            for workers in (1, 2):
                start, used = time.perf_counter(), processor_seconds()
                result = fleet(plan, folder / "out", workers=workers)
                seconds[workers].append(time.perf_counter() - start)
                processor[workers].append(processor_seconds() - used)
                passed = sum(outcome.passed for outcome in result.outcomes)
                shutil.rmtree(folder / "out")
    one, two = (statistics.median(seconds[workers]) for workers in (1, 2))
    one_used, two_used = (statistics.median(processor[workers]) for workers in (1, 2))
    told = {
        "sites": len(sites),
        "passed": passed,
        "seconds": seconds,
        "ratio": two / one,
        "processor_seconds": processor,
        "cores_had": {1: one_used / one, 2: two_used / two},
        "ratio_by_processor_time": two_used / 2 / one_used,
    }
    print(json.dumps(told | {"cores": os.cpu_count(), "load": os.getloadavg()}, indent=1))


def processor_seconds() -> float:
    """Return the processor's seconds of this process and of those of its children that have ended."""
    every = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in every)


if __name__ == "__main__":
    main()
