"""What every live view has in common: shown it costs once, asked it answers, told it follows, and it fits in a box."""

from __future__ import annotations

import gc
import inspect

import ipywidgets
import pytest
from ipywidgets.widgets.widget import _instances

import workbench
from workbench import views
from workbench.backends.onnxruntime import OnnxRuntime
from workbench.errors import WorkbenchError
from workbench.session import history_of
from workbench.views.kit import View
from workbench.views.kit.picture import WIDGET_MIME

NAMES = ["graph", "surgery", "side_by_side", "distribution", "tensor_table", "precision", "engine"]


@pytest.fixture(scope="module")
def made(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    wb.plan.use("int8")
    backend = OnnxRuntime()
    return wb, wb.engines.read(backend.inspect(backend.build(wb.model)), model=wb.model)


@pytest.fixture
def wb(made):
    wb, _ = made
    steps = wb.recipe.steps
    yield wb
    ipywidgets.Widget.close_all()
    while wb.recipe.steps != steps:
        wb.undo()


@pytest.fixture
def show(wb, made):
    """Show a view of the workbench by its name."""

    def shown(name):
        if name == "distribution":
            return views.distribution(wb, "r1")
        if name == "side_by_side":
            return views.side_by_side(wb.source, wb)
        return views.engine(made[1]) if name == "engine" else getattr(views, name)(wb)

    return shown


def model_id(view) -> str:
    data, _ = view._repr_mimebundle_(include=[WIDGET_MIME])
    return data[WIDGET_MIME]["model_id"]


def parts(view) -> list[View]:
    return [view] if isinstance(view, View) else [view.table, *view.graphs.values()]


@pytest.mark.parametrize("name", NAMES)
def test_shown_four_times_it_is_one_widget_and_leaves_nothing_behind(wb, show, name):
    view = show(name)
    gc.collect()  # what earlier tests left would go away in the midst
    before, listening = set(_instances), len(history_of(wb).changes)
    shown = [model_id(view) for _ in range(4)]
    assert len(set(shown)) == 1
    gc.collect()
    assert len(history_of(wb).changes) == listening
    entries = [_instances[one] for one in set(_instances) - before]
    assert sum(isinstance(one, View) for one in entries) == len(parts(view))


def test_a_cell_that_is_run_four_times_leaves_one_distribution(wb):
    gc.collect()
    hooks = len(history_of(wb).changes)
    first = views.distribution(wb, "r1").widget()
    before = set(_instances)
    for _ in range(3):
        assert views.distribution(wb, "r1").widget() is first
    assert set(_instances) == before
    assert len(history_of(wb).changes) == hooks + 1


@pytest.mark.parametrize("name", NAMES[:-1])
def test_what_was_never_shown_is_forgotten(wb, show, name):
    gc.collect()
    listening, reference = len(history_of(wb).changes), set(_instances)
    view = show(name)
    assert len(history_of(wb).changes) > listening
    del view
    gc.collect()
    assert len(history_of(wb).changes) == listening
    assert set(_instances) == reference


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_into_a_box_as_it_is(show, name):
    view = show(name)
    box = ipywidgets.HBox([view, view])
    assert box.get_state()["children"] == [f"IPY_MODEL_{view.model_id}"] * 2
    for part in parts(view):
        assert part.scene
        assert part.comm is not None


@pytest.mark.parametrize("name", NAMES)
def test_closed_it_can_be_shown_again(show, name):
    view = show(name)
    first = view.widget().model_id
    view.close()
    assert first not in _instances
    assert model_id(view) in _instances


def requests(view) -> list[str]:
    names = [name for name in dir(type(view)) if name.startswith("_on_")]
    entries = [name for name in names if hasattr(getattr(type(view), name), "asked")]
    assert entries
    return entries


@pytest.mark.parametrize("name", NAMES)
def test_whatever_goes_wrong_in_a_handler_is_one_sentence_on_the_page(show, name, monkeypatch):
    for view in parts(show(name)):
        messages = []
        monkeypatch.setattr(view.widget(), "send", messages.append)
        for handler in requests(view):
            kind = handler.removeprefix("_on_")
            asked = getattr(type(view), handler).asked
            for error in (KeyError("x"), ZeroDivisionError("division\nby zero"), WorkbenchError("no", fix="Do this.")):

                def fail(*_, error=error, **__):
                    raise error

                with monkeypatch.context() as patch:
                    patch.setattr(asked, "method", fail)
                    patch.setitem(asked.__dict__, "schema", type("Any", (), {"model_fields": {}}))
                    view._handle_msg(
                        {"content": {"data": {"method": "custom", "content": {"type": kind}}}, "buffers": []}
                    )
                assert messages[-1]["type"] == "error"
                assert "\n" not in messages[-1]["text"]
                assert messages[-1]["text"]
        assert len(messages) == 3 * len(requests(view))


NONSENSE = [None, [], "sort", 7, {}, {1: 2}]
NONSENSE += [{"type": "nonsense"}, {"type": None}, {"type": "draw"}, {"type": "undo", "more": 1}]


@pytest.mark.parametrize("name", NAMES)
def test_what_no_page_asks_is_refused(wb, show, name):
    steps = wb.recipe.steps
    for view in parts(show(name)):
        messages = []
        view.send = messages.append
        for content in NONSENSE:
            view.handle(content)
        assert [message["type"] for message in messages] == ["error"] * len(NONSENSE)
    assert wb.recipe.steps == steps


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_another_type_are_refused(show, name):
    for view in parts(show(name)):
        messages = []
        view.send = messages.append
        for handler in requests(view):
            names = [*inspect.signature(getattr(type(view), handler)).parameters][1:]
            fields = {name: {"no": object()} for name in names}
            view.handle({"type": handler.removeprefix("_on_"), **(fields or {"no": 1})})
            assert messages[-1]["type"] == "error", handler


def open_all(show):
    return {name: show(name).widget() for name in NAMES[:-1]}


def seen(view):
    return view.scene, view.marks


def test_every_open_view_follows_a_rule_a_range_an_edit_and_their_undoing(wb, show):
    shown = open_all(show)
    for change, follow in (
        (lambda: wb.plan.set("op:Conv", "fp16"), {"precision", "surgery"}),
        (lambda: wb.set_range("r1", 0.123), {"distribution", "tensor_table", "surgery"}),
        (lambda: wb.edit("bypass", node="block/relu"), {"graph", "surgery", "side_by_side", "precision"}),
    ):
        before = {name: seen(view) for name, view in shown.items()}
        change()
        changed = {name: seen(view) for name, view in shown.items()}
        assert {name for name in shown if _content(changed[name]) != _content(before[name])} >= follow
        wb.undo()
        after = {name: seen(view) for name, view in shown.items()}
        assert {name for name in shown if _content(after[name]) != _content(changed[name])} >= follow
    assert shown["graph"].model is shown["surgery"].model is wb.model


def _content(state):
    scene, marks = state
    return scene, {key: value for key, value in marks.items() if key != "version"}


def test_a_click_on_what_is_no_longer_shown_is_refused(wb):
    view = views.precision(wb)
    messages = []
    view.widget().send = messages.append
    view.selected = ["head/flatten"]
    version = view.marks["version"]
    wb.plan.set("op:Conv", "fp16")
    steps = wb.recipe.steps
    view.handle({"type": "set", "precision": "fp32", "version": version})
    view.handle({"type": "undo", "version": version})
    assert [message["type"] for message in messages] == ["error", "error"]
    assert wb.recipe.steps == steps
    view.handle({"type": "undo", "version": view.marks["version"]})
    assert wb.recipe.steps == steps[:-1]
    assert messages[-1]["type"] == "done"
    assert "set_precision" in messages[-1]["text"]


def test_undo_in_a_view_says_what_it_takes_back_though_it_is_nothing_of_its_own(wb):
    view = views.precision(wb)
    view.widget()
    wb.set_range("r1", 0.5)
    assert "set_range" in view.marks["undo"]
    assert "set_range" in view.undo()
    assert "set_range" in view.marks["redo"]


def test_an_error_while_a_view_follows_stays_on_its_page(wb):
    view, other = views.precision(wb).widget(), views.tensor_table(wb).widget()
    messages = []
    view.send = messages.append

    def fail():
        raise RuntimeError

    view.renew = fail
    before = other.scene
    wb.set_range("r1", 0.123)
    assert [message["type"] for message in messages] == ["error"]
    assert other.scene != before


def test_what_is_on_no_page_any_longer_is_drawn_when_it_is_shown_again(wb):
    view = views.tensor_table(wb).widget()
    for kind in ("shown", "shown", "hidden", "hidden"):
        view.handle({"type": kind})
    before = view.scene
    wb.set_range("r1", 0.123)
    assert view.scene is before
    view.handle({"type": "shown"})
    assert view.scene != before


def test_a_session_hears_of_what_is_selected_in_its_views(wb):
    view, heard = views.precision(wb), []
    stop = wb.on_change(heard.append)
    view.selected = ["block/conv"]
    stop()
    assert [(change.kind, change.what, change.origin) for change in heard] == [("selection", "['block/conv']", view)]
