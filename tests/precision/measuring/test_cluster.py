"""Builds and timings on workers of a Dask cluster: never two timings on one device, and nothing lost with a worker."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.kit.places import ROOT
from tests.kit.searching import calibrated, small
from tests.precision.measuring.test_search import GOAL, options
from workbench.backends import TimingOptions
from workbench.errors import BackendError
from workbench.precision.measuring import MeasureOptions, runner
from workbench.precision.measuring import cluster as module
from workbench.precision.measuring.cluster import Here, WorkerWatch, alone_on_device, executor_of, missing_s
from workbench.precision.measuring.runner import Runner
from workbench.precision.measuring.work import TimingTask


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    os.environ["PYTHONPATH"] = str(ROOT)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, protocol="tcp"
    ) as outcome:
        yield outcome


def entries(folder):
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [line for line in lines if "done" in line]


@pytest.mark.slow
def test_tasks_are_spread_never_timed_at_once_on_one_device_and_a_worker_that_dies_loses_nothing(cluster, tmp_path):
    wb = calibrated(small(), tmp_path, 8)
    killed = []

    def kill(sentence):
        if sentence.startswith("comparison") and not killed:
            killed.append(next(iter(cluster.workers.values())).pid)
            threading.Timer(0.3, os.kill, (killed[0], signal.SIGKILL)).start()

    measure = options(tmp_path / "engines", say=kill)
    with executor_of(cluster.scheduler_address) as executor:
        measured = wb.plan.search(**GOAL, measure=replace(measure, executor=executor)).measured
    assert killed
    assert [point.status for point in measured.points] == ["measured"] * 4
    assert all(point.compared for point in measured.points)
    done = [entry["done"] for entry in entries(tmp_path / "engines")]
    assert len({one["worker"] for one in done}) >= 2
    timed = sorted((one["began"], one["ended"]) for one in done if one["timing_s"])
    assert len(timed) in (4, 5)  # what was taken is timed once more, where it is not floating point
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(timed))


def test_a_search_whose_last_worker_goes_says_so_and_ends_with_what_there_is(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    monkeypatch.setattr(module, "NO_WORKER_S", 0.1)
    monkeypatch.setattr(runner, "NO_WORKER_S", 0.1)
    said = []
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None, protocol="tcp") as cluster,
        executor_of(cluster.scheduler_address) as executor,
    ):
        made = Runner(MeasureOptions("onnxruntime", executor=executor, say=said.append), None, print)
        assert made.call(divmod, 17, 5) == (3, 2)
        assert missing_s(executor) == 0
        cluster.scale(0)
        while not missing_s(executor):
            time.sleep(0.02)
        with pytest.raises(BackendError, match=r"^the scheduler has no worker left\. Start one, and begin again\."):
            made.call(divmod, 17, 5)
        made._store = SimpleNamespace(done_before=lambda _: None)
        assert made.run([TimingTask("never", "onnxruntime", TimingOptions(), b"")]) == {}
        assert made.stopped
    assert said == ["no worker is left: waiting 0 s for another", "no worker came: ending with what was measured"]


def test_the_time_without_a_worker_begins_when_the_last_went_and_ends_with_a_new_one(monkeypatch):
    now, answers = [10.0], []

    def nthreads():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = WorkerWatch(SimpleNamespace(nthreads=nthreads))
    seen = []
    for later, answer in [(0.5, None), (0.5, {"a": 1}), (1, {}), (0.5, None), (3, {}), (2, OSError("gone")), (2, {})]:
        now[0] += later
        answers[:] = [] if answer is None else [answer]
        seen.append(watch.missing_s())
    assert seen == [0, 0, 1, 1, 4.5, 0, 2]
    assert missing_s(Here()) == 0


def hold(pipe):
    with alone_on_device("onnxruntime"):
        pipe.send(time.time())
        time.sleep(0.3)
        pipe.send(time.time())


def test_two_processes_wait_for_each_other_at_one_device():
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    processes = [context.Process(target=hold, args=(there,)) for _, there in pipes]
    for process in processes:
        process.start()
    spans = sorted((here.recv(), here.recv()) for here, _ in pipes)
    for process in processes:
        process.join()
    assert spans[0][1] <= spans[1][0]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "tls://[::1]:1"])
def test_where_no_scheduler_answers_one_is_told_at_once_and_no_client_is_made(monkeypatch, address):
    monkeypatch.setattr("distributed.Client", None)
    with pytest.raises(BackendError, match="no Dask scheduler answers"), executor_of(address):
        pass


def test_work_is_done_here_where_there_is_no_scheduler():
    with executor_of(None) as executor:
        assert isinstance(executor, Here)
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
        assert isinstance(executor.submit(divmod, 7, 0).exception(), ZeroDivisionError)
