"""Try inputs of every kind in child processes: what is raised, crashes, hangs, eats memory or writes elsewhere.

python -m tests.fuzz.run --seconds 600            # every kind in turns
python -m tests.fuzz.run --kind recipe --seed 17  # one input again, with its traceback
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HANG_S = 10.0
REST = 6
MEMORY_BYTES = 2 * 2**30
WORKER_INPUTS = 2000
"""Inputs that one worker tries, so that the limit is on what one asks for and not on what all before it left behind.

The number of Python objects stays as it is, and yet a worker grew to 2 GiB within 15,000 to 40,000 inputs: glibc keeps
what was freed (886 MiB after 2,000 models that ask for much, of which `malloc_trim` gives all but 311 back).
"""


def worker(sandbox: Path) -> None:
    """Read lines of kind and seed; answer each with what became of it."""
    import resource

    from tests.fuzz import kinds

    # What outruns the watch is refused by the system, and raised.
    resource.setrlimit(resource.RLIMIT_AS, (4 * MEMORY_BYTES, 4 * MEMORY_BYTES))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what verbs print is not of interest
    os.dup2(1, 2)
    base = sandbox / "base"
    if not base.exists():
        base.mkdir()
        try:
            kinds.prepare(base)
        except Exception as error:
            print(_told(error), file=answers, flush=True)
            raise
    print("ready", file=answers, flush=True)
    allowed = _around(sandbox)
    for line in sys.stdin:
        name, seed = line.split()
        try:
            kinds.one(name, int(seed), sandbox / "input", base)
            value = ""
        except BaseException as error:  # noqa: BLE001 - this is what is looked for
            value = _told(error)
        outside = _around(sandbox) - allowed
        if outside:
            value = value or f"files outside: {sorted(outside)[:3]}"
            allowed |= outside
        print(json.dumps(value), file=answers, flush=True)


def _around(sandbox):
    ignored = ("input", "cache")
    return {str(p) for p in sandbox.rglob("*") if p.relative_to(sandbox).parts[0] not in ignored}


def _told(error):
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "workbench" in f.filename] or [None]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames[-1] else "?"
    return f"{where} {type(error).__name__}: {error}"[:300]


class Fuzzer:
    """Runs a worker, and starts another where it does not come back."""

    def __init__(self, sandbox: Path) -> None:
        self.sandbox = sandbox
        self.tried: Counter[str] = Counter()
        self.faults: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.peak = 0
        self.process: subprocess.Popen[str] | None = None
        self.workers = self.asked = 0

    def start(self) -> None:
        self.workers, self.asked = self.workers + 1, 0
        folders = {name: str(self.sandbox / name.lower()) for name in ("HOME", "TMPDIR", "WORK", "CACHE")}
        for folder in folders.values():
            Path(folder).mkdir(exist_ok=True)
        environment = {
            **os.environ,
            **folders,
            "XDG_CACHE_HOME": folders["CACHE"],
            "MPLCONFIGDIR": folders["CACHE"],
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "tests.fuzz.run", "--worker", str(self.sandbox)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folders["WORK"],
            start_new_session=True,
        )
        message = self.process.stdout.readline()
        assert message == "ready\n", f"the worker did not start: {message}"

    def one(self, name: str, seed: int) -> None:
        if self.asked == WORKER_INPUTS:
            self.close()
        if self.process is None:
            self.start()
        self.asked += 1
        process, stopped = self.process, []
        watch = threading.Thread(target=self._watch, args=(process, done := threading.Event(), stopped))
        watch.start()
        try:
            process.stdin.write(f"{name} {seed}\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        done.set()
        watch.join()
        self.tried[name] += 1
        if line:
            if message := json.loads(line):
                self.faults[name].append((seed, message))
            return
        code = process.wait()
        self.process = None
        self.faults[name].append(
            (seed, stopped[0] if stopped else f"crash: {signal.Signals(-code).name if code < 0 else code}")
        )

    def _watch(self, process, done, stopped):
        import psutil

        begun, spent = time.monotonic(), None
        while not done.wait(0.1):
            try:
                looked_at = psutil.Process(process.pid)
                used, times = looked_at.memory_info().rss, looked_at.cpu_times()
            except psutil.Error:
                return
            self.peak = max(self.peak, used)
            now = times.user + times.system
            spent = now if spent is None else spent
            # A busy machine makes everything late, so it is work that counts, and rest only if it is long.
            late = now - spent > HANG_S or time.monotonic() - begun > REST * HANG_S
            if late or used > MEMORY_BYTES:
                ate = used > MEMORY_BYTES  # filling memory takes time, too
                stopped.append(f"memory: {used / 2**30:.1f} GiB" if ate else f"hang: over {HANG_S:.0f} s")
                process.kill()
                return

    def run(self, seconds: float, chosen, first: int, turn: int = 20) -> None:
        """Try every kind in turns, each a few at a time, until the time is over."""
        end, seed = time.monotonic() + seconds, first
        while time.monotonic() < end:
            for name in chosen:
                for one in range(seed, seed + turn):
                    if time.monotonic() >= end:
                        break
                    self.one(name, one)
            seed += turn

    def close(self) -> None:
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
            self.process = None

    def text(self) -> str:
        lines = []
        for name, count in self.tried.items():
            actual = self.faults.get(name, [])
            lines.append(f"{name:16} {count:7} inputs, {len(actual)} faults")
            grouped = {}
            for seed, message in actual:
                grouped.setdefault(message.split(":")[0] + message[:60], []).append((seed, message))
            for alike in sorted(grouped.values(), key=len, reverse=True):
                seed, message = alike[0]
                lines.append(f"  {len(alike)} x, first --kind {name} --seed {seed}: {message}")
        total = sum(map(len, self.faults.values()))
        lines.append(f"{self.tried.total()} inputs, {total} faults, at most {self.peak / 2**20:.0f} MiB of memory")
        return "\n".join(lines)


def kind_names():
    """Return the kinds without importing what they need."""
    files = sorted(Path(__file__).parent.glob("*_kinds.py"))
    return [name for file in files for name in re.findall(r"^@kind\ndef (\w+)", file.read_text(), re.MULTILINE)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kind", action="append", choices=kind_names())
    parser.add_argument("--seed", type=int, help="try this input alone, here, with its traceback")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker is not None:
        worker(asked.worker)
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if asked.seed is not None:
            from tests.fuzz import kinds

            base = Path(folder, "base")
            base.mkdir()
            kinds.prepare(base)
            kinds.one(asked.kind[0], asked.seed, Path(folder, "input"), base)
            return 0
        fuzzer = Fuzzer(Path(folder))
        fuzzer.run(asked.seconds, asked.kind or kind_names(), asked.first)
        fuzzer.close()
        print(fuzzer.text())  # noqa: T201
        return 1 if fuzzer.faults else 0


if __name__ == "__main__":
    sys.exit(main())
