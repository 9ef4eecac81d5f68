"""A fleet with others standing in for the cluster: what is sent, in which order, and what becomes of each answer."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import CancelledError
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from workbench.errors import BackendError
from workbench.jobs.fleet import job as fleet_job
from workbench.jobs.fleet.site import SiteOutcome, run_site
from workbench.jobs.options import FleetOptions

distributed = pytest.importorskip("distributed", reason="fleets come with the extra [cluster]")


def site(size=0, problem=None):
    return SimpleNamespace(size=lambda: size, key=lambda: f"key of {size}", problem=lambda: problem)


class Future(SimpleNamespace):
    """What a worker brought: an outcome, or an error."""

    __hash__ = object.__hash__

    def exception(self):
        return self.error

    def result(self):
        return self.outcome


@pytest.fixture
def cluster(monkeypatch):
    """Stands for a scheduler: answers in reverse, what is in `answers` by the site's name."""
    made = SimpleNamespace(answers={}, asked=[], loop="loop", scheduler=SimpleNamespace(address="tcp://own"), lost=None)
    made.workers, made.nthreads = True, dict

    def take(*columns, **how):
        made.asked.append((columns, how))
        return [Future(name=name) for name in columns[1]]

    class Answers:
        def __init__(self, futures, *, loop):
            assert loop == "loop"
            self.left = list(futures)

        def is_empty(self):
            return not self.left

        def has_ready(self):
            return made.workers

        def __next__(self):
            future = self.left.pop()
            if made.lost is not None:
                raise made.lost
            answer = made.answers[future.name]
            future.error, future.outcome = answer.get("failed"), answer.get("brought")
            return future

    made.map = take
    monkeypatch.setattr("distributed.as_completed", Answers)
    monkeypatch.setattr(fleet_job, "_client", lambda *_: contextlib.nullcontext(made))
    return made


def options(**given):
    return FleetOptions(fleet="f.yaml", out="o", **given)


def test_the_largest_sites_are_sent_first_all_at_once_each_under_a_key_of_its_own(cluster, tmp_path):
    todo = {"a": site(3), "b": site(9), "c": site(5)}
    killed = type("KilledWorker", (Exception,), {})("x")
    (tmp_path / "sites").mkdir()
    outcomes = {name: SiteOutcome(name, "key", "passed", "w") for name in "ab"}
    cluster.answers.update(a={"brought": outcomes["a"]}, b={"brought": outcomes["b"]}, c={"failed": killed})
    came = list(fleet_job._run(todo, tmp_path, options()))
    given_up = SiteOutcome("c", "key of 5", "broken", "KilledWorker: the process that did it died")
    assert came == [outcomes["a"], given_up, outcomes["b"]]
    ((columns, how),) = cluster.asked
    keys = ["key of 9", "key of 5", "key of 3"]
    assert columns == (run_site, ["b", "c", "a"], [todo[name] for name in "bca"], [str(tmp_path)] * 3, keys)
    pairs = [("site", f"{name}-{key}") for name, key in zip("bca", keys, strict=True)]
    assert how == {"key": pairs, "pure": False}
    # What a worker brought it wrote itself; what it did not bring is written here.
    assert [path.name for path in (tmp_path / "sites").iterdir()] == ["c.json"]
    assert json.loads((tmp_path / "sites/c.json").read_text())["worst"] == given_up.worst


@pytest.mark.parametrize("error", [OSError("closed"), CancelledError()])
@pytest.mark.parametrize(("given", "where"), [({}, "tcp://own"), ({"scheduler": "tcp://theirs"}, "tcp://theirs")])
def test_a_scheduler_that_is_gone_is_named(cluster, tmp_path, error, given, where):
    cluster.lost = error
    with pytest.raises(BackendError, match=f"{where}: the Dask scheduler answers no more. Start it, and run the same"):
        list(fleet_job._run({"a": site()}, tmp_path, options(**given)))


def test_a_scheduler_whose_last_worker_went_is_not_waited_for_without_end(cluster, tmp_path, monkeypatch):
    cluster.workers = False
    monkeypatch.setattr(fleet_job, "POLL_S", 0)
    monkeypatch.setattr(fleet_job, "WorkerWatch", lambda _: SimpleNamespace(missing_s=iter([0, 59.9, 60]).__next__))
    left = r"^tcp://own: the Dask scheduler has no worker left\. Start one, and run the same command again: it goes on"
    with pytest.raises(BackendError, match=left):
        list(fleet_job._run({"a": site()}, tmp_path, options()))


@pytest.mark.parametrize(
    ("given", "cores", "count", "workers", "shares"),
    [({}, 4, 9, 4, 4), ({}, 4, 3, 3, 3), ({"workers": 2}, 4, 9, 2, 4), ({"workers": 5}, 4, 3, 3, 3)],
)
def test_a_cluster_of_this_machine_has_a_worker_a_core_or_a_site(monkeypatch, given, cores, count, workers, shares):
    import dask

    clusters, plugins, seen = [], [], {}

    def local(**how):
        clusters.append(how)
        return contextlib.nullcontext("cluster")

    def client(of):
        assert of == "cluster"
        for name in ("scheduler.allowed-failures", "worker.daemon", "scheduler.worker-saturation"):
            seen[name] = dask.config.get(f"distributed.{name}")
        seen["profile"] = dask.config.get("distributed.worker.profile.enabled")
        return contextlib.nullcontext(SimpleNamespace(register_plugin=plugins.append))

    monkeypatch.setattr(fleet_job, "usable_cores", lambda: cores)
    monkeypatch.setattr("distributed.LocalCluster", local)
    monkeypatch.setattr("distributed.Client", client)
    with fleet_job._client(options(**given), count):
        pass
    (how,) = clusters
    assert how == {
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
        "memory_limit": 0,
        "silence_logs": 50,
    }
    assert seen == {
        "scheduler.allowed-failures": 1,
        "worker.daemon": False,
        "scheduler.worker-saturation": 1.0,
        "profile": False,
    }
    assert [plugin.shares for plugin in plugins] == [shares]


def test_the_workers_of_a_scheduler_are_those_it_has(monkeypatch):
    monkeypatch.setattr(fleet_job, "scheduler_client", lambda address: contextlib.nullcontext(f"client of {address}"))
    with fleet_job._client(options(scheduler="tcp://a"), 3) as client:
        assert client == "client of tcp://a"


def test_a_worker_has_every_so_many_th_core_from_its_own(monkeypatch):
    from workbench.jobs.fleet import share

    bound = []
    system = SimpleNamespace(
        sched_getaffinity=lambda process: {9, 2, 4, 5, 7, 3} if process == 0 else set(),
        sched_setaffinity=lambda *given: bound.append(given),
    )
    monkeypatch.setattr(share, "os", system)
    for worker in ("0", "1", 5):
        share.CoreShare(3).setup(SimpleNamespace(name=worker))
    assert bound == [(0, [2, 5]), (0, [3, 7]), (0, [4, 9])]
    monkeypatch.setattr(share, "os", SimpleNamespace())  # as on macOS
    share.CoreShare(3).setup(SimpleNamespace(name=0))


def test_what_an_earlier_run_did_is_taken_up_what_cannot_be_done_is_said_and_the_rest_is_run(monkeypatch, tmp_path):
    sites = {"old": site(1), "odd": site(2, "there is no x"), "new": site(3), "redone": site(4, "gone since")}
    known = {name: SiteOutcome(name, "key", "failed", "w", (("g", False),)) for name in ("old", "redone")}
    new = SiteOutcome("new", "key", "passed", "better", (("g", True), ("h", True)), ("sites/new/t",), 1.5)
    ran = []

    def run(todo, out, _):
        ran.append((list(todo), out))
        yield new

    monkeypatch.setattr(fleet_job, "load_plan", lambda _: sites)
    monkeypatch.setattr(fleet_job, "known_outcome", lambda _, name, __: known.get(name))
    monkeypatch.setattr(fleet_job, "_run", run)
    monkeypatch.setattr(fleet_job, "fleet_page", lambda name, outcomes: f"{name}: {len(outcomes)}")
    out = tmp_path / "out"
    for junit, written in ((None, 3), (tmp_path / "j.xml", 4)):
        result = fleet_job.fleet("plants/north.yaml", out, junit=junit)
        assert len(result.files) == written
    odd = SiteOutcome("odd", "key of 2", "broken", "there is no x")
    assert result.outcomes == (known["old"], odd, new, known["redone"])
    assert result.taken_up == ("old", "redone")
    assert ran == [(["new"], out.resolve())] * 2
    assert (out / "index.html").read_text() == "north: 4"
    assert json.loads((out / "fleet.json").read_text()) == json.loads(json.dumps([asdict(o) for o in result.outcomes]))
    comment = (out / "summary.md").read_text()
    assert comment.startswith("## fleet north\n\n**3 failed**, 1 passed\n")
    assert 'name="new" classname="fleet" time="1.500"' in (tmp_path / "j.xml").read_text()
