"""Sorting, selecting, and the link with a graph."""

from __future__ import annotations

import pytest

import workbench
from workbench import views
from workbench.errors import SelectorError
from workbench.views.graphs.view import GraphView
from workbench.views.kit.picture import WIDGET_MIME


@pytest.fixture(scope="module")
def wb(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4, channels=1)
    return wb


@pytest.fixture
def table(wb):
    return views.tensor_table(wb)


def shown(table):
    return [row["id"] for row in table.scene_state()["rows"]]


def test_has_a_row_for_every_observed_tensor_worst_first(table, wb):
    assert set(shown(table)) == set(wb.ranges.statistics)
    assert list(table.frame["sqnr_db"]) == sorted(table.frame["sqnr_db"])
    assert set(table.frame["origin"]) == {"mse"}
    assert list(table.frame["range"]) == [wb.ranges[name] for name in table.frame.index]


def test_a_click_on_a_heading_sorts_and_a_second_turns_it_round(table):
    widget = table.widget()
    table.handle({"type": "sort", "column": "range"})
    down = shown(table)
    assert list(table.frame["range"]) == sorted(table.frame["range"], reverse=True)
    table.handle({"type": "sort", "column": "range"})
    assert shown(table) == down[::-1]
    assert widget.marks["order"] == ["range", False]
    table.handle({"type": "sort", "column": "tensor"})
    assert shown(table) == sorted(down, reverse=True)


def test_an_unknown_column_is_refused(table):
    with pytest.raises(SelectorError, match="no such column"):
        table.sort("colour")


def test_clicks_select_and_toggle(table):
    widget = table.widget()
    table.handle({"type": "select", "rows": ["r1"], "add": False})
    table.handle({"type": "select", "rows": ["x"], "add": True})
    assert table.selected == widget.marks["selected"] == ["r1", "x"]
    table.handle({"type": "select", "rows": ["r1"], "add": True})
    assert table.selected == ["x"]
    table.handle({"type": "select", "rows": ["x"], "add": False})
    assert table.selected == []


def test_rows_select_the_nodes_that_make_them_and_back(wb):
    graph = GraphView(wb.model)
    table = views.tensor_table(wb, graph)
    table.handle({"type": "select", "rows": ["r1"], "add": False})
    assert graph.selected == ["stem/relu"]
    table.handle({"type": "select", "rows": ["r2"], "add": True})
    assert graph.selected == ["stem/relu", "block/relu"]
    graph.selected = ["block/relu"]
    assert table.selected == ["r2"]
    graph.selected = ["block/conv"]
    assert table.selected == []
    table.selected = ["x"]
    assert graph.selected == []


def test_an_input_stays_selected_though_no_node_makes_it(wb):
    graph = GraphView(wb.model)
    table = views.tensor_table(wb, graph)
    table.selected = ["x", "r1"]
    assert (table.selected, graph.selected) == (["x", "r1"], ["stem/relu"])


def test_a_link_leaves_no_echo(wb):
    graph = GraphView(wb.model)
    table = views.tensor_table(wb, graph)
    records = []
    table.on_select(records.append)
    graph.on_select(records.append)
    table.selected = ["r1"]
    assert len(records) == 2


def test_dead_channels_and_missing_ones(table, small_cnn, small_data):
    assert table.frame["dead_channels"].notna().any()
    plain = workbench.open_model(small_cnn)
    plain.calibrate(small_data, batch=4)
    rows = views.tensor_table(plain).texts()
    assert {row[-1] for row in rows} == {""}


def test_pictures_stand_beside_the_widget(table):
    data, _ = table._repr_mimebundle_()
    assert {"image/svg+xml", "image/png", WIDGET_MIME} <= set(data)
    assert "block/relu" not in data["image/svg+xml"]
    assert ">r1<" in data["image/svg+xml"]
