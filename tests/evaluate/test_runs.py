"""What runs of an engine are fed in lots, give, and are counted as."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import model
from workbench.calibration import Feed, open_samples
from workbench.errors import SamplesError
from workbench.evaluate import comparison, engine_runs
from workbench.evaluate.agreement import Latency
from workbench.evaluate.comparison import Tally, Top1, compare
from workbench.evaluate.engine_outputs import Outputs
from workbench.evaluate.polygraphy import save_inputs
from workbench.evaluate.reference import Reference
from workbench.progress import watched
from workbench.runtime.session import Session

SCORES = model([helper.make_node("Neg", ["x"], ["y"], "negate")], {"x": ["N", 2]}, {"y": ["N", 2]})

HALF = model(
    [helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT), helper.make_node("Neg", ["h"], ["y"])],
    {"x": (TensorProto.FLOAT16, ["N", 2])},
    {"y": ["N", 2]},
)
"""The same of inputs in FP16."""


def feed(rows=2, first=0, padding=0, columns=2):
    return Feed({"x": np.zeros((rows + padding, columns), np.float32)}, first, rows, padding)


@pytest.mark.parametrize(
    ("most", "lots"), [(1, [1, 1, 1]), (16, [1, 1, 1]), (17, [2, 1]), (32, [2, 1]), (48, [3]), (49, [3])]
)
def test_a_lot_is_full_where_its_inputs_reach_the_bound(monkeypatch, most, lots):
    monkeypatch.setattr(engine_runs, "RUNS_BYTES", most)
    assert [len(lot) for lot in engine_runs._lots(feed() for _ in range(3))] == lots
    assert list(engine_runs._lots([])) == []


@pytest.mark.parametrize(("count", "lots"), [(1 << 25, [2, 1]), ((1 << 25) - 1, [3])])
def test_an_engine_is_fed_256_mib_at_once(count, lots):
    half = Feed({"x": np.broadcast_to(np.float32(0), (1, count))}, 0, 1)  # as much, in no memory
    assert [len(lot) for lot in engine_runs._lots([half] * 3)] == lots


def test_rows_of_all_runs_follow_each_other_without_what_padding_made():
    outputs = Outputs()
    for rows, padding in ((2, 0), (1, 1)):
        y = np.arange(rows + padding, dtype=np.float32).reshape(-1, 1) if not padding else np.ones((2, 1), np.float32)
        outputs.add(feed(rows, padding=padding), {"y": y, "count": np.array(rows)})
    assert outputs.samples == 3
    assert {name: array.tolist() for name, array in outputs.arrays().items()} == {
        "y": [[0], [1], [1]],
        "count": [2, 1],
    }


@pytest.mark.parametrize(
    ("parts", "names", "shape"),
    [
        ([np.zeros((2, 3)), np.zeros((2, 3))], ["y"], (4, 3)),
        ([np.zeros((3, 2)), np.zeros((3, 2))], ["y"], (2, 3, 2)),  # no row a sample: runs are stacked
        ([np.zeros((2, 3)), np.zeros((2, 4))], ["y.0", "y.1"], (2, 3)),
        ([np.zeros((3, 3)), np.zeros((4, 3))], ["y.0", "y.1"], (3, 3)),
        ([np.zeros((2, 3)), np.zeros((3, 3))], ["y.0", "y.1"], (2, 3)),
        ([np.zeros(()), np.zeros(())], ["y"], (2,)),
    ],
)
def test_what_has_no_row_a_sample_has_an_axis_of_runs_or_a_name_each(parts, names, shape, tmp_path):
    outputs = Outputs()
    for part in parts:
        outputs.add(feed(), {"y": part})
    with np.load(outputs.save(tmp_path / "o.npz")) as saved:
        assert saved.files == names
        assert saved[names[0]].shape == shape


def test_a_tally_counts_samples_that_only_one_of_two_has_right():
    tally = Tally(SCORES, np.array([0, 0, 0, 0, 1]))
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    for at, (before, after) in enumerate([([right, right], [wrong, wrong]), ([right, wrong], [right, right])]):
        tally.add(feed(first=2 * at), {"y": np.array(before, "f")}, {"y": np.array(after, "f")})
    tally.add(feed(1, first=4), {"y": np.array([right], "f")}, {"y": np.array([right], "f")})
    result = tally.result()
    accuracy = result.accuracy
    assert (accuracy.original, accuracy.tuned, accuracy.samples, accuracy.lost, accuracy.won) == (3 / 5, 2 / 5, 5, 2, 1)
    (output,) = result.outputs
    assert (result.samples, output.values, output.differing, output.max_error) == (5, 10, 6 / 10, 1.0)
    assert Tally(SCORES).result().accuracy is None
    assert Tally(SCORES).result().outputs[0].differing == 0


@pytest.mark.parametrize(("value", "share"), [(1.0, 0.0), (2.0, 1.0)])
def test_of_one_value_all_differ_or_none(value, share):
    tally = Tally(SCORES)
    tally.add(feed(1), {"y": np.array([[1.0]], "f")}, {"y": np.array([[value]], "f")})
    (output,) = tally.result().outputs
    assert (output.values, output.differing) == (1, share)


def test_scores_are_a_row_a_sample_or_a_row_of_a_whole_input():
    whole = Top1(SCORES, np.array([1, 0, 1]))
    assert math.isnan(whole.share)
    given = Feed({"x": np.zeros((3, 2), np.float32)}, 0, 1)  # one sample of three rows
    other = np.array([1, 2, 3])  # whole numbers are no scores
    scores = np.array([[0, 1], [0, 1], [0, 1]], np.float32)
    hits = whole.add(given, {"a": other, "b": np.float32(1), "y": scores})
    assert hits.tolist() == [True, False, True]
    assert (whole.seen, whole.share) == (3, 2 / 3)
    with pytest.raises(SamplesError, match="3 labels, and more rows of scores than that"):
        whole.add(given, {"y": scores})
    padded = Top1(SCORES, np.array([1, 1]))
    assert padded.add(feed(2, padding=1), {"y": scores}).tolist() == [True, True]
    first = Top1(SCORES, np.array([1, 1]))
    assert first.add(feed(2), {"y": 1 - scores[:2], "z": scores[:2]}).tolist() == [False, False]


def test_a_label_beyond_the_classes_is_named_with_its_place_and_what_there_is():
    top1 = Top1(SCORES, np.array([0, 1, 2]))
    top1.add(feed(2), {"y": np.zeros((2, 2), "f")})
    with pytest.raises(SamplesError, match=r"label 2 is 2, and there are scores of 2 classes.*class, 0 to 1\."):
        top1.add(feed(1, first=2), {"y": np.zeros((1, 2), "f")})
    several = Top1(SCORES, np.array([0, 3, -1]))
    with pytest.raises(SamplesError, match=r"label 1 is 3, "):
        several.add(feed(3), {"y": np.zeros((3, 2), "f")})


@pytest.fixture
def counting(monkeypatch):
    """Return what sessions are timed with (type, runs, runs before them), and how many samples each run has."""
    timed, rows = [], []

    class Counting(Session):
        def time(self, arrays, *, runs, warmup):
            (array,) = arrays.values()
            super().time(arrays, runs=1, warmup=0)  # it must take what it is given
            timed.append((array.dtype.name, runs, warmup))
            return [1.0 if array.dtype == np.float32 else 2.0] * runs

        def run(self, arrays):
            rows.append(len(arrays["x"]))
            return super().run(arrays)

    monkeypatch.setattr(comparison, "Session", Counting)
    monkeypatch.setattr("workbench.evaluate.reference.Session", Counting)
    return timed, rows


def warmed(*runs):
    return [(dtype, *run) for run in runs for dtype in ("float32", "float16")]


@pytest.mark.parametrize(
    ("huge", "times"), [(1 << 40, warmed((1, 4), *[(1, 0)] * 3)), (0, warmed((3, 4)))], ids=["both", "one by one"]
)
def test_both_are_warmed_up_and_timed_in_turns_where_memory_holds_both(counting, monkeypatch, huge, times):
    monkeypatch.setattr("workbench.runtime.session.HUGE_BYTES", huge)
    samples = open_samples({"x": np.ones((5, 2), np.float32)}, SCORES)
    result = compare(SCORES, HALF, samples, runs=3, batch=2)
    assert result.original_latency == Latency(1.0, 1.0, runs=3, batch=2)
    assert result.tuned_latency == Latency(2.0, 2.0, runs=3, batch=2)
    assert counting[0] == times


class Watching:
    """Keeps what it is told, and asks for an end once it was told so often."""

    def __init__(self, most):
        self.steps, self.most = [], most

    def step(self, *told):
        self.steps.append(told)

    def stopping(self):
        return len(self.steps) >= self.most


@pytest.mark.parametrize(("most", "done"), [(9, [0, 2, 4, 5]), (2, [0, 2])])
def test_progress_is_told_in_samples_and_what_was_compared_so_far_is_a_result(most, done):
    samples = open_samples({"x": np.ones((5, 2), np.float32)}, SCORES)
    watcher = Watching(most)
    with watched(watcher):
        result = compare(SCORES, SCORES, samples, runs=0, batch=2)
    assert watcher.steps == [("comparing", samples, 5) for samples in done]
    assert result.samples == done[-1]


def test_less_than_no_runs_are_refused():
    with pytest.raises(SamplesError, match="-1 timed runs"):
        compare(SCORES, SCORES, open_samples({"x": np.ones((1, 2), np.float32)}, SCORES), runs=-1)


def test_samples_are_run_one_by_one_unless_more_are_asked_for(counting):
    samples = open_samples({"x": np.ones((3, 2), np.float32)}, SCORES)
    result = compare(SCORES, SCORES, samples, runs=0)
    assert counting == ([], [1] * 6)
    assert (result.original_latency, result.tuned_latency) == (None, None)
    assert 0 < result.seconds < 60


def test_the_note_of_a_reference_and_the_sizes_of_both_are_told():
    samples = open_samples({"x": np.ones((3, 2), np.float32)}, SCORES)
    result = compare(Reference(SCORES, SCORES, note="by the way"), HALF, samples, runs=0)
    assert result.note == "by the way"
    assert (result.original_bytes, result.tuned_bytes) == (len(SCORES.to_bytes()), len(HALF.to_bytes()))
    assert result.worst_sqnr_db == math.inf


def test_eight_runs_of_one_sample_are_written_unless_others_are_asked_for(tmp_path):
    from polygraphy.json import load_json

    samples = open_samples({"x": np.ones((12, 2), np.float32)}, SCORES)
    written = load_json(str(save_inputs(samples, SCORES, tmp_path / "inputs.json")))
    assert [feed["x"].shape for feed in written] == [(1, 2)] * 8
