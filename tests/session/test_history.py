"""What a session remembers: its steps, the plan before the last one, what was checked, and who may change it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.kit.searching import small
from workbench.errors import RecipeError
from workbench.precision import parse_target
from workbench.precision.plan import Rule
from workbench.recipe import ranges_hash, start
from workbench.recipe.steps import PlanStep
from workbench.session import Change, Workbench, changes, history, history_of
from workbench.session.history import Calibrated, History


@pytest.fixture
def wb():
    """Nothing was calibrated; one range was set."""
    session = Workbench(small())
    session.set_range("b", 1.0)
    return session


def plan(move):
    return PlanStep(move=move, rules=(Rule(select="op:Conv", precision="int8"),), ranges={}, sha256=ranges_hash({}))


def test_nothing_was_measured_at_first(wb):
    assert history_of(wb).measured == Calibrated(statistics=None, samples=None, batch=1)


def test_edits_that_claim_to_change_nothing_and_were_not_compared_are_said_once_each(wb):
    def unchecked():
        return [sentence.partition(": ")[0] for sentence in history_of(wb).unchecked]

    first = "wb.edit(\"rename_tensor\", tensor='c', to='first')"
    second = "wb.edit(\"rename_tensor\", tensor='e', to='second')"
    wb.edit("bypass", node="block/relu", check=False)  # claims nothing
    wb.edit("rename_tensor", tensor="c", to="first", check=False)
    wb.edit("rename_tensor", tensor="e", to="second", check=False)
    wb.set_range("first", 1.0)  # no edit
    assert unchecked() == [first, second]
    wb.undo()
    wb.undo()
    assert unchecked() == [first]
    wb.edit("rename_tensor", tensor="e", to="second", check=False)  # another one that is the same
    assert unchecked() == [first, second]


def test_an_undo_goes_back_to_what_was_and_does_no_step_again(wb, monkeypatch):
    memory, states = history_of(wb), []
    for value in (2.0, 3.0, 4.0):
        states.append(memory.state)
        wb.set_range("b", value)
    again = []

    def noted(recipe, source):
        again.append(len(recipe.steps))
        return start(recipe, source)

    monkeypatch.setattr(history, "start", noted)
    wb.undo()
    assert memory.state is states[2]
    wb.plan.set_target("tensorrt-8.6")
    wb.undo()
    assert (memory.state.ranges, memory.state.target) == ({"b": 2.0}, parse_target("tensorrt-8.6"))
    memory.take_over(wb.recipe.with_step(wb.recipe.steps[0]))  # what is not known is done again
    assert again == [3]
    wb.undo()
    wb.undo()
    wb.undo()
    assert (again, memory.state.ranges) == ([3], {})


def test_an_undo_of_a_plan_that_took_the_place_of_another_leaves_neither(wb):
    memory = history_of(wb)
    before = memory.state
    memory.do(plan("one"))
    memory.do(plan("two"))
    wb.undo()
    assert (memory.state, wb.plan.rules.rules) == (before, ())


def test_as_many_undos_as_there_are_steps(wb):
    for value in range(history.RECALLED + 3):
        wb.set_range("b", 2.0 + value)
    for value in reversed(range(history.RECALLED + 3)):
        assert history_of(wb).state.ranges == {"b": 2.0 + value}
        wb.undo()
    assert history_of(wb).state.ranges == {"b": 1.0}


def test_a_plan_takes_the_place_of_the_plan_right_before_it_and_of_no_other(wb):
    memory = history_of(wb)
    memory.do(plan("one"))
    memory.do(plan("two"))
    wb.set_range("b", 7.0)
    memory.do(plan("three"))
    assert [getattr(step, "move", "") for step in wb.recipe.steps] == ["", "two", "", "three"]
    recipe, state = memory.without_plan()
    assert (len(recipe.steps), state.ranges, state.plan.rules) == (3, {"b": 7.0}, memory.state.plan.rules)
    wb.undo()
    assert memory.without_plan() == (wb.recipe, memory.state)  # the last step is none
    wb.undo()
    recipe, state = memory.without_plan()
    assert (len(recipe.steps), state.ranges, state.plan.rules) == (1, {"b": 1.0}, ())


def test_of_a_recipe_that_was_opened_the_plan_is_replaced_too(wb):
    history_of(wb).do(plan("one"))
    wb.plan.set_target("rtx@sm89")
    opened = History(wb.source, wb.recipe)
    recipe, state = opened.without_plan()
    assert (recipe.steps, state.plan.rules, str(state.target)) == (wb.recipe.steps[:-1], (), "rtx@sm89")
    opened.do(plan("two"))
    assert [step.do for step in opened.recipe.steps] == ["set_range", "set_plan"]


def test_a_gate_is_required_once(wb):
    for gate in ("sqnr_db >= 20", "sqnr_db >= 30", "sqnr_db >= 20"):
        wb.require(gate)
    assert [str(gate) for gate in wb.recipe.gates] == ["sqnr_db >= 20", "sqnr_db >= 30"]


@pytest.mark.parametrize("other", [4, 6])
def test_only_the_thread_that_claims_a_session_changes_it_and_has_its_changes_posted(wb, monkeypatch, other):
    thread = SimpleNamespace(get_ident=lambda: 5)
    for module in (history, changes):
        monkeypatch.setattr(module, "threading", thread)
    memory, heard, posted = history_of(wb), [], []
    wb.on_change(heard.append)
    with memory.claimed("a search", posted.append):
        wb.set_range("x", 2.0)
        assert (heard, len(posted)) == ([], 1)
        thread.get_ident = lambda: other
        with pytest.raises(RecipeError, match="a search is under way"):
            wb.set_range("x", 3.0)
        memory.changes.tell(Change("measured", "here"))
        assert (heard, len(posted)) == ([Change("measured", "here")], 1)
    wb.set_range("x", 3.0)
    assert wb.ranges["x"] == 3.0
