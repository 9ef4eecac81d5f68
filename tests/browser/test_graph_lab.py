"""The graph view in a real JupyterLab: a person's clicks and keys, and what Python sees of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from tests.browser import conftest as lab_tools
from tests.kit.awaited import awaited, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def small_decoder(path: Path, layers: int = 6) -> None:
    """A valid model with scopes, and an arithmetic on constants to fold."""
    nodes = [
        helper.make_node("Constant", [], ["two"], name="/scale/Constant", value_float=2.0),
        helper.make_node("Constant", [], ["three"], name="/scale/Constant_1", value_float=3.0),
        helper.make_node("Mul", ["two", "three"], ["six"], name="/scale/Mul"),
        helper.make_node("Mul", ["x", "six"], ["h0"], name="/scale/Mul_1"),
    ]
    for at in range(layers):
        p = f"/layers.{at}"
        nodes += [
            helper.make_node("Relu", [f"h{at}"], [f"a{at}"], name=f"{p}/attn/Relu"),
            helper.make_node("Softmax", [f"a{at}"], [f"s{at}"], name=f"{p}/attn/Softmax"),
            helper.make_node("Sigmoid", [f"s{at}"], [f"m{at}"], name=f"{p}/mlp/Sigmoid"),
            helper.make_node("Tanh", [f"m{at}"], [f"t{at}"], name=f"{p}/mlp/Tanh"),
            helper.make_node("Add", [f"t{at}", f"h{at}"], [f"h{at + 1}"], name=f"{p}/Add"),
        ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [1, 8])], [value(f"h{layers}", TensorProto.FLOAT, [1, 8])]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


SETUP = """
import json, pathlib
from workbench.session import open_model
from workbench.views.graphs.surgery_view import Surgery
wb = open_model("model.onnx")
view = Surgery(wb)
def note(names):
    seen = {"selected": names, "expanded": view.picture.shown.expanded, "nodes": len(wb.model.nodes)}
    seen["recipe"] = view.mark_state()["log"]
    pathlib.Path("seen.json").write_text(json.dumps(seen))
view.on_select(note)
display(view)
"""


def card(page, *names):
    """The card of one of these names, with the whole graph that has it in view."""
    found = page.locator(", ".join(f'.wb-card[data-id="{name}"]' for name in names)).first
    found.wait_for(state="attached")
    page.locator(".wb-bar button", has_text="fit").click()
    return found


def frame(page, name):
    return page.locator(f'.wb-frame[data-id="{name}"]')


COMPARE = """
from workbench.session import open_model
from workbench.views.graphs.diff import SideBySide
wb = open_model("model.onnx")
before = wb.model
wb.edit("fold_constants")
display(SideBySide(before, wb.model, titles=("as loaded", "constants folded")))
"""


@pytest.fixture
def opened(lab, desk):
    """The page with a fresh surgery view of a fresh model."""
    return show(lab, desk, SETUP)


def show(lab, desk, code):
    small_decoder(lab.folder / "model.onnx")
    desk.page.errors.clear()
    desk.show(code)
    return desk.page


def test_click_expand_search_edit_and_python_sees_it(lab, opened, screenshots) -> None:
    page = opened
    page.screenshot(path=screenshots / "graph-1-opened.png")

    # Most of the model is in the fold, so it is open at first; its frame closes it.
    frame(page, "layers.0…5/").dblclick(position={"x": 20, "y": 10})
    card(page, "layers.0…5/").click()
    names = lab_tools.seen(lab, lambda s: len(s["selected"]) == 30)["selected"]
    assert "/layers.3/attn/Softmax" in names
    page.locator('.wb-card.wb-selected[data-id="layers.0…5/"]').wait_for()
    lab_tools.expect(page.locator(".wb-table tbody tr")).to_have_count(30)

    card(page, "layers.0…5/").dblclick()
    card(page, "layers.3/").wait_for()
    card(page, "layers.3/").dblclick()
    card(page, "/layers.3/Add").click()
    assert lab_tools.seen(lab, lambda s: s["selected"] == ["/layers.3/Add"])["expanded"] == ["layers.0…5/", "layers.3/"]
    page.screenshot(path=screenshots / "graph-2-expanded.png")

    page.locator(".wb-search").fill(r"layers\.5.*softmax")
    page.keyboard.press("Enter")
    card(page, "/layers.5/attn/Softmax").wait_for()
    page.locator(".wb-count", has_text="1 of 1").wait_for()
    page.locator('.wb-card.wb-match[data-id="/layers.5/attn/Softmax"]').wait_for()
    page.screenshot(path=screenshots / "graph-3-found.png")
    page.keyboard.press("Escape")

    page.locator(".wb-search").fill("(")
    page.keyboard.press("Enter")
    page.locator(".wb-error", has_text="not a regular expression").wait_for()
    page.keyboard.press("Escape")

    card(page, "/layers.5/attn/Softmax").click()
    page.keyboard.press("Escape")
    lab_tools.seen(lab, lambda s: s["selected"] == [])
    page.locator('[data-edit="Fold constants"]').click()
    page.locator(".wb-previews svg").nth(1).wait_for()
    lab_tools.expect(page.locator(".wb-apply code")).to_have_text('wb.edit("fold_constants")')
    page.locator(".wb-apply").scroll_into_view_if_needed()
    page.screenshot(path=screenshots / "graph-4-preview.png")
    before = lab_tools.seen(lab, lambda s: s["nodes"])["nodes"]
    page.locator(".wb-apply button").click()
    after = lab_tools.seen(lab, lambda s: s["recipe"] == ['wb.edit("fold_constants")'])
    assert after["nodes"] < before
    page.locator(".wb-log", has_text='wb.edit("fold_constants")').wait_for()
    page.screenshot(path=screenshots / "graph-5-applied.png")

    assert page.abroad == []
    assert page.errors == []


def test_the_keyboard_alone_is_enough(lab, opened) -> None:
    page = opened
    page.locator(".wb").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    current = page.locator(".wb-card.wb-current").get_attribute("data-id")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    assert page.locator(".wb-card.wb-current").get_attribute("data-id") == current
    # Walk to a layer, whatever is on the way, and open it.
    for _ in range(8):
        if page.locator(".wb-card.wb-current").get_attribute("data-id") == "layers.3/":
            break
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    card(page, "/layers.3/Add").wait_for()
    box = page.locator(".wb-canvas svg").get_attribute("viewBox")
    page.keyboard.press("+")
    assert page.locator(".wb-canvas svg").get_attribute("viewBox") != box
    page.keyboard.press("/")
    page.keyboard.type("tanh")
    page.keyboard.press("Enter")
    page.locator(".wb-count", has_text="1 of 6").wait_for()
    page.keyboard.press("Enter")
    page.locator(".wb-count", has_text="2 of 6").wait_for()
    card(page, "/layers.1/mlp/Tanh").wait_for()
    page.keyboard.press("Escape")
    card(page, "/layers.1/mlp/Tanh").click()
    lab_tools.seen(lab, lambda s: s["selected"] == ["/layers.1/mlp/Tanh"])
    page.keyboard.press("f")
    page.locator(".wb-caption", has_text="2 steps around").wait_for()
    assert page.locator('.wb-card:not([data-kind="stub"])').count() < 10
    page.locator('.wb-card[data-kind="stub"]', has_text="more").first.wait_for()
    page.keyboard.press("Escape")
    card(page, "layers.4/").wait_for()
    assert page.errors == []


def test_the_pointer_resting_on_a_node_tells_its_tensors(opened) -> None:
    page = opened
    card(page, "/scale/Mul", "scale/").hover()
    page.locator(".wb-tip strong").wait_for()
    card(page, "layers.1/").dblclick()
    card(page, "/layers.1/Add").hover()
    page.locator(".wb-tip", has_text="float[1x8]").wait_for()


def test_python_moves_the_selection_and_the_saved_cell_keeps_a_picture(lab, desk, opened, screenshots) -> None:
    page = opened
    desk.run(
        'view.select("op:Tanh & scope:/layers.2"); view.color_by({n: float(len(n)) for n in wb.model.nodes})', cell=1
    )
    assert lab_tools.seen(lab, lambda s: s["selected"])["selected"] == ["/layers.2/mlp/Tanh"]
    page.locator(".wb-card.wb-selected").first.wait_for()
    page.locator(".wb-table td", has_text="/layers.2/mlp/Tanh").wait_for()
    page.locator("div.wb-legend", has_text="value").wait_for()
    lab_tools.expect(page.locator(".wb-colours")).to_have_value("value")
    lab_tools.theme(page, light=False)
    page.locator(".wb").screenshot(path=screenshots / "graph-6-dark.png")
    paper = page.locator(".wb").evaluate("node => getComputedStyle(node).backgroundColor")
    assert paper == "rgb(20, 23, 28)"
    page.keyboard.press("Control+s")
    saved = awaited(lab.folder / "desk.ipynb", lambda s: s["cells"][0]["outputs"])
    data = saved["cells"][0]["outputs"][0]["data"]
    assert {"image/png", "image/svg+xml", "application/vnd.jupyter.widget-view+json"} <= set(data)


def fill(page, edit, **arguments):
    """Choose any edit, unless it is, fill in its form and ask for the preview."""
    if page.locator(".wb-more").input_value() != edit:
        page.locator(".wb-more").select_option(edit)
    page.locator(f'[data-form="{edit}"]').wait_for()
    for name, text in arguments.items():
        page.locator(f'[data-field="{name}"]').fill(text)
    page.locator(".wb-try").click()


def test_nodes_are_picked_and_edited_by_a_form_and_it_is_undone(lab, opened, screenshots) -> None:
    page = opened
    page.locator(".wb-selector").fill("op:Tanh & scope:/layers.2")
    page.keyboard.press("Enter")
    assert lab_tools.seen(lab, lambda s: s["selected"])["selected"] == ["/layers.2/mlp/Tanh"]
    page.locator(".wb-selector").fill("op:Tanhh")
    page.keyboard.press("Enter")
    page.locator(".wb-error", has_text="Did you mean op:Tanh").wait_for()
    page.locator(".wb-selector").fill("name:/layers.2/attn/Relu|/layers.2/mlp/Tanh")
    page.keyboard.press("Enter")
    lab_tools.seen(lab, lambda s: len(s["selected"]) == 2)
    page.locator(".wb-pick button", has_text="between").click()
    statistics = lab_tools.seen(lab, lambda s: len(s["selected"]) == 4)
    assert statistics["selected"] == [
        f"/layers.2/{name}" for name in ("attn/Relu", "attn/Softmax", "mlp/Sigmoid", "mlp/Tanh")
    ]

    # A form is filled in by what is selected, and by hand.
    page.locator(".wb-selector").fill("name:/layers.2/attn/Relu")
    page.keyboard.press("Enter")
    lab_tools.seen(lab, lambda s: len(s["selected"]) == 1)
    page.locator(".wb-more").select_option("insert")
    lab_tools.expect(page.locator('[data-field="tensor"]')).to_have_value("a2")
    page.locator(".wb-form").scroll_into_view_if_needed()
    page.locator(".wb").screenshot(path=screenshots / "surgery-1-form.png")
    fill(page, "insert", op="LeakyRelu", attributes="alpha: 0.5")
    page.locator(".wb-check", has_text="not checked, because this edit is not meant to keep").wait_for()
    line = """wb.edit("insert", tensor='a2', op='LeakyRelu', attributes={'alpha': 0.5})"""
    lab_tools.expect(page.locator(".wb-apply code")).to_have_text(line)
    lab_tools.expect(page.locator('[data-field="attributes"]')).to_have_value("alpha: 0.5")
    page.locator(".wb-apply").scroll_into_view_if_needed()
    page.locator(".wb").screenshot(path=screenshots / "surgery-2-preview.png")
    page.locator(".wb-apply button").click()
    applied = lab_tools.seen(lab, lambda s: s["recipe"] == [line])
    page.locator(".wb-check", has_text="Applied wb.edit").wait_for()

    page.locator(".wb-pick button", has_text="Undo").click()
    assert lab_tools.seen(lab, lambda s: s["recipe"] == [])["nodes"] == applied["nodes"] - 1
    lab_tools.expect(page.locator(".wb-pick button", has_text="Undo")).to_be_disabled()
    page.locator(".wb-pick button", has_text="Redo").click()
    assert lab_tools.seen(lab, lambda s: s["recipe"] == [line])["nodes"] == applied["nodes"]

    assert page.abroad == []
    assert page.errors == []


def test_what_the_checker_refuses_is_said_at_the_node(lab, opened, screenshots) -> None:
    page = opened
    fill(page, "replace_node", node="/layers.4/attn/Relu", op="Reluu")
    page.locator(".wb-refusal", has_text="No Op registered for Reluu").wait_for()
    page.locator('.wb-card.wb-refused[data-id="/layers.4/attn/Relu"]').wait_for()
    apart = """() => {
        const [callout, node] = [".wb-refusal", ".wb-card.wb-refused"].map((one) => document.querySelector(one));
        return callout.getBoundingClientRect().top - node.getBoundingClientRect().bottom;
    }"""
    until(lambda: abs(page.evaluate(apart)) < 40, "it is said at the node")
    lab_tools.expect(page.locator(".wb-apply")).to_have_count(0)
    page.locator(".wb-pane").scroll_into_view_if_needed()
    page.locator(".wb").screenshot(path=screenshots / "surgery-3-refused.png")
    lab_tools.theme(page, light=False)
    page.locator(".wb").screenshot(path=screenshots / "surgery-4-refused-dark.png")
    fill(page, "rename_node", node="/layers.4/attn/Relu", to="/layers.4/attn/ReLU")
    page.locator(".wb-check", has_text="the output exactly as before").wait_for()
    lab_tools.expect(page.locator(".wb-refusal")).to_be_hidden()
    page.locator(".wb-apply").scroll_into_view_if_needed()
    page.locator(".wb").screenshot(path=screenshots / "surgery-5-preview-dark.png")
    card(page, "layers.2/").click()
    assert lab_tools.seen(lab, lambda s: s["selected"])["recipe"] == []
    assert page.abroad == []
    assert page.errors == []


TABLE = """
import json, pathlib
import pandas as pd
from workbench.session import open_model
from workbench.views.graphs.view import GraphView
wb = open_model("model.onnx")
nodes = [name for name in wb.model.nodes if "Constant" not in name]
table = pd.DataFrame({"latency": range(1, len(nodes) + 1), "SQNR": 40.0, "kind": "a"}, nodes)
view = GraphView(wb.model, table)
view.on_select(lambda names: pathlib.Path("seen.json").write_text(json.dumps({"selected": names})))
display(view)
"""


def test_a_row_selects_in_the_graph_and_the_graph_in_the_table(lab, desk, screenshots) -> None:
    page = show(lab, desk, TABLE)
    page.locator(".wb-search").fill("softmax")
    page.keyboard.press("Enter")
    page.locator(".wb-table tbody tr").nth(5).wait_for()
    page.locator(".wb-table tbody tr", has_text="/layers.4/attn/Softmax").click()
    lab_tools.seen(lab, lambda s: s["selected"] == ["/layers.4/attn/Softmax"])
    page.locator('.wb-card.wb-selected[data-id="/layers.4/attn/Softmax"]').wait_for()
    page.locator('.wb-table tr[aria-selected="true"]', has_text="/layers.4/attn/Softmax").wait_for()
    lab_tools.expect(page.locator(".wb-table tbody tr")).to_have_count(6)
    # With the keyboard, and a second one with Ctrl.
    page.locator(".wb-table tbody tr", has_text="/layers.2/attn/Softmax").focus()
    page.keyboard.press("Control+Enter")
    lab_tools.seen(lab, lambda s: s["selected"] == ["/layers.4/attn/Softmax", "/layers.2/attn/Softmax"])
    page.locator('.wb-table tr[aria-selected="true"]').nth(1).wait_for()
    assert page.locator(".wb-table tr:focus").get_attribute("data-id") == "/layers.2/attn/Softmax"
    page.locator(".wb").screenshot(path=screenshots / "graph-8-rows.png")
    # The other way round: a click in the graph is a new list.
    page.locator(".wb-search").focus()
    page.keyboard.press("Escape")
    card(page, "/layers.4/Add").click()
    lab_tools.seen(lab, lambda s: s["selected"] == ["/layers.4/Add"])
    page.locator('.wb-table tr[data-id="/layers.4/Add"][aria-selected="true"]').wait_for()
    lab_tools.expect(page.locator(".wb-table tbody tr")).to_have_count(1)
    assert page.errors == []


def test_columns_of_a_table_colour_and_size(lab, desk, screenshots) -> None:
    page = show(lab, desk, TABLE)
    names = page.locator(".wb-colours option").evaluate_all("options => options.map(option => option.value)")
    assert {"operators", "macs", "latency", "SQNR", "kind"} <= set(names)
    assert "kind" not in page.locator(".wb-sizes option").evaluate_all("options => options.map(o => o.value)")
    face = page.locator('.wb-card[data-id="layers.5/"] .wb-face')
    before = float(face.get_attribute("width"))
    page.locator(".wb-colours").select_option("SQNR")
    page.locator("div.wb-legend", has_text="SQNR").wait_for()
    page.locator(".wb-sizes").select_option("latency")
    page.locator(".wb-caption", has_text="sized by latency").wait_for()
    assert float(face.get_attribute("width")) > 1.5 * before
    # A scope of numbers says their sum.
    page.locator(".wb-colours").select_option("latency")
    page.locator("div.wb-legend", has_text="latency").wait_for()
    card(page, "layers.5/").hover()
    page.locator(".wb-tip", has_text="latency: 150").wait_for()  # 28 + 29 + 30 + 31 + 32
    page.locator(".wb").screenshot(path=screenshots / "graph-9-sized.png")
    assert page.errors == []


def box_of(page) -> list[float]:
    return [float(number) for number in page.locator(".wb-canvas > svg").first.get_attribute("viewBox").split()]


def test_dragging_the_wheel_and_the_map_move_the_view(lab, desk) -> None:
    page = show(lab, desk, TABLE)
    page.locator(".wb-bar button", has_text="+").click(click_count=4, delay=10)
    place = page.locator(".wb-canvas").bounding_box()
    x, y = place["x"] + 20, place["y"] + place["height"] / 2
    before = box_of(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y - 40, steps=4)
    page.mouse.up()
    scale = before[2] / place["width"]
    after = box_of(page)
    assert after[0] == pytest.approx(before[0] - 60 * scale, abs=0.5)
    assert after[1] == pytest.approx(before[1] + 40 * scale, abs=0.5)
    # The point under the pointer stays where it is while the wheel zooms.
    page.mouse.wheel(0, 240)
    page.wait_for_function(
        "before => Number(document.querySelector('.wb-canvas > svg').getAttribute('viewBox').split(' ')[2]) > before",
        arg=after[2],
    )
    zoomed = box_of(page)
    left, top = (x + 60 - place["x"]) / place["width"], (y - 40 - place["y"]) / place["height"]
    assert zoomed[0] + left * zoomed[2] == pytest.approx(after[0] + left * after[2], abs=1)
    assert zoomed[1] + top * zoomed[3] == pytest.approx(after[1] + top * after[3], abs=1)
    # A click on the map's top edge brings the top of the graph into the middle.
    chart = page.locator(".wb-map").bounding_box()
    page.mouse.click(chart["x"] + chart["width"] / 2, chart["y"] + 1)
    moved = box_of(page)
    assert abs(moved[1] + moved[3] / 2) < 40
    assert page.errors == []


def test_two_models_move_open_and_select_together(lab, desk, screenshots) -> None:
    page = show(lab, desk, COMPARE)
    left, right = page.locator(".wb-canvas svg").first, page.locator(".wb-canvas svg").last
    assert page.locator(".wb-caption").all_inner_texts()[0].startswith("as loaded")
    page.locator(".wb").focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert left.get_attribute("viewBox") == right.get_attribute("viewBox")
    page.locator(".wb-bar button", has_text="fit").click()
    page.locator('.wb-card[data-id="layers.4/"]').first.dblclick()
    page.locator('.wb-frame[data-id="layers.4/"]').nth(1).wait_for()
    page.locator(".wb-bar button", has_text="fit").click()
    page.locator('.wb-card[data-id="/layers.4/Add"]').nth(1).click()
    page.locator('.wb-card.wb-selected[data-id="/layers.4/Add"]').nth(1).wait_for()
    page.locator(".wb").screenshot(path=screenshots / "graph-7-side-by-side.png")
    assert page.abroad == []
    assert page.errors == []
