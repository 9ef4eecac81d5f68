"""Each step of a recipe changes the state as it says, moves its file, and notices a slip of an editor."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from pydantic import ValidationError

from workbench.errors import RecipeError
from workbench.graph import load_model
from workbench.precision.plan import Rule
from workbench.recipe.parts import FileReference, SamplesReference, ranges_hash, relative_to
from workbench.recipe.state import State
from workbench.recipe.steps.calibrate import CalibrateStep
from workbench.recipe.steps.choose_ranges import ChooseStep
from workbench.recipe.steps.set_plan import PlanStep
from workbench.recipe.steps.set_precision import PrecisionStep
from workbench.recipe.steps.set_range import RangeStep
from workbench.recipe.steps.use_cache import CacheStep

RANGES = {"x": 1.5, "c1": 2.5}
HASH = ranges_hash(RANGES)
FILE = FileReference(file="/a/b.bin", sha256="0")


def samples(**source):
    return SamplesReference(source=source, count=3, fingerprint="f")


def calibrate(**more):
    values = {"method": "mse", "batch": 2, "samples": samples(kind="npz", path="/a/s.npz"), "ranges": RANGES}
    return CalibrateStep(**values | {"sha256": HASH} | more)


STEPS = [
    calibrate(),
    ChooseStep(method="entropy", statistics=FILE, ranges=RANGES, sha256=HASH),
    CacheStep(cache=FILE, ranges=RANGES, sha256=HASH),
]


@pytest.fixture
def state(small_cnn):
    return State(load_model(small_cnn), ranges={"c2": 9.0, "x": 8.0}, origins={"c2": "manual", "x": "mse"})


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.do)
def test_ranges_are_added_and_say_where_they_come_from(step, state):
    after = step.apply_to(state)
    assert after.ranges == {"c2": 9.0, **RANGES}
    origin = {"calibrate": "mse", "choose_ranges": "entropy", "use_cache": "cache"}[step.do]
    assert after.origins == {"c2": "manual", "x": origin, "c1": origin}
    assert (after.model, after.plan) == (state.model, state.plan)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.do)
def test_the_path_of_its_file_is_moved_and_nothing_else(step):
    moved = step.moved(lambda path: f"/moved{path}")
    assert moved != step
    assert "/moved/a/" in str(moved.model_dump())
    back = moved.moved(lambda path: path.removeprefix("/moved"))
    assert back == step


def test_what_has_no_file_is_not_moved():
    for step in (
        calibrate(samples=samples(kind="arrays")),
        ChooseStep(method="mse", ranges=RANGES, sha256=HASH),
        RangeStep(tensor="x", amax=1.0),
        PrecisionStep(select="op:Conv", precision="int8"),
    ):
        assert step.moved(lambda path: f"/moved{path}") is step


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.do)
def test_a_range_that_was_changed_by_hand_is_noticed(step):
    assert step.problem() is None
    assert step.model_copy(update={"ranges": {**RANGES, "x": 1.25}}).problem() == "its ranges were changed"
    assert step.model_copy(update={"ranges": {"x": 1.5}}).problem() == "its ranges were changed"


def test_overrides_say_whose_they_are():
    step = ChooseStep(method="mse", overrides={"x": "entropy", "c1": 2.5}, ranges=RANGES, sha256=HASH)
    assert step.origins == {"x": "entropy", "c1": "manual"}


def test_tensors_without_a_range_lose_the_one_they_had_and_get_it_back(state):
    after = calibrate(ranges={"c1": 2.5}, sha256="", unranged={"x": "no value"}).apply_to(state)
    assert after.ranges == {"c2": 9.0, "c1": 2.5}
    assert after.origins == {"c2": "manual", "c1": "mse"}
    assert after.unranged == {"x": "no value"}
    again = RangeStep(tensor="x", amax=3.0).apply_to(after)
    assert (again.unranged, again.ranges["x"], again.origins["x"]) == ({}, 3.0, "manual")


def test_overflow_is_kept_from_every_calibration(state):
    assert calibrate().apply_to(state).overflow is None
    once = calibrate(overflow={"c1": 7e4}).apply_to(state)
    assert once.overflow == {"c1": 7e4}
    assert calibrate(overflow={"c2": 8e4}).apply_to(once).overflow == {"c1": 7e4, "c2": 8e4}
    assert calibrate().apply_to(once).overflow == {"c1": 7e4}


def test_a_range_of_no_tensor_is_refused(state):
    with pytest.raises(RecipeError, match="nowhere: there is no such tensor"):
        RangeStep(tensor="nowhere", amax=1.0).apply_to(state)


def test_rules_are_added_and_a_plan_takes_the_place_of_all(state):
    one = PrecisionStep(select="op:Conv", precision="int8").apply_to(state)
    two = PrecisionStep(select="op:Gemm", precision="fp16").apply_to(one)
    assert [(str(rule.select), rule.precision) for rule in two.plan.rules] == [("op:Conv", "int8"), ("op:Gemm", "fp16")]
    rule = Rule(select="op:Relu", precision="fp32")
    actual = PlanStep(rules=(rule,), ranges={"x": 0.5}, sha256=ranges_hash({"x": 0.5})).apply_to(two)
    assert actual.plan.rules == (rule,)
    assert (actual.ranges["x"], actual.origins["x"]) == (0.5, "search")


def test_paths_are_written_as_seen_from_the_recipe(tmp_path):
    (tmp_path / "in").mkdir()
    assert relative_to(str(tmp_path / "a.npz"), tmp_path / "in") == "../a.npz"
    assert relative_to(str(tmp_path / "in" / "a.npz"), tmp_path / "in") == "a.npz"
    file = tmp_path / "a.bin"
    file.write_bytes(b"abc")
    reference = FileReference.of(file)
    assert reference.file == str(Path(file).resolve())
    assert reference.sha256.startswith("ba7816bf")


def test_the_hash_sees_names_and_every_bit():
    assert ranges_hash({"a": 1.0, "b": 2.0}) == ranges_hash({"b": 2.0, "a": 1.0})
    assert ranges_hash({"a": 0.1 + 0.2}) != ranges_hash({"a": 0.3})
    assert ranges_hash({"a": 1.0}) != ranges_hash({"b": 1.0})


def test_what_a_recipe_is_made_of_does_not_change(state):
    with pytest.raises(FrozenInstanceError):
        state.notes = ("changed",)
    for part in (*STEPS, FILE, samples()):
        name = next(iter(type(part).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))
