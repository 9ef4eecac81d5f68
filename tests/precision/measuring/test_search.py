"""Plans found by engines that were built and timed: on this processor, with what another backend has in common."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from tests.kit.places import ROOT
from tests.kit.searching import calibrated, images, small
from workbench.backends.protocol import TimingOptions
from workbench.engine import load_report
from workbench.errors import BackendError, PrecisionError
from workbench.precision.measuring import search
from workbench.precision.measuring.candidates import Maker
from workbench.precision.measuring.cluster import Here
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.work import Done
from workbench.recipe import Recipe
from workbench.recipe.replay import replay
from workbench.session import verdict

QUICK = TimingOptions(runs=20, warm_up_s=0.0)
GOAL = {"metric": "sqnr_db", "at_least": 5.0}


def options(folder=None, **more):
    return MeasureOptions("onnxruntime", **{"builds": 4, "timing": QUICK, "loadings": 3, "folder": folder, **more})


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of four builds: the session, what was found, where engines lie, and what was said."""
    folder, message = tmp_path_factory.mktemp("measured"), []
    wb = calibrated(small(), folder, 8)
    result = wb.plan.search(**GOAL, measure=options(folder / "engines", say=message.append))
    return wb, result, folder / "engines", message


def test_every_plan_that_is_compared_was_built_timed_and_evaluated(searched):
    _, actual, _, _ = searched
    points = actual.measured.points
    assert [point.candidate.kind for point in points[:2]] == ["floating", "int8"]
    assert len(points) == 4
    for point in points:
        assert point.status == "measured"
        assert 0.05 < point.ratio < 20
        assert point.compared
        assert point.figure is not None
    assert points[0].ratio == 1.0
    assert {p.candidate.kind for p in points[2:]} == {"placement"}
    assert all(0 < p.candidate.expected < 20 for p in points[2:])


def test_what_is_taken_says_whether_it_pays_and_is_a_step_with_its_figures(searched):
    wb, actual, _, _ = searched
    result = actual.measured
    assert result.pays.verdict in ("pays", "does not pay", "within the error")
    assert "onnxruntime" in result.pays.where
    assert result.reason in actual.text()
    assert str(result.pays) in repr(actual)
    step = wb.recipe.steps[-1]
    assert step.do == "set_plan"
    assert step.pays.verdict == wb.recipe.pays.verdict == result.pays.verdict
    assert {one.name for one in step.engines} == {point.name for point in result.front}
    assert [str(gate) for gate in wb.recipe.gates] == ["sqnr_db >= 5"]
    assert str(wb.recipe.target) == "onnxruntime"
    assert result.figure_on_engine >= 5


def test_several_workers_build_implicit_int8_beside_the_first_two_and_one_builds_it_late(monkeypatch, tmp_path):
    class Weak(Maker):
        """What makes candidates for a backend that chooses types itself, on one that does not."""

        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self.strong, self.weak = self.weak, True

        def of(self, *arguments, **named):
            self.weak = self.strong
            candidate = super().of(*arguments, **named)
            self.weak = True
            return candidate

        def implicit(self):
            return replace(self.floating(), name="implicit-int8", kind="implicit", plan=None)

    class Replaying(Here):
        """Times as a CUDA graph what a processor cannot replay."""

        names: ClassVar[list[str]] = []

        def submit(self, fn, /, *args, **kwargs):
            if fn.__name__ == "do":
                self.names.append(args[0].name)
                args = (replace(args[0], timing=replace(args[0].timing, cuda_graph=False)), *args[1:])
            return super().submit(fn, *args, **kwargs)

    monkeypatch.setattr(search, "Maker", Weak)
    kinds = ["floating", "int8", "implicit"]
    for executor in (Replaying(), None):
        monkeypatch.setattr(search._Search, "_graphs", executor is not None)
        wb = calibrated(small(), tmp_path, 8)
        measure = options(implicit=True, executor=executor, timing=replace(QUICK, runs=5), loadings=2)
        points = wb.plan.search(**GOAL, measure=measure).measured.points
        assert [point.candidate.kind for point in points][:2] == kinds[:2]
        assert {point.candidate.kind for point in points} == {*kinds, "placement"}
        assert len(points) == 4
        assert all(point.ratio is not None for point in points)
        assert all((point.graph_ms is None) == (executor is None) for point in points)
    assert [name for name in Replaying.names if not name.endswith(" again")] == [
        *("fp32", "int8", "implicit-int8", "comparison of 2", "placement-1"),
        *("comparison of 4", "comparison of 4 as CUDA graphs"),
    ]


def test_the_front_goes_from_the_fastest_to_the_most_accurate(searched):
    front = searched[1].measured.front
    assert [p.ratio for p in front] == sorted(p.ratio for p in front)
    assert [p.figure for p in front] == sorted(p.figure for p in front)
    assert "floating" in {p.candidate.kind for p in front}


def test_its_recipe_gives_the_same_model_again_and_a_later_step_takes_the_verdict_away(searched, tmp_path):
    wb, _, _, _ = searched
    content = wb.tune().model.to_bytes()
    wb.recipe.save(tmp_path / "recipe.yaml")
    again = Recipe.load(tmp_path / "recipe.yaml")
    assert replay(again, wb.source)[1].model.to_bytes() == content
    assert again.pays == wb.recipe.pays
    wb.plan.set("op:Conv", "fp32")
    assert wb.recipe.pays.verdict == "not measured"
    wb.undo()
    assert wb.recipe.pays.verdict != "not measured"


def test_reports_of_all_engines_are_kept_as_they_are_read(searched):
    _, actual, folder, message = searched
    stems = sorted(path.name.removesuffix(".graph.json") for path in folder.glob("0?-placement-?.graph.json"))
    assert len(stems) == 2
    for stem in stems:
        report = load_report(folder / f"{stem}.graph.json", profile=folder / f"{stem}.profile.json")
        assert report.profiled
        assert (folder / f"{stem}.engine").exists()
    assert len(list(folder.glob("*.engine"))) == len(actual.measured.points)
    assert sum("measured" in one for one in message) >= 3


def test_a_search_that_is_begun_again_builds_and_times_nothing_that_the_journal_knows(searched, tmp_path):
    wb, actual, folder, _ = searched
    again = calibrated(small(), tmp_path, 8)

    class Refusing(Here):
        def submit(self, fn, /, *args, **kwargs):
            assert fn.__name__ in ("able", "agreement"), "nothing is to be built or timed"
            return super().submit(fn, *args, **kwargs)

    second = again.plan.search(**GOAL, measure=options(folder, executor=Refusing()))
    # 4 builds, 2 comparisons, and what was taken once more where that is not floating point.
    stored = len((folder / "journal.jsonl").read_text().splitlines()) - 1
    assert second.measured.resumed == stored
    assert stored in (6, 7)
    assert second.measured.chosen.name == actual.measured.chosen.name
    assert [p.ratio for p in second.measured.points] == [p.ratio for p in actual.measured.points]
    assert again.recipe.steps[-1].rules == wb.recipe.steps[-1].rules


SEARCH = """
import os, signal, sys
from tests.kit.searching import calibrated, small
from tests.precision.measuring.test_search import GOAL, options
from pathlib import Path
folder, most = Path(sys.argv[1]), int(sys.argv[2])
journal = folder / "engines/journal.jsonl"
def say(_):
    if journal.read_bytes().count(b"\\n") >= most:
        os.kill(os.getpid(), signal.SIGKILL)
wb = calibrated(small(), folder, 8)
found = wb.plan.search(**GOAL, measure=options(folder / "engines", builds=3, say=say))
print(found.measured.resumed, len(found.measured.points), found.measured.chosen.name)
"""


def test_after_kill_9_a_search_goes_on_from_the_journal(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SEARCH, str(tmp_path)]
    journal = tmp_path / "engines/journal.jsonl"
    killed = subprocess.run([*command, "3"], env=environment, cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    with journal.open("ab") as torn:
        torn.write(b'{"key": "torn')
    done = subprocess.run([*command, "99"], env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    resumed, points, _ = done.stdout.split()
    assert int(resumed) >= 2
    assert points == "3"


def test_stop_keeps_what_there_is(tmp_path):
    stop = threading.Event()
    wb = calibrated(small(), tmp_path, 8)
    records = []

    def say(sentence):
        records.append(sentence)
        if sentence.startswith("comparison"):
            stop.set()

    measured = wb.plan.search(**GOAL, measure=options(stop=stop, say=say)).measured
    assert [point.name for point in measured.points] == ["fp32", "int8"]
    assert measured.chosen.status == "measured"
    assert "stopped before all builds were made" in measured.notes
    assert wb.recipe.pays.verdict == measured.pays.verdict


def test_a_build_that_fails_is_a_result_with_a_reason(tmp_path):
    class Failing(Here):
        def submit(self, fn, /, *args, **kwargs):
            if fn.__name__ == "do" and args[0].name == "placement-1":
                future = Future()
                future.set_result(Done("failed", "the builder refused it"))
                return future
            return super().submit(fn, *args, **kwargs)

    wb = calibrated(small(), tmp_path, 8)
    measured = wb.plan.search(**GOAL, measure=options(builds=3, executor=Failing())).measured
    point = measured.points[2]
    assert (point.name, point.status, point.ratio) == ("placement-1", "failed", None)
    assert "the builder refused it" in measured.text()
    assert measured.chosen.name != "placement-1"


def test_placements_are_taken_back_as_far_as_the_goal_asks(tmp_path):
    wb = calibrated(small(broken=True), tmp_path, 8)
    result = wb.plan.search("sqnr_db", at_least=25.0, measure=options(builds=3))
    everything = result.measured.points[1]
    assert (everything.candidate.kind, everything.passed) == ("int8", False)
    placed = [point for point in result.measured.points if point.candidate.kind == "placement"]
    assert placed
    for point in placed:
        assert point.figure >= 25
        assert "block/conv1" not in point.candidate.trial.plan.resolve(wb.model).nodes("int8")
    assert wb.compare(images(wb.model, 8), runs=0).worst_sqnr_db >= 25


def test_a_search_that_ended_before_anything_reached_the_goal_asks_for_more_builds(tmp_path):
    wb = calibrated(small(broken=True), tmp_path, 8)
    result = wb.plan.search("sqnr_db", at_least=25.0, measure=options(builds=2)).measured
    reason = (
        "nothing in INT8 was measured that reaches the goal before builds were used up; give the search more builds"
    )
    assert result.reason == f"stay in FP32: {reason}"
    assert str(result.pays) == str(wb.recipe.pays) == f"not measured: {reason}"
    assert verdict(wb, wb.compare(images(wb.model, 8), runs=0)).next == f"Stay in FP32: {reason}."


def test_a_goal_that_floating_point_misses_is_refused_before_anything_is_built(tmp_path):
    wb = calibrated(small(), tmp_path, 8)
    goal = {"metric": "top1_drop", "at_most": -1.0, "labels": np.zeros(8, np.int64)}
    with pytest.raises(PrecisionError, match=r"not even floating point reaches top1_drop <= -1\. Ask for less\.$"):
        wb.plan.search(**goal, measure=options(tmp_path / "engines"))
    assert not (tmp_path / "engines").exists()


def test_no_build_is_begun_that_leaves_no_time_to_measure(tmp_path):
    wb = calibrated(small(), tmp_path, 8)
    with pytest.raises(
        BackendError, match=r"fp32 was not measured: there was no time left\..*; give it more seconds\.$"
    ):
        wb.plan.search(**GOAL, measure=options(budget_s=1.0))
    assert not wb.recipe.gates
    assert wb.recipe.target is None


def test_two_builds_are_the_least():
    with pytest.raises(BackendError, match="Two builds are the least"):
        options(builds=1)


def test_the_figures_are_plain_json(searched):
    value = json.loads(json.dumps(searched[1].to_dict(), allow_nan=False))["measured"]
    assert value["chosen"] in {point["name"] for point in value["points"]}
    assert value["predicted"] in {point["name"] for point in value["points"]}
    assert searched[1].measured.table().shape[0] == 4
