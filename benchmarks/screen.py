"""How long a person waits on the screen of a workbench, measured in a real JupyterLab by Chromium.

``python benchmarks/screen.py`` prints a table: what was done, how long it took (the median of several, and the worst),
and what was hoped for. Time runs from the event in the page to the frame in which everything shows it. Where a screen
is opened it also says how much of that the kernel computed and the page's main thread worked: those two hold on a busy
machine as well. ``--minutes 30`` clicks for so long instead, and says how much memory kernel and page take at the end.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.kit.lab import chromium, end_kernels, guarded, notebook, ready, running_lab  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

OPEN = "import workbench\nwb = workbench.open_model({path!r}, resume=False)"
LOAD = "import workbench\nmodel = workbench.load_model({path!r}); model.tensors"
CLOCK = (
    "import os, pathlib, time\n"
    "pathlib.Path('kernel').write_text(str(os.getpid()))\n"
    "def note(_): pathlib.Path('spent').write_text(str(time.process_time()))\n"
    "get_ipython().events.register('post_run_cell', note)"
)
"""Writes the kernel's process, and after each cell the seconds that it has computed."""
UNTIL = """([act, shown]) => new Promise((done) => {
    const start = performance.now();
    const times = [];
    eval(act);
    const look = () => requestAnimationFrame(() => {
        while (times.length < shown.length && eval(shown[times.length])) times.push(performance.now() - start);
        times.length < shown.length ? look() : done(times);
    });
    look();
})"""
ROW = "document.querySelectorAll('.wb-nodes tbody tr')[{at}]"
MARKED = (
    "(() => {{ const row = " + ROW + "; return row && row.getAttribute('aria-selected') === 'true'"
    " && document.querySelector('.wb-card.wb-selected'); }})()"
)
FILLED = (
    "(() => {{ const row = "
    + ROW
    + "; return document.querySelector('.wb-inspector h3').textContent === row.dataset.id; }})()"
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
UNSELECTED = """() => [...document.querySelectorAll('.wb-nodes tbody tr[aria-selected="false"]')]
    .slice(0, 40).map((row) => row.dataset.id)"""
CLICKED = ".wb-chips .wb-clicked:not(.wb-gone)"
MESSAGES = """() => {
    window.sizes = [];
    const note = (event) => window.sizes.push(event.data.byteLength ?? event.data.length);
    const set = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage').set;
    Object.defineProperty(WebSocket.prototype, 'onmessage', {
        set(handler) { set.call(this, (event) => { note(event); handler?.call(this, event); }); },
        configurable: true,
    });
}"""


class Measured(NamedTuple):
    """A line of the table, in milliseconds unless it says something else."""

    what: str
    times: list[float]
    wanted: float | None = None


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "sample_models" / "residual_cnn.onnx")
    parser.add_argument("--samples", type=Path, help="to calibrate on; random numbers where left out")
    parser.add_argument("--preprocess", default="", help="of images")
    parser.add_argument("--nodes", type=int, default=10_000, help="of a large graph that is made")
    parser.add_argument("--clicks", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=0.0, help="to click for, and to look at memory")
    options = parser.parse_args()
    # A package that was installed is compiled already.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(ROOT / "workbench", quiet=1)
    folder = Path(tempfile.mkdtemp(prefix="workbench-screen-"))
    rows: list[Measured] = []
    try:
        with running_lab(folder) as lab, chromium() as browser:
            if options.minutes:
                rows += long(lab, browser, options)
            else:
                rows += small(lab, browser, options)
                rows += first(lab, browser, 250)
                rows += large(lab, browser, options.nodes)
    finally:
        shutil.rmtree(folder)
    print(f"{'what':50} {'median':>10} {'worst':>10} {'wanted':>10}")
    for what, times, wanted in rows:
        hoped = "" if wanted is None else f"{wanted:.0f}"
        print(f"{what:50} {statistics.median(times):10.1f} {max(times):10.1f} {hoped:>10}")


class Opened:
    """A notebook whose last cell shows a screen.

    Parameters
    ----------
    before, cell
        The cells; the second is timed, from its key to the screen.
    """

    def __init__(self, lab: SimpleNamespace, browser: Any, before: str, cell: str = "wb") -> None:
        self.lab = lab
        self.page = page = guarded(browser.new_page(viewport={"width": 1600, "height": 1000}))
        page.set_default_timeout(180_000)
        page.add_init_script(f"({MESSAGES})()")
        (lab.folder / "spent").unlink(missing_ok=True)
        notebook(lab.folder / "screen.ipynb", f"{CLOCK}\n{before}", cell)
        page.goto(f"{lab.url}/lab/tree/screen.ipynb?reset", wait_until="domcontentloaded")
        ready(page)
        self.browser = page.context.new_cdp_session(page)
        self.browser.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
        page.keyboard.press("Shift+Enter")
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
        page.wait_for_timeout(1500)
        computed, worked = self.computed(0.0), self.metric("TaskDuration")
        began = page.evaluate("performance.now()")
        page.keyboard.press("Shift+Enter")
        page.locator(".wb-app.wb-ready .wb-nodes tbody tr").first.wait_for()
        self.took: float = page.evaluate("performance.now()") - began
        self.worked = 1000 * (self.metric("TaskDuration") - worked)
        page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
        self.computed_ms = 1000 * (self.computed(computed) - computed)

    def computed(self, before: float) -> float:
        """Return the seconds that the kernel has computed up to the end of its last cell, once it says more."""
        file = self.lab.folder / "spent"
        while not file.exists() or (spent := float(file.read_text() or before)) <= before:
            self.page.wait_for_timeout(50)
        return spent

    def metric(self, name: str) -> float:
        """Return one of Chromium's own figures of the page."""
        metrics = self.browser.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == name))

    def rows(self, what: str, wanted: float) -> list[Measured]:
        """Return the lines of the table that tell how it was opened."""
        return [
            Measured(f"{what}, on screen", [self.took], wanted),
            Measured("  of which the kernel computed", [self.computed_ms]),
            Measured("  of which the page's main thread worked", [self.worked]),
        ]

    def timed(self, act: str, *shown: str) -> list[float]:
        """Return milliseconds from an act in the page until one thing after the other shows."""
        took: list[float] = self.page.evaluate(UNTIL, [act, list(shown)])
        self.page.wait_for_timeout(150)
        return took

    def calibrate(self, options: argparse.Namespace) -> None:
        """Calibrate on the screen, so that there is a distribution to look at."""
        page, samples = self.page, options.samples or random_samples(self.lab.folder, options.model)
        page.locator('[data-step="Calibrate"]').click()
        page.locator(".wb-form-of input").nth(0).fill(str(samples.resolve()))
        page.locator(".wb-form-of input").nth(1).fill(options.preprocess)
        page.locator(".wb-form-of button", has_text="Calibrate").click()
        page.locator('[data-step="Calibrate"].wb-is-done').wait_for()

    def close(self) -> None:
        """End its kernel and its page."""
        end_kernels(self.lab)
        self.page.close()


def small(lab: SimpleNamespace, browser: Any, options: argparse.Namespace) -> list[Measured]:
    """Click through a model of ordinary size."""
    screen = Opened(lab, browser, OPEN.format(path=str(options.model.resolve())))
    page = screen.page
    count = page.locator(".wb-nodes tbody tr").count()
    rows = screen.rows(f"{options.model.stem}, {count} nodes or more", 1500)
    screen.calibrate(options)
    page.evaluate("window.sizes.length = 0")
    places = range(min(options.clicks, count))
    clicks = [screen.timed(ROW.format(at=at) + ".click()", MARKED.format(at=at), FILLED.format(at=at)) for at in places]
    largest = max(page.evaluate("window.sizes")) / 1e3
    rows.append(Measured("click: highlighted everywhere", [marked for marked, _ in clicks], 100))
    rows.append(Measured("click: inspector full", [filled for _, filled in clicks], 200))
    rows.append(Measured("largest message of a click, kB", [largest], 1000))
    page.locator(".wb-nodes tbody tr").first.click()
    page.locator(".wb-threshold .handle").first.wait_for()
    page.wait_for_timeout(2000)  # it is drawn once more when its room is known
    rows.append(Measured("frame of a dragged threshold", dragged(page), 33))
    screen.close()
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


def first(lab: SimpleNamespace, browser: Any, nodes: int) -> list[Measured]:
    """Open a graph of some nodes."""
    path = lab.folder / "some.onnx"
    path.write_bytes(chain(nodes, 50))
    screen = Opened(lab, browser, OPEN.format(path=str(path)))
    screen.close()
    return screen.rows(f"{nodes} nodes, once open", 1500)


def large(lab: SimpleNamespace, browser: Any, nodes: int) -> list[Measured]:
    """Open a graph of many nodes, and select a thousand."""
    path = lab.folder / "large.onnx"
    path.write_bytes(chain(nodes, 1000))
    screen = Opened(lab, browser, LOAD.format(path=str(path)), "wb = workbench.Workbench(model)\nwb")
    narrowed = screen.timed(FILTER.format(text="name:*/block_0*"), NARROWED)
    chosen = screen.timed(ALL, MANY)
    screen.close()
    rows = screen.rows(f"{nodes:,} nodes, once loaded", 2000)
    return [*rows, Measured("filter by a selector", narrowed, 300), Measured("1,000 selected", chosen, 300)]


def long(lab: SimpleNamespace, browser: Any, options: argparse.Namespace) -> list[Measured]:
    """Click for minutes, and look at what kernel and page take up."""
    screen = Opened(lab, browser, OPEN.format(path=str(options.model.resolve())))
    screen.calibrate(options)
    acts = clicking(screen.page)
    began = time.monotonic()
    warm = min(60.0, 12.0 * options.minutes)  # what is loaded at the first use of a thing is no growth
    before: tuple[float, ...] | None = None
    count = 0
    while (gone := time.monotonic() - began) < 60 * options.minutes:
        next(acts)
        count += 1
        if before is None and gone > warm:
            before = memory(screen)
    after = memory(screen)
    screen.close()
    if before is None:
        before = after
    names = ("kernel, MB", "page's heap, MB", "page's elements", "page's listeners")
    print(f"{count} acts in {options.minutes:g} minutes; the first figure is {warm:.0f} s after the first")
    return [
        row
        for name, one, other in zip(names, before, after, strict=True)
        for row in (Measured(name, [one]), Measured("  at the end", [other]))
    ]


def memory(screen: Opened) -> tuple[float, ...]:
    """Return megabytes of the kernel and of the page's heap after a collection, and its elements and listeners."""
    import psutil

    for _ in range(2):
        screen.browser.send("HeapProfiler.collectGarbage")
    kernel = psutil.Process(int((screen.lab.folder / "kernel").read_text())).memory_info().rss
    heap = screen.metric("JSHeapUsedSize")
    return kernel / 1e6, heap / 1e6, screen.metric("Nodes"), screen.metric("JSEventListeners")


def clicking(page: Any) -> Iterator[None]:
    """Do one thing after the other that people do on a screen, without end."""
    cards = page.locator(".wb-card[data-kind=op]")
    at = 0
    while True:
        at += 1
        ids = page.evaluate(UNSELECTED)
        node = ids[at % len(ids)]
        page.locator(f'.wb-nodes tr[data-id="{node}"]').click()
        page.wait_for_function("node => document.querySelector('.wb-inspector h3').textContent === node", arg=node)
        yield
        for name in ("fp16", "int8"):
            page.locator(f'.wb-option[data-precision="{name}"]').click()
            page.locator(".wb-preview", has_text=f"{name} here").wait_for()
            yield
        if at % 5 == 0:
            page.locator(".wb-apply-precision").click()
            page.wait_for_timeout(500)
            # One that comes too soon is refused: it is not of the recipe as it is.
            while page.locator(CLICKED).count() > 1:
                page.locator(".wb-timeline button", has_text="undo").click()
                page.wait_for_timeout(250)
            yield
        if cards.count():
            cards.nth(at % cards.count()).dispatch_event("pointerup", {"button": 0})
            yield
        page.locator(".wb-nodes th button:visible").nth(at % 3).click()
        yield
        for selector in ("op:Conv", ""):
            page.locator(".wb-filter").fill(selector)
            page.wait_for_function(f"{NARROWED} === {str(bool(selector)).lower()}")
            yield


def random_samples(folder: Path, model: Path) -> Path:
    """Write samples for a model, random numbers."""
    import numpy as np
    import onnx

    value = onnx.load(model, load_external_data=False).graph.input[0]
    shape = [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
    numbers = np.random.default_rng(0).random((32, *shape[1:]), np.float32)
    path = folder / "samples.npz"
    np.savez(path, **{value.name: numbers})
    return path


def chain(nodes: int, block: int) -> bytes:
    """Return a model of many convolutions in a row, so many to a block."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")
    made = [
        helper.make_node(
            *(("Conv", [f"t{at}", "w"]) if at % 2 == 0 else ("Relu", [f"t{at}"])),
            [f"t{at + 1}"],
            f"/block_{at // block}/part_{at % block // 50}/n{at}",
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
