from __future__ import annotations

import numpy as np
import pytest

from tests.kit import graphs
from tests.kit.places import ROOT
from workbench.errors import SelectorError, WorkbenchError
from workbench.graph.load import load_model
from workbench.views.graphs.columns import columns_of, overlay_of
from workbench.views.graphs.diff import SideBySide, changes
from workbench.views.graphs.network import Network, Op
from workbench.views.graphs.overlay import Overlay
from workbench.views.graphs.view import GraphView
from workbench.views.kit.picture import WIDGET_MIME
from workbench.views.kit.themes import OKABE_ITO

SOFTMAX = "/layers.1/attn/Softmax"


@pytest.fixture
def view() -> GraphView:
    pytest.importorskip("anywidget")
    result = GraphView(graphs.decoder(6), {"size": Overlay("size", {SOFTMAX: 7.0})}, title="decoder")
    result.collapse("layers.0…5")
    result.widget()
    return result


def texts(marks) -> list[list[str]]:
    """The rows of the table beneath the graph."""
    return [list(row["texts"].values()) for row in marks["table"]["rows"]]


def answers(view) -> list[dict]:
    """What the page is told from here on."""
    messages: list[dict] = []
    view.widget().send = messages.append
    return messages


def test_a_click_selects_and_python_hears_of_it(view) -> None:
    heard = []
    view.on_select(heard.append)
    view.handle({"type": "select", "pane": 0, "id": "/head/MatMul", "add": False})
    assert view.selected == ["/head/MatMul"]
    view.handle({"type": "select", "pane": 0, "id": "layers.0…5/", "add": True})
    assert len(view.selected) == 1 + 72
    view.handle({"type": "select", "pane": 0, "id": "/head/MatMul", "add": True})
    assert "/head/MatMul" not in view.selected
    view.handle({"type": "select", "pane": 0, "id": None, "add": False})
    assert view.selected == []
    assert [len(names) for names in heard] == [1, 73, 72, 0]


def test_python_selects_and_the_page_shows_it(view) -> None:
    view.selected = [SOFTMAX]
    marks = view.widget().marks
    assert "layers.0…5/" in marks["panes"][0]["selected"]
    assert texts(marks) == [[SOFTMAX, "Softmax", "7"]]
    view.expand("layers.1/attn")
    assert SOFTMAX in view.widget().marks["panes"][0]["selected"]
    with pytest.raises(SelectorError, match="Softmax"):
        view.selected = ["/layers.1/attn/Softmaxx"]
    assert view.selected == [SOFTMAX]


def test_a_double_click_opens_and_closes(view) -> None:
    view.handle({"type": "toggle", "pane": 0, "id": "layers.0…5/"})
    assert view.picture.shown.expanded == ("layers.0…5/",)
    assert 'data-id="layers.3/"' in view.widget().scene["panes"][0]["svg"]
    view.handle({"type": "toggle", "pane": 0, "id": "layers.0…5/"})
    assert view.picture.shown.expanded == ()


def test_searching_goes_from_one_to_the_next(view) -> None:
    view.handle({"type": "search", "pattern": "softmax", "next": True})
    assert view.widget().marks["count"] == "1 of 6"
    assert view.widget().marks["reveal"] == {"pane": 0, "id": "/layers.0/attn/Softmax"}
    view.handle({"type": "search", "pattern": "softmax", "next": True})
    assert view.widget().marks["reveal"]["id"] == SOFTMAX
    assert SOFTMAX in view.widget().marks["panes"][0]["matches"]
    view.handle({"type": "search", "pattern": "no such thing", "next": True})
    assert view.widget().marks["count"] == "nothing found"
    view.handle({"type": "search", "pattern": "", "next": False})
    assert view.widget().marks["count"] == ""


def test_what_is_wrong_is_said_on_the_page_and_changes_nothing(view) -> None:
    messages, before = answers(view), view.picture.shown
    for request in (
        {"type": "search", "pattern": "(", "next": True},
        {"type": "toggle", "pane": 0, "id": "nowhere/"},
        {"type": "colour", "column": "nothing"},
        {"type": "explode"},
        {"type": "select"},
        {"type": "details", "pane": 9, "id": "x"},
        {},
    ):
        view.handle(request)
        assert messages[-1]["type"] == "error", request
    assert len(messages) == 7
    assert view.picture.shown == before


def test_focus_shows_the_selection_and_back(view) -> None:
    view.selected = [SOFTMAX]
    view.handle({"type": "focus", "on": True, "hops": 1})
    assert view.widget().scene["focused"]
    assert 'data-id="/layers.1/attn/Add"' in view.widget().scene["panes"][0]["svg"]
    assert "/head/MatMul" not in view.widget().scene["panes"][0]["svg"]
    view.handle({"type": "focus", "on": False, "hops": 0})
    assert "/head/MatMul" in view.widget().scene["panes"][0]["svg"]


def test_columns_are_made_when_they_are_asked_for(shared) -> None:
    view = GraphView(load_model(shared / "models/mnist_cntk/model.onnx"))
    assert "macs" in view.columns
    assert callable(view.columns["macs"])
    view.color_by("macs")
    assert view.picture.overlay is view.columns["macs"]
    conv = view.select("op:Conv")
    assert view.table().loc[conv, "macs"].tolist() == [28 * 28 * 8 * 25, 14 * 14 * 16 * 8 * 25]
    view.color_by(None)
    assert view.picture.overlay is None
    with pytest.raises(WorkbenchError, match="parameters"):
        view.color_by("param")


def test_select_takes_selectors_names_and_says_what_matches_nothing(shared) -> None:
    view = GraphView(load_model(shared / "models/mnist_cntk/model.onnx"))
    assert len(view.select("op:Conv")) == 2
    assert view.select(view.selected[:1]) == view.selected
    assert view.select(view.selected[0]) == view.selected
    with pytest.raises(SelectorError):
        view.select("op:Convolution")
    with pytest.raises(SelectorError, match="node names"):
        GraphView(graphs.decoder(1)).select("op:Conv")


def test_color_by_takes_a_series_and_a_mapping(view) -> None:
    pd = pytest.importorskip("pandas")
    view.color_by(pd.Series({SOFTMAX: 3, "/head/MatMul": 4}, name="latency"))
    assert view.widget().scene["column"] == "latency"
    assert view.picture.overlay.of([SOFTMAX, "/head/MatMul"]) == 7
    view.color_by({SOFTMAX: 30.0, "/head/MatMul": 20.0}, gather="min")
    assert view.picture.overlay.of([SOFTMAX, "/head/MatMul"]) == 20


def test_tables_become_columns_and_unknown_stays_unknown() -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {"SQNR dB": [30.0, np.nan], "macs": pd.array([5, None], dtype="Int64"), "op": ["a", "b"], "inputs": [(), ()]},
        index=["x", "y"],
    )
    columns = columns_of(table)
    assert set(columns) == {"SQNR dB", "macs", "op"}
    assert columns["SQNR dB"].gather == "min"
    assert columns["macs"].of(["x", "y"]) == 5
    assert columns["macs"].of(["y"]) is None
    assert columns["op"].of(["x"]) == "a"
    assert overlay_of(None, {"x": 1}).title == "value"


def test_size_by_grows_what_matters(view) -> None:
    before = view.widget().scene["panes"][0]["height"]
    view.expand("layers.1/attn")
    plain = view.widget().scene["panes"][0]["height"]
    view.size_by("size")
    assert view.widget().scene["panes"][0]["height"] > plain > before
    assert "sized by size" in view.widget().scene["panes"][0]["caption"]
    view.size_by(None)
    assert view.widget().scene["panes"][0]["height"] == plain


def test_a_click_on_a_row_selects_its_node_and_the_table_stays(view) -> None:
    view.handle({"type": "select", "pane": 0, "id": "layers.0…5/", "add": False})
    listed = view.widget().marks["table"]
    assert len(listed["rows"]) == 50
    assert "50 of 72" in view.widget().marks["about"]
    view.handle({"type": "row", "rows": [SOFTMAX], "add": False})
    assert view.selected == [SOFTMAX]
    marks = view.widget().marks
    assert marks["table"] == listed
    assert marks["selected"] == [SOFTMAX]
    assert marks["reveal"] == {"pane": 0, "id": SOFTMAX}
    assert f'data-id="{SOFTMAX}"' in view.widget().scene["panes"][0]["svg"]
    view.handle({"type": "row", "rows": ["/layers.2/attn/Softmax"], "add": True})
    assert view.selected == [SOFTMAX, "/layers.2/attn/Softmax"]
    view.handle({"type": "row", "rows": [SOFTMAX], "add": True})
    assert view.selected == ["/layers.2/attn/Softmax"]
    # A click in the graph lists anew.
    view.handle({"type": "select", "pane": 0, "id": "/head/MatMul", "add": False})
    assert [row[0] for row in texts(view.widget().marks)] == ["/head/MatMul"]
    replies = answers(view)
    view.handle({"type": "row", "rows": ["nobody"], "add": False})
    assert replies[-1]["type"] == "error"
    assert view.selected == ["/head/MatMul"]


def test_what_a_search_finds_is_listed_and_can_be_picked(view) -> None:
    view.handle({"type": "search", "pattern": "softmax", "next": True})
    assert [row[1] for row in texts(view.widget().marks)] == ["Softmax"] * 6
    assert view.widget().marks["about"] == "6 listed"
    view.handle({"type": "row", "rows": [SOFTMAX], "add": False})
    assert view.selected == [SOFTMAX]
    assert view.widget().marks["about"] == "6 listed, 1 selected"
    view.handle({"type": "search", "pattern": "", "next": False})
    assert [row[0] for row in texts(view.widget().marks)] == [SOFTMAX]


def test_a_table_of_any_figures_colours_and_sizes(view) -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {"latency ms": [3.0, 1.0], "sqnr": [20.0, 40.0], "kind": ["a", "b"]}, [SOFTMAX, "/head/MatMul"]
    )
    view = GraphView(graphs.decoder(6), table)
    view.widget()
    assert set(view.columns) == {"latency ms", "sqnr", "kind"}
    view.handle({"type": "colour", "column": "sqnr"})
    assert view.picture.overlay.of([SOFTMAX, "/head/MatMul"]) == 20
    view.handle({"type": "size", "column": "latency ms"})
    assert view.picture.size_by.of([SOFTMAX, "/head/MatMul"]) == 4
    scene = view.widget().scene
    assert (scene["column"], scene["size"]) == ("sqnr", "latency ms")
    assert scene["sizes"] == ["equal sizes", "latency ms", "sqnr"]
    replies = answers(view)
    view.handle({"type": "size", "column": "kind"})
    assert "words have no size" in replies[-1]["text"]
    view.handle({"type": "size", "column": "equal sizes"})
    assert view.picture.size_by is None
    view.size_by(table["latency ms"], gather="max")
    assert view.picture.size_by.of([SOFTMAX, "/head/MatMul"]) == 3
    with pytest.raises(WorkbenchError, match="named after a node"):
        GraphView(graphs.decoder(1), pd.DataFrame({"ms": [1.0]}, ["nobody"]))


def test_the_bundle_has_the_widget_and_both_pictures(view) -> None:
    data, _ = view._repr_mimebundle_()
    assert {WIDGET_MIME, "image/png", "image/svg+xml"} <= set(data)
    assert data[WIDGET_MIME]["model_id"] == view.widget().model_id


def test_the_scripts_fetch_nothing() -> None:
    for name in ("graph.js", "pane.js", "surgery.js", "graph.css"):
        text = (ROOT / "workbench/views/graphs" / name).read_text()
        assert "http" not in text
        assert "import " not in text


def pair() -> tuple[Network, Network]:
    before, after = graphs.decoder(4), graphs.decoder(4)
    ops = [op for op in after.ops if op.name != "/layers.1/mlp/Gelu"]
    ops = [
        Op(op.name, "Relu", op.inputs, op.outputs, op.scope, op.label) if op.name == "/layers.2/mlp/Gelu" else op
        for op in ops
    ]
    ops.insert(3, Op("/embed/Cast", "Cast", ("/embed/Gather:0",), ("/embed/Cast:0",), ("embed",), "Cast"))
    return before, Network(ops, after.inputs, after.outputs)


def test_changes_are_told_apart() -> None:
    left, right = changes(*pair())
    assert {name: fate for name, fate in left.items() if fate != "same"} == {
        "/layers.1/mlp/Gelu": "removed",
        "/layers.2/mlp/Gelu": "changed",
    }
    assert right["/embed/Cast"] == "added"


def test_two_models_open_and_select_together() -> None:
    view = SideBySide(*pair())
    view.toggle("layers.2/")
    opened = ["layers.2/" in pane.shown.expanded for pane in view.panes]
    assert opened == [True, True]
    view.toggle("layers.2/")
    view.handle({"type": "select", "pane": 0, "id": "layers.1/", "add": False})
    assert [len(pane.shown.selected) for pane in view.panes] == [12, 11]
    state = view.scene_state()
    assert len(state["panes"]) == 2
    assert OKABE_ITO["green"] in state["legend"]


def test_a_given_difference_is_what_is_shown() -> None:
    before, after = pair()
    same = {op.name: "same" for op in after.ops}
    view = SideBySide(before, after, ({}, same | {"/head/MatMul": "changed"}), titles=("fp32", "int8"))
    assert view.panes[1].paint(view.panes[1].panel()).text["/head/MatMul"] == "changed"
    svg = view.svg()
    assert ">fp32<" in svg
    assert ">int8<" in svg
    assert view.png()[1:4] == b"PNG"
