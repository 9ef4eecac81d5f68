"""Twenty kills a verb, at seeded moments: a result is there as a whole or not at all, and never in the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.recipe import Recipe
from workbench.scratch import PREFIX

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
REPORTS = ["report.html", "report.json"]
STATISTICS = "statistics.npz"
RESULTS = {
    "tune": ["recipe.yaml", *REPORTS, STATISTICS, "tuned.onnx"],
    "search": ["recipe.yaml", *REPORTS, "search.json", STATISTICS, "tuned.onnx"],
    "replay": ["recipe.yaml", "tuned.onnx"],
}

# Starting Python and its libraries takes longer than a job: one process has started, and forks one for each run.
# The first run tells what it imported, so that the others have it. Drawing takes most of a job and writes nothing: it
# is left out, so that more of the moments fall where files are written.
SERVER = """
import contextlib, importlib, json, os, sys
import onnxruntime
from workbench.calibration.counting import load
from workbench.handoff import report_page
from workbench.jobs import replay, search, tune
load()
report_page.picture = lambda *_: ""
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
print("ready", flush=True)
told, tell = os.pipe()
for line in sys.stdin:
    verb, out, arguments, options = json.loads(line)
    pid = os.fork()
    if pid == 0:
        try:
            {"tune": tune, "search": search, "replay": replay}[verb](*arguments, out=out, **options)
        except BaseException:
            os._exit(1)
        if tell is not None:
            os.write(tell, " ".join(sys.modules.keys() - {"__main__"}).encode() + bytes(1))
        os._exit(0)
    print(pid, flush=True)
    if tell is not None:
        os.close(tell)
        tell, names = None, open(told).read().strip(chr(0)).split()
        for name in sorted(names):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Jobs:
    """Runs jobs one after the other, each in a process of its own that can be killed."""

    def __init__(self, temporary: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, job, kill_after=None):
        """Run a job, to its end or to its end by force; return its status and the seconds it took."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        pid, began = int(self.process.stdout.readline()), time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            # A job that has ended is there until it was waited for, so the number is not that of another process yet.
            os.kill(pid, signal.SIGKILL) if not self._ended(pid) else None
        return int(self.process.stdout.readline()), time.perf_counter() - began

    @staticmethod
    def _ended(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    outcome = Jobs(tmp_path_factory.mktemp("temporary"))
    yield outcome
    outcome.process.stdin.close()
    outcome.process.wait()


@pytest.fixture(scope="module")
def recipe(jobs, small_cnn, small_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("first") / "out"
    status, _ = jobs.run(["tune", str(out), [str(small_cnn), str(small_data)], {"runs": 0}])
    assert status == 0
    return out / "recipe.yaml"


@pytest.mark.parametrize("verb", RESULTS)
def test_a_killed_job_leaves_a_whole_result_or_none_and_does_not_lock_its_folder(
    jobs, recipe, small_cnn, small_data, tmp_path, verb
):
    options = {"tune": {"runs": 0}, "search": {"runs": 0, "min_sqnr": 20.0}, "replay": {}}[verb]
    arguments = [str(recipe)] if verb == "replay" else [str(small_cnn), str(small_data)]
    job = [verb, str(tmp_path / "out"), arguments, options]
    status, seconds = jobs.run([verb, str(tmp_path / "whole"), arguments, options])
    assert status == 0
    rng = random.Random(verb)  # noqa: S311 - a seed, not a secret
    killed = 0
    for _ in range(KILLS):
        # Half of them near the end, where files are written.
        moment = rng.uniform(0.0, 1.0) if rng.random() < 0.5 else rng.uniform(0.8, 1.1)
        status, _ = jobs.run(job, kill_after=moment * seconds)
        killed += status == signal.SIGKILL
        seconds *= 1.02 if status == signal.SIGKILL else 0.9  # other work on the machine begins and ends
        assert status in (0, signal.SIGKILL)
        seen = sorted(path.name for path in Path(job[1]).glob("[!.]*"))
        assert seen in ([], RESULTS[verb])
        if seen:
            tuned = Path(job[1], "tuned.onnx").read_bytes()
            assert tuned == (tmp_path / "whole" / "tuned.onnx").read_bytes()
            assert Recipe.load(Path(job[1], "recipe.yaml")).tuned is not None
    assert killed >= KILLS // 4  # the others were done before
    assert jobs.run(job)[0] == 0
    assert sorted(path.name for path in Path(job[1]).iterdir()) == RESULTS[verb]


@pytest.mark.usefixtures("recipe")
def test_nothing_is_left_of_the_dead_in_the_folder_for_temporary_files(tmp_path_factory):
    temporary = Path(tmp_path_factory.getbasetemp()) / "temporary0"
    assert temporary.is_dir()
    (temporary / f"{PREFIX}abcdefgh").mkdir()
    code = "from workbench.scratch import scratch_folder\nwith scratch_folder(): pass"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert not list(temporary.glob(f"{PREFIX}*"))
