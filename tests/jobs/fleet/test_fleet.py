"""A fleet does every site, names those that fail, and goes on where it was killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

from tests.kit.awaited import awaited
from tests.kit.places import ROOT
from workbench.errors import BackendError, RecipeError
from workbench.jobs import tune
from workbench.jobs.fleet.job import fleet
from workbench.jobs.fleet.plan import load_plan
from workbench.jobs.fleet.site import _worst
from workbench.recipe import Gate, check_gates

pytest.importorskip("distributed", reason="fleets come with the extra [cluster]")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(small_cnn, small_data, tmp_path_factory):
    """A recipe, a model that was trained again, and a fleet of them."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "model.onnx").write_bytes(small_cnn.read_bytes())
    (folder / "samples.npz").write_bytes(small_data.read_bytes())
    proto = onnx.load(small_cnn)
    for one in proto.graph.initializer:
        one.CopyFrom(numpy_helper.from_array(1.1 * numpy_helper.to_array(one), one.name))
    onnx.save(proto, folder / "again.onnx")
    rng = np.random.default_rng(2)
    np.savez(folder / "field.npz", x=2 * rng.normal(size=(6, 3, 8, 8)).astype(np.float32))
    tune(folder / "model.onnx", folder / "samples.npz", folder / "tuned", gates=("sqnr_db >= 10",), runs=0)
    return folder


def written(folder, sites, name="fleet.yaml", **more):
    path = folder / name
    path.write_text(yaml.safe_dump({"fleet": 1, **more, "sites": sites}, sort_keys=False, allow_unicode=True))
    return path


@pytest.fixture
def scheduler(tmp_path):
    """The address of a scheduler that has a worker, each a process of its own as on other machines."""
    file, environment = tmp_path / "scheduler.json", {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ("scheduler", "--port", "0"), ("worker", "--nthreads", "1", "--no-nanny")
    with contextlib.ExitStack() as stack:
        for one in words:
            command = [sys.executable, "-m", "dask", *one, "--no-dashboard", "--scheduler-file", str(file)]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
        yield awaited(file)["address"], process.pid


SITES = {
    "Oslo": {"samples": "field.npz"},
    "北京": {"model": "again.onnx", "samples": "field.npz"},
    "strict": {"samples": "field.npz", "gates": ["sqnr_db >= 200"]},
    "gone": {"samples": "none.npz"},
    "empty": {"samples": "empty.npz"},
}


def test_each_site_has_its_folder_and_its_line_and_none_stops_another(folder, scheduler, tmp_path):
    (folder / "empty.npz").write_bytes(b"")
    plan = written(folder, SITES, defaults={"recipe": "tuned/recipe.yaml"})
    result = fleet(plan, tmp_path / "out", workers=2, junit=tmp_path / "j.xml", summary=tmp_path / "s.md")
    states = {one.site: one.state for one in result.outcomes}
    assert states == {"Oslo": "passed", "北京": "passed", "strict": "failed", "gone": "broken", "empty": "broken"}
    assert result.exit_code == 7
    worst = {one.site: one.worst for one in result.outcomes}
    assert "none.npz" in worst["gone"]
    assert worst["Oslo"].startswith("sqnr_db >= 10: ")
    assert worst["strict"].startswith("sqnr_db >= 200: ")
    assert "FAILED by" in worst["strict"]
    for name in ("Oslo", "北京", "strict"):
        assert (tmp_path / "out/sites" / name / "tuned.onnx").is_file()
    page = (tmp_path / "out/index.html").read_text()
    assert "2 of 5 sites passed" in page
    assert all(name in page for name in SITES)
    assert 'failures="3"' in (tmp_path / "j.xml").read_text()
    assert "北京" in (tmp_path / "s.md").read_text()
    # What was done stays done, what had no result is tried again, by whatever worker.
    address, pid = scheduler
    before = (tmp_path / "out/sites/Oslo/tuned.onnx").stat().st_mtime_ns
    (folder / "empty.npz").write_bytes((folder / "field.npz").read_bytes())
    again = fleet(plan, tmp_path / "out", scheduler=address)
    assert set(again.taken_up) == {"Oslo", "北京", "strict"}
    empty = {one.site: one for one in again.outcomes}["empty"]
    assert (empty.state, empty.worker.split(":")[-1]) == ("passed", str(pid))
    assert (tmp_path / "out/sites/Oslo/tuned.onnx").stat().st_mtime_ns == before


KILLED = """
import os, signal, sys
from workbench.jobs.fleet import job
run = job._run
def killed(*given):
    yield next(run(*given))
    os.kill(os.getpid(), signal.SIGKILL)
job._run = killed
job.fleet(sys.argv[1], sys.argv[2], workers=1)
"""


def test_a_fleet_that_is_killed_goes_on_where_it_was(folder, tmp_path):
    sites = {f"site {n}": {"model": "model.onnx", "samples": "field.npz"} for n in range(6)}
    plan = written(folder, sites, "killed.yaml")
    command = [sys.executable, "-c", KILLED, str(plan), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # Its output ends with the last who may write to it: the worker, once it notices that nobody is there any more.
    killed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    assert killed.returncode == -signal.SIGKILL
    ended = len(list((tmp_path / "out").glob("sites/*.json")))
    assert 0 < ended < len(sites)
    result = fleet(plan, tmp_path / "out", workers=1)
    assert {one.state for one in result.outcomes} == {"passed"}
    assert len(result.taken_up) >= ended
    content = json.loads((tmp_path / "out/fleet.json").read_text())
    assert [one["site"] for one in content] == list(sites)


def test_the_worst_figure_is_the_one_with_the_least_room():
    from workbench.recipe import Evidence

    evidence = Evidence(file_bytes=2**20, int8_share=0.9, latency_ms={"p95": 99.0})
    gates = [Gate.parse(text) for text in ("file_mib <= 10", "p95_ms <= 100", "int8_macs >= 0.5")]
    assert _worst(check_gates(gates, evidence)).startswith("p95_ms")
    missed = [*gates, Gate.parse("file_mib <= 0.9"), Gate.parse("p95_ms <= 10")]
    assert _worst(check_gates(missed, evidence)).startswith("p95_ms <= 10")
    assert _worst(check_gates([*missed, Gate.parse("layers <= 1")], evidence)).startswith("layers")


def test_an_address_that_is_none_is_one_line(folder, tmp_path):
    plan = written(folder, {"Oslo": {"samples": "field.npz"}}, "nobody.yaml", defaults={"recipe": "tuned/recipe.yaml"})
    with pytest.raises(BackendError, match=r"nonsense: no Dask scheduler answers\. Check the address"):
        fleet(plan, tmp_path / "out", scheduler="nonsense")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_worker_has_the_same_cores_however_many_there_are():
    from workbench.jobs.fleet.share import CoreShare

    cores = os.sched_getaffinity(0)
    shares, taken = min(2, len(cores)), []
    for worker in range(shares):
        try:
            CoreShare(shares).setup(SimpleNamespace(name=worker))
            taken.append(os.sched_getaffinity(0))
        finally:
            os.sched_setaffinity(0, cores)
    assert sorted(core for share in taken for core in share) == sorted(cores)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fleet": 2, "sites": {}}, "schema version 2"),
        ({"fleet": 1, "sites": {}}, "at least one site"),
        ({"fleet": 1, "sites": {"../up": {}}}, "is no name for a site"),
        ({"fleet": 1, "sites": {"a/b": {}}}, "is no name for a site"),
        ({"fleet": 1, "sites": {"..": {}}}, "is no name for a site"),
        ({"fleet": 1, "sites": {"a": {}, "A": {}}}, "capital letters alone"),
        ({"fleet": 1, "sites": {"a": {"sampels": "s.npz"}}}, "sampels: there is no such key; did you mean samples?"),
        ({"fleet": 1, "site": {"a": {}}, "sites": {"a": {}}}, "did you mean sites?"),
    ],
)
def test_what_is_no_fleet_is_refused(content, message, tmp_path):
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError) as caught:
        load_plan(tmp_path / "fleet.yaml")
    assert message in str(caught.value)
