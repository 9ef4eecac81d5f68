"""What verbs of a session do that takes a model, samples or an engine: once each, on a small network."""

from __future__ import annotations

import re
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import workbench
from tests.kit.networks import network
from tests.kit.searching import calibrated, small
from workbench.backends import BuildOptions, Engine, TimingOptions, read_engine
from workbench.errors import EditError, OutputError, PrecisionError, RecipeError, SamplesError
from workbench.precision.measuring import MeasureOptions
from workbench.precision.placement import Pays
from workbench.precision.plan import Rule
from workbench.recipe import FileReference, SamplesReference, ranges_hash
from workbench.recipe.steps import CacheStep, CalibrateStep, ChooseStep, PlanStep, RangeStep
from workbench.session import Workbench, editing, history_of, measuring
from workbench.session.again import Again, samples_of
from workbench.session.history import History
from workbench.session.thresholds import NoRangeError

DATA = {"x": np.random.default_rng(3).normal(size=(5, 3, 12, 12)).astype(np.float32)}


@pytest.fixture
def wb(tmp_path):
    """Eight samples, four a run."""
    return calibrated(small(), tmp_path, 8, batch=4)


def steps(session):
    return [step.do for step in session.recipe.steps]


# A search


def test_a_search_starts_from_the_rules_and_takes_their_floating_type(wb):
    wb.plan.set("*", "fp16")
    wb.plan.set("op:Conv", "int8")
    result = wb.plan.search("sqnr_db", at_least=5.0)
    assert steps(wb)[-1] == "set_plan"
    assert wb.plan.is_taken(result.chosen)
    assert wb.plan.resolve().nodes("int8") == ["stem/conv", "block/conv1", "block/conv2"]
    assert "head/fc" in wb.plan.resolve().nodes("fp16")
    assert [str(gate) for gate in wb.recipe.gates] == ["sqnr_db >= 5"]
    assert result.chosen.measured.samples == 8
    figures = history_of(wb).figures
    assert (figures.search, figures.sensitivity) == (result, result.sensitivity)
    before = wb.recipe
    wb.plan.take(result.chosen)  # again
    assert wb.recipe is before
    wb.undo()
    assert not wb.plan.is_taken(result.chosen)


def test_a_search_runs_other_samples_of_another_batch_and_labels(wb):
    labels = np.zeros(5, np.int64)
    result = wb.plan.search("top1_drop", at_most=100.0, samples=DATA, labels=labels, batch=5, most_trials=1)
    assert result.chosen.measured.samples == 5
    assert [str(gate) for gate in wb.recipe.gates] == ["top1_drop <= 100"]
    own = wb.plan.search(lambda outputs: float(len(outputs)), at_least=2.0)
    assert own.chosen.passed
    assert len(wb.recipe.gates) == 1  # a function is no gate


def test_a_search_without_ranges_says_what_to_do():
    with pytest.raises(RecipeError, match=r"wb.plan.search on small: a search needs ranges.*Calibrate first"):
        Workbench(small()).plan.search("sqnr_db", at_least=20)


@pytest.mark.parametrize(("seed", "kept"), [(1, False), (0, None)])
def test_equalized_channels_are_kept_where_they_help(tmp_path, seed, kept):
    session = calibrated(small(seed=seed), tmp_path, 8, batch=4)
    before = steps(session)
    (note,) = session.plan.search("sqnr_db", at_least=28, equalize=True).notes
    assert steps(session) == [*before, "set_plan"]
    if kept is None:
        assert note == "equalization: no channels can be equalized here"
    else:
        figures = r"equalization: [\d.e-]+ -> [\d.e-]+ ms, sqnr_db [\d.]+ -> [\d.]+, MACs in INT8 [\d.]+% -> [\d.]+%"
        assert re.fullmatch(f"{figures}; not kept", note)


def test_equalized_channels_of_a_broken_network_help(tmp_path):
    session = calibrated(small(broken=True), tmp_path, 8, batch=4)
    (note,) = session.plan.search("sqnr_db", at_least=28, equalize=True).notes
    assert note.endswith("; kept")
    assert steps(session)[-3:] == ["equalize_channels", "calibrate", "set_plan"]
    (again,) = session.recipe.of_kind(CalibrateStep)[1:]
    assert (again.method, again.batch, again.percentile) == ("minmax", 4, None)


# Engines in a search


def step_of(session, monkeypatch, pays, floating="fp16"):
    asked = []

    def measured(model, rules, ranges, options, **more):
        asked.append((model, rules, ranges, options, more))
        return pays

    monkeypatch.setattr(measuring, "measure_tuned", measured)
    options = MeasureOptions("onnxruntime", build=BuildOptions(optimization_level=2))
    monkeypatch.setattr(MeasureOptions, "floating", floating)
    returned = session.plan.keep_what_pays(options)
    return returned, session.recipe.steps[-1], asked[0]


def test_a_plan_that_pays_stays_and_one_that_does_not_gives_way_to_floating_point(wb, monkeypatch):
    wb.plan.set("op:Conv", "int8")
    wb.engines.set(refit=True)
    good = Pays(verdict="pays", ratio=0.5, error=0.01, against="fp16", where="here")
    returned, step, (_, rules, ranges, options, _) = step_of(wb, monkeypatch, good)
    assert (returned, step.pays, step.move) == (good, good, "measured: the plan pays")
    assert step.rules == rules.rules == (Rule(select="op:Conv", precision="int8"),)
    assert ranges == dict(wb.ranges)
    assert options.build == BuildOptions(optimization_level=2, refit=True)
    assert step.ranges == {}
    assert step.sha256 == ranges_hash({})
    assert wb.recipe.target == "onnxruntime"


@pytest.mark.parametrize("answer", ["does not pay", "within the error"])
def test_floating_point_is_said_with_how_long_the_plan_took(wb, monkeypatch, answer):
    bad = Pays(verdict=answer, ratio=1.25, error=0.01, against="fp16", where="here")
    wb.plan.set_target("rtx@sm89")
    returned, step, (_, rules, _, _, more) = step_of(wb, monkeypatch, bad)
    assert step.move == "measured: stay in FP16"
    assert step.rules == (Rule(select="*", precision="fp16"),)
    assert returned.reason == "stay in FP16: the plan takes 1.250 ± 0.010 of its time"
    assert any(rule.precision == "int8" for rule in rules.rules)  # of the best practice, for there were none
    assert str(more["target"]) == wb.recipe.target == "rtx@sm89"


def test_what_is_measured_has_the_operator_set_that_its_plan_needs(wb, monkeypatch):
    wb.plan.set("*", "fp16")
    wb.plan.set("op:Conv", "int8")
    *_, (model, *_) = step_of(wb, monkeypatch, Pays(verdict="pays", where="here"))
    assert model.opset == wb.model.opset == 19
    assert steps(wb).count("convert_opset") == 1


# Engines


def test_an_engine_is_built_written_read_and_compared(wb, tmp_path):
    wb.plan.set("op:Conv", "int8")
    heard = []
    wb.on_change(lambda change: heard.append((change.kind, change.what)))
    engine = wb.build(path=tmp_path / "m.engine")
    assert heard == [("measured", "engine of small")]
    assert read_engine(tmp_path / "m.engine").data == engine.data
    assert "no engine was read yet: wb.engines.inspect(wb.build())" in repr(wb.engines)
    summary = wb.engines.inspect(engine, timing=TimingOptions(warm_up_s=0.0, runs=3))
    assert history_of(wb).figures.engine is summary
    assert f"the last engine that was read: {summary.report.name}" in repr(wb.engines)
    assert summary.report.layers_ms > 0
    wb.engines.set(version_compatible=True, strip=True)
    assert "builds ask for version_compatible, strip" in repr(wb.engines)
    wb.engines.set()
    assert wb.recipe.build is None
    agreement = wb.engines.compare(tmp_path / "m.engine", DATA, labels=np.zeros(5, np.int64), batch=1)
    assert (agreement.samples, agreement.accuracy.samples) == (5, 5)
    assert agreement.worst_sqnr_db == pytest.approx(wb.compare(DATA, runs=0).worst_sqnr_db, abs=1.0)


# Steps done again


def again(session, **how):
    other = Workbench(session.source)
    doing = Again(history_of(other), **how)
    for step in session.recipe.steps:
        doing.do(step)
    return other, doing.notes


def test_steps_that_are_done_again_give_the_same(wb):
    wb.ranges.equalize()
    wb.ranges.choose("percentile", percentile=99.0)
    wb.set_range("b", 1.25)
    wb.plan.set("op:Conv", "int8")
    wb.plan.correct_bias()
    other, notes = again(wb)
    assert (other.recipe.steps, notes) == (wb.recipe.steps, [])
    assert other.tuned.digest == wb.tuned.digest


def test_what_came_from_data_is_measured_on_other_data(wb):
    wb.ranges.equalize()
    wb.ranges.choose("percentile", percentile=99.0)
    wb.set_range("b", 1.25)
    wb.plan.set("op:Conv", "int8")
    wb.plan.correct_bias()
    other, notes = again(wb, samples=DATA, anew=True)
    assert steps(other) == steps(wb)
    assert notes == ["the range of b was set by hand, and stays 1.25"]
    assert other.recipe.of_kind(ChooseStep)[-1].percentile == 99.0
    assert other.recipe.of_kind(CalibrateStep)[-1].samples.count == 5
    assert other.ranges["b"] == 1.25
    assert other.recipe.steps[-1].do == "correct_bias"
    assert other.recipe.steps[-1] != wb.recipe.steps[-1]


def test_a_search_is_not_done_again_but_its_rules_are(wb):
    shifted = wb.plan.correct_bias
    wb.plan.set("op:Conv", "int8")
    shifted()
    bias = wb.recipe.steps[-1]
    wb.undo()
    rules = (Rule(select="op:Conv", precision="int8"),)
    ranges = {"b": 1.5, "d": 2.0}
    for edits, ended in (((), ["set_plan"]), ((bias,), ["set_plan", "correct_bias"])):
        searched = PlanStep(move="found", edits=edits, rules=rules, ranges=ranges, sha256=ranges_hash(ranges))
        history_of(wb).do(searched)
        other, notes = again(wb, samples=DATA, anew=True)
        assert steps(other)[-len(ended) :] == ended
        (step,) = other.recipe.of_kind(PlanStep)
        assert (step.move, step.rules, step.ranges, step.edits) == ("found", rules, {}, ())
        assert notes == ["2 ranges that the search chose are those of the calibration again"]


def test_ranges_out_of_a_file_are_measured_on_samples_or_refused(wb, tmp_path):
    wb.ranges.statistics.save(tmp_path / "seen.npz")
    other = Workbench(wb.source)
    other.ranges.use_statistics(tmp_path / "seen.npz", method="entropy")
    same, notes = again(other)
    assert (same.recipe.steps, notes) == (other.recipe.steps, [])
    with pytest.raises(RecipeError, match=r"its ranges came out of seen.npz, which is of the former model.*samples="):
        again(other, anew=True)
    new, notes = again(other, samples=DATA, anew=True)
    assert notes == ["ranges that came out of seen.npz are measured on the samples"]
    assert [step.do for step in new.recipe.steps] == ["calibrate", "choose_ranges"]
    assert set(new.ranges.origins.values()) == {"entropy"}


def test_a_cache_gives_way_to_a_calibration(wb, tmp_path):
    (tmp_path / "a.cache").write_text("")
    step = CacheStep(cache=FileReference.of(tmp_path / "a.cache"), ranges={"b": 1.0}, sha256=ranges_hash({"b": 1.0}))
    other = Workbench(wb.source)
    history_of(other).do(step)
    new, notes = again(other, samples=DATA, anew=True)
    assert [one.do for one in new.recipe.steps] == ["calibrate"]
    assert notes == ["ranges that came out of a.cache are measured on the samples"]


def test_channels_that_were_equalized_before_a_calibration_cannot_be_again(tmp_path):
    session = calibrated(small(broken=True), tmp_path, 4)
    session.ranges.equalize()
    (edit,) = (step for step in session.recipe.steps if step.do == "equalize_channels")
    with pytest.raises(RecipeError, match="channels were equalized before anything was calibrated"):
        Again(History(session.source), DATA, anew=True).do(edit)


def test_samples_of_a_recipe_are_opened_as_far_as_they_were_taken(wb, tmp_path):
    history, path = history_of(wb), str(tmp_path / "samples.npz")
    for source, count in (({"path": path}, 8), ({"path": path, "first": 3}, 3), ({"path": path, "first": "2"}, 2)):
        reference = SamplesReference(source={"kind": "npz", **source}, count=count, fingerprint="f")
        assert len(samples_of(history, reference)) == count
    with pytest.raises(RecipeError, match="its samples were no file"):
        samples_of(history, SamplesReference(source={"kind": "arrays"}, count=1, fingerprint="f"))
    with pytest.raises(SamplesError):
        samples_of(history, SamplesReference(source={"path": str(tmp_path / "gone.npz")}, count=1, fingerprint="f"))


# Sensitivity, ranges, history


@pytest.mark.parametrize("how", ["quick", "exact"])
def test_the_sensitivity_of_every_node_of_the_plan_is_measured(wb, how):
    wb.plan.set("op:Conv", "int8")
    result = wb.sensitivity(DATA, how=how)
    assert [error.node for error in result.errors] == ["stem/conv", "block/conv1", "block/conv2"]
    assert (result.kind, result.samples) == (how, 5)
    assert history_of(wb).figures.sensitivity is result


def test_sensitivity_needs_ranges_and_something_in_int8(wb):
    with pytest.raises(RecipeError, match="sensitivity needs ranges, and nothing was calibrated"):
        Workbench(small()).sensitivity(DATA)
    wb.plan.set("*", "fp16")
    with pytest.raises(PrecisionError, match="no node computes in INT8 by this plan"):
        wb.sensitivity()


def test_a_tensor_without_a_range_is_named_with_some_that_have_one(wb):
    with pytest.raises(NoRangeError, match=r"^nowhere: this tensor has no range.*for example, x, b, d\.$"):
        wb.ranges["nowhere"]
    with pytest.raises(KeyError, match=r"^x: this tensor has no range. Calibrate first\.$"):
        Workbench(small()).ranges["x"]


def test_ranges_in_force_are_those_of_the_recipe(wb):
    wb.set_range("b", 0.5)
    ranges = wb.ranges.in_force()
    assert ranges["b"].amax == 0.5
    assert ranges["b"].clipped > 0
    assert ranges["x"].clipped == 0
    with pytest.raises(RecipeError, match="nothing was calibrated here, so there is nothing to show"):
        Workbench(small()).ranges.in_force()


def test_without_samples_there_is_nothing_to_run(tmp_path):
    session = Workbench(small())
    with pytest.raises(RecipeError, match="there are no samples to run"):
        session.engines.save_inputs(tmp_path / "inputs.json")
    with pytest.raises(RecipeError, match="nothing was calibrated"):
        session.plan.correct_bias()


def test_another_thread_waits_until_the_one_that_claims_a_session_is_done(wb):
    history, outcome, posted = history_of(wb), [], []
    heard = []
    wb.on_change(lambda change: heard.append(change.kind))

    def other():
        for change in (wb.undo, lambda: wb.set_range("b", 1.0), lambda: wb.plan.set_target("rtx")):
            with pytest.raises(RecipeError) as caught:
                change()
            outcome.append(str(caught.value))

    with history.claimed("a search", posted.append):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        wb.set_range("b", 2.0)
        assert (heard, len(posted)) == ([], 1)
        posted[0]()
    assert heard == ["appended"]
    assert outcome == ["small: a search is under way. Wait until it is done, or stop it."] * 3
    wb.undo()  # the claim is gone
    assert heard == ["appended", "undone"]


def test_an_attempt_that_fails_or_is_discarded_leaves_all_as_it_was(wb):
    history, before = history_of(wb), wb.recipe
    wb.set_range("b", 1.0)
    wb.undo()

    def fails():
        with history.attempt():
            wb.set_range("b", 3.0)
            wb.set_range("nowhere", 3.0)

    with pytest.raises(RecipeError, match="nowhere"):
        fails()
    assert wb.recipe == before
    assert len(history.undone) == 1
    heard = []
    wb.on_change(lambda change: heard.append(change.what))
    with history.attempt() as attempt:
        wb.set_range("b", 3.0)
        attempt.discard()
        attempt.discard()
    assert heard == ["set_range b", "what was tried"]
    with history.attempt():
        wb.set_range("b", 4.0)
    assert wb.ranges["b"] == 4.0
    assert history.undone == ()


def test_there_is_an_end_to_undoing_and_redoing():
    session = Workbench(small())
    with pytest.raises(RecipeError, match="small: there is nothing to undo"):
        session.undo()
    with pytest.raises(RecipeError, match="small: there is nothing to redo"):
        session.redo()
    session.set_range("x", 1.0)
    session.set_range("b", 2.0)
    assert (session.undo(), session.undo()) == ("set_range b", "set_range x")
    assert [step.tensor for step in history_of(session).undone] == ["x", "b"]
    assert session.redo() == "set_range x"
    session.set_range("d", 2.0)  # another way on
    with pytest.raises(RecipeError, match="nothing to redo"):
        session.redo()


def test_a_recipe_is_taken_over_in_place_of_what_was_done(wb):
    other = Workbench(wb.source)
    other.set_range("x", 1.0)
    heard = []
    other.on_change(lambda change: heard.append(change.what))
    history_of(other).take_over(wb.recipe)
    assert other.recipe.steps == wb.recipe.steps
    assert other.ranges == wb.ranges
    assert heard == [f"{len(wb.recipe.steps)} steps that were kept"]
    wrong = wb.recipe.model_copy(update={"steps": (RangeStep(tensor="nowhere", amax=1.0),)})
    with pytest.raises(RecipeError):
        history_of(other).take_over(wrong)
    assert other.recipe.steps == wb.recipe.steps


# Preparing


@pytest.mark.parametrize(("newest", "opset"), [(12, 13), (13, 13), (14, 14), (30, 17)])
def test_a_model_of_a_newer_operator_set_is_brought_to_the_newest_that_runs(monkeypatch, newest, opset):
    monkeypatch.setattr(editing, "newest_opset", lambda: newest)
    session = Workbench(network("conv", opset=17))
    done = session.prepare()
    assert session.model.opset == opset
    assert repr(done).splitlines()[0] == f"{len(done)} edit{'s' * (len(done) != 1)}"


def test_what_cannot_be_brought_down_stays(monkeypatch, small_cnn):
    monkeypatch.setattr(editing, "newest_opset", lambda: 12)

    def refused(*_, **__):
        raise EditError("no way")

    monkeypatch.setattr(editing, "edit", refused)
    assert editing._runnable(history_of(workbench.open_model(small_cnn))) == []


def test_a_comparison_says_whether_it_is_on_what_was_calibrated_on(wb):
    assert wb.compare(runs=0).calibrated
    assert not wb.compare(DATA, runs=0).calibrated
    uncalibrated = Workbench(small())
    uncalibrated.plan.set("*", "fp32")
    assert not uncalibrated.compare(DATA, runs=0).calibrated


@pytest.mark.parametrize("stripped", [True, False])
def test_an_engine_that_lacks_its_weights_gets_the_tuned_models(wb, monkeypatch, stripped):
    given = Engine("onnxruntime", b"", {})
    monkeypatch.setattr("workbench.backends.need_of", lambda _: SimpleNamespace(stripped=stripped))
    monkeypatch.setattr("workbench.backends.with_weights", lambda engine, model: (engine, model.digest))
    monkeypatch.setattr("workbench.backends.backend_of", lambda _: None)
    monkeypatch.setattr("workbench.evaluate.compare_engine", lambda _, __, engine, *___, **____: engine)
    compared = wb.engines.compare(given, DATA)
    assert compared == ((given, wb.tuned.digest) if stripped else given)


def test_a_result_does_not_take_the_place_of_its_model(small_cnn, small_data, tmp_path):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in/tuned.onnx"
    shutil.copy(small_cnn, source)
    before = source.read_bytes()
    session = workbench.open_model(source)
    session.calibrate(small_data, batch=4)
    session.save(tmp_path / "out")
    for write in (
        lambda: session.save(tmp_path / "in"),
        lambda: workbench.replay(tmp_path / "out/recipe.yaml", tmp_path / "in"),
        lambda: session.export_html(source),
        lambda: session.recipe.save(source),
    ):
        with pytest.raises(OutputError, match=r"tuned\.onnx in it is the model that this is made of"):
            write()
    assert source.read_bytes() == before
