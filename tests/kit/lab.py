"""JupyterLab on a free local port, and a real Chromium that looks at it: for tests, and for the pictures in docs/."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.kit.awaited import PATIENCE_S, awaited
from tests.kit.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
# No news to ask about; and all cells stay in the page, so that a test finds what is scrolled away.
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
PATIENCE_MS = 1000 * PATIENCE_S
DIALOG = "dialog.jp-Dialog"
READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.isReady && panel.sessionContext?.kernelDisplayStatus === "idle";
}"""


class MissingError(RuntimeError):
    """JupyterLab, Playwright or Chromium is not here, or does not start."""


@contextlib.contextmanager
def running_lab(folder: Path, settings: dict[str, dict[str, Any]] | None = None) -> Iterator[SimpleNamespace]:
    """Run a JupyterLab of this checkout's package; it has its `url`, and the `folder` of its notebooks."""
    variables = {
        "PYTHONPATH": str(ROOT),
        "JUPYTER_PATH": str(ROOT / "workbench/views/lab"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    for plugin, chosen in (SETTINGS | (settings or {})).items():
        file = folder / "settings/@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(chosen))
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0", f"--notebook-dir={notebooks}"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", "--LabApp.news_url=None"]
    options += [
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True",
        "--JupyterNotebookApp.expose_app_in_browser=True",
    ]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], env=os.environ | variables, stdout=log, stderr=log, cwd=folder
    )
    started = folder / "runtime" / f"jpserver-{server.pid}.json"
    try:
        url = awaited(started, unless=lambda: _ended(server, folder / "lab.log"))["url"]
        yield SimpleNamespace(url=url.rstrip("/"), folder=notebooks)
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        server.kill()
        log.close()


def _ended(server: subprocess.Popen[bytes], log: Path) -> None:
    if server.poll() is not None:
        raise MissingError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run a headless Chromium, as Playwright's browser."""
    try:
        from playwright import sync_api
    except ImportError as error:
        raise MissingError("Playwright is not installed: pip install playwright") from error
    path = next((path for path in CHROMIUM if shutil.which(path)), None)
    if path is None:
        raise MissingError("Chromium is not installed: apt-get install chromium")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=PATIENCE_MS)
        yield started
        started.close()


def end_kernels(lab: SimpleNamespace) -> None:
    """End what the page's notebooks ran; it takes memory, and time to start the next one."""
    with urllib.request.urlopen(f"{lab.url}/api/sessions") as answer:  # noqa: S310 - our own server
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{lab.url}/api/sessions/{session['id']}", method="DELETE")  # noqa: S310
        urllib.request.urlopen(request).close()  # noqa: S310


def guarded(page: Any) -> Any:
    """Close a page that asks something, and write what: a dialog that nobody expects would keep every click waiting."""
    dialog = page.locator(DIALOG)

    def close(_: Any) -> None:
        sys.stderr.write(f"JupyterLab asks: {dialog.first.inner_text()}\n")
        page.close()

    page.add_locator_handler(dialog, close)
    return page


def ready(page: Any) -> None:
    """Wait until the page's notebook is read and its kernel answers: an indicator says "idle" before there is one."""
    page.wait_for_function(READY)


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells without outputs."""
    code = [
        {"cell_type": "code", "id": f"cell{at}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for at, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))
