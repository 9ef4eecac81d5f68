"""The screen in a real JupyterLab: by mouse and keyboard from a model to a tuned one, and nothing that doesn't fit."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.browser import conftest as lab_tools
from tests.kit.awaited import awaited, until
from tests.kit.lab import DIALOG, guarded
from tests.kit.story import NOTEBOOK, open_story, run, tell

pytestmark = pytest.mark.slow

SHOW = 'import workbench\nwb = workbench.open_model("model.onnx")\nwb'
NOTE = """
import json, pathlib
pathlib.Path("seen.json").write_text(json.dumps([step.model_dump(mode="json") for step in wb.recipe.steps]))
"""
CLIPPED = """root => {
    const box = root.getBoundingClientRect();
    const body = root.querySelector(".wb-body"); // of a narrow page: one column, longer than the page
    const narrow = body.scrollHeight > body.clientHeight ? ".wb-body, " : "";
    const scrolls = narrow + ".wb-scroll, .wb-inspector, .wb-chips, details:not([open])";
    const all = [...root.querySelectorAll("button, select, input, summary, h3")];
    const shown = all.filter((node) => node.offsetParent && !node.closest(scrolls));
    const out = shown.filter((node) => {
        const b = node.getBoundingClientRect();
        return b.width && (b.left < box.left - 1 || b.right > box.right + 1 || b.bottom > box.bottom + 1);
    });
    const rows = [...root.querySelectorAll(".wb-inner, .wb-body, .wb-steps, .wb-timeline, .wb-bar")];
    const wide = rows.filter((node) => node.scrollWidth > node.clientWidth + 1);
    return [...out, ...wide].map((node) => node.className + " " + node.textContent.slice(0, 30));
}"""


def step(page, text):
    lab_tools.expect(page.locator(".wb-go")).to_contain_text(text)


def choose(page, *path) -> None:
    """Choose an entry of JupyterLab's menu; the dialog that it opens is agreed to."""
    page.remove_locator_handler(page.locator(DIALOG))
    page.locator(".lm-MenuBar-itemLabel", has_text=path[0]).click()
    for part in path[1:-1]:
        page.locator(".lm-Menu-itemLabel", has_text=part).hover()
    page.locator(".lm-Menu-itemLabel", has_text=path[-1]).first.click()
    page.locator(".jp-Dialog .jp-mod-accept").click()
    page.locator(DIALOG).wait_for(state="detached")
    guarded(page)


@pytest.fixture
def screen(lab, page, small_cnn, small_data):
    (lab.folder / "seen.json").unlink(missing_ok=True)
    shutil.copy(small_cnn, lab.folder / "model.onnx")
    shutil.copy(small_data, lab.folder / "samples.npz")
    lab_tools.notebook(lab.folder / "screen.ipynb", SHOW, NOTE)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{lab.url}/lab/tree/screen.ipynb?reset", wait_until="domcontentloaded")
    lab_tools.ready(page)
    page.keyboard.press("Control+b")
    run(page, 0)
    page.locator(".wb-app.wb-ready").wait_for()
    yield page
    assert page.errors == []
    assert page.abroad == []


def test_from_a_model_to_a_tuned_one_on_one_screen(lab, screen, screenshots) -> None:
    page = screen
    page.locator(".wb-go").click()
    step(page, "Calibrate")
    page.locator(".wb-go").click()
    page.locator(".wb-form-of input").first.fill("nowhere.npz")
    page.locator(".wb-form-of button", has_text="Calibrate").click()
    page.locator(".wb-said", has_text="no such file").wait_for()
    lab_tools.expect(page.locator(".wb-form-of input").first).to_have_value("nowhere.npz")  # to go on from
    page.locator(".wb-form-of input").first.fill("samples.npz")
    page.keyboard.press("Tab")
    page.locator(".wb-form-of button", has_text="look at one").click()
    page.locator(".wb-looked", has_text="12 samples; x").wait_for()
    page.locator(".wb-form-of button", has_text="Calibrate").click()
    step(page, "Measure sensitivity")
    page.locator(".wb-go").click()
    step(page, "Tune")
    figures = page.locator('.wb-nodes td[data-key="sqnr_db"]').filter(has_not_text="—")
    lab_tools.expect(figures).to_have_count(5)
    entries = [float(one.split()[0]) for one in figures.all_inner_texts()]
    assert entries == sorted(entries)

    _selects_and_changes(page)
    step(page, "Tune")
    page.locator(".wb-go").click()
    step(page, "Compare")
    page.locator(".wb-go").click()
    page.locator(".wb-verdict", has_text="dB at the worst output").wait_for()
    lab_tools.expect(page.locator('[data-step="Compare"]')).to_contain_text("12 samples")

    _can_be_read_and_reached(page)
    page.locator(".wb-timeline button", has_text="insert as cell").click()
    page.locator(".jp-Cell .cm-content", has_text="wb.calibrate('samples.npz'").wait_for()
    _fits(page, screenshots)

    run(page, 2)  # the inserted cell lies between
    steps = lab_tools.seen(lab)
    assert [one["do"] for one in steps] == ["state_kernel_shape", "calibrate", "set_range", *["set_precision"] * 4]
    assert (steps[-1]["select"], steps[-1]["precision"]) == ("name:block/conv", "fp32")

    # What was clicked survives the kernel, and going on with it gives the very same recipe.
    (kept,) = lab.folder.glob("screen.model-*.recipe.yaml")
    before = kept.read_bytes()
    choose(page, "Kernel", "Restart Kernel…")
    page.locator(".trt-workbench-picture img").wait_for()  # the kernel that knew the screen is gone
    lab_tools.expect(page.locator(".wb-app:visible")).to_have_count(0)
    (lab.folder / "seen.json").unlink()
    lab_tools.ready(page)
    run(page, 0)
    page.locator(".wb-kept button", has_text="Go on with 7 steps").click()
    lab_tools.expect(page.locator(".wb-chips li")).to_have_count(8)
    lab_tools.expect(page.locator(".wb-kept")).to_have_text("")
    assert kept.read_bytes() == before
    run(page, 2)
    assert [one["do"] for one in lab_tools.seen(lab)] == [one["do"] for one in steps]
    _keeps_its_picture(lab, page)


def _keeps_its_picture(lab, page) -> None:
    """In what JupyterLab exports, and in a notebook that is opened again without its kernel, trusted or not."""
    with page.expect_download() as download:
        choose(page, "File", "Save and Export Notebook As", "HTML")
    shown = page.context.new_page()
    shown.route("http**", lambda route: route.abort())  # nbconvert's own scripts, for formulas and diagrams
    download.value.save_as(lab.folder / "exported.html")
    shown.goto((lab.folder / "exported.html").as_uri(), wait_until="domcontentloaded")
    shown.locator("img").evaluate("image => image.decode()")
    assert "Loading widget" not in shown.content()
    shown.close()

    lab_tools.end_kernels(lab)
    notebook = awaited(lab.folder / "screen.ipynb")
    notebook["cells"][1]["source"] = "'from elsewhere'"
    (lab.folder / "untrusted.ipynb").write_text(json.dumps(notebook))
    reopened(lab, page, "lab/tree/screen.ipynb")
    page.locator(".jp-DirListing-item", has_text="untrusted.ipynb").dblclick()
    _is_a_picture(page, "png")


def reopened(lab, page, place: str) -> None:
    """Open a notebook whose kernel is gone."""
    page.goto(f"{lab.url}/{place}?reset", wait_until="domcontentloaded")
    _is_a_picture(page, "svg+xml")


def _is_a_picture(page, kind: str) -> None:
    """What is seen is the picture, and neither a widget nor that it is missed, once a new kernel knows none."""
    output = page.locator(".jp-OutputArea-output:visible", has=page.locator(f'img[src^="data:image/{kind}"]:visible'))
    output.locator("img").evaluate("image => image.decode()")
    lab_tools.ready(page)
    lab_tools.expect(output).to_have_text("", use_inner_text=True)
    lab_tools.expect(output.locator("img")).to_be_visible()


def _selects_and_changes(page) -> None:
    # One selection: by a row, by the graph with the keyboard, and as one types.
    page.locator(".wb-nodes .wb-filter").fill("op:Convv")
    page.locator(".wb-problem", has_text="Convv").wait_for()
    page.locator(".wb-nodes .wb-filter").fill("")
    page.locator('.wb-nodes tr[data-id="block/conv"]').dblclick()
    lab_tools.expect(page.locator(".wb-inspector h3")).to_have_text("block/conv")
    page.locator('.wb-card.wb-selected[data-id="block/conv"]').wait_for()
    lab_tools.expect(page.locator(".wb-slot-threshold .legend button").first).to_contain_text("clipped")
    page.locator(".wb-slot-threshold .handle").first.press("ArrowLeft")
    page.locator(".wb-chips .wb-clicked", has_text="range").wait_for()
    page.locator('.wb-option[data-precision="fp32"]').click()
    page.locator(".wb-preview", has_text="dB").wait_for()
    page.locator(".wb-apply-precision").press("Enter")
    page.locator('.wb-nodes tr[data-id="block/conv"] td[data-key="gets"]', has_text="fp32").wait_for()
    lab_tools.expect(page.locator('.wb-option[data-precision="fp32"]')).to_be_focused()  # what took the button's place
    page.locator(".wb-search").fill("gemm")
    page.locator(".wb-hits li", has_text="fc").wait_for()
    page.keyboard.press("Enter")
    lab_tools.expect(page.locator(".wb-inspector h3")).to_have_text("head/fc")
    lab_tools.expect(page.locator(".wb-hits")).to_be_hidden()

    # An edit that applies at several of the selected nodes is one list, not a button for each.
    page.locator(".wb-nodes .wb-filter").fill("op:Conv")
    lab_tools.expect(page.locator(".wb-count")).to_contain_text(" of ")
    page.locator(".wb-nodes .wb-filter").press("Enter")
    places = page.locator('[data-edit="Mark as output"]')
    lab_tools.expect(places).to_have_count(1)
    places.select_option(index=1)
    page.locator(".wb-apply code", has_text="mark_output").wait_for()
    page.locator(".wb-nodes .wb-filter").fill("")

    page.locator(".wb-timeline button", has_text="undo").click()
    page.locator('.wb-nodes tr[data-id="block/conv"] td[data-key="gets"]', has_text="int8").wait_for()
    page.locator(".wb-timeline button", has_text="redo").click()
    page.locator('.wb-nodes tr[data-id="block/conv"] td[data-key="gets"]', has_text="fp32").wait_for()


def _can_be_read_and_reached(page) -> None:
    """Contrast, names and roles as axe-core checks them, in both themes; and everything by keyboard."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    page.locator(".wb-timeline button", has_text="compare two points").focus()
    for key in (
        "Enter",
        "Tab",
        "Tab",
        "Tab",
        "Tab",
        "Enter",
    ):  # the panel opens at its first field; its button compares
        page.keyboard.press(key)
    page.locator(".wb-points", has_text="SQNR, worst output").wait_for()
    for light in (True, False):
        lab_tools.theme(page, light=light)
        value = axe.Axe().run(page, context=".wb-app").response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in value] == []
    lab_tools.theme(page, light=True)
    page.keyboard.press("Escape")
    lab_tools.expect(page.locator(".wb-code")).to_be_hidden()
    # Plain keys are the screen's: they neither delete the notebook's cell nor edit it.
    cells = page.locator(".jp-Cell").count()
    page.locator(".wb-nodes .wb-scroll").focus()
    for key in ("d", "d", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    assert page.locator(".jp-Cell").count() == cells
    assert page.evaluate("document.activeElement.matches('.wb-nodes .wb-scroll')")
    page.locator(".wb-step").first.focus()
    reached = set()
    for _ in range(60):
        part = page.evaluate("document.activeElement.closest('.wb-slot, .wb-steps, .wb-timeline, .wb-foot')?.className")
        reached.add((part or "").split(" ")[-1])
        page.keyboard.press("Tab")
    assert reached >= {"wb-steps", "wb-slot-graph", "wb-slot-nodes", "wb-foot", "wb-slot-inspector"}


def _fits(page, screenshots) -> None:
    for size in ((600, 800), (900, 800), (1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for light in (True, False):
            lab_tools.theme(page, light=light)
            page.locator(".wb-app").evaluate("node => node.scrollIntoView({ block: 'center' })")
            page.screenshot(path=screenshots / f"app-{size[0]}-{'light' if light else 'dark'}.png")
            until(lambda: page.locator(".wb-app").evaluate(CLIPPED) == [], "everything fits")
    # However much a verdict says, the button of its next step stays whole.
    words, foot = page.locator(".wb-words"), page.locator(".wb-foot").bounding_box()
    words.evaluate("node => { node.textContent = 'as fast within the error; '.repeat(200); }")
    button = page.locator(".wb-verdict > button").bounding_box()
    assert foot["y"] <= button["y"]
    assert button["y"] + button["height"] <= foot["y"] + foot["height"]
    assert words.bounding_box()["x"] + words.bounding_box()["width"] <= button["x"]
    assert words.evaluate("node => node.scrollHeight > node.clientHeight")


def test_the_same_screen_in_voila(lab, page, small_cnn) -> None:
    pytest.importorskip("voila", reason="it is not installed")
    shutil.copy(small_cnn, lab.folder / "model.onnx")
    lab_tools.notebook(lab.folder / "other.ipynb", SHOW)
    page.goto(f"{lab.url}/voila/render/other.ipynb", wait_until="domcontentloaded")
    page.locator(".wb-app.wb-ready").wait_for()
    page.locator('.wb-nodes tr[data-id="block/conv"]').click()
    lab_tools.expect(page.locator(".wb-inspector h3")).to_have_text("block/conv")
    page.locator('.wb-option[data-precision="fp32"]').click()
    page.locator(".wb-apply-precision").click()
    page.locator(".wb-chips .wb-clicked", has_text="block/conv").wait_for()


def test_the_story_of_five_minutes_in_notebook_7(lab, page, shared, screenshots) -> None:
    """Open, look, calibrate, find the worst layer, change it, tune, compare, build, save."""
    pytest.importorskip("notebook", reason="it is not installed")
    page.set_viewport_size({"width": 1280, "height": 800})
    open_story(lab, page, "ultraface_rfb320", "notebooks", shared)
    assert list(tell(page, lab.folder))[-1] == "save"
    page.locator(".wb-verdict-good", has_text="dB at the worst output").wait_for()
    page.screenshot(path=screenshots / "app-story.png")
    with page.expect_response(lambda answer: answer.request.method == "PUT" and "story.ipynb" in answer.url):
        page.keyboard.press("Control+s")
    lab_tools.end_kernels(lab)
    reopened(lab, page, "notebooks/story.ipynb")
    assert [error for error in page.errors if NOTEBOOK not in (error.stack or "")] == []
    assert page.abroad == []
