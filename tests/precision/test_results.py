"""What searches and measurements say of their figures, on figures made by hand: nothing is built, and nothing runs."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from workbench.backends import Engine, Timing
from workbench.errors import PrecisionError
from workbench.precision.measuring.bound import what_limits
from workbench.precision.measuring.ledger import Ledger
from workbench.precision.measuring.options import MeasureOptions
from workbench.precision.measuring.result import MeasuredResult, Point
from workbench.precision.placement import Pays
from workbench.precision.search.goal import Goal, Score
from workbench.precision.search.result import SearchResult, Trial, pareto_front
from workbench.precision.sensitivity.errors import ErrorSum, divergence
from workbench.precision.sensitivity.result import NodeError, Sensitivity

SQNR, DROP = Goal("sqnr_db", at_least=20), Goal("top1_drop", at_most=1, labels=np.zeros(2, np.int64))


# Goals


def test_a_bound_is_met_up_to_itself():
    assert [SQNR.holds(figure) for figure in (19.9, 20, 21, math.inf, math.nan)] == [False, True, True, True, False]
    assert [DROP.holds(figure) for figure in (1.1, 1, -3, math.nan)] == [False, True, True, False]
    assert Goal("sqnr_db", at_least=0).holds(0)
    assert not Goal("sqnr_db", at_least=0).holds(-1)
    assert (str(SQNR), str(DROP)) == ("sqnr_db >= 20", "top1_drop <= 1")
    with pytest.raises(PrecisionError, match="one bound"):
        Goal("sqnr_db", at_least=1, at_most=2)


def test_a_goal_of_the_task_has_the_name_of_its_function():
    def recall(outputs):
        return len(outputs)

    assert str(Goal(recall, at_least=0.5)) == "recall >= 0.5"
    assert Goal(SimpleNamespace(__call__=recall).__call__, at_least=1).name == "recall"


def test_of_two_evaluations_the_figure_counts_first_and_sqnr_where_they_tie():
    def order(goal, *scores):
        return sorted(range(len(scores)), key=lambda at: goal.merit(scores[at]), reverse=True)

    scores = [Score(10, 0, 1.0), Score(30, 0, 2.0), Score(20, 0, 1.0), Score(99, 0, math.nan)]
    assert order(SQNR, *scores) == [1, 2, 0, 3]
    assert order(DROP, *scores) == [2, 0, 1, 3]


# Errors


def test_the_error_of_outputs_is_that_of_the_worst():
    total = ErrorSum()
    assert math.isnan(total.sqnr_db)
    assert math.isnan(total.mean_kl)
    assert (total.differing, total.nonfinite) == (None, 0)
    reference = {"a": np.float32([[1, 2]]), "b": np.float32([[4, 4]]), "n": np.array([1, 2, 3, 4])}
    total.update(reference, {"a": np.float32([[1, 2.1]]), "b": np.float32([[4, 5]]), "n": np.array([1, 2, 3, 5])})
    assert total.sqnr_db == pytest.approx(10 * math.log10(32))
    assert total.differing is None
    assert total.rows == 2
    total.update(reference, {"a": np.float32([[math.nan, math.inf]])})
    assert (total.nonfinite, total.rows) == (2, 3)
    assert math.isnan(ErrorSum(diverging=False).mean_kl)


def test_of_whole_numbers_the_share_that_differs_is_that_of_the_worst_output():
    total = ErrorSum()
    total.update({"n": np.arange(4), "m": np.arange(2)}, {"n": np.array([0, 1, 2, 9]), "m": np.array([0, 9])})
    assert total.differing == 0.5
    total.update({"n": np.arange(4), "m": np.arange(2)}, {})
    assert total.differing == 0.25
    empty = ErrorSum()
    empty.update({"n": np.arange(0)}, {"n": np.arange(0)})
    assert empty.differing == 0


def test_rows_diverge_as_probabilities_or_logits_where_they_can():
    p, q = np.float32([[0.5, 0.5], [1.0, 0.0]]), np.float32([[0.25, 0.75], [1.0, 0.0]])
    kl, rows = divergence(p, q)
    assert (kl, rows) == (pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3)), 2)
    logits = np.float32([[3.0, 3.0]])
    assert divergence(logits, np.float32([[0.0, math.log(3)]]))[0] == pytest.approx(kl)
    assert divergence(np.float32([[2, 3], [math.nan, 1]]), np.float32([[2, 3], [1, 1]])) == (0.0, 1)
    for one in (np.array([[1, 2]]), np.float32(3.0), np.float32([[1.0]])):
        assert divergence(one, one) == (0.0, 0)
    assert divergence(p, p[:1]) == (0.0, 0)


def test_a_ranking_has_what_hurts_most_first_and_keeps_the_order_where_nothing_tells():
    errors = (
        NodeError("a", "Conv", 30.0, kl=0.5, task=0.75),
        NodeError("b", "Conv", 10.0, kl=0.25, task=0.5),
        NodeError("c", "Gemm", math.inf, kl=0.5, task=1.0),
        NodeError("d", "Gemm", math.nan, differing=0.25, kl=0.0, task=0.0),
    )
    made = Sensitivity(errors, "exact", 8, 1.5, 2.25)
    assert [error.noise for error in errors] == [pytest.approx(0.001), pytest.approx(0.1), 0.0, 0.25]
    assert [error.text for error in errors] == ["30.0 dB", "10.0 dB", "inf dB", "25.0% differ"]
    assert NodeError("e", "Conv", math.nan).noise == 0
    assert made.ranking() == ["d", "b", "a", "c"]
    assert made.ranking("kl") == ["a", "c", "b", "d"]
    assert made.ranking("task") == ["d", "b", "a", "c"]
    assert made.table()["node"].tolist() == ["d", "b", "a", "c"]
    assert made["c"].op_type == "Gemm"
    with pytest.raises(PrecisionError, match="was not measured"):
        made["z"]
    card = made._card()
    assert (card.headline, card.notes) == (
        "d hurts most: 25.0% differ when it alone is in INT8",
        ("exact, 8 samples, 1.5 forward passes a sample, 2.2 s",),
    )
    assert Sensitivity((), "quick", 0, 0.0, 0.0)._card().headline == "no node"


# A search


def trial(move, cost, figure, *, few=None, passed=True, samples=8, share=0.5):
    raced = None if few is None else Score(few, 0, few, 2)
    measured = raced if figure is None else Score(figure, math.nan, figure, samples)
    plan = SimpleNamespace(rules=("rule of " + move,))
    return Trial(move, plan, {}, frozenset("cab"), cost, share, measured, passed, raced=raced)


def test_the_front_has_what_nothing_beats_in_cost_without_being_worse():
    trials = [
        trial("a", 2.0, 30.0),
        trial("b", 1.0, 20.0),
        trial("c", 3.0, 30.0),
        trial("d", 2.0, 25.0),
        trial("e", 4.0, 31.0),
    ]
    assert [one.move for one in pareto_front(trials, SQNR.merit)] == ["b", "a", "e"]


def search(*trials, chosen, **more):
    costs = SimpleNamespace(measured=False, about=("of a GPU",))
    front = pareto_front(trials, SQNR.merit)
    return SearchResult(SQNR, chosen, front, trials, None, **{"costs": costs, "seconds": 2.0, **more})


def test_a_search_says_what_it_found_on_how_many_samples():
    first, chosen = trial("all", 1.0, 12.5), trial("some", 1.5, 21.0, share=None)
    lines = search(first, chosen, chosen=chosen, notes=("a note",)).text().splitlines()
    assert lines[0] == "goal sqnr_db >= 20: 21 dB (everything in INT8: 12.5 dB), with unknown of the MACs in INT8"
    assert lines[1] == "1.5 ms by the model of bytes and MACs; 2 evaluations in 2 s"
    assert lines[2:] == ["a note", "0. rule of some"]
    costs = SimpleNamespace(measured=True, about=("of a GPU",))
    lines = search(first, chosen, chosen=first, costs=costs, stopped=True).text().splitlines()
    assert lines[1].startswith("1 ms by measured latencies; ")
    assert lines[2] == "costs: of a GPU"
    assert lines[3] == "stopped after 2 evaluations: the best so far; in this session the same search goes on from here"
    failing = trial("none", 1.0, 10.0, passed=False)
    assert (
        "stopped after 1 evaluation: none of them reaches the goal yet"
        in search(failing, chosen=failing, stopped=True).text()
    )


def test_what_raced_on_few_samples_is_told_apart():
    first, other, chosen = (
        trial("all", 1.0, None, few=15.0),
        trial("b", 1.2, None, few=18.0),
        trial("c", 1.5, 21.0, few=22.0),
    )
    result = search(first, other, chosen, chosen=chosen)
    lines = result.text().splitlines()
    assert "(everything in INT8: 15 dB on 2 of 8 samples)" in lines[0]
    assert "; 3 evaluations on 2 samples, 1 on all, in 2 s" in lines[1]
    written = result.to_dict()
    assert (written["chosen"], written["front"]) == (2, [0, 1, 2])
    assert [one["samples"] for one in written["trials"]] == [2, 2, 8]
    assert written["trials"][0]["in_float"] == ["a", "b", "c"]
    assert written["rules"] == ["rule of c"]
    table = result.table()
    assert (table["chosen"].tolist(), table["in float"].tolist()) == ([False, False, True], [3, 3, 3])
    infinite = trial("same", 1.0, math.inf)
    assert search(infinite, chosen=infinite).to_dict()["trials"][0]["figure"] is None


# A search that measures


def candidate(name, kind="int8", plan="plan", **more):
    fields = {"trial": None, "move": f"move of {name}", "expected": None, "ways": {}} | more
    return SimpleNamespace(name=name, kind=kind, plan=plan and SimpleNamespace(rules=(plan,)), **fields)


def point(name, ratio, figure=30.0, **more):
    fields = {key: more.pop(key) for key in ("kind", "plan", "expected") if key in more}
    status = "failed" if ratio is None else "measured"
    return Point(candidate(name, **fields), status, **{"ratio": ratio, "error": 0.01, "figure": figure, **more})


FLOATING = point("fp16", 1.0, math.inf, kind="floating")


def found(*points, chosen=None, goal=SQNR, **more):
    pays = Pays(verdict="pays", ratio=0.5, error=0.01, against="fp16")
    return MeasuredResult(goal, (FLOATING, *points), chosen or points[0], "it is fastest", pays, seconds=3.0, **more)


def test_the_front_of_engines_goes_from_fast_to_accurate():
    points = [
        point("a", 0.5, 20.0),
        point("b", 0.5, 25.0),
        point("c", 0.7, 24.0),
        point("d", 0.8, 28.0),
        point("e", None, 90.0),
        point("f", 0.1, None),
        point("g", 0.9, math.nan),
    ]
    assert [one.name for one in found(*points).front] == ["b", "d", "fp16"]
    assert [one.name for one in found(*points, goal=DROP).front] == ["a"]
    assert found(*points).floating is FLOATING


@pytest.mark.parametrize(
    ("ratio", "plan", "right"),
    [(0.5, "a", True), (0.9, "same", True), (0.528, "a", True), (0.53, "a", False), (None, "a", None)],
)
def test_what_was_expected_is_right_within_two_errors(ratio, plan, right):
    same = SimpleNamespace(rules=())
    chosen = point("chosen", 0.5)
    expected = point("expected", ratio, plan="another")
    if plan == "same":
        chosen.candidate.plan = expected.candidate.plan = same
    assert found(chosen, expected, predicted="expected").predicted_right is right
    assert found(chosen, expected, predicted="nobody").predicted_right is None
    assert found(chosen, expected).predicted_right is None


def test_a_measured_search_lists_the_fastest_first_and_what_failed_last():
    slow = point("slow", 1.25, 10.0, passed=False, latency_ms=2.5, expected=1.5)
    broken = point("broken", None, reason="no memory")
    fast = point("fast", 0.5, latency_ms=1.0, plan="the rule")
    more = {"resumed": 2, "figure_on_engine": 29.5, "costs": ("a cost",), "notes": ("a note",), "trials": (1, 2)}
    result = found(slow, broken, fast, chosen=fast, **more)
    lines = result.text().splitlines()
    assert lines[0] == "fast: it is fastest"
    assert [line.split("  ")[0] for line in lines[1:6]] == ["engine", "* fast", "fp16", "slow", "broken"]
    assert lines[1].split("  ")[1].startswith("of the time of fp16")
    assert "0.500 ± 0.010" in lines[2]
    assert "10 (misses the goal)" in lines[4]
    assert "1.500" in lines[4]
    assert lines[5].endswith("no memory")
    assert lines[6:] == [
        str(result.pays),
        "sqnr_db of the engine itself: 29.5 dB",
        "a cost",
        "a note",
        "4 builds and 2 evaluations in 3 s, 2 of them from the journal",
        "0. the rule",
    ]
    assert found(fast).text().splitlines()[-2].endswith("2 builds and 0 evaluations in 3 s")
    written = result.to_dict()
    assert (written["chosen"], written["front"], written["evaluations"]) == ("fast", ["fast", "fp16"], 2)
    assert (written["points"][0]["figure"], written["points"][1]["figure"]) == (None, 10.0)
    assert result.table()["chosen"].tolist() == [False, False, False, True]
    assert (point("p", 0.5, math.inf).plain_figure, point("p", 0.5, 2.0).plain_figure) == (None, 2.0)


def timing(*medians):
    conditions = {"backend": "tensorrt", "version": "10", "device": "H200", "placement_medians_ms": list(medians)}
    return Timing.of(np.array(medians), span_s=1.0, warm_up_runs=1, conditions=conditions)


def measured(*medians, error=None):
    return SimpleNamespace(timing=timing(*medians) if medians else None, error=error)


class Runner:
    """Stands for who builds and times."""

    best = None
    stopped = False
    builds_left = 5

    def __init__(self):
        self.tasks, self.done = [], {}

    def limit_s(self):
        return 7.0

    def run(self, tasks):
        self.tasks += tasks
        return self.done


@pytest.fixture
def ledger():
    made = Ledger(Runner(), SimpleNamespace(content=lambda _: None), MeasureOptions("tensorrt", loadings=8))
    engine = Engine("tensorrt", b"", {})
    for name, kind in (("fp16", "floating"), ("a", "int8"), ("b", "int8")):
        made.points[name] = Point(candidate(name, kind), "built", engine=engine)
    return made


def test_engines_are_compared_with_floating_point_of_the_same_turn(ledger):
    base = "fp16"
    assert ledger.floating == base
    turn = {base: measured(2.0, 2.0), "a": measured(1.09, 1.11), "b": measured(error="it died")}
    ledger._runner.done = {"comparison of 3": SimpleNamespace(measured=turn)}
    ledger.compare([base, "a", "b"])
    (task,) = ledger._runner.tasks
    assert (task.name, task.loadings, sorted(task.beside)) == ("comparison of 3", 8, sorted([base, "a", "b"]))
    a, b = ledger.points["a"], ledger.points["b"]
    assert (a.status, a.ratio, a.latency_ms, a.compared) == ("measured", pytest.approx(0.55), pytest.approx(1.1), True)
    assert (b.status, b.reason, b.ratio) == ("failed", "it died", None)
    assert ledger.points[base].ratio == 1.0
    assert [one.name for one in ledger.eligible()] == [base, "a"]
    assert ledger.best().name == "a"
    assert ledger.pays(ledger.points["a"]).verdict == "pays"
    assert ledger.pays(ledger.points[base]).ratio == pytest.approx(0.55)  # the fastest of the others
    assert ledger.of(base).verdict == "not measured"
    assert ledger.of("b").ratio is None
    assert ledger.as_fast(ledger.points["a"], ledger.points["a"])
    assert not ledger.as_fast(ledger.points[base], ledger.points["a"])
    assert ledger.as_fast(ledger.points["a"], ledger.points[base])
    assert not ledger.as_fast(ledger.points["b"], ledger.points["a"])
    ledger._runner.done = {}
    ledger.compare(["a"])
    assert ledger.points["a"] is a


def test_what_came_of_a_build_is_noted(ledger):
    scored = SimpleNamespace(measured=Score(25.0, 0, 25.0), passed=False)
    ledger._note(candidate("late", trial=scored), None)
    late = ledger.points["late"]
    assert (late.status, late.reason, late.figure, late.passed) == ("skipped", "there was no time left", 25.0, False)
    ledger._runner.stopped = True
    ledger._note(candidate("later"), None)
    assert ledger.points["later"].reason == "it was stopped before"
    ledger._note(
        candidate("plain"), SimpleNamespace(status="failed", reason="no", engine=None, build_s=3.0, measured={})
    )
    plain = ledger.points["plain"]
    assert (plain.status, plain.reason, plain.figure, plain.passed, plain.build_s) == ("failed", "no", None, True, 3.0)
    alone = SimpleNamespace(status="built", reason=None, engine=None, build_s=1.0, measured={"alone": measured(3.0)})
    ledger._note(candidate("alone"), alone)
    assert (ledger.points["alone"].ratio, ledger.points["alone"].compared) == (1.0, False)


def test_what_limits_an_engine_is_said_where_the_gpu_is_known():
    report = SimpleNamespace(layers=())
    assert what_limits("e", report, "abacus", 2.0, None) == ()
    assert what_limits("e", report, "abacus", 2.0, 1.5) == (
        "as a CUDA graph e takes 1.5000 ms, 25% less, for launching its kernels",
    )
    (said,) = what_limits("e", report, "NVIDIA L4", 2.0, None)
    assert said.startswith("memory and arithmetic of its 0 layers need 0.0000 ms on L4 (roofline), 0% of that")
