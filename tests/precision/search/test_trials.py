"""Which plans a search evaluates, in which order, and what it makes of them: the evaluation is stood in for."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace

import pytest

from tests.kit.networks import network
from workbench.errors import PrecisionError
from workbench.precision.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.search import strategy
from workbench.precision.search import trials as module
from workbench.precision.search.cost import NodeCosts
from workbench.precision.search.goal import Goal, Score
from workbench.precision.search.ranges import CALIBRATED, MIXED
from workbench.precision.search.strategy import _best, _correct, _restore, _shortest, _Walk, _worth_in_float
from workbench.precision.search.trials import Trials
from workbench.precision.sensitivity.result import NodeError, Sensitivity
from workbench.progress import Stopped, watched

CONVS = [f"Conv_{at}" for at in range(4)]
GOAL = Goal("sqnr_db", at_least=20.0)


@pytest.fixture(scope="module")
def model():
    return network(*["conv"] * 4)


@pytest.fixture(autouse=True)
def _lowered(monkeypatch):
    """Of a lowered model the evaluation here asks only which nodes are in INT8."""
    monkeypatch.setattr(module, "lower", lambda _, resolution, __: SimpleNamespace(model=resolution.nodes("int8")))


class Evaluate:
    """Stands for running models: nodes in INT8 add their noise, and few samples look better than all."""

    count = 12

    def __init__(self, noise=0.001, *, races=False, optimism=0.0):
        self.noise = noise if isinstance(noise, dict) else dict.fromkeys(CONVS, noise)
        self.races, self.optimism, self.ran, self.raced = races, optimism, [], []

    def _figure(self, int8):
        total = sum(self.noise[name] for name in int8)
        return (-10 * math.log10(total) if total else math.inf), "".join(name[-1] for name in int8)

    def __call__(self, lowered):
        figure, int8 = self._figure(lowered)
        self.ran.append(int8)
        return Score(figure, 0.0, figure, 12)

    def race(self, lowered):
        figure, int8 = self._figure(lowered)
        self.raced.append(int8)
        return Score(figure + self.optimism, 0.0, figure + self.optimism, 4)


def costs(saving=(1.0, 2.0, 3.0, 4.0)):
    """What each convolution saves in INT8, in milliseconds; FP32 takes ten."""
    times = {node: {"fp32": 10.0, "int8": 10.0 - each} for node, each in zip(CONVS, saving, strict=True)}
    return NodeCosts(times, dict(zip(CONVS, (1, 2, 3, 4), strict=True)))


def trying(model, evaluate=None, *, most=20, saving=(1.0, 2.0, 3.0, 4.0), goal=GOAL, race=False, earlier=()):
    ranges = {"x": 3.0, **{f"t{at}": 3.0 for at in range(3)}}
    made = evaluate or Evaluate()
    return Trials(model, goal, made, costs(saving), BEST_PRACTICE, "fp32", ranges, most, earlier=earlier, race=race)


def test_a_plan_that_makes_nothing_int8_is_none_to_search_from(model):
    with pytest.raises(PrecisionError, match=r"^g: the plan makes no node INT8\. Add a rule that does\."):
        Trials(model, GOAL, Evaluate(), costs(), PrecisionPlan(), "fp32", {}, 5)


def test_what_was_evaluated_is_known_with_its_rules_its_cost_and_its_share(model):
    trials = trying(model)
    everything = trials.everything("all")
    assert (everything.move, everything.plan, everything.demoted) == ("all", BEST_PRACTICE, frozenset())
    assert (everything.cost_ms, everything.share, everything.passed) == (30.0, 1.0, True)
    assert everything.measured.figure == pytest.approx(-10 * math.log10(0.004))
    some = trials.without(["Conv_1", "Conv_3"], "some")
    assert [str(rule) for rule in some.plan.rules[len(BEST_PRACTICE.rules) :]] == ["name:Conv_1|Conv_3 -> fp32"]
    assert (some.cost_ms, some.share, some.demoted) == (36.0, 0.4, {"Conv_1", "Conv_3"})
    assert trials.all == [everything, some]
    assert trials.saving("Conv_2") == 3.0


def test_nothing_is_evaluated_twice_unless_its_ranges_are_others(model):
    made = Evaluate()
    trials = trying(model, made)
    first = trials.without(["Conv_0"], "once")
    assert trials.without(("Conv_0",), "again") is first
    trials.ranges = {**trials.ranges, "x": 4.0}
    other = trials.without(["Conv_0"], "again")
    assert (other is first, other.move, len(trials.all), made.ran) == (False, "again", 2, ["123", "123"])
    assert (first.ranges["x"], other.ranges["x"]) == (3.0, 4.0)
    later = trying(model, made, earlier=(first, other))
    assert later.without(["Conv_0"], "a third time") is first
    assert (later.all, len(made.ran)) == ([first], 2)
    later.everything("new")
    assert (len(later.all), made.ran[2:]) == (2, ["0123"])


@pytest.mark.parametrize(("most", "exhausted"), [(3, False), (2, True), (1, True), (None, False)])
def test_so_many_plans_are_tried(model, most, exhausted):
    trials = trying(model, most=most)
    trials.everything("all")
    trials.without(["Conv_0"], "one")
    assert trials.exhausted == exhausted


def test_few_samples_say_where_a_plan_stands_until_all_are_asked(model):
    made = Evaluate(races=True, optimism=2.0)
    trials = trying(model, made, race=True)
    everything, one = trials.everything("all"), trials.without(["Conv_0"], "one")
    assert (made.raced, made.ran) == (["0123", "123"], [])
    assert [trial.move for trial in trials.all] == ["all (on 4 of 12 samples)", "one (on 4 of 12 samples)"]
    assert (everything.passed, everything.on_all, everything.raced) == (False, False, everything.measured)
    assert trials.reaches(everything)  # 25.98 dB on few
    whole = trials.verify(everything)
    assert (whole.move, whole.passed, whole.on_all, whole.raced) == ("all", True, True, everything.measured)
    assert whole.measured.figure == pytest.approx(-10 * math.log10(0.004))
    assert (trials.all, made.ran) == ([whole, one], ["0123"])
    assert trials.verify(whole) is whole
    assert trials.merit(whole) == (everything.measured.figure,) * 2  # compared on the same samples
    assert trials.merit(one) == (one.measured.figure,) * 2


def test_by_how_much_few_samples_looked_better_is_asked_for_more_of_others(model):
    made = Evaluate(dict(zip(CONVS, (0.02, 0.008, 0.0005, 0.0005), strict=True)), races=True, optimism=5.0)
    trials = trying(model, made, race=True)
    everything = trials.everything("all")  # 15.4 dB, 20.4 on few
    half = trials.without(["Conv_0"], "half")  # 20.46 dB, 25.46 on few
    most = trials.without(["Conv_0", "Conv_1"], "most")  # 30 dB
    assert [trials.reaches(one) for one in (everything, half, most)] == [True, True, True]
    assert trials.best() is everything
    assert not trials.verify(everything).passed
    assert [trials.reaches(one) for one in trials.all] == [False, True, True]
    assert trials.best() is half
    made.optimism = 25.0
    better = trials.without(["Conv_1"], "better")  # 16.8 dB, 41.8 on few
    assert trials.reaches(better)
    trials.verify(better)
    assert [trials.reaches(one) for one in (half, most)] == [False, False]


def test_a_difference_that_is_no_number_teaches_nothing(model):
    made = Evaluate(0.0, races=True)
    trials = trying(model, made, race=True)
    nothing = trials.everything("all")
    assert math.isinf(nothing.measured.figure)
    trials.verify(nothing)
    assert trials._optimism == 0.0


def test_only_where_few_samples_tell_something_plans_race(model):
    for races, race in ((False, True), (True, False)):
        trials = trying(model, Evaluate(races=races), race=race)
        assert (trials.races, trials.everything("all").on_all) == (False, True)


def test_of_plans_that_reach_the_goal_the_cheapest_is_best_and_of_equals_the_most_accurate(model):
    noise = dict(zip(CONVS, (0.002, 0.001, 0.0005, 0.02), strict=True))
    trials = trying(model, Evaluate(noise), saving=(2.0, 2.0, 1.0, 8.0))
    for out in ([3], [3, 0], [3, 1], [3, 2]):
        trials.without([CONVS[at] for at in out], f"without {out}")
    trials.everything("all")
    assert trials.best().move == "without [3]"
    del trials.all[0]
    assert trials.best().move == "without [3, 2]"
    del trials.all[2]
    assert trials.best().move == "without [3, 0]"
    assert _best(trials).move == "without [3, 0]"
    del trials.all[:2]
    assert _best(trials).move == "all"


def test_what_int8_makes_slower_is_never_in_int8_after_the_first_trial(model):
    trials = trying(model, saving=(1.0, -2.0, 0.0, -1.0))
    assert trials.slower == {"Conv_1", "Conv_3"}
    assert trials.everything("all").demoted == frozenset()
    assert trials.without(["Conv_0"], "one").demoted == {"Conv_0", "Conv_1", "Conv_3"}
    assert trying(model, saving=(1.0, 0.0, 2.0, 3.0)).slower == frozenset()


def test_a_node_that_takes_others_out_with_it_stays_where_they_lose_more():
    """A residual Add is INT8 only with its convolution."""
    model = network("residual")
    nodes = ["Conv_0", "Conv_2", "Add_4"]

    def slower(**saving):
        times = {node: {"fp32": 10.0, "int8": 10.0 - saving.get(node, 1.0)} for node in nodes}
        ranges = {"x": 3.0, "t1": 3.0}
        return Trials(model, GOAL, None, NodeCosts(times, {}), BEST_PRACTICE, "fp32", ranges, None).slower

    assert slower(Conv_2=-0.5) == frozenset()
    assert slower(Conv_2=-1.5) == {"Conv_2"}
    assert slower(Conv_2=-1.0) == frozenset()  # as fast


def test_a_plan_is_tried_again_with_the_mean_error_taken_out_of_its_biases(model, monkeypatch):
    asked = []

    class Edit:
        def __init__(self, changed):
            self.changed = changed

        def __call__(self, before):
            return SimpleNamespace(model=before, changed=self.changed)

    def shifts(source, nodes, ranges, samples, *, batch, resolution):
        asked.append((source is model, nodes, ranges["x"], samples, batch))
        assert resolution.nodes("int8") == nodes
        return Edit(len(asked) == 1)

    monkeypatch.setattr(module, "bias_shifts", shifts)
    trials = trying(model)
    some = trials.without(["Conv_1"], "some")
    corrected = trials.corrected(some, "samples", 3)
    assert asked == [(True, ["Conv_0", "Conv_2", "Conv_3"], 3.0, "samples", 3)]
    assert (corrected.move, corrected.passed, len(corrected.edits)) == ("some; biases corrected", True, 1)
    assert (corrected.cost_ms, corrected.share, corrected.demoted) == (some.cost_ms, some.share, some.demoted)
    assert trials.all == [some, corrected]
    assert trials.corrected(some, "samples", 3).edits == ()  # nothing was to correct
    assert trials.without(["Conv_1"], "some") is some


def test_who_watches_hears_of_the_best_so_far(model):
    heard = []
    watcher = SimpleNamespace(step=lambda *what: heard.append(what), best=heard.append, stopping=lambda: False)
    trials = trying(model, Evaluate(0.004))
    with watched(watcher):
        trials.everything("all")
        trials.without(["Conv_0", "Conv_1"], "half")
        trials.without(["Conv_0", "Conv_1", "Conv_2"], "one left")
    assert heard == [
        *(("searching", 1, 20), "sqnr_db 17.96, 100.0% of the MACs in INT8, not there yet"),
        *(("searching", 2, 20), "sqnr_db 20.97, 70.0% of the MACs in INT8"),
        *(("searching", 3, 20), "sqnr_db 20.97, 70.0% of the MACs in INT8"),
    ]


# The way from plan to plan


class Holding:
    """Stands for trials: a plan reaches the goal where it leaves certain nodes floating; every try is kept."""

    def __init__(self, holds, most=99):
        self.holds, self.most, self.tried, self.moves = holds, most, [], []

    @property
    def exhausted(self):
        return len(self.tried) >= self.most

    def without(self, nodes, move):
        self.tried.append(len(nodes) if isinstance(nodes, list) else "".join(sorted(nodes)))
        self.moves.append(move)
        return nodes

    def reaches(self, nodes):
        return self.holds(nodes)


@pytest.mark.parametrize(
    ("count", "needed", "tried", "found"),
    [
        (8, 1, [1], 1),
        (8, 2, [1, 2], 2),
        (8, 3, [1, 2, 4, 3], 3),
        (8, 5, [1, 2, 4, 6, 5], 5),
        (8, 7, [1, 2, 4, 6, 7], 7),
        (8, 8, [1, 2, 4, 6, 7], 8),
        (5, 5, [1, 2, 4], 5),
        (3, 2, [1, 2], 2),
        (1, 1, [], 1),
    ],
)
def test_the_fewest_nodes_are_found_by_doubling_then_halving(count, needed, tried, found):
    order = [f"n{at}" for at in range(count)]
    trials = Holding(lambda nodes: len(nodes) >= needed)
    assert _shortest(trials, order, "by name") == order[:found]
    assert trials.tried == tried
    assert trials.moves == [f"the first {each} in floating point, by name" for each in tried]


@pytest.mark.parametrize(("most", "found"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 6)])
def test_where_no_more_trials_may_be_made_what_is_known_to_hold_is_taken(most, found):
    order = [f"n{at}" for at in range(8)]
    assert len(_shortest(Holding(lambda nodes: len(nodes) >= 5, most), order, "by name")) == found


@pytest.mark.parametrize(
    ("demoted", "most", "tried", "moved"),
    [
        ("abcde", 99, ["abc", "", "ab", "c", "ac", "bc"], [2, 3, 1, 2, 1, 1]),
        ("abcde", 2, ["abc", ""], [2, 3]),
        ("bc", 99, ["b", "c"], [1, 1]),
        ("b", 99, [], []),
    ],
)
def test_what_can_go_back_to_int8_goes_there_in_groups_that_are_halved(demoted, most, tried, moved):
    """The last that was taken out is the first to go back; what is floating is named."""
    trials = Holding(lambda nodes: {"b", "c"} <= nodes, most)
    _restore(trials, list(demoted))
    assert trials.tried == tried
    assert trials.moves == [f"{count} of them back in INT8" for count in moved]


def test_what_saves_no_time_in_int8_is_worth_most_in_floating_point():
    assert [_worth_in_float(6.0, saving) for saving in (2.0, 0.0, -1.0)] == [3.0, math.inf, math.inf]


def test_corrected_biases_are_tried_on_the_cheapest_of_the_three_that_failed_by_least_and_else_on_the_best():
    def trial(name, cost, figure):
        return SimpleNamespace(
            move=name, cost_ms=cost, passed=figure >= 20, measured=Score(figure, 0.0, figure), raced=None
        )

    def corrected(passing):
        every = [
            *(trial("best", 5.0, 21.0), trial("far", 1.0, 1.0), trial("near", 4.0, 19.0), trial("nearer", 3.0, 19.5)),
            *(trial("third", 2.0, 18.0), trial("dearer", 6.0, 19.9), trial("as dear", 5.0, 19.9)),
        ]
        tried = []
        trials = SimpleNamespace(all=every, goal=GOAL, reaches=lambda one: one.passed)
        trials.merit = lambda one: GOAL.merit(one.measured)

        def correct(one, samples, batch):
            tried.append((one.move, samples, batch))
            return SimpleNamespace(passed=one.move == passing)

        trials.corrected = correct
        _correct(trials, "samples", 3)
        return tried

    assert corrected("nearer") == [("third", "samples", 3), ("nearer", "samples", 3)]
    assert [move for move, *_ in corrected(None)] == ["third", "nearer", "near", "best"]


def walking(trials, monkeypatch, noise, *, statistics=None):
    walk = _Walk(trials, "samples", statistics, "quick", 1, 0)
    errors = tuple(NodeError(node, "Conv", -10 * math.log10(each)) for node, each in noise.items())
    monkeypatch.setattr(strategy, "quick", lambda *_, **__: Sensitivity(errors, "quick", 1, 1.0, 0.0))
    return walk


def test_a_search_takes_the_worst_back_until_it_holds_and_then_tries_what_can_return(model, monkeypatch):
    noise = dict(zip(CONVS, (0.02, 0.001, 0.03, 0.002), strict=True))
    made = Evaluate(noise)
    trials = trying(model, made)
    walk = walking(trials, monkeypatch, noise)
    walk.settle()
    assert [(trial.move, trial.passed) for trial in trials.all] == [
        ("everything in INT8, ranges as calibrated", False),
        ("nothing in INT8", True),
        ("the first 1 in floating point, by the error they make", False),
        ("the first 2 in floating point, by the error they make", True),
        ("the first 1 in floating point, by error a millisecond saved", False),
    ]
    assert made.ran == ["0123", "", "013", "13", "123"]
    assert walk.measured.kind == "quick"
    assert trials.best().demoted == {"Conv_0", "Conv_2"}


def test_where_everything_reaches_the_goal_nothing_else_is_tried(model, monkeypatch):
    made = Evaluate()
    trials = trying(model, made)
    walk = walking(trials, monkeypatch, made.noise, statistics="seen")
    walk.settle()
    assert (made.ran, walk.measured) == (["0123"], None)


def test_what_int8_makes_slower_is_left_out_first(model, monkeypatch):
    made = Evaluate()
    trials = trying(model, made, saving=(1.0, -1.0, 1.0, 1.0))
    walking(trials, monkeypatch, made.noise).settle()
    assert [trial.move for trial in trials.all] == [
        "everything in INT8, ranges as calibrated",
        "1 that INT8 makes slower in floating point",
    ]


def test_other_ways_to_choose_ranges_are_tried_and_compared_again_without_the_worst(model, monkeypatch):
    noise = dict(zip(CONVS, (0.02, 0.001, 0.03, 0.002), strict=True))
    trials = trying(model, Evaluate(noise))
    asked = []
    ways = {CALIBRATED: trials.ranges, MIXED: {**trials.ranges, "x": 5.0}}
    monkeypatch.setattr(strategy, "ways_to_choose", lambda *about: asked.append(about[1:]) or ways)

    def tried(trials, these, demoted):
        asked.append((these is ways, list(demoted)))
        return trials.without(demoted, "a way")

    monkeypatch.setattr(strategy, "try_ways", tried)
    walking(trials, monkeypatch, noise, statistics="seen").settle()
    assert asked == [("seen", "samples", 1), (True, []), (True, ["Conv_2"])]
    assert trials.ranges["x"] == 5.0


@pytest.mark.parametrize(
    ("sqnr", "message"), [(12.0, "not even floating point reaches task >= 1"), (math.nan, "not even")]
)
def test_a_goal_that_floating_point_misses_is_refused(model, monkeypatch, sqnr, message):
    def task(_):
        return 0.0

    made = Evaluate()
    made.__class__ = type("Never", (Evaluate,), {"__call__": lambda *_: Score(sqnr, 0.0, 0.0, 12)})
    trials = trying(model, made, goal=Goal(task, at_least=1))
    with pytest.raises(PrecisionError, match=message):
        walking(trials, monkeypatch, made.noise).settle()


def test_where_outputs_hold_nothing_floating_labels_are_asked_for(model, monkeypatch):
    made = Evaluate()
    made.__class__ = type("Whole", (Evaluate,), {"__call__": lambda *_: Score(math.nan, 0.0, math.nan, 12)})
    trials = trying(model, made)
    with pytest.raises(PrecisionError, match=r"nothing floating-point in the outputs to measure sqnr_db >= 20 of"):
        walking(trials, monkeypatch, made.noise).settle()


def test_a_search_that_raced_ends_with_a_plan_that_is_known_on_all_samples(model, monkeypatch):
    noise = dict(zip(CONVS, (0.012, 0.001, 0.03, 0.002), strict=True))
    made = Evaluate(noise, races=True, optimism=2.0)
    trials = trying(model, made, race=True)
    walking(trials, monkeypatch, noise).settle()
    best = trials.best()
    assert (best.on_all, best.passed, best.demoted) == (True, True, {"Conv_0", "Conv_2"})
    assert made.ran == ["013", "13"]  # 18.2 dB looks like 20.2 on few samples


@pytest.fixture
def found(model, monkeypatch):
    """Searches with an evaluation that is stood in for."""

    def search_with(made, noise, **options):
        monkeypatch.setattr(strategy, "Evaluator", lambda *_, **__: contextlib.nullcontext(made))
        errors = tuple(NodeError(node, "Conv", -10 * math.log10(each)) for node, each in noise.items())
        monkeypatch.setattr(strategy, "quick", lambda *_, **__: Sensitivity(errors, "quick", 1, 1.0, 0.0))
        ranges = {"x": 3.0, **{f"t{at}": 3.0 for at in range(3)}}
        return strategy.search(model, "samples", GOAL, ranges=ranges, costs=costs(), **options)

    return search_with


NOISE = dict(zip(CONVS, (0.02, 0.001, 0.03, 0.002), strict=True))


class Stopping(Evaluate):
    """Asks for an end instead of so manieth an evaluation."""

    def __init__(self, noise, count, error):
        super().__init__(noise)
        self.left, self.error = count, error

    def __call__(self, lowered):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().__call__(lowered)


def test_a_search_gives_the_cheapest_plan_that_holds_and_the_front_of_all(found):
    result = found(Evaluate(NOISE), NOISE)
    assert (result.chosen.demoted, result.chosen.passed, result.stopped) == ({"Conv_0", "Conv_2"}, True, False)
    assert len(result.trials) == 5
    assert [trial.cost_ms for trial in result.front] == [30.0, 31.0, 33.0, 34.0, 40.0]
    assert (result.sensitivity.kind, result.costs) == ("quick", costs())
    limited = found(Evaluate(NOISE), NOISE, most_trials=3)
    assert (len(limited.trials), limited.chosen.demoted) == (3, frozenset(CONVS))


@pytest.mark.parametrize("error", [Stopped(), KeyboardInterrupt()])
def test_a_search_that_is_stopped_gives_the_best_so_far(found, error):
    early = found(Stopping(NOISE, 1, error), NOISE)
    assert (early.stopped, early.chosen.passed, early.chosen.demoted) == (True, False, frozenset())
    late = found(Stopping(NOISE, 3, error), NOISE)
    assert (late.stopped, late.chosen.passed, len(late.trials)) == (True, True, 3)
    with pytest.raises(type(error)):
        found(Stopping(NOISE, 0, error), NOISE)


def test_what_was_tried_before_is_not_evaluated_again(found):
    whole = found(Evaluate(NOISE), NOISE)
    again = Evaluate(NOISE)
    assert found(again, NOISE, earlier=whole.trials).trials == whole.trials
    assert again.ran == []


def test_biases_are_corrected_where_that_is_asked_for(found, monkeypatch):
    asked = []
    monkeypatch.setattr(strategy, "_correct", lambda trials, *about: asked.append((len(trials.all), *about)))
    found(Evaluate(NOISE), NOISE, correct_bias="calibration", batch=3)
    found(Evaluate(NOISE), NOISE)
    assert asked == [(5, "calibration", 3)]
