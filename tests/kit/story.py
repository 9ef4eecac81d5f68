"""The story of five minutes on the screen, chapter by chapter: what a person does, and what has to be seen then."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.kit.lab import PATIENCE_MS, notebook, ready
from workbench.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import SimpleNamespace


class Told(NamedTuple):
    """How a model's images become its inputs."""

    images: str
    preprocess: dict[str, Any]
    text: str


NOTEBOOK = "/static/notebook/notebook_core"
"""Where a page error is Notebook's own: 7.6 has some on pages without a view, too."""
MODELS = {
    "ultraface_rfb320": Told("faces", {"scale": 1, "mean": 127, "std": 128}, "color=RGB,scale=1,mean=127,std=128"),
    "yolox_nano": Told("photos", {"color": "BGR", "scale": 1}, "color=BGR,scale=1"),
}
STORY = """
import workbench
wb = workbench.open_model({path!r}, resume=False)
wb
"""
PIXELS = """image => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const pen = canvas.getContext("2d");
    pen.drawImage(image, 0, 0);
    return new Set(new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
}"""


def run(page: Any, cell: int) -> None:
    """Run a cell, as a person does."""
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(cell).click()
    page.keyboard.press("Shift+Enter")


def open_story(lab: SimpleNamespace, page: Any, model: str, place: str, shared: Path, samples: int = 3) -> None:
    """Open a notebook whose cell shows the screen of a model, beside a folder of images that says what they are."""
    messages, folder = MODELS[model], lab.folder / "images"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(lab.folder / "tuned", ignore_errors=True)
    folder.mkdir()
    for image in sorted((shared / "data" / messages.images).glob("*.jpg"))[:samples]:
        shutil.copy(image, folder)
    (folder / "preprocess.json").write_text(json.dumps(messages.preprocess))
    notebook(lab.folder / "story.ipynb", STORY.format(path=str(shared / "models" / model / "model.onnx")))
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{lab.url}/{place}/story.ipynb?reset", wait_until="domcontentloaded")
    ready(page)
    if place.startswith("lab"):
        page.keyboard.press("Control+b")
    run(page, 0)
    page.locator(".wb-app.wb-ready").wait_for()


def tell(page: Any, folder: Path) -> Iterator[str]:
    """Do one chapter after the other, and name each when it is done."""
    go = page.locator(".wb-go")
    yield "open"
    go.click()
    go.filter(has_text="Calibrate").wait_for()
    yield "prepare"
    yield from _calibrate(page)
    yield from _change_the_worst(page)
    yield from _build(page)
    page.locator(".wb-timeline button", has_text="save").click()
    page.locator(".wb-said", has_text="tuned.onnx").wait_for()
    recipe = Recipe.load(folder / "tuned/recipe.yaml")
    steps = [step.do for step in recipe.steps]
    assert "calibrate" in steps
    assert (steps[-1], recipe.steps[-1].precision) == ("set_precision", "fp32")
    assert recipe.tuned is not None
    yield "save"


def _calibrate(page: Any) -> Iterator[str]:
    """On images of which a file states how they become inputs."""
    from playwright.sync_api import expect

    go, form = page.locator(".wb-go"), page.locator(".wb-form-of")
    go.click()
    form.locator("input").first.fill("images")
    expect(form.locator("input").nth(1)).not_to_have_value("")
    form.locator("button", has_text="look at one").click()
    image = page.locator(".wb-looked img")
    image.wait_for()
    assert image.evaluate(PIXELS) > 1000  # a photograph, as the model sees it
    yield "look"
    form.locator("button", has_text="Calibrate").click()
    go.filter(has_text="Measure sensitivity").wait_for()
    yield "calibrate"
    go.press("Enter")
    go.filter(has_text="Tune").wait_for()
    yield "measure"


def _change_the_worst(page: Any) -> Iterator[str]:
    from playwright.sync_api import expect

    go = page.locator(".wb-go")
    worst = page.locator(".wb-nodes tbody tr").first
    expect(worst.locator('td[data-key="sqnr_db"]')).not_to_have_text("—")
    page.locator(".wb-verdict button", has_text="Show it").click()
    expect(worst).to_have_attribute("aria-selected", "true")
    expect(page.locator(".wb-inspector h3")).to_have_text(worst.get_attribute("data-id"))
    page.locator('.wb-option[data-precision="fp32"]').click()
    page.locator(".wb-preview", has_text="+").wait_for()
    page.locator(".wb-apply-precision").press("Space")
    expect(worst.locator('td[data-key="gets"]')).to_have_text("fp32")
    yield "change"
    go.filter(has_text="Tune").click()
    go.filter(has_text="Compare").click()
    page.locator(".wb-verdict", has_text="dB at the worst output").wait_for()
    yield "compare"


def _build(page: Any) -> Iterator[str]:
    """Build an engine, and go from the node that is selected to its layer and back."""
    from playwright.sync_api import expect

    page.locator('[data-step="Engine"]').click()
    page.locator(".wb-form-of button", has_text="Build on ONNX Runtime").click()
    page.locator('[data-step="Engine"].wb-is-done').wait_for()
    page.locator(".wb-layer").first.click()
    expect(page.locator(".wb-nodes tbody tr").first).to_have_attribute("aria-selected", "true")
    yield "build"
