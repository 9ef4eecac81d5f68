"""How long a person waits on the screen of a workbench, measured in a real JupyterLab by Chromium.

``python benchmarks/screen.py`` prints a table: what was done, how long it took (the median of several, and the worst),
and what was hoped for. Time runs from the event in the page to the frame in which everything shows it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.kit.lab import chromium, end_kernels, notebook, ready, running_lab  # noqa: E402

if TYPE_CHECKING:
    from types import SimpleNamespace

OPEN = "import workbench\nwb = workbench.open_model({path!r}, resume=False)"
UNTIL = """([act, shown]) => new Promise((done) => {
    const start = performance.now();
    eval(act);
    const end = () => done(performance.now() - start);
    const look = () => requestAnimationFrame(eval(shown) ? end : look);
    look();
})"""
ROW = "document.querySelectorAll('.wb-nodes tbody tr')[{at}]"
SELECTED = (
    "(() => {{ const row = " + ROW + "; return row && row.getAttribute('aria-selected') === 'true'"
    " && document.querySelector('.wb-inspector h3').textContent === row.dataset.id"
    " && document.querySelector('.wb-card.wb-selected'); }})()"
)
FILTER = (
    "{{ const f = document.querySelector('.wb-filter'); f.value = {text!r}; f.dispatchEvent(new Event('input')); }}"
)
FRAMES = """() => {
    window.frames_ = [];
    const tick = (at) => { window.frames_.push(at); requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
}"""
NARROWED = "document.querySelector('.wb-count').textContent.includes(' of ')"
ALL = "document.querySelector('.wb-nodes .wb-bar button').click()"
MANY = "/^[\\d,]+ nodes$/.test(document.querySelector('.wb-inspector h3').textContent)"
MESSAGES = """() => {
    window.sizes = [];
    const add = WebSocket.prototype.addEventListener;
    const note = (event) => window.sizes.push(event.data.byteLength ?? event.data.length);
    const set = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage').set;
    Object.defineProperty(WebSocket.prototype, 'onmessage', {
        set(handler) { set.call(this, (event) => { note(event); handler?.call(this, event); }); },
        configurable: true,
    });
}"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "sample_models" / "residual_cnn.onnx")
    parser.add_argument("--samples", type=Path, help="to calibrate on, so that a threshold can be dragged")
    parser.add_argument("--preprocess", default="", help="of images")
    parser.add_argument("--nodes", type=int, default=10_000, help="of a large graph that is made")
    parser.add_argument("--clicks", type=int, default=12)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="workbench-screen-"))
    rows: list[tuple[str, list[float], float]] = []
    try:
        with running_lab(folder) as lab, chromium() as browser:
            rows += small(lab, browser, options)
            rows += large(lab, browser, options.nodes)
    finally:
        shutil.rmtree(folder)
    print(f"{'what':44} {'median ms':>10} {'worst ms':>10} {'wanted ms':>10}")
    for what, times, wanted in rows:
        print(f"{what:44} {statistics.median(times):10.0f} {max(times):10.0f} {wanted:10.0f}")


def opened(lab: SimpleNamespace, browser: Any, before: str, cell: str = "wb") -> tuple[Any, float]:
    """Open a notebook and run its two cells; return the page, and milliseconds from the second's key to the screen."""
    page = browser.new_page(viewport={"width": 1600, "height": 1000})
    page.set_default_timeout(180_000)
    page.add_init_script(f"({MESSAGES})()")
    notebook(lab.folder / "screen.ipynb", before, cell)
    page.goto(f"{lab.url}/lab/tree/screen.ipynb?reset", wait_until="domcontentloaded")
    ready(page)
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
    page.wait_for_timeout(1500)
    began = page.evaluate("performance.now()")
    page.keyboard.press("Shift+Enter")
    page.locator(".wb-app.wb-ready .wb-nodes tbody tr").first.wait_for()
    return page, page.evaluate("performance.now()") - began


def timed(page: Any, act: str, shown: str) -> float:
    """Return milliseconds from an act in the page until something shows."""
    took: float = page.evaluate(UNTIL, [act, shown])
    page.wait_for_timeout(150)
    return took


def small(lab: SimpleNamespace, browser: Any, options: argparse.Namespace) -> list[tuple[str, list[float], float]]:
    """Click through a model of ordinary size."""
    page, first = opened(lab, browser, OPEN.format(path=str(options.model.resolve())))
    count = page.locator(".wb-nodes tbody tr").count()
    page.evaluate("window.sizes.length = 0")
    places = range(min(options.clicks, count))
    clicks = [timed(page, ROW.format(at=at) + ".click()", SELECTED.format(at=at)) for at in places]
    largest = max(page.evaluate("window.sizes")) / 1e6
    rows = [(f"first screen of {count} nodes", [first], 1500.0)]
    rows.append(("click: selected everywhere, inspector full", clicks, 200.0))
    rows.append(("largest message of a click, in kB", [1000 * largest], 1000.0))
    if options.samples is not None:
        page.locator('[data-step="Calibrate"]').click()
        page.locator(".wb-form-of input").nth(0).fill(str(options.samples.resolve()))
        page.locator(".wb-form-of input").nth(1).fill(options.preprocess)
        page.locator(".wb-form-of button", has_text="Calibrate").click()
        page.locator('[data-step="Calibrate"].wb-is-done').wait_for()
        page.locator(".wb-nodes tbody tr").first.click()
        page.locator(".wb-threshold .handle").first.wait_for()
        page.wait_for_timeout(2000)  # it is drawn once more when its room is known
        rows.append(("frame of a dragged threshold", dragged(page), 33.0))
    end_kernels(lab)
    page.close()
    return rows


def dragged(page: Any) -> list[float]:
    """Return the milliseconds between frames while a threshold is dragged."""
    grip = page.locator(".wb-threshold .handle .grip").last
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.evaluate(FRAMES)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(60):
        page.mouse.move(x - step, y)
    page.mouse.up()
    frames = page.evaluate("window.frames_")
    return [b - a for a, b in pairwise(frames)]


def large(lab: SimpleNamespace, browser: Any, nodes: int) -> list[tuple[str, list[float], float]]:
    """Open a graph of many nodes, and select a thousand."""
    path = lab.folder / "large.onnx"
    path.write_bytes(chain(nodes))
    load = f"import workbench\nmodel = workbench.load_model({str(path)!r}); model.tensors"
    page, first = opened(lab, browser, load, "wb = workbench.Workbench(model)\nwb")
    thousand = timed(page, FILTER.format(text="name:*/block_0*"), NARROWED)
    chosen = timed(page, ALL, MANY)
    end_kernels(lab)
    page.close()
    return [
        (f"screen of {nodes:,} nodes, once loaded", [first], 2000.0),
        ("filter by a selector", [thousand], 300.0),
        ("1,000 selected", [chosen], 300.0),
    ]


def chain(nodes: int) -> bytes:
    """Return a model of many convolutions in a row, a thousand to a block."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")
    made = [
        helper.make_node(
            *(("Conv", [f"t{at}", "w"]) if at % 2 == 0 else ("Relu", [f"t{at}"])),
            [f"t{at + 1}"],
            f"/block_{at // 1000}/part_{at % 1000 // 50}/n{at}",
        )
        for at in range(nodes)
    ]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in ("t0", f"t{nodes}")]
    graph = helper.make_graph(made, "large", value[:1], value[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


if __name__ == "__main__":
    main()
