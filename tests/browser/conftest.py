"""JupyterLab on a free local port, and a real Chromium that looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tests.kit.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
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
    folder = tmp_path_factory.mktemp("lab")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    # No news to ask about; and all cells stay in the page, so that a test finds what is scrolled away.
    for plugin, chosen in (
        ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
        ("notebook-extension/tracker", {"windowingMode": "none"}),
    ):
        file = folder / "settings/@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(chosen))
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    options = ["--no-browser", "--allow-root", f"--port={port}", "--port-retries=0", f"--notebook-dir={notebooks}"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", "--LabApp.news_url=None"]
    options += [
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], env=os.environ | settings, stdout=log, stderr=log, cwd=folder
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/api/status", server, folder / "lab.log")
        yield SimpleNamespace(url=url, folder=notebooks)
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        log.close()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own server
            return
        time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[SimpleNamespace]:
    """A headless Chromium."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
    )
    chromium = next((path for path in CHROMIUM if shutil.which(path)), None)
    if chromium is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(lab, browser) -> Iterator[SimpleNamespace]:
    """A page that shares nothing with those of other tests, and notes every request that leaves this machine."""
    page = new_page(browser)
    yield page
    page.context.close()
    end_kernels(lab)


def new_page(browser) -> SimpleNamespace:
    """Open a page with a profile of its own; `abroad` are the requests that left this machine, `errors` the page's."""
    page = browser.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(30_000)
    page.abroad, page.errors = [], []

    def note(request) -> None:
        host = request.url.split("/")[2] if "://" in request.url else ""
        if host and host.rsplit(":", 1)[0] not in LOCAL:
            page.abroad.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    return page


def end_kernels(lab) -> None:
    """End what the page's notebooks ran; it takes memory, and time to start the next one."""
    with urllib.request.urlopen(f"{lab.url}/api/sessions") as answer:  # noqa: S310 - our own server
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{lab.url}/api/sessions/{session['id']}", method="DELETE")  # noqa: S310
        urllib.request.urlopen(request).close()  # noqa: S310


def expect(locator) -> SimpleNamespace:
    """Return Playwright's assertions about a locator, which wait: what Python changed is on the page a moment later."""
    from playwright.sync_api import expect as expecting

    expecting.set_options(timeout=30_000)
    return expecting(locator)


def ready(page) -> None:
    """Wait until a notebook is open and its kernel takes cells: the notebook says so before the page is connected."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=90_000)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=90_000)
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=90_000)


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

    def show(self, code: str) -> None:
        """Run code that shows a graph, and wait for a new one."""
        (self.lab.folder / "seen.json").unlink(missing_ok=True)
        self.page.evaluate("document.querySelectorAll('.wb').forEach(node => node.classList.add('wb-old'))")
        self.page.evaluate("document.body.dataset.jpThemeLight = 'true'")
        self.run(code)
        self.page.locator(".wb:not(.wb-old) .wb-canvas svg").first.wait_for(timeout=90_000)


@pytest.fixture(scope="module")
def desk(lab, browser) -> Iterator[Desk]:
    """One notebook for the tests of a module; each shows its own view in it."""
    page = new_page(browser)
    yield Desk(lab, page)
    page.context.close()
    end_kernels(lab)


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells without outputs."""
    code = [
        {"cell_type": "code", "id": f"cell{at}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for at, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))


def seen(lab, until=lambda _: True) -> dict:
    """Wait until what a notebook's Python wrote into ``seen.json`` is as wanted."""
    last = None
    for _ in range(150):
        try:
            last = json.loads((lab.folder / "seen.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            last = None
        if last is not None and until(last):
            return last
        time.sleep(0.1)
    pytest.fail(f"Python never saw it; the last it saw was {last}")
