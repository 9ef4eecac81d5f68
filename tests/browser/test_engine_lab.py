"""The engine views in a real JupyterLab: an outline, a row and a card select one layer, and Python sees it."""

from __future__ import annotations

import shutil

import pytest

from tests.browser import conftest as lab_tools

pytestmark = pytest.mark.slow

# A real engine on any machine: what ONNX Runtime makes of the model.
SETUP = """
import json, pathlib
from IPython.display import display
from workbench import views
from workbench.backends import TimingOptions
from workbench.backends.onnxruntime import OnnxRuntime
from workbench.engine import load_engine
from workbench.graph import load_model
model = load_model("model.onnx")
backend = OnnxRuntime()
engine = backend.build(model)
def note(view, **more):
    pathlib.Path("part.json").write_text(json.dumps(more))
    pathlib.Path("part.json").rename("seen.json")
summary = load_engine(
    backend.inspect(engine), profile=backend.profile(engine, TimingOptions(warm_up_s=0.0, runs=5)), model=model
)
"""
ONE = (
    SETUP
    + """
view = views.engine(summary)
def seen(layer):
    nodes = list(view.fusion.selected)
    note(view, layer=layer, nodes=nodes, table=view.table.selected, graph=view.graph.selected_layer)
view.on_layer(seen)
note(view, names=[layer.name for layer in summary.report.layers], by_node=summary.fusion.by_node)
display(view)
"""
)
TWO = (
    SETUP
    + """
from dataclasses import replace
slow = replace(summary.report, name="slow", layers=tuple(
    replace(layer, time=layer.time and replace(layer.time, mean_ms=layer.time.mean_ms * 2))
    for layer in summary.report.layers
))
view = views.compare(slow, summary.report, model=model)
view.on_group(lambda place: note(view, group=place, graphs=[graph.selected for graph in view.engines]))
note(view, groups=[group.layers for group in view.comparison.groups])
display(view)
"""
)


def opened(lab, desk, small_cnn, code):
    shutil.copy(small_cnn, lab.folder / "model.onnx")
    desk.page.errors.clear()
    desk.show(code)
    desk.page.locator(".wb-rows:not(.wb-old) tbody tr").first.wait_for()
    return desk.page


def row(page, name):
    return page.locator(f'.wb-rows tr[data-id="{name}"]')


def hull(page, layer):
    return page.locator(f'.wb-hull[data-id="layer:{layer}"]')


def test_an_outline_a_row_and_a_card_select_one_layer(lab, desk, small_cnn, screenshots) -> None:
    page = opened(lab, desk, small_cnn, ONE)
    statistics = lab_tools.seen(lab)
    (conv,) = statistics["by_node"]["stem/conv"]
    lab_tools.expect(page.locator(".wb-rows tbody tr")).to_have_count(len(statistics["names"]))
    page.locator(".wb-bar button", has_text="fit").first.click()
    hull(page, conv).wait_for()
    page.screenshot(path=screenshots / "engine-1-opened.png")

    # The outline itself, beside its cards: at its left side.
    outline = hull(page, conv).locator(".wb-face")
    outline.click(position={"x": 2, "y": outline.bounding_box()["height"] / 2})
    messages = lab_tools.seen(lab, lambda s: s.get("layer") == conv)
    assert {"stem/conv", "stem/relu"} <= set(messages["nodes"])
    assert messages["table"] == messages["graph"] == conv
    page.locator(f'.wb-hull.wb-selected[data-id="layer:{conv}"]').wait_for()
    page.locator(f'.wb-rows tr[aria-selected="true"][data-id="{conv}"]').wait_for()
    facts = page.locator(".wb-facts").first
    for words in ("time", " ms", "precision", "fp32", "in 0", "tactic", "source nodes", "stem/conv + stem/relu"):
        lab_tools.expect(facts).to_contain_text(words)
    facts.scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "engine-2-layer.png")

    # A row of the table selects in both graphs; the engine's graph is in the other tab.
    other = statistics["by_node"]["head/fc"][0]
    row(page, other).click()
    lab_tools.seen(lab, lambda s: s.get("layer") == other and "head/fc" in s["nodes"] and s["graph"] == other)
    page.locator(f'.wb-hull.wb-selected[data-id="layer:{other}"]').wait_for()
    page.locator(".lm-TabBar-tab", has_text="Engine graph").click()
    page.locator(f'.wb-card.wb-selected[data-id="{other}"]').last.wait_for()
    page.locator(".wb-bar button", has_text="fit").last.click()
    page.locator(f'.wb-card[data-id="{conv}"]').last.click()
    lab_tools.seen(lab, lambda s: s.get("layer") == conv and s["table"] == conv)

    # Slowest first at the start, then by place.
    page.locator('.wb-rows th[data-key="place"] button').click()
    page.locator('.wb-rows th[data-key="place"][aria-sort="descending"]').wait_for()
    page.locator('.wb-rows th[data-key="place"] button').click()
    page.locator('.wb-rows th[data-key="place"][aria-sort="ascending"]').wait_for()
    places = [int(text) for text in page.locator('.wb-rows td[data-key="place"]').all_inner_texts()]
    assert places == sorted(places)
    page.locator(".wb-rows input").fill("head/fc")
    page.locator(".wb-rows .wb-count", has_text=f"of {len(statistics['names'])} rows").wait_for()

    lab_tools.theme(page, light=False)
    page.locator(".wb-rows input").fill("")
    page.screenshot(path=screenshots / "engine-3-dark.png")
    assert page.locator(".wb-rows").evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(20, 23, 28)"
    assert page.abroad == []
    assert page.errors == []


def test_python_selects_a_layer_and_the_page_shows_it(lab, desk, small_cnn) -> None:
    page = opened(lab, desk, small_cnn, ONE)
    statistics = lab_tools.seen(lab)
    (conv,) = statistics["by_node"]["block/conv"]
    desk.run("view.selected_layer = summary.fusion.by_node['block/conv'][0]", cell=1)
    page.locator(f'.wb-hull.wb-selected[data-id="layer:{conv}"]').wait_for()
    page.locator(f'.wb-rows tr[aria-selected="true"][data-id="{conv}"]').wait_for()
    assert page.errors == []


def test_two_engines_row_by_row(lab, desk, small_cnn, screenshots) -> None:
    page = opened(lab, desk, small_cnn, TWO)
    statistics = lab_tools.seen(lab)
    lab_tools.expect(page.locator(".wb-rows tbody tr")).to_have_count(len(statistics["groups"]))
    speeds = page.locator('.wb-rows td[data-key="speedup 1"]').all_inner_texts()
    # What stands for no source node has no partner in the other engine, and no speedup.
    assert speeds.count("2.00x") == sum(all(group) for group in statistics["groups"]) >= 5
    at = next(n for n, (here, there) in enumerate(statistics["groups"]) if here and there)
    row(page, at).click()
    messages = lab_tools.seen(lab, lambda s: s.get("group") == at)
    assert messages["graphs"] == statistics["groups"][at]
    # The source graph comes first, its nodes in the color of what they gained; then each engine has a tab.
    page.locator('.wb-card.wb-selected[data-kind="op"]').first.wait_for()
    page.locator("div.wb-legend", has_text="speed of engine").wait_for()
    page.screenshot(path=screenshots / "engine-4-compare.png")
    page.locator(".lm-TabBar-tab", has_text="slow").click()
    page.locator(f'.wb-card.wb-selected[data-id="{statistics["groups"][at][0][0]}"]:visible').first.wait_for()
    page.locator(".wb-bar button:visible", has_text="fit").first.click()
    last = next(n for n, (here, there) in reversed(list(enumerate(statistics["groups"]))) if here and there and n != at)
    page.locator(f'.wb-card[data-id="{statistics["groups"][last][0][0]}"]:visible').first.click()
    lab_tools.seen(lab, lambda s: s.get("group") == last)
    assert page.abroad == []
    assert page.errors == []
