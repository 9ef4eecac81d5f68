"""Search placements of INT8 by measured engines, case by case, on the GPUs of one host.

    python benchmarks/placement_gpu.py OUT CASE[:GPUS] [CASE[:GPUS] ...] --budget-s 240

Runs the job `workbench search --measure` for all cases at once, each on GPUs and cores of its own; where those are
several, builds and timings are spread over them by Dask, one worker a GPU. In each case FP16, INT8 everywhere, implicit
INT8 (TensorRT 8) and what the search finds are timed in turns in one run. What is small (reports, profiles, results)
goes to OUT as it comes, engines to WORK, where a second run goes on from them. ``--backend onnxruntime`` is for a trial
without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TACTICS = ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS")
"""cuBLAS and cuDNN need not be there."""

CASES = {
    "mobilenet_v2-b1": ("mobilenet_v2", 1),
    "residual_cnn-b1": ("residual_cnn", 1),
    "resnet50-b1": ("resnet50", 1),
    "ultraface_rfb320-b1": ("ultraface_rfb320", 1),
    "mobilenet_v2-b8": ("mobilenet_v2", 8),
    "mobilenet_v2-b32": ("mobilenet_v2", 32),
    "resnet50-b8": ("resnet50", 8),
    "resnet50-b32": ("resnet50", 32),
}
"""Name to model and batch; the shapes have random weights, so that their accuracy means nothing."""

SAMPLES = 16
MIN_SQNR = 10.0
SMALL = (".json", ".jsonl", ".txt", ".log", ".yaml")
SYNC_S = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("cases", nargs="+", help=f"of {', '.join(CASES)}, each with its number of GPUs, or 1")
    parser.add_argument("--budget-s", type=float, default=240.0, help="for each case, all running at once")
    parser.add_argument("--builds", type=int, default=12)
    parser.add_argument("--backend", default="tensorrt")
    parser.add_argument("--work", type=Path, default=Path("/tmp/placement-work"))  # noqa: S108 - on a host of its own
    parser.add_argument("--ultraface", type=Path, default=ROOT.parent / "shared/models/ultraface_rfb320/model.onnx")
    parser.add_argument("--first-gpu", type=int, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.first_gpu is not None:
        one_case(given)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    given.work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    stop = threading.Event()
    copying = threading.Thread(target=keep_copying, args=(given.work, given.out, stop))
    copying.start()
    try:
        run_all(given)
    finally:
        stop.set()
        copying.join()
        copy(given.work, given.out)
    names = [case.partition(":")[0] for case in given.cases]
    print(f"all in {time.monotonic() - began:.0f} s\n{summary(names, given.out)}", flush=True)


def run_all(given: argparse.Namespace) -> None:
    """Run each case in a process of its own, on GPUs and cores of its own."""
    cores = sorted(os.sched_getaffinity(0))
    counts = [int(case.partition(":")[2] or 1) for case in given.cases]
    running, gpu = {}, 0
    for case, count in zip(given.cases, counts, strict=True):
        own = cores[gpu * len(cores) // sum(counts) : (gpu + count) * len(cores) // sum(counts)]
        command = ["taskset", "-c", ",".join(map(str, own)), sys.executable, __file__, str(given.out), case]
        command += ["--first-gpu", str(gpu), "--budget-s", str(given.budget_s), "--builds", str(given.builds)]
        command += ["--backend", given.backend, "--work", str(given.work), "--ultraface", str(given.ultraface)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
        log = (given.work / f"{case.partition(':')[0]}.log").open("w")
        running[case] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        gpu += count
    for case, process in running.items():
        print(f"{case}: ended with {process.wait()}", flush=True)


@contextlib.contextmanager
def workers(first: int, count: int, work: Path) -> Iterator[str | None]:
    """Start a scheduler here and one worker a GPU, each on cores of its own; yield the address."""
    if count == 1:
        yield None
        return
    from distributed import Client, LocalCluster

    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // (count + 1))  # one share is for what this process does
    with LocalCluster(n_workers=0, dashboard_address=None, protocol="tcp", host="127.0.0.1") as cluster:
        address = cluster.scheduler_address
        started = []
        for gpu in range(count):
            own = ",".join(map(str, cores[gpu * share : (gpu + 1) * share]))
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(first + gpu)}
            command = ["taskset", "-c", own, sys.executable, "-m", "distributed.cli.dask_worker", address]
            command += ["--nthreads", "1", "--no-dashboard", "--memory-limit", "0", "--no-nanny"]
            log = (work / f"worker{first + gpu}.log").open("w")
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT))
        try:
            with Client(address) as client:
                client.wait_for_workers(count, timeout=60)
            yield address
        finally:
            for process in started:
                process.terminate()


def one_case(given: argparse.Namespace) -> None:
    """Do the job of one case."""
    from workbench.jobs import search

    # ONNX Runtime takes as many threads as the machine has cores; this process has a share of them.
    os.cpu_count = lambda: len(os.sched_getaffinity(0))
    start = time.monotonic()
    name, _, count = given.cases[0].partition(":")
    kind, batch = CASES[name]
    model, samples = prepared(kind, given)
    with workers(given.first_gpu, int(count or 1), given.work) as scheduler:
        result = search(
            model,
            samples,
            given.work / name / "out",
            min_sqnr=MIN_SQNR,
            runs=0,
            method="minmax",
            measure=given.backend,
            measure_batch=batch,
            builds=given.builds,
            budget_s=given.budget_s,
            implicit=given.backend == "tensorrt",
            tactic_sources=TACTICS if given.backend == "tensorrt" else None,
            scheduler=scheduler,
            engines=given.work / name / "engines",
            say=lambda text: print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True),
        )
    print(result.text(), flush=True)


def prepared(kind: str, given: argparse.Namespace) -> tuple[Path, Path]:
    """Return the files of a model and of its samples, made where they are not there."""
    folder = given.work / "models"
    folder.mkdir(exist_ok=True)
    files = {"residual_cnn": ROOT / "sample_models/residual_cnn.onnx", "ultraface_rfb320": given.ultraface}
    model = files.get(kind, folder / f"{kind}.{os.getpid()}.onnx")
    if kind not in files:
        sys.path.insert(0, str(HERE))
        import models

        onnx.save(getattr(models, kind)(), model)
    x = onnx.load(model, load_external_data=False).graph.input[0]
    shape = [dim.dim_value for dim in x.type.tensor_type.shape.dim][1:]
    samples = folder / f"{kind}.{os.getpid()}.npz"
    np.savez(samples, **{x.name: np.random.default_rng(0).random((SAMPLES, *shape), dtype=np.float32)})
    return model, samples


def keep_copying(work: Path, out: Path, stop: threading.Event) -> None:
    while not stop.wait(SYNC_S):
        copy(work, out)


def copy(work: Path, out: Path) -> None:
    """Copy what is small and new."""
    for file in work.rglob("*"):
        there = out / file.relative_to(work)
        raced = file.name.endswith(".timing.json") and "comparison" not in file.name
        wanted = file.suffix in SMALL and not raced and ".trt-workbench" not in str(file)
        with contextlib.suppress(OSError):  # it is being written, or gone
            if wanted and (not there.exists() or there.stat().st_mtime < file.stat().st_mtime):
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, there)


def summary(names: list[str], out: Path) -> str:
    """Return a line a case: baselines and what was found over FP16, and what was found over the fastest of them."""
    lines = [
        "case | INT8 everywhere | implicit INT8 | chosen | of FP16 | of the fastest | predicted right | builds | s"
    ]
    for name in names:
        file = out / name / "out/search.json"
        if not file.exists():
            lines.append(f"{name} | no result")
            continue
        told = json.loads(file.read_text())["measured"]
        points = {point["name"]: point for point in told["points"]}
        chosen = points[told["chosen"]]
        base = [p for p in points.values() if p["kind"] in ("floating", "int8", "implicit") and p["ratio"]]
        fastest = min(base, key=lambda point: point["ratio"])
        over = chosen["ratio"] / fastest["ratio"]
        error = over * math.hypot(chosen["error"] / chosen["ratio"], fastest["error"] / fastest["ratio"])
        cells = [name, *(_told(points.get(key)) for key in ("int8", "implicit-int8"))]
        cells += [chosen["name"], _told(chosen), f"{over:.3f} ± {error:.3f} of {fastest['name']}"]
        work = sum(one["build_s"] + one["timing_s"] for one in done(out / name / "engines/journal.jsonl"))
        cells += [str(told["predicted_right"]), str(len(points)), f"{told['seconds']:.0f} for {work:.0f} of work"]
        lines.append(" | ".join(cells))
    text = "\n".join(lines)
    (out / "summary.txt").write_text(text + "\n")
    return text


def done(journal: Path) -> list[dict[str, float]]:
    """Return what the tasks of a journal took."""
    return [entry["done"] for line in journal.read_text().splitlines() if "done" in (entry := json.loads(line))]


def _told(point: dict[str, float] | None) -> str:
    return "-" if point is None or point["ratio"] is None else f"{point['ratio']:.3f} ± {point['error']:.3f}"


if __name__ == "__main__":
    main()
