"""The precision view in a real JupyterLab: rows, a selector, a precision, a point of the front, and the recipe."""

from __future__ import annotations

import shutil

import pytest

from tests.browser import conftest as lab_tools

pytestmark = pytest.mark.slow

SETUP = """
import json, pathlib, threading, time
shown = None  # the view of a test before
if "noting" in globals(): noting.join()
pathlib.Path("seen.json").unlink(missing_ok=True)
from IPython.display import display
from workbench.session import open_model
from workbench.precision.sensitivity import exact
from workbench.views.plans.view import precision
wb = open_model("model.onnx")
wb.calibrate("samples.npz", batch=4)
result = wb.plan.search("sqnr_db", at_least=45.0, batch=4)
from workbench.engine.formats import TensorFormat
from workbench.engine.report import EngineReport, Layer, LayerTime, EngineTensor
def layer(kind, ms, *nodes):
    read = EngineTensor("t", (4, 4, 8, 8), TensorFormat(kind, kind, "linear"))
    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    kind = {"name": nodes[0], "type": "CaskConvolution"}
    return Layer(**kind, inputs=(read,), outputs=(read,), metadata=metadata, time=LayerTime("layer", ms))
engine = EngineReport(name="small.engine", dialect="made here", layers=(
    layer("int8", 0.031, "stem/conv", "stem/relu"), layer("fp16", 0.027, "block/conv", "block/add", "block/relu"),
    layer("int8", 0.009, "head/pool", "head/flatten", "head/fc")))
view = shown = precision(wb, search=result, engine=engine)
def note(mine):
    while mine is shown:
        rules = [str(rule) for rule in wb.plan.rules.rules]
        seen = {"selected": view.selected, "rules": rules, "front": len(result.front), "steps": len(wb.recipe.steps)}
        pathlib.Path("part.json").write_text(json.dumps(seen))
        pathlib.Path("part.json").rename("seen.json")
        time.sleep(0.1)
noting = threading.Thread(target=note, args=(view,), daemon=True)
noting.start()
display(view)
"""


@pytest.fixture
def opened(lab, desk, small_cnn, small_data):
    shutil.copy(small_cnn, lab.folder / "model.onnx")
    shutil.copy(small_data, lab.folder / "samples.npz")
    desk.page.errors.clear()
    desk.show(SETUP, "tbody tr")
    return desk.page


def row(page, node):
    return page.locator(f'.wb-precision tr[data-id="{node}"]')


def test_rows_a_precision_and_a_point_become_rules(lab, opened, screenshots) -> None:
    page = opened
    before = lab_tools.seen(lab)
    lab_tools.expect(page.locator(".wb-precision tbody tr")).to_have_count(5)  # the layers; not Relu and Flatten
    page.locator(".wb-tools label input").check()
    lab_tools.expect(page.locator(".wb-precision tbody tr")).to_have_count(8)
    page.locator(".wb-tools label input").uncheck()

    # The one that hurts most comes first.
    page.locator('th[data-key="sqnr_db"] button').click()
    page.wait_for_function(
        """() => {
            const cells = [...document.querySelectorAll('td[data-key="sqnr_db"]')];
            const figures = cells.map((cell) => parseFloat(cell.innerText));
            return figures.length === 5 && figures.every((figure, at) => !at || figures[at - 1] <= figure);
        }"""
    )
    page.locator('th[data-key="place"] button').click()

    row(page, "stem/conv").click()
    row(page, "block/conv").click(modifiers=["Control"])
    lab_tools.seen(lab, lambda s: s["selected"] == ["stem/conv", "block/conv"])
    page.locator(".wb-detail", has_text="2 selected").wait_for()
    lab_tools.expect(page.locator(".wb-selector")).to_have_value("op:Conv")
    page.locator(".wb-choice").select_option("fp16")
    page.locator(".wb-line", has_text='wb.plan.set("op:Conv", "fp16") → estimate: ').wait_for()
    assert lab_tools.seen(lab)["rules"] == before["rules"]
    page.locator(".wb-precision").screenshot(path=screenshots / "precision-1-preview.png")
    page.locator(".wb-set").click()
    lab_tools.seen(lab, lambda s: s["rules"] == [*before["rules"], "op:Conv -> fp16"])
    page.locator('tr[data-id="stem/conv"] td[data-key="gets"]', has_text="fp16").wait_for()
    page.locator(".wb-rules li", has_text="op:Conv -> fp16").wait_for()

    page.locator(".wb-selector").fill("op:Gemm")
    page.keyboard.press("Enter")
    lab_tools.seen(lab, lambda s: s["selected"] == ["head/fc"])
    page.locator(".wb-selector").fill("op:Gemmm")
    page.keyboard.press("Enter")
    page.locator(".wb-error", has_text="Gemm").wait_for()

    assert page.abroad == []
    assert page.errors == []


def test_the_slider_sets_the_plan(lab, opened, screenshots) -> None:
    page = opened
    before = lab_tools.seen(lab)
    row(page, "stem/conv").click()
    page.locator(".wb-detail", has_text="stem/conv (Conv)").wait_for()
    page.locator(".wb-choice").select_option("fp16")
    page.locator(".wb-line", has_text='"fp16") → estimate: ').wait_for()
    page.locator(".wb-set").click()
    lab_tools.seen(lab, lambda s: s["rules"] == [*before["rules"], "name:stem/conv -> fp16"])

    # By keys: each stop is the plan at once, and one step of the recipe however often it moves.
    slider = page.locator(".wb-front input")
    page.locator(".wb-taken", has_text="none of these").wait_for()
    slider.focus()
    page.keyboard.press("Home")
    page.locator(".wb-point", has_text="100.0% of the MACs in INT8").wait_for()
    page.locator(".wb-taken", has_text="point 1 of").wait_for()
    page.locator('tr[data-id="stem/conv"] td[data-key="gets"]', has_text="int8").wait_for()
    steps = lab_tools.seen(lab, lambda s: s["rules"][-1] != "name:stem/conv -> fp16")["steps"]
    page.keyboard.press("End")
    page.locator(".wb-taken", has_text=f"point {before['front']} of {before['front']}").wait_for()
    page.locator('tr[data-id="stem/conv"] td[data-key="gets"]', has_text="fp32").wait_for()
    page.keyboard.press("ArrowLeft")
    page.locator(".wb-taken", has_text=f"point {before['front'] - 1} of").wait_for()
    assert lab_tools.seen(lab)["steps"] == steps
    row(page, "block/conv").click()
    page.locator(".wb-detail svg").wait_for()

    lab_tools.theme(page, light=False)
    page.locator(".wb-precision").screenshot(path=screenshots / "precision-2-dark.png")
    assert page.locator(".wb-precision").evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(20, 23, 28)"
    assert page.abroad == []
    assert page.errors == []


def test_a_range_of_rows_and_the_strip_select(lab, opened) -> None:
    page = opened
    row(page, "stem/conv").click()
    lab_tools.seen(lab, lambda s: s["selected"] == ["stem/conv"])
    row(page, "block/add").click(modifiers=["Shift"])
    lab_tools.seen(lab, lambda s: s["selected"] == ["stem/conv", "block/conv", "block/add"])
    page.locator('.wb-strip rect[data-id="head/fc"]').click()
    lab_tools.seen(lab, lambda s: s["selected"] == ["head/fc"])
    steps = lab_tools.seen(lab)["steps"]
    page.locator(".wb-tools button", has_text="undo").click()
    lab_tools.seen(lab, lambda s: s["steps"] == steps - 1)
    assert page.errors == []
