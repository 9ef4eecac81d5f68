"""Notebook 01 itself in a real JupyterLab: run, clicked at, edited, and run to its end."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.browser import conftest as lab_tools
from tests.kit.awaited import awaited

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# What Python saw is written down behind the cell that shows the surgery view; the notebook is otherwise as it is.
PROBE = """
import json
def note(_):
    seen = {"view": view.selected, "surgery": surgery.selected, "open": surgery.picture.shown.expanded}
    seen |= {"steps": [step.do for step in wb.recipe.steps], "nodes": len(wb.model.nodes)}
    (OUT / "seen.json").write_text(json.dumps(seen))
view.on_select(note)
surgery.on_select(note)
print("the probe", "listens")
"""


def with_probe(source: Path, path: Path) -> tuple[int, int]:
    """Write the notebook with the probe in it; return how many cells come up to the probe, and how many there are."""
    content = json.loads(source.read_text())
    at = next(i for i, cell in enumerate(content["cells"]) if "views.surgery(wb)" in "".join(cell["source"])) + 1
    content["cells"].insert(
        at,
        {"cell_type": "code", "id": "probe", "metadata": {}, "execution_count": None, "outputs": [], "source": PROBE},
    )
    path.write_text(json.dumps(content))
    return at + 1, len(content["cells"])


def run_cells(page, count: int, until: str) -> None:
    """Run the next cells, as Shift and Enter do, until an output says something."""
    for _ in range(count):
        page.keyboard.press("Shift+Enter")
    page.locator(".jp-OutputArea-output", has_text=until).last.wait_for()


def click_a_node(view, out: Path) -> None:
    """`view.selected` is what was clicked, and the table beneath the graph shows it."""
    view.scroll_into_view_if_needed()
    view.locator(".wb-bar button", has_text="fit").click()
    view.locator('.wb-card[data-id="/conv1/Conv"]').click()
    assert awaited(out / "seen.json", lambda s: s["view"])["view"] == ["/conv1/Conv"]
    view.locator('.wb-table tr[data-id="/conv1/Conv"][aria-selected="true"]').wait_for()


def edit_what_is_found(page, surgery, out: Path, screenshots: Path) -> None:
    """Expand a scope, search, and apply the edit that what was found offers: it is a step of the recipe."""
    surgery.scroll_into_view_if_needed()
    surgery.locator(".wb-bar button", has_text="fit").click()
    surgery.locator('.wb-card[data-id="layer1.0/"]').dblclick()
    surgery.locator('.wb-card[data-id="/layer1.0/Add"]').wait_for()
    page.screenshot(path=screenshots / "notebook01-2-expanded.png")
    surgery.locator(".wb-search").fill("drop.*t$")
    page.keyboard.press("Enter")
    surgery.locator(".wb-count", has_text="1 of 1").wait_for()
    page.keyboard.press("Escape")
    surgery.locator(".wb-bar button", has_text="fit").click()
    surgery.locator('.wb-card[data-id="/dropout/Dropout"]').click()
    statistics = awaited(out / "seen.json", lambda s: s["surgery"] == ["/dropout/Dropout"])
    assert "layer1.0/" in statistics["open"]
    assert statistics["steps"] == []
    surgery.locator('[data-edit="Remove Identity and Dropout"]').click()
    surgery.locator(".wb-previews svg").nth(1).wait_for()
    surgery.locator(".wb-apply").scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "notebook01-3-preview.png")
    surgery.locator(".wb-apply button").click()
    done = awaited(out / "seen.json", lambda s: s["steps"])
    assert done["steps"] == ["remove_noops"]
    assert done["nodes"] < statistics["nodes"]


def test_the_notebook_is_run_clicked_at_and_edited(lab, page, screenshots) -> None:
    (lab.folder / "sample_models").mkdir(exist_ok=True)
    shutil.copy(lab_tools.ROOT / "sample_models/residual_cnn.onnx", lab.folder / "sample_models")
    count, total = with_probe(lab_tools.ROOT / "notebooks/01_graph.ipynb", lab.folder / "01_graph.ipynb")
    out = lab.folder / "out/graph"
    page.goto(f"{lab.url}/lab/tree/01_graph.ipynb?reset", wait_until="domcontentloaded")
    lab_tools.ready(page)
    page.locator(".jp-Notebook .jp-Cell").first.click()
    run_cells(page, count, "the probe listens")

    view, surgery = page.locator(".wb").first, page.locator(".wb").nth(2)
    click_a_node(view, out)
    page.screenshot(path=screenshots / "notebook01-1-clicked.png")
    edit_what_is_found(page, surgery, out, screenshots)

    # The rest of the notebook goes on from there, and the recipe that it saves begins with the click.
    page.locator(".jp-Notebook .jp-Cell").filter(has_text="the probe listens").first.click()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    run_cells(page, total - count, "replayed: the same")
    steps = [line.split()[-1] for line in (out / "recipe.yaml").read_text().splitlines() if line.startswith("- do:")]
    # Folding drops the weights that it leaves unread, so `remove_dead` finds nothing to be a step.
    assert steps == ["remove_noops", "drop_output", "fold_constants", "fold_batch_norm"]

    # The surgery view, still open above, follows the model that the cells below it edited.
    surgery.scroll_into_view_if_needed()
    surgery.locator(".wb-bar button", has_text="fit").click()
    surgery.locator(".wb-card").first.click()
    surgery.locator(".wb-caption", has_text="38 nodes").wait_for()
    surgery.locator(".wb-log", has_text='wb.edit("fold_batch_norm")').wait_for()
    lab_tools.theme(page, light=False)
    page.locator(".wb").last.scroll_into_view_if_needed()
    page.locator(".wb").last.screenshot(path=screenshots / "notebook01-4-side-by-side-dark.png")
    assert page.abroad == []
    assert page.errors == []
