"""JupyterLab on a free local port, and a real Chromium that looks at it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kit.awaited import awaited
from tests.kit.lab import (
    PATIENCE_MS,
    MissingError,
    chromium,
    end_kernels,
    guarded,
    notebook,
    ready,
    running_lab,
)
from tests.kit.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

# The kernel does it, behind all that a view before may still have to write.
FRESH = "import pathlib; pathlib.Path('seen.json').unlink(missing_ok=True)\n"
LOCAL = ("127.0.0.1", "localhost", "[::1]")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where the pictures go that a person may want to look at: $WORKBENCH_SCREENSHOTS, else out/screenshots."""
    folder = Path(os.environ.get("WORKBENCH_SCREENSHOTS", ROOT / "out/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[SimpleNamespace]:
    """A JupyterLab of this checkout's package in an empty folder."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install 'trt-workbench[lab]'")
    with running_lab(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[SimpleNamespace]:
    """A headless Chromium, for a file of tests: its event loop would be in the way of those that come after."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(chromium())
        except MissingError as error:
            pytest.skip(str(error))
        yield started


@pytest.fixture
def page(lab, browser) -> Iterator[SimpleNamespace]:
    """A page that shares nothing with those of other tests, and notes every request that leaves this machine."""
    page = new_page(browser)
    yield page
    page.context.close()
    end_kernels(lab)


def new_page(browser) -> SimpleNamespace:
    """Open a page with a profile of its own; `abroad` are the requests that left this machine, `errors` the page's."""
    page = guarded(browser.new_context(viewport={"width": 1400, "height": 1000}).new_page())
    page.set_default_timeout(PATIENCE_MS)
    page.abroad, page.errors = [], []

    def note(request) -> None:
        host = request.url.split("/")[2] if "://" in request.url else ""
        if host and host.rsplit(":", 1)[0] not in LOCAL:
            page.abroad.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: page.errors.append(error))  # noqa: PLW0108 - Playwright marks its listeners
    return page


def expect(locator) -> SimpleNamespace:
    """Return Playwright's assertions about a locator, which wait: what Python changed is on the page a moment later."""
    from playwright.sync_api import expect as expecting

    expecting.set_options(timeout=PATIENCE_MS)
    return expecting(locator)


def theme(page, *, light: bool) -> None:
    """Say to the views that JupyterLab's theme is light or dark, and wait until they are."""
    page.evaluate("light => document.body.dataset.jpThemeLight = light", str(light).lower())
    page.wait_for_function(
        "light => [...document.querySelectorAll('.wb')].every((view) => view.classList.contains('wb-dark') !== light)",
        arg=light,
    )


class Desk:
    """A notebook in an open page, with a kernel that stays: each cell runs a file, and can be run again."""

    def __init__(self, lab, page, cells: int = 2) -> None:
        self.lab, self.page = lab, page
        notebook(lab.folder / "desk.ipynb", *(f"%run -i cell{at}.py" for at in range(cells)))
        page.goto(f"{lab.url}/lab/tree/desk.ipynb?reset", wait_until="domcontentloaded")
        ready(page)

    def run(self, code: str, cell: int = 0) -> None:
        """Run code in a cell, as Ctrl and Enter do; what it showed before is gone."""
        (self.lab.folder / f"cell{cell}.py").write_text(code)
        self.page.locator(".jp-Notebook .jp-Cell .cm-content").nth(cell).click()
        self.page.keyboard.press("Control+Enter")

    def show(self, code: str, shown: str = ".wb-canvas svg") -> None:
        """Run code that shows a view, a graph where left out, and wait for a new one."""
        self.page.evaluate("document.querySelectorAll('.wb').forEach(node => node.classList.add('wb-old'))")
        self.page.evaluate("document.body.dataset.jpThemeLight = 'true'")
        self.run(FRESH + code)
        self.page.locator(f".wb:not(.wb-old) {shown}").first.wait_for()


@pytest.fixture(scope="module")
def desk(lab, browser) -> Iterator[Desk]:
    """One notebook for the tests of a module; each shows its own view in it."""
    page = new_page(browser)
    yield Desk(lab, page)
    page.context.close()
    end_kernels(lab)


def seen(lab, until=lambda _: True) -> dict:
    """Wait until what a notebook's Python wrote into ``seen.json`` is as wanted."""
    return awaited(lab.folder / "seen.json", until)
