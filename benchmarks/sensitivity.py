"""Sensitivity of a MobileNetV2-shaped model, against re-running the whole network once a node.

python benchmarks/sensitivity.py [--size 128] [--images 16] [--batch 8]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from models import mobilenet_v2
from scipy.stats import spearmanr

from workbench.calibration.samples import Samples, feeds
from workbench.calibration.sources import open_samples
from workbench.graph.load import from_proto
from workbench.graph.select.selectors import nodes
from workbench.precision.lowering.lowering import lower
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.sensitivity.errors import ErrorSum
from workbench.precision.sensitivity.estimated import quick
from workbench.precision.sensitivity.measured import exact
from workbench.runtime.session import Session
from workbench.session import Workbench


def brute_force(wb: Workbench, layers: list[str], samples: Samples, batch: int) -> dict[str, float]:
    batches = list(feeds(samples, wb.model, batch=batch))
    session = Session(wb.model)
    expected = [session.run(feed.arrays) for feed in batches]
    found = {}
    for node in layers:
        plan = PrecisionPlan().with_rule(str(nodes(node)), "int8")
        session = Session(lower(wb.model, plan.resolve(wb.model), wb.ranges).model)
        errors = ErrorSum()
        for feed, wanted in zip(batches, expected, strict=True):
            errors.update(wanted, session.run(feed.arrays))
        found[node] = errors.sqnr_db
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    wb = Workbench(from_proto(mobilenet_v2(size=options.size)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npz"
        shape = (options.images, 3, options.size, options.size)
        np.savez(path, input=np.random.default_rng(0).normal(size=shape).astype(np.float32))
        wb.prepare()
        wb.calibrate(path, batch=options.batch)
        samples = open_samples(path, wb.model)
        layers = [
            node
            for node in BEST_PRACTICE.resolve(wb.model).nodes("int8")
            if wb.model.nodes[node].op_type in ("Conv", "Gemm")
        ]
        began = time.perf_counter()
        full = brute_force(wb, layers, samples, options.batch)
        print(f"{len(layers)} layers, {options.images} images of {options.size} x {options.size}")
        print(f"brute force  {len(layers) + 1:5.1f} forwards an image  {time.perf_counter() - began:6.1f} s")
        for memory in (1 << 30, 16 << 20):
            found = exact(wb.model, layers, wb.ranges, samples, batch=options.batch, memory=memory)
            same = found.ranking() == sorted(layers, key=full.__getitem__)
            print(
                f"exact        {found.forwards:5.1f} forwards an image  {found.seconds:6.1f} s  "
                f"ranking identical: {same}, {memory >> 20} MiB of activations"
            )
        estimate = quick(wb.model, layers, wb.ranges, samples, batch=options.batch)
        rank = spearmanr([estimate[node].sqnr_db for node in layers], [full[node] for node in layers]).statistic
        print(
            f"quick        {estimate.forwards:5.1f} forwards an image  {estimate.seconds:6.1f} s  Spearman {rank:.3f}"
        )
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
