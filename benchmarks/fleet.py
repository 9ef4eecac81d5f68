"""A fleet of real models with one worker and with two, in turns: how much of the time two of them take.

Run it from the repository: python benchmarks/fleet.py MODELS [--rounds N]. MODELS is a folder with a folder a model
that holds ``model.onnx``. Each worker has one core. Prints the seconds of every run, the ratio of the medians, and the
load of the machine: two workers need two free cores.
"""

from __future__ import annotations

import argparse
import json
import os
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
    "magika_fast_v2_1 iris_mlp tbefn_180x320 yolox_nano"
).split()


def drawn(model: Path, count: int = 4) -> dict[str, np.ndarray]:
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
    parser.add_argument("--rounds", type=int, default=1)
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
        passed, cores = 0, sorted(os.sched_getaffinity(0))
        for _ in range(options.rounds):
            for workers in (1, 2):
                # A worker alone would have all cores; what is compared is one core with two.
                os.sched_setaffinity(0, cores[:workers])
                start = time.perf_counter()
                result = fleet(plan, folder / "out", workers=workers)
                seconds[workers].append(time.perf_counter() - start)
                passed = sum(outcome.passed for outcome in result.outcomes)
                shutil.rmtree(folder / "out")
        ratio = statistics.median(seconds[2]) / statistics.median(seconds[1])
    told = {"sites": len(sites), "passed": passed, "seconds": seconds, "ratio": ratio}
    print(json.dumps(told | {"cores": os.cpu_count(), "load": os.getloadavg()}, indent=1))


if __name__ == "__main__":
    main()
