"""The calibration views in a real JupyterLab: rows and nodes select each other, a moved threshold is in the recipe."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("browser_conftest", Path(__file__).with_name("conftest.py"))
lab_tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab_tools)

SETUP = """
import json, pathlib
import workbench
from workbench import views
from workbench.views.graph_widget import GraphView
from IPython.display import display
wb = workbench.open_model("model.onnx")
wb.prepare()
wb.calibrate("samples.npz", batch=4, channels=1)
graph = GraphView(wb.model, height=300)
table = views.tensor_table(wb, graph)
def note(*_):
    seen = {"tensors": table.selected, "nodes": graph.selected, "rows": list(table.frame.index)}
    seen["last"] = wb.recipe.steps[-1].model_dump(mode="json")
    pathlib.Path("seen.json").write_text(json.dumps(seen))
table.on_select(note)
graph.on_select(note)
view = views.distribution(wb, "r1")
change = view.on_change
view.on_change = lambda *what: (change(*what), note())
display(table, graph, view)
"""


def test_rows_nodes_and_a_threshold(lab, page, small_cnn, small_data, screenshots) -> None:
    (lab.folder / "seen.json").unlink(missing_ok=True)
    shutil.copy(small_cnn, lab.folder / "model.onnx")
    shutil.copy(small_data, lab.folder / "samples.npz")
    lab_tools.notebook(lab.folder / "calibration.ipynb", SETUP)
    page.goto(f"{lab.url}/lab/tree/calibration.ipynb?reset", wait_until="domcontentloaded")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click(timeout=90_000)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=90_000)
    page.keyboard.press("Shift+Enter")
    page.locator(".wb-threshold svg").first.wait_for(timeout=90_000)
    rows = page.locator(".wb-tensors tbody tr")

    page.locator('.wb-tensors tr[data-name="r1"]').click()
    assert lab_tools.seen(lab, lambda s: s["tensors"] == ["r1"])["nodes"] == ["stem/relu"]
    page.locator('.wb-tensors tr[data-name="r1"][aria-selected="true"]').wait_for()
    page.locator('.wb-tensors tr[data-name="r2"]').click(modifiers=["Shift"])
    assert lab_tools.seen(lab, lambda s: s["tensors"] == ["r1", "r2"])["nodes"] == ["stem/relu", "block/relu"]

    page.locator(".wb-tensors th button", has_text="range").click()
    page.locator('.wb-tensors th[aria-sort="descending"]', has_text="range").wait_for()
    down = rows.evaluate_all("rows => rows.map(row => row.dataset.name)")
    page.locator(".wb-tensors th button", has_text="range").click()
    page.locator('.wb-tensors th[aria-sort="ascending"]', has_text="range").wait_for()
    assert rows.evaluate_all("rows => rows.map(row => row.dataset.name)") == down[::-1]

    page.locator('.wb-card[data-id="stem/relu"]').click()
    assert lab_tools.seen(lab, lambda s: s["nodes"] == ["stem/relu"])["tensors"] == ["r1"]
    page.locator('.wb-tensors tr[data-name="r2"][aria-selected="false"]').wait_for()
    page.screenshot(path=screenshots / "calibration-1-linked.png")

    page.locator(".wb-threshold .handle").first.focus()
    page.keyboard.press("ArrowLeft")
    last = lab_tools.seen(lab, lambda s: s["last"]["do"] == "set_range")["last"]
    assert last["tensor"] == "r1"
    page.screenshot(path=screenshots / "calibration-2-threshold.png")
    assert page.errors == []
    assert page.abroad == []
