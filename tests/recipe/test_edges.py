"""Recipes at the edges: long ones, mended ones, labels, scripts, and paths that no file can have."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace

import pytest
import yaml
from onnx import helper
from pydantic import ValidationError

from tests.kit.models import model
from tests.kit.places import ROOT
from workbench.backends import BuildOptions
from workbench.errors import ModelError, PlanWarning, RecipeError
from workbench.evaluate.agreement import Accuracy, Agreement
from workbench.graph.edits.graph_surgeon import Surgeon
from workbench.precision.placement import Pays
from workbench.precision.plan import Rule
from workbench.recipe import Evaluation, Recipe, SamplesReference, recipe_difference, recipe_text, verify
from workbench.recipe.build import Build
from workbench.recipe.comments import with_comments
from workbench.recipe.gates import METRICS, Evidence, Gate, GateResult, check_gates
from workbench.recipe.parts import FileReference, ranges_hash
from workbench.recipe.reading import _reason, dumped, read_document
from workbench.recipe.replay import start
from workbench.recipe.state import State
from workbench.recipe.steps.calibrate import CalibrateStep
from workbench.recipe.steps.choose_ranges import ChooseStep
from workbench.recipe.steps.set_plan import PlanStep
from workbench.recipe.steps.set_precision import PrecisionStep
from workbench.recipe.steps.set_range import RangeStep
from workbench.recipe.steps.use_cache import CacheStep
from workbench.recipe.verification import Verified
from workbench.session import history_of, open_model

STORED = ROOT / "tests/data/recipes/0.1.0.every_kind.yaml"


@pytest.fixture(scope="module")
def recipe():
    return Recipe.load(STORED)


def test_of_many_steps_of_one_name_only_the_one_that_went_differs(recipe):
    steps = (PrecisionStep(select="op:Conv", precision="int8"),) * 220
    before = recipe.model_copy(update={"steps": (RangeStep(tensor="x", amax=1.0), *steps)})
    after = recipe.model_copy(update={"steps": steps})
    assert recipe_difference(before, after) == ("step 0 (set_range x) is gone",)


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        (("a", "a"), "the same network with other weights"),
        (("a", "b"), "another model"),
        (("b", "a"), "another model"),
        ((None, None), "another model"),
        (("a", None), "another model"),
    ],
)
def test_weights_are_other_ones_only_where_both_structures_are_known(recipe, structures, message):
    before, after = (
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"structure": one, "sha256": digest * 64})})
        for one, digest in zip(structures, "12", strict=True)
    )
    assert recipe_difference(before, after) == (f"model: {message} ({'1' * 12} -> {'2' * 12})",)


def test_what_is_asked_of_a_build_is_added_to_what_is_asked_for_already():
    asked = Build(refit=True, strip=True).added_to(BuildOptions(hardware_compatible=True))
    assert asked == BuildOptions(hardware_compatible=True, refit=True, strip=True)


def test_nothing_else_is_asked_of_a_build():
    assert Build(refit=True).and_also(strip=True) == Build(refit=True, strip=True)
    assert Build(refit=True).and_also(refit=False) == Build(refit=True)
    with pytest.raises(RecipeError, match="goes with version_compatible"):
        Build().and_also(exclude_lean_runtime=True)
    with pytest.raises(ValidationError, match="goes with version_compatible"):
        Build(exclude_lean_runtime=True)


def test_a_build_has_the_options_that_its_plan_was_measured_with(recipe):
    pays = Pays(verdict="pays", ratio=0.5, build={"optimization_level": 4})
    outcome = recipe.model_copy(
        update={
            "build": Build(refit=True),
            "steps": (PlanStep(rules=(), ranges={}, sha256=ranges_hash({}), pays=pays),),
        }
    )
    assert outcome.built_by("tensorrt", BuildOptions()) == BuildOptions(refit=True, optimization_level=4)
    asked = BuildOptions(optimization_level=2)
    assert outcome.built_by("tensorrt", asked) == BuildOptions(refit=True, optimization_level=2)
    assert outcome.built_by("onnxruntime", BuildOptions()) == BuildOptions(refit=True)


def test_files_that_ranges_were_read_from_are_gone_changed_or_the_same(recipe, tmp_path):
    names = ("gone", "changed", "same")
    for name in names:
        (tmp_path / name).write_text("before")
    gone, changed, same = (FileReference.of(tmp_path / name) for name in names)
    (tmp_path / "gone").unlink()
    (tmp_path / "changed").write_text("after")
    steps = (
        CacheStep(cache=gone, ranges={}, sha256=ranges_hash({})),
        ChooseStep(method="mse", statistics=changed, ranges={}, sha256=ranges_hash({})),
        CacheStep(cache=same, ranges={}, sha256=ranges_hash({})),
    )
    notes = verify(recipe.model_copy(update={"steps": steps})).notes
    assert [note for note in notes if note.startswith("step")] == [
        f"step 0 (use_cache): {gone.file} is gone; its ranges are in the recipe",
        f"step 1 (choose_ranges): {changed.file} has changed; the recipe has the ranges it had",
    ]


def test_labels_move_with_the_samples_that_they_are_of():
    samples = SamplesReference(source={"kind": "npz", "path": "/t.npz"}, count=7, fingerprint="f")
    for labels, moved in (
        (None, None),
        (FileReference(file="/l", sha256="0"), FileReference(file="/to/l", sha256="0")),
    ):
        after = Evaluation(samples=samples, labels=labels).moved(lambda path: f"/to{path}")
        assert after.labels == moved
        assert after.samples.source["path"] == "/to/t.npz"


def test_builds_differ_by_what_one_of_them_asks_for(recipe):
    asked = recipe.model_copy(update={"build": Build(refit=True)})
    assert recipe_difference(recipe, asked)[0] == "build: version_compatible none -> false"
    assert "build: refit none -> true" in recipe_difference(recipe, asked)
    other = recipe.model_copy(update={"build": Build(strip=True)})
    assert recipe_difference(asked, other) == ("build: refit true -> false", "build: strip false -> true")


def test_a_relative_drop_from_nothing_is_unknown():
    nothing = Agreement((), Accuracy(original=0.0, tuned=0.0, samples=8, lost=0, won=0), samples=8)
    (result,) = check_gates([Gate(metric="top1_drop_relative", at_most=1)], nothing)
    assert (result.value, result.passed) == (None, False)


def test_comments_outlive_a_mapping_that_becomes_a_number_and_the_other_way_round():
    before = "# kept\na: {b: 1}\nc: 2 # too\n"
    for after in ({"a": 1, "c": 2}, {"a": [1], "c": 2}):
        text = with_comments(before, dumped(after))
        assert yaml.safe_load(text) == after
        assert "# kept" in text
        assert "# too" in text
    after = {"a": {"b": 1}, "c": {"d": 3}}
    text = with_comments(before, dumped(after))
    assert yaml.safe_load(text) == after
    assert "# kept" in text


def test_comments_stay_where_two_neighbours_change():
    before = "steps:\n- {do: a}\n- do: b\n  x: 1 # one\n- do: c\n  x: 2 # two\n- {do: d}\n"
    content = yaml.safe_load(before)
    content["steps"][1]["z"] = content["steps"][2]["z"] = 5
    text = with_comments(before, dumped(content))
    assert yaml.safe_load(text) == content
    assert [line.strip() for line in text.splitlines() if "#" in line] == ["x: 1 # one", "x: 2 # two"]


def test_the_order_of_keys_is_kept_whatever_is_in_the_text():
    for text in ("plain", "a\x85b"):
        assert list(yaml.safe_load(dumped({"b": text, "a": 1}))) == ["b", "a"]


def test_a_path_that_no_file_can_have_is_refused(tmp_path):
    content = yaml.safe_load(STORED.read_text())
    content["model"]["file"] = "a\0b"
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match="a path in it cannot be"):
        Recipe.load(tmp_path / "recipe.yaml")


def test_an_unknown_key_is_told_before_all_else_that_is_wrong(tmp_path):
    content = yaml.safe_load(STORED.read_text())
    for wrong in ({"build": {"refit": "perhaps"}}, {"model": {}}, {"target": 7}):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content | wrong | {"colour": "red"}))
        with pytest.raises(RecipeError, match="colour: there is no such key"):
            Recipe.load(tmp_path / "recipe.yaml")


def test_scripts_do_not_run_unless_somebody_allows_them(recipe, tmp_path):
    script = tmp_path / "surgery.py"
    script.write_text("def change(graph):\n    return graph\n")
    scripted = recipe.model_copy(update={"steps": (Surgeon.of(f"{script}:change", {}),)})
    asked = [str(problem) for problem in verify(scripted).problems]
    assert any("it runs 1 Python scripts, which nobody allowed" in problem for problem in asked)
    allowed = [str(problem) for problem in verify(scripted, allow_scripts=True).problems]
    assert not any("nobody allowed" in problem for problem in allowed)
    script.unlink()
    read = recipe.model_copy(update={"steps": (Surgeon(**scripted.steps[0].model_dump()),)})  # without its content
    gone = [str(problem) for problem in verify(read, allow_scripts=True).problems]
    assert any("surgery.py" in problem for problem in gone)


@pytest.mark.parametrize(
    ("version", "fix"),
    [("2", "pip install --upgrade"), ("0", "that wrote it"), ("one", "that wrote it"), ("1.5", "that wrote it")],
)
def test_a_recipe_of_another_version_names_the_release_that_reads_it(tmp_path, version, fix):
    path = tmp_path / "recipe.yaml"
    path.write_text(STORED.read_text().replace("workbench: 1\n", f"workbench: {version}\n"))
    with pytest.raises(RecipeError, match=fix):
        Recipe.load(path)


def test_whether_a_plan_pays_is_known_from_the_last_step_alone(recipe):
    measured = Pays(verdict="pays", ratio=0.5, error=0.01, against="fp16")
    plan = PlanStep(rules=(), ranges={}, sha256=ranges_hash({}), pays=measured)
    rule = PrecisionStep(select="op:Conv", precision="int8")
    for steps, pays in (((plan,), measured), ((rule, plan), measured), ((plan, rule), Pays()), ((), Pays())):
        told = recipe.model_copy(update={"steps": steps})
        assert told.pays == pays
        lines = [line for line in recipe_text(told).splitlines() if line.startswith("pays")]
        assert lines == ([] if pays == Pays() else ["pays         pays: 0.500 ± 0.010 of the time of fp16"])


def test_a_recipe_in_words_names_the_labels_it_is_judged_by(recipe):
    samples = SamplesReference(source={"kind": "npz", "path": "/t.npz"}, count=7, fingerprint="f")
    labels = FileReference(file="/l.npy", sha256="0")
    for arguments, message in ((None, ""), (labels, ", labels /l.npy")):
        judged = recipe.model_copy(update={"evaluation": Evaluation(samples=samples, labels=arguments)})
        assert f"judged on    7 samples of /t.npz{message}" in recipe_text(judged).splitlines()


@pytest.fixture
def judged(recipe, tmp_path):
    """Return a recipe with a gate that is judged on samples of a source, with labels or without."""

    def made(source, labels=None, gates=("sqnr_db >= 20",)):
        samples = SamplesReference(source=source, count=7, fingerprint="f")
        file = None if labels is None else FileReference(file=str(tmp_path / labels), sha256=sha256(b"").hexdigest())
        return recipe.model_copy(
            update={
                "steps": (),
                "gates": tuple(Gate.parse(gate) for gate in gates),
                "evaluation": Evaluation(samples=samples, labels=file),
            }
        )

    return made


def judging(recipe):
    return [note for note in verify(recipe).notes if note.startswith("gates on")]


def test_what_gates_are_judged_on_may_be_gone_or_changed(judged, tmp_path):
    for name in ("t.npz", "l.npy"):
        (tmp_path / name).write_bytes(b"")
    there, gone = ({"kind": "npz", "path": str(tmp_path / name)} for name in ("t.npz", "gone.npz"))
    assert judging(judged(there)) == judging(judged(there, "l.npy")) == []
    no_samples = f"gates on results cannot be judged again: there is no {tmp_path / 'gone.npz'}"
    no_labels = f"gates on accuracy cannot be judged again: there is no {tmp_path / 'gone.npy'}"
    assert judging(judged(gone)) == [no_samples]
    assert judging(judged(there, "gone.npy")) == [no_labels]
    assert judging(judged(gone, "gone.npy")) == [no_samples, no_labels]
    (tmp_path / "l.npy").write_bytes(b"others")
    changed = f"gates on accuracy are judged on other labels: {tmp_path / 'l.npy'} has changed"
    assert judging(judged(there, "l.npy")) == [changed]
    arrays = judged({"kind": "arrays"})
    assert judging(arrays) == ["gates on results cannot be judged again: their samples were no file"]
    assert judging(judged({"kind": "arrays"}, "gone.npy", gates=())) == []


def test_the_newest_step_of_a_kind_is_the_last_of_them(recipe):
    steps = [RangeStep(tensor=name, amax=1.0) for name in "abc"]
    rule = recipe.newest(PrecisionStep)
    chosen = recipe.model_copy(update={"steps": (*steps, rule)})
    assert (chosen.newest(RangeStep), chosen.newest(PrecisionStep)) == (steps[-1], rule)
    assert chosen.newest(CacheStep) is None
    assert chosen.of_kind(RangeStep) == steps


def test_without_an_evaluation_gates_are_judged_on_the_newest_calibration(recipe, tmp_path):
    steps = tuple(
        CalibrateStep(
            samples=SamplesReference(source={"kind": "npz", "path": str(path)}, count=1, fingerprint="f"),
            method="minmax",
            batch=1,
            ranges={},
            sha256=ranges_hash({}),
        )
        for path in (STORED, tmp_path / "gone.npz")
    )
    bare = recipe.model_copy(update={"evaluation": None, "gates": (Gate.parse("cosine >= 0.9"),)})
    for chosen, said in ((steps, ["gone.npz"]), (steps[::-1], []), ((), ["their samples were no file"])):
        notes = judging(bare.model_copy(update={"steps": chosen}))
        assert len(notes) == len(said)
        assert all(note.endswith(end) for note, end in zip(notes, said, strict=True))


def test_a_folder_is_not_its_recipe(tmp_path):
    with pytest.raises(RecipeError) as caught:
        Recipe.load(tmp_path)
    assert str(caught.value) == f"{tmp_path}: a folder, and no recipe. Name the file in it: {tmp_path / 'recipe.yaml'}."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' is there twice, line 3"),
        ("a: 1\nb: {c: 1,\n  c: 2}\n", "the key 'c' is there twice, line 3"),
        ("a: [1\nb: 2\n", "expected ',' or ']', but got ':', line 2"),
        ("a: \x01\n", "unacceptable character #x0001: special characters are not allowed"),
        ("a: 2026-13-45\n", "month must be in 1..12"),
    ],
)
def test_what_is_no_yaml_is_named_in_a_line(tmp_path, content, reason):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(RecipeError) as caught:
        Recipe.load(path)
    assert str(caught.value) == f"{path}: not readable as YAML: {reason}. Restore it from a copy."


def test_an_error_without_words_is_called_by_its_kind():
    assert _reason(ValueError()) == "ValueError"
    assert _reason(ValueError("one\ntwo")) == "one"


def test_one_thing_that_is_wrong_is_raised_itself_and_several_together(recipe):
    one, two = RecipeError("first", fix="Mend it."), RecipeError("second")
    with pytest.raises(RecipeError) as caught:
        Verified(recipe, None, (one,), ()).required()
    assert caught.value is one
    with pytest.raises(RecipeError, match=r"2 things are wrong: \(1\) first. Mend it.; \(2\) second"):
        Verified(recipe, None, (one, two), ()).required()
    with pytest.raises(RecipeError, match="0 things are wrong"):
        Verified(recipe, None, (), ()).required()


def test_a_recipe_is_told_by_the_beginning_of_what_it_makes(recipe):
    assert repr(recipe).startswith(f"recipe of small_cnn.onnx: 7 steps, makes {recipe.tuned.sha256[:12]}\n")
    assert "not tuned yet" in repr(recipe.model_copy(update={"tuned": None}))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("a: &a {x: 1}\nb: {<<: *a, y: 2}\n", {"a": {"x": 1}, "b": {"x": 1, "y": 2}}),
        ("a: &a {x: 1}\nb: &b {z: 3}\nc: {<<: *a, ? [1] : 2, <<: *b}\n", None),
        ("? {a: 1}\n: 2\n", None),
    ],
)
def test_merged_mappings_are_read_and_keys_that_are_none_refused(tmp_path, text, content):
    path = tmp_path / "d.yaml"
    path.write_text("workbench: 1\n" + text)
    if content is not None:
        assert read_document(path, 1)[1] == {"workbench": 1, **content}
        return
    with pytest.raises(RecipeError, match="not readable as YAML"):
        read_document(path, 1)


def test_a_mapping_may_be_merged_from_several(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_text("workbench: 1\na: &a {x: 1}\nb: &b {z: 3}\nc:\n  <<: *a\n  <<: *b\n")
    assert read_document(path, 1)[1]["c"] == {"x": 1, "z": 3}


def test_a_mapping_that_holds_itself_is_named(tmp_path):
    path = tmp_path / "d.yaml"
    path.write_text("workbench: 1\na: &a {b: *a}\n")
    with pytest.raises(RecipeError, match="a part of it holds itself"):
        read_document(path, 1)


def test_ranges_that_moved_most_are_told_first(recipe):
    def ranged(**ranges):
        step = CalibrateStep(
            samples=SamplesReference(source={"kind": "arrays"}, count=1, fingerprint="f"),
            method="minmax",
            batch=1,
            ranges=ranges,
            sha256=ranges_hash(ranges),
        )
        return recipe.model_copy(update={"steps": (step,)})

    before = ranged(a=1.0, b=2.0, c=0.0, d=4.0, same=7.0)
    after = ranged(a=1.25, b=1.0, c=1.0, d=4.5, same=7.0, new=1.0)
    (said,) = recipe_difference(before, after)
    moved = "c 0 -> 1, new none -> 1, b 2 -> 1, a 1 -> 1.25, d 4 -> 4.5"
    assert said == f"step 0 (calibrate): ranges: 5 of 6 differ: {moved}"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"do": "calibrate", "colour": 1}], "steps.0.calibrate.colour: there is no such key"),
        (
            [{"do": "calibrate", "samples": {"cuont": 1}}],
            "steps.0.calibrate.samples.cuont: there is no such key; did you mean count",
        ),
        ([{"do": "calibrat"}], "steps.0: there is no step 'calibrat'; did you mean calibrate"),
    ],
)
def test_a_misspelt_key_of_a_step_is_named_with_the_near_one(tmp_path, steps, message):
    content = yaml.safe_load(STORED.read_text()) | {"steps": steps}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError) as caught:
        Recipe.load(tmp_path / "recipe.yaml")
    assert message in str(caught.value)


def test_a_state_resolves_its_own_plan_once_and_others_too(small_cnn):
    state = history_of(open_model(small_cnn)).state
    assert state.resolve(state.plan) is state.resolve()
    other = state.plan.with_rules(Rule(select="*", precision="fp16"))
    assert state.resolve(other).nodes("fp16")
    assert not state.resolve().nodes("fp16")


def test_every_gate_on_numbers_fails_where_one_became_nan():
    numbers = {name for name, metric in METRICS.items() if metric.numbers}
    assert numbers == {"top1_drop", "top1_drop_relative", "sqnr_db", "cosine"}


def test_what_an_engine_that_was_timed_does_not_tell_is_said():
    timed = Evidence(latency_ms={"p50": 1.0})
    (speedup, memory) = check_gates([Gate.parse("speedup >= 1"), Gate.parse("device_mib <= 1")], timed)
    assert speedup.reason.startswith("no engine in floating point was timed beside it")
    assert memory.reason == "what timed the engine does not tell"


@pytest.mark.parametrize(
    ("value", "missed", "text"),
    [
        (12345.678, None, "12346"),
        (1234.5678, None, "1235"),
        (0.0123456, None, "0.0123"),
        (100.04, 0.04, "100.04"),
        (0.0, None, "0"),
        (float("inf"), 1.0, "inf"),
    ],
)
def test_a_number_has_three_digits_or_all_before_the_point_or_those_that_missed(value, missed, text):
    assert GateResult("layers <= 1", value, False, missed_by=missed).value_text == text


def test_a_rule_that_selects_nothing_is_told_when_steps_are_done_again(small_cnn):
    wb = open_model(small_cnn)
    wb.plan.set("name:stem/conv", "fp16")
    wb.edit("rename_node", node="stem/conv", to="first")
    with pytest.warns(PlanWarning, match=r"rule 0 \(name:stem/conv -> fp16\) selects nothing in small_cnn as edited"):
        start(wb.recipe, wb.source)


def test_text_beside_comments_stays_as_it_was_written():
    before = "# mine\na: 'one'\nb: \"北京\"\nc: 017\nd: yes\n"
    after = dumped(yaml.safe_load(before) | {"e": "später"})
    text = with_comments(before, after)
    assert text.splitlines()[:3] == ["# mine", "a: 'one'", 'b: "北京"']
    assert "später" in text
    assert yaml.safe_load(text) == yaml.safe_load(after)


def test_comments_stay_beside_their_items_in_a_long_list():
    items = [f"n{at % 3}" for at in range(400)]
    before = "a:\n" + "".join(f"- {item}{' # here' if at == 300 else ''}\n" for at, item in enumerate(items))
    after = dumped({"a": ["new", *items]})
    lines = with_comments(before, after).splitlines()
    assert [at for at, line in enumerate(lines) if "# here" in line] == [302]


def test_what_fails_over_a_damaged_model_is_said_against_the_model():
    def fail(*_, **__):
        raise LookupError("deep inside")

    plan = SimpleNamespace(resolve=fail)
    relu, odd = (
        model([helper.make_node("Relu", ["x"], ["y"], **more)], {"x": [2]}, {"y": [2]}) for more in ({}, {"no": 1})
    )
    with pytest.raises(LookupError):
        State(relu).resolve(plan)
    with pytest.raises(ModelError, match="no"):
        State(odd).resolve(plan)
