"""Take the pictures of live views: each cell runs in a real JupyterLab, which Chromium shows, in light and in dark.

``make screenshots`` takes them all, ``python docs/screenshots.py engine`` one.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from PIL import Image  # noqa: E402

from tests.kit.examples import files  # noqa: E402
from tests.kit.lab import chromium, end_kernels, guarded, notebook, ready, running_lab  # noqa: E402

if TYPE_CHECKING:
    from types import SimpleNamespace

IMAGES = HERE / "images"
THEMES = {
    "apputils-extension/themes": {
        "adaptive-theme": True,
        "preferred-light-theme": "JupyterLab Light",
        "preferred-dark-theme": "JupyterLab Dark",
    }
}
ERROR = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'], .jp-RenderedError"
PATIENCE_MS = 400_000
WIDTH, HEIGHT, TALL = 1280, 1080, 1800
"""Of the window, in pixels; tall where one cell is wanted as a whole."""


@dataclass(frozen=True)
class Scene:
    """A picture: what is run before, what is shown, and what is done to it.

    Parameters
    ----------
    before
        A cell that is not in the picture.
    shown
        The cell that is.
    wait
        A CSS selector of what has to be there.
    act
        What a person does to the page then: pairs of a CSS selector and ``"click"``, ``"hover"`` or a text to type.
    whole
        Whether the whole window is taken, and not the cell alone.
    """

    before: str
    shown: str
    wait: str
    act: tuple[tuple[str, str], ...] = ()
    whole: bool = False


OPEN = """\
import workbench
from workbench import views
wb = workbench.open_model("model.onnx")
wb.prepare()
"""
CALIBRATED = OPEN + 'wb.calibrate("samples.npz", batch=32)\n'
ENGINE = """\
import workbench
from workbench import views
source = workbench.load_model("built.onnx")
built = workbench.load_engine("graph.json", profile="profile.json", timing="timing.json", model=source)
"""
SLOWEST = "view.selected_layer = max(built.report.layers, key=lambda layer: layer.ms or 0.0).name\nview"

SCREEN = CALIBRATED + 'wb.plan.use("int8")\nwb.sensitivity()\nwb.tune()\nwb.compare("test.npz", batch=32, runs=0)\n'
WORST = ".wb-nodes tbody tr"

SCENES = {
    "screen": Scene(SCREEN, "wb", ".wb-app.wb-ready", act=((WORST, "click"),)),
    "lab": Scene(ENGINE, f"view = views.engine(built)\n{SLOWEST}", ".wb-canvas svg", whole=True),
    "engine": Scene(ENGINE, f"view = views.engine(built)\n{SLOWEST}", ".wb-canvas svg"),
    "graph": Scene(OPEN, "views.surgery(wb)", ".wb-canvas svg"),
    "threshold": Scene(CALIBRATED, 'views.distribution(wb, "/relu1/Relu_output_0")', "svg"),
    "tensors": Scene(CALIBRATED, "views.tensor_table(wb)", "tbody tr"),
    "chart": Scene(
        CALIBRATED + "wb.sensitivity()\n",
        "views.sensitivity(wb, top=10)",
        ".wb-chart svg",
        act=((".wb-spot", "click"),),
    ),
    "precision": Scene(CALIBRATED + 'wb.plan.use("int8")\n', "views.precision(wb)", "tbody tr"),
}


def main(*names: str) -> None:
    """Take the pictures named, or all."""
    IMAGES.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="workbench-screenshots-"))
    try:
        with running_lab(folder, THEMES) as lab, chromium() as browser:
            shutil.copytree(files(), lab.folder, dirs_exist_ok=True)
            for name in names or SCENES:
                take(SCENES[name], name, lab, browser)
    finally:
        shutil.rmtree(folder)


def take(scene: Scene, name: str, lab: SimpleNamespace, browser: Any) -> None:
    """Take a scene in light, and then in dark: the views follow JupyterLab's theme."""
    height = HEIGHT if scene.whole else TALL
    page = guarded(browser.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light"))
    page.set_default_timeout(PATIENCE_MS)
    notebook(lab.folder / f"{name}.ipynb", scene.before, scene.shown)
    page.goto(f"{lab.url}/lab/tree/{name}.ipynb?reset", wait_until="domcontentloaded")
    ready(page)
    page.keyboard.press("Control+b")  # closes the files at the left
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    shown = page.locator(".jp-Notebook .jp-Cell").nth(1)
    shown.locator(f".jp-Cell-outputArea {scene.wait}, {ERROR}").first.wait_for()
    if page.locator(ERROR).count():
        raise SystemExit(page.locator(ERROR).first.inner_text())
    for selector, what in scene.act:
        target = page.locator(selector).first
        getattr(target, what)() if what in ("click", "hover") else target.type(what)
    if scene.whole:
        shown.evaluate("cell => cell.scrollIntoView()")
    page.mouse.move(WIDTH - 1, 1)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.locator(f"body[data-jp-theme-light={str(scheme == 'light').lower()}]").wait_for(state="attached")
        page.wait_for_timeout(1500)  # until what moves has come to rest
        file = IMAGES / f"{name}-{scheme}.png"
        write(page.screenshot() if scene.whole else shown.screenshot(), file)
        print(f"wrote {file}")
    page.close()
    end_kernels(lab)


def write(data: bytes, path: Path) -> None:
    """Write a picture with 256 colours, which is a third of the bytes."""
    picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
