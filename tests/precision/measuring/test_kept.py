"""What a measured search keeps on the disk, and how it is asked for: nothing is built."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import model
from workbench.backends import BuildOptions, Engine, Timing, TimingOptions
from workbench.backends.manifest import FORMAT
from workbench.backends.protocol import Capabilities, Measured
from workbench.engine import LayerTime
from workbench.errors import BackendError, PrecisionError
from workbench.precision import target_of
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.store import key_of, open_store
from workbench.precision.measuring.work import Done, TimingTask

ENGINE = Engine("onnxruntime", b"engine", {"backend": "onnxruntime", "engine_sha256": "abc"})
TASK = TimingTask(
    "one more", "onnxruntime", TimingOptions(runs=20), b"model", BuildOptions(), {"fp32": ENGINE}, loadings=4
)

BUILD = replace(TASK, beside={}, loadings=0)


def measured(ms):
    timing = Timing.of(np.full(5, ms), span_s=1.0, warm_up_runs=1, conditions={"placement_medians_ms": [ms, ms]})
    return Measured(timing, (ms,) * 5, (LayerTime("conv", ms, ms),), '{"Layers": []}')


def test_what_was_done_is_known_again_with_all_figures(tmp_path):
    done = Done(
        "measured", None, None, {"one more": measured(1.0), "fp/32": measured(2.0), "dead": Measured(error="it died")}
    )
    with open_store(tmp_path) as store:
        assert store.done_before(TASK) is None
        store.add(TASK, done)
        assert store.resumed == 0
    assert sorted(path.name for path in tmp_path.glob("*.graph.json")) == [
        "01-one-more.beside-fp-32.graph.json",
        "01-one-more.graph.json",
    ]
    with open_store(tmp_path) as store:
        again = store.done_before(TASK)
        assert (again.status, again.engine, store.resumed) == ("measured", None, 1)
        assert {name: one.timing and one.timing.median_ms for name, one in again.measured.items()} == {
            "one more": 1.0,
            "fp/32": 2.0,
            "dead": None,
        }
        assert again.measured["dead"].error == "it died"
        assert again.measured["one more"].layers == (LayerTime("conv", 1.0, 1.0),)
        store.add(replace(TASK, name="other"), Done("failed", "no", None, {}))
        assert json.loads((tmp_path / "journal.jsonl").read_text().splitlines()[-1])["stem"] == "02-other"
        (tmp_path / "01-one-more.profile.json").unlink()
        assert store.done_before(TASK) is None
        assert store.done_before(replace(TASK, name="other")).reason == "no"


def test_an_engine_without_a_profile_is_known_again(tmp_path):
    done = Done("measured", None, None, {"one more": replace(measured(1.0), layers=())})
    with open_store(tmp_path) as store:
        store.add(TASK, done)
    assert not list(tmp_path.glob("*.profile.json"))
    with open_store(tmp_path) as store:
        again = store.done_before(TASK).measured["one more"]
    assert (again.layers, again.timing.median_ms, again.inspector) == ((), 1.0, '{"Layers": []}')


def test_an_engine_comes_back_with_all_that_is_known_of_its_task(tmp_path):
    digest = hashlib.sha256(b"engine").hexdigest()
    engine = replace(ENGINE, manifest={"format": FORMAT, "backend": "onnxruntime", "engine_sha256": digest})
    done = Done("built", "it was not timed", engine, {}, 2.5, 1.5, "a device, process 7", 10.0, 12.0, cache=b"learnt")
    with open_store(tmp_path) as store:
        store.add(BUILD, done)
        for at in range(2, 11):
            store.add(replace(TASK, name=f"task {at}"), Done("failed", "no"))
    assert (tmp_path / "01-one-more.engine").read_bytes() == b"engine"
    entries = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert entries[0] == {"measurement": "engines", "version": 1}
    assert [entry["stem"] for entry in entries[1:]] == ["01-one-more", *(f"{at:02d}-task-{at}" for at in range(2, 11))]
    with open_store(tmp_path) as store:
        assert store.done_before(BUILD) == replace(done, cache=None)
        (tmp_path / "01-one-more.engine").unlink()
        assert store.done_before(BUILD) is None


def test_what_was_given_up_or_not_timed_is_tried_again_where_that_may_help(tmp_path):
    with open_store(tmp_path) as store:
        store.add(replace(TASK, limit_s=60.0), Done("too slow", "60 s were not enough"))
        for limit_s, again in ((30.0, False), (60.0, False), (61.0, True), (None, True)):
            assert (store.done_before(replace(TASK, limit_s=limit_s)) is None) == again
        store.add(TASK, Done("built", "not timed: the GPU is lost"))
        store.add(BUILD, Done("built", "it was not timed"))
        assert store.done_before(TASK) is None
        assert store.done_before(BUILD).reason == "it was not timed"


def test_what_another_version_or_device_did_is_not_taken_for_its_own(tmp_path):
    here = Capabilities("tensorrt", "10.9", build=True, run=True, targets=("sm90",), device="H100, 132 multiprocessors")
    with open_store(tmp_path, here) as store:
        store.add(BUILD, Done("built", "here"))
    for there, known in (
        (here, True),
        (replace(here, version="1.31"), False),
        (replace(here, targets=("sm100",)), False),
        (replace(here, device="H200, 132 multiprocessors"), False),
    ):
        with open_store(tmp_path, there) as store:
            assert (store.done_before(BUILD) is not None) == known


def test_files_of_what_is_kept_are_never_written_again(tmp_path):
    with open_store(tmp_path) as store:
        for at in range(3):
            store.add(replace(TASK, name=f"{at}"), Done("failed", "no"))
    journal = tmp_path / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([*lines[:2], *lines[3:]]))  # the second is gone
    with open_store(tmp_path) as store:
        store.add(replace(TASK, name="2", loadings=9), Done("failed", "no"))
    assert [json.loads(line)["stem"] for line in journal.read_text().splitlines()[1:]] == ["01-0", "03-2", "04-2"]


@pytest.mark.parametrize("line", [{}, {"key": "a"}, {"key": "a", "stem": 5}, {"key": "a", "stem": "x-y"}])
def test_a_line_that_tells_of_no_engine_is_refused(tmp_path, line):
    with open_store(tmp_path) as store:
        store.add(TASK, Done("failed", "no"))
    with (tmp_path / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps(line) + "\n")
    with pytest.raises(PrecisionError, match=r"journal\.jsonl: a line of this journal tells of no engine\."):
        open_store(tmp_path).__enter__()


@pytest.mark.parametrize("changed", [{"done": None}, {"done": {"status": "failed", "other": 1}}, {"measured": None}])
def test_a_line_whose_figures_are_gone_is_done_again(tmp_path, changed):
    with open_store(tmp_path) as store:
        store.add(TASK, Done("failed", "no"))
    journal = tmp_path / "journal.jsonl"
    heading, line = journal.read_text().splitlines()
    journal.write_text(f"{heading}\n{json.dumps(json.loads(line) | changed)}\n")
    with open_store(tmp_path) as store:
        assert store.done_before(TASK) is None


def test_what_nothing_is_known_of_but_its_time_is_not_kept(tmp_path):
    timed = {"no report": replace(measured(1.0), inspector=None), "empty": replace(measured(1.0), inspector="")}
    for name, one in timed.items():
        with open_store(tmp_path / name) as store:
            store.add(TASK, Done("measured", None, None, {"one more": one}))
            assert store.done_before(TASK) is None
            assert store.resumed == 0


@pytest.mark.parametrize(
    "other",
    [
        {"name": "another"},
        {"model": b"other"},
        {"model": None},
        {"build": BuildOptions(refit=True)},
        {"build": None},
        {"beside": {}},
        {"beside": {"fp32": replace(ENGINE, manifest={"engine_sha256": "d"})}},
        {"loadings": 8},
        {"timing": TimingOptions(runs=21)},
        {"kept": ("fp32",)},
        {"backend": "tensorrt"},
    ],
)
def test_a_task_is_another_where_anything_differs_that_decides_its_outcome(other):
    assert key_of(replace(TASK, **other)) != key_of(TASK)
    assert len(key_of(TASK)) == 16


def test_where_a_timing_cache_lies_and_how_long_a_build_may_take_decide_nothing():
    same = replace(TASK, build=BuildOptions(timing_cache="there"), limit_s=3.0, cache=b"content")
    assert key_of(same) == key_of(TASK)


def test_builds_of_like_settings_share_a_timing_cache(tmp_path):
    with open_store(tmp_path) as store:
        names = [store.timing_cache(*about).name for about in ((None, None), (0, None), (None, 0), (0, None))]
        assert names[0] == "timing.cache"
        assert names[1] == names[3] != names[2]
        (tmp_path / "c").write_bytes(b"content")
        assert store.content(str(tmp_path / "c")) == b"content"
        assert store.content(str(tmp_path / "none")) is store.content(None) is None


# How it is asked for


@pytest.mark.parametrize("options", [{"builds": 1}, {"loadings": 1}])
def test_two_of_each_are_the_least(options):
    assert MeasureOptions("onnxruntime", builds=2, loadings=2).builds == 2
    with pytest.raises(BackendError, match="Two builds are the least"):
        MeasureOptions("onnxruntime", **options)


@pytest.mark.parametrize(
    ("backend", "typing", "version", "target", "floating"),
    [
        ("tensorrt", "weak", "8.6.1", "tensorrt-8.6", "fp16"),
        ("tensorrt", "strong", "10.3", "tensorrt-10", "fp16"),
        ("tensorrt", "strong", "11.0", "tensorrt-11", "fp16"),
        ("tensorrt", "strong", None, "tensorrt-10", "fp16"),
        ("tensorrt_rtx", "strong", "11.0", "rtx", "fp16"),
        ("onnxruntime", "strong", "1.32", "onnxruntime", "fp32"),
    ],
)
def test_graphs_are_lowered_for_what_measures(backend, typing, version, target, floating):
    able = Capabilities(backend, version, build=True, run=True, typing=typing)
    options = MeasureOptions(backend)
    assert (target_of(able).name, options.floating) == (target, floating)


@pytest.mark.parametrize("able", [{"build": True, "run": False}, {"build": False, "run": True}])
def test_what_cannot_build_and_run_does_not_measure(monkeypatch, able):
    from workbench.precision.measuring import options as module

    monkeypatch.setattr(module, "able", lambda name: Capabilities(name, None, **able, reason="no GPU"))
    with pytest.raises(BackendError, match="tensorrt cannot measure here: no GPU"):
        MeasureOptions("tensorrt").capabilities()


def test_engines_are_built_for_the_batch_that_is_asked_for_and_steps_are_told():
    free = model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]})
    told = []
    options = MeasureOptions("onnxruntime", batch=4, say=told.append)
    assert options.batched(free).inputs[0].shape == (4, 3)
    assert MeasureOptions("onnxruntime").batched(free) is free
    options.tell("a step")
    MeasureOptions("onnxruntime").tell("nobody hears")
    assert told == ["a step"]
