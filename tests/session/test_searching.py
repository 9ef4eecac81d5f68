"""What a session asks of a search, when one goes on from another, and when equalized channels are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kit.searching import calibrated, small
from workbench.session import history_of, plan, searching
from workbench.session.history import Figures
from workbench.session.searching import with_equalization


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Eight samples, four a run."""
    return calibrated(small(), tmp_path_factory.mktemp("searching"), 8, batch=4)


@pytest.fixture
def wb(start):
    before = len(start.recipe.steps)
    yield start
    while len(start.recipe.steps) > before:
        start.undo()
    history_of(start).figures = Figures()


@pytest.fixture
def asked(monkeypatch):
    """What each search was asked for; it finds nothing, and was `stopped` early."""
    asked = []

    def search(model, data, goal, **options):
        asked.append(SimpleNamespace(model=model, data=data, goal=goal, **options))
        chosen = SimpleNamespace(passed=False)
        return SimpleNamespace(chosen=chosen, sensitivity=None, stopped=search.stopped, trials=("tried",))

    search.stopped = True
    asked_for = SimpleNamespace(all=asked, search=search)
    monkeypatch.setattr(plan, "search", search)
    return asked_for


def test_what_a_search_is_not_told_is_that_of_the_session(wb, asked):
    wb.plan.search("sqnr_db", at_least=5.0)
    labels, before = np.zeros(8, np.int64), wb.recipe.steps
    more = {"batch": 2, "fallback": "fp16", "sensitivity": "exact", "most_trials": 3, "correct_bias": True}
    wb.plan.search("top1_drop", at_most=1.0, labels=labels, **more)
    first, second = asked.all
    samples = wb.ranges.samples
    assert (first.data, first.batch, first.fallback, first.sensitivity) == (samples, 4, "fp32", "quick")
    assert (first.correct_bias, first.most_trials, first.goal.labels) == (None, plan.MOST_TRIALS, None)
    assert (second.batch, second.fallback, second.sensitivity, second.most_trials) == (2, "fp16", "exact", 3)
    assert second.correct_bias is samples
    assert second.goal.labels.tolist() == labels.tolist()
    assert wb.recipe.steps == before  # neither reached its goal


def test_a_search_goes_on_from_one_that_was_stopped_with_the_same_question_alone(wb, asked):
    def goes_on(**more):
        wb.plan.search("sqnr_db", at_least=5.0, **more)
        return asked.all[-1].earlier == ("tried",)

    assert not goes_on()
    assert goes_on()
    assert not goes_on(labels=np.zeros(8, np.int64))
    assert goes_on()
    wb.edit("rename_node", node="stem/conv", to="first")
    assert not goes_on()  # of another model
    assert goes_on()
    asked.search.stopped = False
    assert goes_on()
    assert not goes_on()  # that one had come to its end


def test_only_the_ranges_that_a_plan_changes_are_in_its_step(wb):
    ranges = dict(wb.ranges)
    other = {"x": 2 * ranges["x"], "b": ranges["b"] / 2}
    same = {name: float(f"{amax!r}") for name, amax in ranges.items()}
    trial = SimpleNamespace(move="by hand", edits=(), ranges=same | other, plan=wb.plan.rules, pays=None, engines=())
    assert not wb.plan.is_taken(trial)
    wb.plan.take(trial)
    assert (wb.recipe.steps[-1].ranges, wb.recipe.steps[-1].engines) == (other, None)
    assert wb.plan.is_taken(trial)
    trial.move = "another"
    assert not wb.plan.is_taken(trial)


@dataclass(frozen=True)
class Found:
    """What is looked at of what a search found; more `merit` is better."""

    cost_ms: float
    merit: float
    seconds: float = 1.0
    notes: tuple = ()
    share: float = 0.5
    goal: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(name="sqnr_db", merit=lambda one: (one.figure,))
    )

    @property
    def chosen(self):
        return SimpleNamespace(cost_ms=self.cost_ms, share=self.share, measured=SimpleNamespace(figure=self.merit))


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (Found(1.5, 10.0, 4.0), True),
        (Found(2.0, 31.0, 4.0), True),
        (Found(2.0, 30.0, 4.0), False),
        (Found(2.0, 29.0, 4.0), False),
        (Found(2.5, 90.0, 4.0), False),
    ],
)
def test_equalized_channels_stay_where_the_plan_is_cheaper_or_as_cheap_and_more_accurate(wb, monkeypatch, after, kept):
    def equalize(ranges):
        ranges.set("b", 1.0)
        return SimpleNamespace(changed=True)

    monkeypatch.setattr(searching.Ranges, "equalize", equalize)
    before, steps = Found(2.0, 30.0, 3.0), len(wb.recipe.steps)
    result = with_equalization(history_of(wb), before, lambda: after)
    assert (result.cost_ms, result.merit, result.seconds) == (
        (after.cost_ms, after.merit, 7.0) if kept else (2.0, 30.0, 7.0)
    )
    figures = f"2 -> {after.cost_ms:g} ms, sqnr_db 30 -> {after.merit:g}, MACs in INT8 50.0% -> 50.0%"
    assert result.notes == (f"equalization: {figures}; {'kept' if kept else 'not kept'}",)
    assert [step.do for step in wb.recipe.steps[steps:]] == ["set_range"] * kept
