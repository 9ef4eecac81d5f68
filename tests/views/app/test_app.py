"""The screen: one selection for all parts, every click a step of the recipe, and what runs beside the page."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kit.awaited import PATIENCE_S
from workbench.precision.placement import Pays
from workbench.precision.plan import Rule
from workbench.recipe.parts import ranges_hash
from workbench.recipe.steps import CalibrateStep, PlanStep, PrecisionStep, RangeStep
from workbench.session import Keeper, history_of, keeper_of, open_model
from workbench.views.app.app import App
from workbench.views.app.app import screen as screen_of
from workbench.views.app.timeline import called, code_of
from workbench.views.kit.picture import VIEW_MIME, WIDGET_MIME


@pytest.fixture
def wb(small_cnn):
    return open_model(small_cnn)


@pytest.fixture
def screen(wb):
    app = App(wb)
    app.told = []
    app.widget()
    app.send = app.told.append  # what the page hears
    return app


@pytest.fixture
def calibrated(screen, small_data):
    screen.handle({"type": "prepare"})
    screen.handle({"type": "calibrate", "samples": str(small_data), "preprocessing": "", "method": "mse", "batch": 4})
    assert screen.workbench.ranges
    return screen


def errors(screen):
    return [one["text"] for one in screen.told if one["type"] == "error"]


def test_a_selection_anywhere_is_one_everywhere(screen):
    screen.fill()
    screen.nodes.handle({"type": "select", "rows": ["block/conv"], "add": False})
    assert (
        screen.selected == screen.nodes.selected == screen.graph.selected == screen.inspector.selected == ["block/conv"]
    )
    screen.graph.choose(["stem/conv", "head/fc"])
    assert screen.selected == screen.nodes.selected == screen.inspector.selected == ["stem/conv", "head/fc"]
    screen.handle({"type": "choose", "nodes": []})
    assert screen.graph.selected == screen.nodes.selected == []
    assert screen.inspector.scene["kind"] == "model"
    assert screen.workbench.recipe.steps == ()  # looking changes nothing


def test_the_inspector_tells_attributes_shapes_and_weights(screen):
    screen.fill()
    screen.choose(["block/conv"])
    scene = screen.inspector.scene
    rows = [tuple(row) for row in scene["rows"]]
    assert ("pads", "1, 1, 1, 1") in rows
    assert ("weight", "w2 · float32 4×4×3×3") in rows
    weight = scene["weights"][0]
    assert weight["name"] == "w2"
    assert sum(weight["bins"]) == 4 * 4 * 9
    assert len(weight["channels"]) == 4
    assert "Calibrate" in scene["unseen"]


def test_a_weight_is_saved_as_it_is(screen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    screen.choose(["block/conv"])
    screen.inspector.handle({"type": "save", "weight": "w2"})
    saved = np.load(tmp_path / "w2.npy")
    assert np.array_equal(saved, screen.workbench.model.initializers["w2"].const_value.numpy())
    screen.inspector.handle({"type": "save", "weight": "../w2"})  # no weight of this node
    assert [file.name for file in tmp_path.iterdir()] == ["w2.npy"]


def test_the_table_is_narrowed_sorted_and_sent_in_windows(screen):
    screen.fill()
    assert {row["id"] for row in screen.nodes.scene["rows"]} == set(screen.workbench.model.nodes)
    screen.nodes.handle({"type": "filter", "selector": "op:Conv"})
    assert [row["id"] for row in screen.nodes.scene["rows"]] == ["block/conv", "stem/conv"]  # more MACs first
    screen.nodes.handle({"type": "filtered"})
    assert screen.selected == ["stem/conv", "block/conv"]
    screen.nodes.handle({"type": "filter", "selector": "op:Convv"})
    assert screen.nodes.scene["rows"] == []
    assert "Convv" in screen.nodes.scene["problem"]
    screen.nodes.handle({"type": "filter", "selector": ""})
    screen.nodes.handle({"type": "sort", "column": "node"})
    names = [row["id"] for row in screen.nodes.scene["rows"]]
    assert names == sorted(names)


def test_a_click_computes_nothing_twice_and_a_change_all_anew(screen):
    screen.fill()
    facts, wb = screen.node_facts, screen.workbench
    before = facts.resolution(), facts.rows(), facts.estimate(), facts.macs()
    screen.choose(["block/conv"])
    screen.nodes.handle({"type": "filter", "selector": "op:Conv"})
    after = facts.resolution(), facts.rows(), facts.estimate(), facts.macs()
    assert all(one is other for one, other in zip(before, after, strict=True))
    wb.plan.set("name:block/conv", "fp16")
    assert {row.node: row.requested for row in facts.rows()}["block/conv"] == "fp16"
    assert [row["texts"]["gets"] for row in screen.nodes.scene["rows"] if row["id"] == "block/conv"] == ["fp16"]
    assert facts.macs() is before[3]  # the model is the same
    wb.undo()
    assert facts.resolution().decisions == before[0].decisions


def test_every_click_is_a_step_with_its_python(calibrated):
    screen, wb = calibrated, calibrated.workbench
    screen.choose(["block/conv"])
    screen.inspector.handle({"type": "preview", "precision": "fp16"})
    assert 'wb.plan.set("name:block/conv", "fp16")' in screen.inspector.marks["line"]
    assert not wb.recipe.of_kind(PrecisionStep)
    screen.inspector.handle({"type": "set", "precision": "fp16"})
    assert wb.recipe.of_kind(PrecisionStep)[-1].select == "name:block/conv"
    screen.inspector.threshold.handle({"type": "threshold", "amax": 1.25})
    step = wb.recipe.of_kind(RangeStep)[0]
    assert step.amax == 1.25
    assert all(one["clicked"] for one in screen.scene["steps"])
    screen.handle({"type": "undo"})
    screen.handle({"type": "redo"})
    assert all(one["clicked"] for one in screen.scene["steps"])  # it is the step that was clicked
    wb.plan.set("op:Gemm", "fp32")  # in a cell
    assert not screen.scene["steps"][-1]["clicked"]
    wb.undo()
    screen.handle({"type": "undo"})
    wb.set_range(step.tensor, 1.25)  # in a cell, in the place of one that was clicked
    assert not screen.scene["steps"][-1]["clicked"]
    wb.plan.set("op:Gemm", "fp32")
    assert screen.scene["undo"] == "op:Gemm → fp32"

    # What it says as Python does the same.
    other = open_model(wb.source.path)
    exec(code_of(wb.recipe.steps), {"wb": other})  # noqa: S102 - our own
    assert other.recipe.steps == wb.recipe.steps
    assert dict(other.ranges) == dict(wb.ranges)


def test_a_cell_of_steps_runs_where_it_is_put(wb, monkeypatch):
    names = {"_": wb, "wb": "something else", "session": wb}
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(user_ns=names)))
    code = "wb.edit('a')\n# by wb.\nwb.plan.set('b', 'wb.')"
    assert called(wb, code) == "session.edit('a')\n# by wb.\nsession.plan.set('b', 'wb.')"
    del names["session"]
    assert called(wb, code) == f"import workbench\n\nwb = workbench.open_model({str(wb.source.path)!r})\n{code}"
    names["wb"] = wb
    assert called(wb, code) == code


def test_what_was_prepared_and_undone_is_not_proposed_again(screen):
    asks = lambda: screen.scene_state()["next"]["ask"]  # noqa: E731
    assert asks() == "prepare"
    screen.handle({"type": "prepare"})
    count = len(screen.workbench.recipe.steps)
    assert (count > 0, asks()) == (True, "form")
    for _ in range(count):
        screen.handle({"type": "undo"})
        assert asks() == "form"  # calibrate
    screen.workbench.redo()
    for _ in range(count - 1):
        screen.workbench.redo()
    assert asks() == "form"
    screen.workbench.undo()
    screen.workbench.edit("rename_node", node="stem/conv", to="first")
    assert asks() == "prepare"  # of another model
    screen.workbench.undo()
    assert asks() == "form"


def test_the_steps_lead_from_one_to_the_next(screen, small_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    for _ in range(9):
        step = screen.scene_state()["next"]
        asked.append(step["ask"] if step["ask"] != "form" else step["step"])
        if step["ask"] == "save":
            break
        if step["step"] == "Calibrate":
            screen.handle({"type": "calibrate", "samples": str(small_data), "preprocessing": "", "method": "mse"})
        else:
            screen.handle({"type": step["ask"]})
        assert errors(screen) == []
    assert asked == ["prepare", "Calibrate", "sensitivity", "tune", "compare", "build", "save"]
    stages = screen.scene_state()["stages"]
    assert all(stage["done"] for stage in stages if stage["name"] != "Edit")
    assert "dB" in stages[5]["figure"]
    history = history_of(screen.workbench)
    goals = []
    for worst in (19.9, 20.0):  # what the verdict says to search for is in the form
        outputs = [replace(output, sqnr_db=worst) for output in history.figures.comparison.outputs]
        history.keep("comparison", comparison=replace(history.figures.comparison, outputs=tuple(outputs)))
        goals.append(screen.scene_state()["forms"]["goal"])
    assert goals == [20.0, 30.0]
    screen.handle({"type": "save"})
    assert {file.name for file in (tmp_path / "tuned").iterdir()} >= {"tuned.onnx", "recipe.yaml"}


def test_two_points_of_the_recipe_are_set_against_each_other(calibrated, small_data, tmp_path):
    before = calibrated.workbench.recipe
    calibrated.handle({"type": "points", "points": [0, len(before.steps)]})
    rows = calibrated.told[-1]["rows"]
    assert rows[1][1] == "equal"  # nothing was done yet
    assert rows[1][2].endswith(" dB")
    assert rows[2][1:] == ["—", "—"]
    np.save(tmp_path / "labels.npy", np.zeros(12, np.int64))
    asked = {"points": [0, len(before.steps)], "samples": str(small_data), "labels": str(tmp_path / "labels.npy")}
    calibrated.handle({"type": "points", **asked})
    rows = calibrated.told[-1]["rows"]
    assert [row[0] for row in rows[1:]] == ["SQNR, worst output", "top-1", "time on this processor", "bytes"]
    assert all(figure.endswith("%") for figure in rows[2][1:])
    assert calibrated.workbench.recipe is before


def test_what_is_stopped_keeps_what_was_computed(screen, small_data):
    """In an event loop it runs in a thread, and the page goes on asking."""

    async def story():
        watcher = {}

        def tell(message):
            if message is not None:
                watcher["task"].stop()

        screen.tasks._tell = tell
        screen.handle(
            {"type": "calibrate", "samples": str(small_data), "preprocessing": "", "method": "mse", "batch": 1}
        )
        watcher["task"] = screen.tasks.running
        screen.tasks.running._told = 0.0
        screen.handle({"type": "undo"})  # refused: the recipe is somebody's
        while screen.tasks.running is not None:  # noqa: ASYNC110 - another thread does it
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(story(), PATIENCE_S))
    steps = screen.workbench.recipe.of_kind(CalibrateStep)
    assert len(steps) <= 1
    if steps:
        assert 1 <= steps[0].samples.count <= 12
        assert history_of(screen.workbench).measured.statistics["x"].samples == steps[0].samples.count


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"type": "nothing"},
        {"type": "calibrate"},
        {"type": "choose", "nodes": "stem/conv"},
        {"type": "points", "points": [99, -1]},
        {"type": "calibrate", "samples": "nowhere", "preprocessing": "", "method": "mse"},
        {"type": "undo", "version": -1},
    ],
)
def test_malformed_and_stale_messages_are_refused_in_a_sentence(screen, content):
    screen.handle(content)
    (message,) = errors(screen)
    assert "fault of the workbench" not in message
    assert screen.workbench.recipe.steps == ()


def test_no_message_of_a_click_is_large(calibrated):
    calibrated.fill()
    calibrated.choose(["block/conv"])
    for part in (calibrated, *calibrated.parts):
        assert len(json.dumps([part.scene, part.marks])) < 1_000_000


def test_a_notebook_shows_a_workbench_as_the_screen_with_its_picture(wb, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data, _ = wb._repr_mimebundle_()
    assert data.keys() == {"text/plain"}  # a terminal
    monkeypatch.setattr("workbench.session.workbench.in_notebook", lambda: True)
    data, metadata = wb._repr_mimebundle_()
    assert data[WIDGET_MIME]["model_id"] == data[VIEW_MIME]["model_id"] == screen_of(wb).model_id
    assert data["image/svg+xml"].startswith("<svg")
    assert metadata["image/png"]["width"] == 1000
    assert data["text/plain"] == repr(wb)


def test_edits_of_the_whole_model_are_looked_for_once_the_page_is_there(screen):
    screen.fill()
    assert screen.graph.marks["edits"] == []
    screen.graph.handle({"type": "shown"})
    assert screen.graph.marks["edits"]


def test_edits_are_not_looked_for_where_many_nodes_are_selected(screen, monkeypatch):
    monkeypatch.setattr("workbench.views.app.graph.MOST_OFFERED", 2)
    screen.choose(["stem/conv", "block/conv"])
    edits = screen.graph.marks["edits"]
    assert [one["at"] for one in edits if one["name"] == "Mark as output"] == [
        node.outputs[0].name for node in map(screen.workbench.model.nodes.__getitem__, ("stem/conv", "block/conv"))
    ]
    assert len({(one["name"], one["at"]) for one in edits}) == len(edits)
    screen.choose(["stem/conv", "block/conv", "head/fc"])
    assert screen.graph.marks["edits"] == []


def test_layers_of_the_engine_select_the_nodes_they_came_from_and_back(calibrated):
    calibrated.handle({"type": "build"})
    assert errors(calibrated) == []
    engine = history_of(calibrated.workbench).figures.engine
    calibrated.choose([])
    layers = calibrated.inspector.scene["layers"]["rows"]
    assert [row["name"] for row in layers] == sorted(
        (layer.name for layer in engine.report.layers), key=lambda name: -engine.report.layer(name).ms
    )
    several = next(row for row in layers if row["nodes"] > 1)
    calibrated.inspector.handle({"type": "layer", "name": several["name"]})
    nodes = [node for node in engine.fusion.by_layer[several["name"]].nodes if node in calibrated.workbench.model.nodes]
    assert calibrated.selected == calibrated.graph.selected == nodes
    assert [row["name"] for row in calibrated.inspector.scene["layers"]["rows"]] == [several["name"]]
    calibrated.inspector.told = []
    calibrated.inspector.send = calibrated.inspector.told.append
    calibrated.inspector.handle({"type": "layer", "name": "nowhere"})
    assert "no node of the model became this layer" in errors(calibrated.inspector)[0]


def test_what_an_engine_made_of_a_plan_is_not_told_of_the_next_one(calibrated):
    wb = calibrated.workbench
    calibrated.handle({"type": "build"})
    calibrated.handle({"type": "compare"})
    calibrated.choose(["block/conv"])
    assert calibrated.scene_state()["stages"][6]["done"]
    assert {row.realized for row in calibrated.node_facts.rows()} != {None}
    wb.plan.set("name:block/conv", "fp32")
    calibrated.handle({"type": "compare"})
    engine, asked = calibrated.scene_state()["stages"][6], calibrated.scene_state()["next"]["ask"]
    assert (engine["done"], asked) == (False, "build")
    assert engine["figure"].endswith("layers before the last change")
    assert calibrated.scene_state()["verdict"]["ask"] == "build"
    assert {row.realized for row in calibrated.node_facts.rows()} == {None}
    assert any(row.latency for row in calibrated.node_facts.rows())  # where the time goes, it does tell
    assert calibrated.inspector.scene_state()["layers"]["note"] == "Of the engine before the last change."
    calibrated.handle({"type": "build"})
    assert calibrated.scene_state()["stages"][6]["done"]
    assert calibrated.inspector.scene_state()["layers"]["note"] == ""


def test_the_worst_node_is_one_that_is_in_int8(calibrated):
    calibrated.handle({"type": "sensitivity"})
    worst = calibrated.scene_state()["verdict"]["text"].split()[0]
    calibrated.workbench.plan.use("int8")
    calibrated.workbench.plan.set(f"name:{worst}", "fp32")
    second = calibrated.scene_state()["verdict"]["text"].split()[0]
    assert second != worst
    calibrated.workbench.plan.set("*", "fp32")
    assert calibrated.scene_state()["verdict"] is None
    calibrated.handle({"type": "undo"})
    assert calibrated.told[-1] == {"type": "done", "text": "Undone: * → fp32"}  # as the chip says it


def test_the_step_says_that_floating_point_stays(calibrated):
    reason = "stay in FP32: the plan takes 1.250 ± 0.010 of its time"
    slower = Pays(verdict="does not pay", ratio=1.25, error=0.01, against="fp32", where="here", reason=reason)
    rules = (Rule(select="*", precision="fp32"),)
    history_of(calibrated.workbench).do(PlanStep(rules=rules, ranges={}, sha256=ranges_hash({}), pays=slower))
    calibrated.handle({"type": "tune"})
    assert calibrated.scene_state()["stages"][4]["figure"] == "Stay in FP32 · does not pay"


def test_who_goes_on_with_a_tuned_recipe_is_led_on_from_there(calibrated, tmp_path):
    wb = calibrated.workbench
    Keeper(history_of(wb), tmp_path / "a.model.recipe.yaml")
    calibrated.handle({"type": "preset", "name": "int8"})
    steps = wb.recipe.steps
    wb.tune()  # in a cell; no step comes of it
    assert wb.recipe.steps == steps
    assert calibrated.scene["stages"][4]["done"]
    keeper_of(history_of(wb)).close()
    again = App(open_model(wb.source.path))
    again.widget()
    Keeper(history_of(again.workbench), tmp_path / "a.model.recipe.yaml")
    again.handle({"type": "resume", "go_on": True})
    assert again.scene_state()["next"]["step"] == "Compare"
    assert again.scene_state()["steps"][0] == calibrated.scene_state()["steps"][0]  # a click it was, and stays
    undone = [again.workbench.undo() for _ in steps[1:]]  # the calibration, too
    assert ("calibrate" in undone[-1], again.scene_state()["next"]["ask"]) == (True, "form")  # prepared it is


def test_engines_tensors_and_charts_share_the_selection(calibrated):
    from workbench import views

    wb = calibrated.workbench
    calibrated.handle({"type": "build"})
    engine = views.engine(history_of(wb).figures.engine, wb)
    tensors = views.tensor_table(wb)
    by_name = {node.outputs[0].name: name for name, node in wb.model.top_nodes.items()}
    tensor = next(name for name in wb.ranges.statistics if name in by_name)
    calibrated.choose([by_name[tensor]])
    assert engine.fusion.selected == [by_name[tensor]]
    assert tensors.selected == [tensor]
    engine.selected_layer = engine.fusion.layer_of(["head/fc"])
    assert "head/fc" in calibrated.selected
    tensors.choose([tensor])
    assert calibrated.selected == [by_name[tensor]]
    tensors.choose(["x"])  # an input of the model: what reads it
    assert calibrated.selected == ["stem/conv"]


def test_a_search_builds_and_times_engines_and_after_a_restart_goes_on_from_them(screen, small_data, tmp_path):
    Keeper(history_of(screen.workbench), tmp_path / "a.model.recipe.yaml")
    asked = {"type": "search", "goal": 20.0, "measure": "onnxruntime", "builds": 2}
    samples = {"samples": str(small_data), "preprocessing": ""}
    screen.handle({"type": "calibrate", **samples, "method": "mse", "batch": 4})
    screen.handle(asked | {"builds": 1})
    assert "Two builds are the least" in errors(screen)[0]
    before = (tmp_path / "a.model.recipe.yaml").read_bytes()
    screen.handle(asked)
    assert len(errors(screen)) == 1
    search = history_of(screen.workbench).figures.search
    assert search.measured.resumed == 0
    assert screen.workbench.recipe.pays.where is not None
    keeper_of(history_of(screen.workbench)).close()

    # A kernel that ended in the midst of it left the journal, and the recipe of before.
    (tmp_path / "a.model.recipe.yaml").write_bytes(before)
    again = App(open_model(screen.workbench.source.path))
    again.told = []
    again.widget()
    again.send = again.told.append
    Keeper(history_of(again.workbench), tmp_path / "a.model.recipe.yaml")
    again.handle({"type": "resume", "go_on": True})
    again.handle(asked)
    assert errors(again) == []
    known = history_of(again.workbench).figures.search.measured
    assert known.resumed >= 3  # two builds, and their comparison
    assert [point.ratio for point in known.points] == [point.ratio for point in search.measured.points]
    assert again.told[-1]["text"].endswith(f"; {known.resumed} measurements known from a.model.engines")
    assert again.workbench.recipe.steps[-1].rules == screen.workbench.recipe.steps[-1].rules

    # What it found is Python, too: these lines make the same plan.
    again.handle({"type": "code"})
    other = open_model(again.workbench.source.path)
    other.calibrate(small_data, batch=4)
    exec(again.told[-1]["code"], {"wb": other})  # noqa: S102 - our own
    assert other.plan.rules == again.workbench.plan.rules
    assert dict(other.ranges) == dict(again.workbench.ranges)
    assert history_of(again.workbench).measured.statistics is not None
