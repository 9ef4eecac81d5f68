"""The calibration views in a real JupyterLab: rows and nodes select each other, a moved threshold is in the recipe."""

from __future__ import annotations

import shutil

import pytest

from tests.browser import conftest as lab_tools

pytestmark = pytest.mark.slow

SETUP = """
import json, pathlib
import workbench
from workbench import views
from workbench.views.graphs.view import GraphView
from IPython.display import display
wb = workbench.open_model("model.onnx")
wb.prepare()
wb.calibrate("samples.npz", batch=4, channels=1)
graph = GraphView(wb.model, height=300)
table = views.tensor_table(wb, graph)
def note(*_):
    seen = {"tensors": table.selected, "nodes": graph.selected, "rows": list(table.frame.index)}
    seen["last"] = wb.recipe.steps[-1].model_dump(mode="json")
    seen |= {"steps": len(wb.recipe.steps), "range": wb.ranges["r1"], "origin": wb.ranges.origins["r1"]}
    pathlib.Path("seen.json").write_text(json.dumps(seen))
table.on_select(note)
graph.on_select(note)
view = views.distribution(wb, "r1")
change = view.on_change
view.on_change = lambda *what: (change(*what), note())
display(table, graph, view)
"""


ZERO = """svg => {
    const ticks = [...svg.querySelectorAll("text[text-anchor=middle]")];
    return Number(ticks.find(tick => tick.textContent === "0").getAttribute("x")) / svg.viewBox.baseVal.width;
}"""
UNDO = "while wb.recipe.steps[-1].do == 'set_range': wb.undo()\nnote()"
REDO = "wb.redo()\nnote()"
AGAIN = "import ipywidgets\ndisplay(ipywidgets.HBox([views.distribution(wb, 'r1'), views.graph(wb)]))"


def choose_theme(page, name: str, light: str) -> None:
    page.locator(".lm-MenuBar-item", has_text="Settings").click()
    page.locator(".lm-Menu-item", has_text="Theme").first.hover()
    page.locator(".lm-Menu-item", has_text=name).first.click()
    page.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")
    page.locator("#jupyterlab-splash").wait_for(state="detached")


@pytest.fixture
def opened(lab, desk, small_cnn, small_data):
    """A page that shows the table, the graph and the distribution of one tensor."""
    shutil.copy(small_cnn, lab.folder / "model.onnx")
    shutil.copy(small_data, lab.folder / "samples.npz")
    page = desk.page
    page.errors.clear()
    desk.show(SETUP)
    page.locator(".wb-threshold:not(.wb-old) svg").first.wait_for()
    yield page
    assert page.errors == []
    assert page.abroad == []


def test_rows_and_nodes_select_each_other(lab, opened, screenshots) -> None:
    page = opened
    rows = page.locator(".wb-rows tbody tr")

    page.locator('.wb-rows tr[data-id="r1"]').click()
    assert lab_tools.seen(lab, lambda s: s["tensors"] == ["r1"])["nodes"] == ["stem/relu"]
    page.locator('.wb-rows tr[data-id="r1"][aria-selected="true"]').wait_for()
    page.locator('.wb-rows tr[data-id="r2"]').click(modifiers=["Control"])
    assert lab_tools.seen(lab, lambda s: s["tensors"] == ["r1", "r2"])["nodes"] == ["stem/relu", "block/relu"]

    page.locator(".wb-rows th button", has_text="range").click()
    page.locator('.wb-rows th[aria-sort="descending"]', has_text="range").wait_for()
    down = rows.evaluate_all("rows => rows.map(row => row.dataset.id)")
    page.locator(".wb-rows th button", has_text="range").click()
    page.locator('.wb-rows th[aria-sort="ascending"]', has_text="range").wait_for()
    assert rows.evaluate_all("rows => rows.map(row => row.dataset.id)") == down[::-1]

    page.locator('.wb-card[data-id="stem/relu"]').click()
    assert lab_tools.seen(lab, lambda s: s["nodes"] == ["stem/relu"])["tensors"] == ["r1"]
    page.locator('.wb-rows tr[data-id="r2"][aria-selected="false"]').wait_for()
    page.screenshot(path=screenshots / "calibration-1-linked.png")


def test_a_threshold_is_moved_by_keys_and_dragged_by_the_mouse(lab, desk, opened, screenshots) -> None:
    page = opened
    page.locator(".wb-threshold .handle").first.focus()
    page.keyboard.press("ArrowLeft")
    last = lab_tools.seen(lab, lambda s: s["last"]["do"] == "set_range")["last"]
    assert last["tensor"] == "r1"
    page.screenshot(path=screenshots / "calibration-2-threshold.png")

    # Dragged by the mouse to half its way: one step, written when it is let go.
    before = lab_tools.seen(lab)
    svg = page.locator(".wb-threshold > svg").first
    grip = page.locator(".wb-threshold .handle .grip").last
    grip.scroll_into_view_if_needed()
    bounds, picture = grip.bounding_box(), svg.bounding_box()
    zero = picture["x"] + picture["width"] * svg.evaluate(ZERO)
    start, y = bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2
    target = zero + (start - zero) / 2
    page.mouse.move(start, y)
    page.mouse.down()
    page.mouse.move((start + target) / 2, y, steps=5)
    page.locator(".wb-threshold .figures", has_text="release to apply").wait_for()
    assert lab_tools.seen(lab)["steps"] == before["steps"]
    page.mouse.move(target, y, steps=5)
    page.mouse.up()
    after = lab_tools.seen(lab, lambda s: s["steps"] == before["steps"] + 1)
    assert after["last"] == {"do": "set_range", "tensor": "r1", "amax": after["range"]}
    assert after["origin"] == "manual"
    assert after["range"] == pytest.approx(before["range"] / 2, rel=0.02)
    page.locator(".wb-threshold .figures", has_text="clipped").wait_for()
    page.screenshot(path=screenshots / "calibration-3-dragged.png")

    # What was dragged is undone and redone like any other step, and the next view shows it.
    desk.run(UNDO, cell=1)
    undone = lab_tools.seen(lab, lambda s: s["last"]["do"] == "calibrate")
    assert undone["origin"] == "mse"
    page.locator(".wb-threshold .figures", has_text=f"threshold {undone['range']:.5g}").wait_for()
    desk.run(REDO, cell=1)
    assert lab_tools.seen(lab, lambda s: s["last"]["do"] == "set_range")["steps"] == undone["steps"] + 1
    desk.run(AGAIN, cell=1)
    page.locator(".wb-threshold > svg").nth(1).wait_for()
    # Side by side both are seen whole: neither pushes the other out of the page.
    sides = page.locator(".widget-hbox > *")
    sides.nth(1).locator(".wb-canvas svg").wait_for()
    box, (left, right) = page.locator(".widget-hbox").bounding_box(), [side.bounding_box() for side in sides.all()]
    assert left["width"] == pytest.approx(right["width"], rel=0.02)
    assert right["x"] + right["width"] <= box["x"] + box["width"] + 1

    choose_theme(page, "JupyterLab Dark", "false")
    page.locator(".wb-threshold").first.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "calibration-4-dark.png")
    choose_theme(page, "JupyterLab Light", "true")
