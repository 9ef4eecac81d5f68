"""What is done on a processor, as ratios to another checkout in the same run: the two take turns.

    git worktree add FOLDER COMMIT
    python benchmarks/cpu.py --against FOLDER                  two to three minutes
    python benchmarks/cpu.py --against FOLDER --only large     models of 1 GiB, and of shared weights

Every measurement runs in a process of its own, with the same Python and packages for both checkouts. Medians over the
rounds; ratios of single rounds in brackets, least and most. `calibration`: the pass to a plain forward of the same
process; `search`: to 80 evaluations of whole models in the other checkout, which is how many its search makes.

The detector of `search` and the digits of `check` are files, `--yolox` with `--images` and `--mnist`; what is not given
is left out, saying so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
EVALUATIONS = 80
VERBS = ("check", "tune", "search", "bench", "replay")


def child(checkout: Path, *arguments: str) -> dict[str, float]:
    """Run a measurement of this file on a checkout; return its figures."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(
        command, env=_environment(checkout), cwd=checkout, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{checkout} {arguments}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


def command(checkout: Path, *arguments: str) -> dict[str, float]:
    """Run a verb; return its seconds, those of the processor, and the peak memory of all its processes in MB."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *arguments],
            env=_environment(checkout),
            cwd=checkout,
            stdout=said,
            stderr=said,
        )
        peak = _Peak(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        peak.stop()
        said.seek(0)
        if process.returncode not in (0, 13):
            raise SystemExit(f"{checkout} {arguments}: {said.read().decode()[-2000:]}")
    return {"s": seconds, "processor s": used.ru_utime + used.ru_stime, "peak MB": peak.most / 1e6}


class _Peak:
    """The most memory that a process and its children hold together, shared pages counted once."""

    def __init__(self, pid: int) -> None:
        self.most, self._pid, self._over = 0, pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            # A child that was just forked has its parent's memory, and its command line, until it has its own.
            told = {pid: _command_line(pid) for pid in _family(self._pid)}
            pids = [pid for pid, line in told.items() if pid == self._pid or line != told[self._pid]]
            self.most = max(self.most, sum(map(_held, pids)))


def _family(pid: int) -> list[int]:
    pids = [pid]
    for each in pids:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            pids += _children(path)
    return pids


def _children(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except OSError:  # it ended meanwhile
        return []


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def _held(pid: int) -> int:
    try:
        words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
        return int(words["Pss"].split()[0]) << 10
    except (OSError, KeyError):  # it ended meanwhile
        return 0


def _used() -> float:
    """Return the seconds of the processor that this process and its children, running ones too, used."""
    return sum(_processor_seconds(pid) for pid in _family(os.getpid()))


def _processor_seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it ended meanwhile
        return 0.0
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


# In a process of its own, on one checkout


def calibration(folder: Path, images: int, rounds: int) -> dict[str, float]:
    from benchmarks.calibration_pass import one_pass

    result = one_pass(folder, images, 8, False, rounds)
    return {name: float(value) for name, value in result.items() if "methods" not in name}


def evaluations(model: Path, samples: Path, count: int) -> dict[str, float]:
    """Return the seconds of one evaluation of a plan on all samples, without those of what comes before."""
    from workbench.precision.lowering import lower
    from workbench.precision.plan import BEST_PRACTICE
    from workbench.precision.search.goal import Evaluator, Goal
    from workbench.session import history_of, samples_for

    wb = _calibrated(model, samples)
    wb.edit("convert_opset", version=13)
    history = history_of(wb)
    state, (data, batch) = history.state, samples_for(history, None)
    with Evaluator(state.model, data, Goal("sqnr_db", at_least=25.0), batch=batch, memory=1 << 30) as evaluate:
        times, used = [], []
        for number in range(count + 1):
            # Each another plan, as in a search: what was evaluated before is remembered.
            out = BEST_PRACTICE.resolve(state.model).nodes("int8")[:number]
            plan = BEST_PRACTICE.with_rule("|".join(f"name:{node}" for node in out), "fp32") if out else BEST_PRACTICE
            start, before = time.perf_counter(), _used()
            evaluate(lower(state.model, plan.resolve(state.model), state.ranges).model)
            times.append(time.perf_counter() - start)
            used.append(_used() - before)
    return {"s": statistics.mean(times[1:]), "processor s": statistics.mean(used[1:])}  # the first starts a process


def search(model: Path, samples: Path) -> dict[str, float]:
    wb = _calibrated(model, samples)
    start, before = time.perf_counter(), _used()
    result = wb.plan.search("sqnr_db", at_least=25.0)
    took, used, chosen = time.perf_counter() - start, _used() - before, result.chosen
    figures = {"cost, ms": chosen.cost_ms, "dB": chosen.measured.sqnr_db, "plans": len(result.trials)}
    return {"s": took, "processor s": used, **figures}


def _calibrated(model: Path, samples: Path):  # noqa: ANN202 - a workbench, which only a checkout knows
    from workbench.session import open_model

    wb = open_model(model)
    wb.prepare()
    wb.calibrate(samples)
    return wb


# Both checkouts


def turns(measure, checkouts: dict[str, Path], rounds: int) -> dict[str, list[dict[str, float]]]:  # noqa: ANN001
    results: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            results[name].append(measure(checkout))
    return results


def say(what: str, results: dict[str, list[dict[str, float]]], *keys: str) -> None:
    for key in keys:
        middles = {name: statistics.median(one[key] for one in each) for name, each in results.items()}
        text = ", ".join(f"{name} {value:.3g}" for name, value in middles.items())
        if "against" in results:
            pairs = zip(results["here"], results["against"], strict=True)
            ratios = [mine[key] / theirs[key] for mine, theirs in pairs]
            ratio = f"{middles['here'] / middles['against']:.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            text = f"{text}; here to against {ratio}"
        print(f"{what:28} {key:22} {text}", flush=True)


def large(checkouts: dict[str, Path], folder: Path, rounds: int) -> None:
    for name, make in (("1 GiB of weights", _layers), ("85 MB shared by Identity", _shared)):
        model = folder / f"{make.__name__}.onnx"
        size = make(model)
        samples = folder / f"{make.__name__}.npz"
        width = 4096 if make is _layers else 2048
        np.savez(samples, x=np.random.default_rng(0).normal(size=(2, width)).astype(np.float32))
        for preset in ("int8",) if make is _layers else ("int8", "fp16"):

            def tune(  # noqa: ANN202
                checkout: Path, model: Path = model, samples: Path = samples, preset: str = preset, size: int = size
            ):
                out = Path(tempfile.mkdtemp(dir=folder))
                arguments = ["tune", str(model), "--samples", str(samples), "--preset", preset, "--runs", "0"]
                result = command(checkout, *arguments, "--out", str(out / "tuned"))
                written = sum(file.stat().st_size for file in (out / "tuned").glob("tuned.onnx*"))
                for file in (out / "tuned").iterdir():
                    file.unlink()
                return {**result, "peak to weights": 1e6 * result["peak MB"] / size, "written MB": written / 1e6}

            results = turns(tune, checkouts, rounds)
            say(f"tune {preset}, {name}", results, "s", "processor s", "peak to weights", "written MB")


def _layers(path: Path) -> int:
    return _products(path, [f"w{at}" for at in range(16)], 4096, shared=False)


def _shared(path: Path) -> int:
    return _products(path, [f"w{at}" for at in range(20)], 2048, shared=True)


def _products(path: Path, names: list[str], width: int, *, shared: bool) -> int:
    """Write a chain of matrix products; `shared`: of five weights, each behind three Identity nodes too."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    own = names[:5] if shared else names
    nodes, weights, before = [], [], "x"
    for name in own:
        values = (random.normal(size=(width, width)) / np.sqrt(width)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
    for at, name in enumerate(names):
        if name not in own:
            nodes.append(helper.make_node("Identity", [names[at - 5]], [name], f"same{at}"))
        nodes.append(helper.make_node("MatMul", [before, name], [f"p{at}"], f"product{at}"))
        nodes.append(helper.make_node("Relu", [f"p{at}"], [f"r{at}"], f"relu{at}"))
        before = f"r{at}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width] if name == "x" else None)
        for name in ("x", before)
    ]
    graph = helper.make_graph(nodes, path.stem, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return 4 * width * width * len(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--only", choices=["calibration", "search", "start", "large"], help="one part")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--yolox", type=Path, help="yolox_nano's model.onnx")
    parser.add_argument("--images", type=Path, help="its inputs, an .npz with an array images_u8 or images")
    parser.add_argument("--count", type=int, default=24, help="how many of them")
    parser.add_argument("--whole", action="store_true", help="run the other checkout's search too, all of it")
    parser.add_argument("--mnist", type=Path, help="mnist_cntk's model.onnx")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        name, *rest = args.part
        measured = {
            "calibration": lambda: calibration(Path(rest[0]), int(rest[1]), int(rest[2])),
            "evaluations": lambda: evaluations(Path(rest[0]), Path(rest[1]), int(rest[2])),
            "search": lambda: search(Path(rest[0]), Path(rest[1])),
        }[name]()
        print(json.dumps(measured))
        return
    checkouts = {"here": HERE, **({"against": args.against.resolve()} if args.against else {})}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.only in (None, "calibration"):
            from benchmarks.models import resnet50

            (folder / "m.onnx").write_bytes(resnet50().SerializeToString())
            results = turns(
                lambda one: child(one, "--part", "calibration", str(folder), "64", "1"), checkouts, args.rounds
            )
            say("calibration, 64 images", results, "ratio", "of processor time", "a further image after 16")
        if args.only in (None, "start"):
            if args.mnist:
                check = ("check", str(args.mnist))
                say("check mnist_cntk", turns(lambda one: command(one, *check), checkouts, 2 * args.rounds + 1), "s")
            for verb in VERBS:
                results = turns(lambda one, verb=verb: command(one, verb, "--help"), checkouts, args.rounds)
                say(f"{verb} --help", results, "s")
        if args.only in (None, "search") and args.yolox and args.images:
            given = np.load(args.images)
            images = given[given.files[0]][: args.count].astype(np.float32)
            samples = folder / "images.npz"
            np.savez(samples, images=images)
            about = (str(args.yolox), str(samples))
            other = checkouts.get("against", HERE)
            found = child(HERE, "--part", "search", *about)
            one = child(other, "--part", "evaluations", *about, "5")
            ratios = [found[key] / one[key] / EVALUATIONS for key in ("s", "processor s")]
            print(f"search yolox_nano to 25 dB, {len(images)} images: {json.dumps(found)}")
            text = f"{ratios[0]:.3f} of the time, {ratios[1]:.3f} of the processor's"
            print(f"  to {EVALUATIONS} whole evaluations of {one['s']:.3g} s each: {text}", flush=True)
            if args.whole and "against" in checkouts:
                print(f"  against: {json.dumps(child(other, '--part', 'search', *about))}")
        elif args.only in (None, "search"):
            print("search is left out: give --yolox and --images")
        if args.only == "large":
            large(checkouts, folder, args.rounds)


sys.path.insert(0, os.environ.get("PYTHONPATH") or str(HERE))
if __name__ == "__main__":
    main()
