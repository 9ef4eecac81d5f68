"""JupyterLab on a free local port, and a real Chromium that looks at it: for tests, and for the pictures in docs/."""

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
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

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


class MissingError(RuntimeError):
    """JupyterLab, Playwright or Chromium is not here, or does not start."""


@contextlib.contextmanager
def running_lab(folder: Path, settings: dict[str, dict[str, Any]] | None = None) -> Iterator[SimpleNamespace]:
    """Run a JupyterLab of this checkout's package; it has its `url`, and the `folder` of its notebooks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
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
    options = ["--no-browser", "--allow-root", f"--port={port}", "--port-retries=0", f"--notebook-dir={notebooks}"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", "--LabApp.news_url=None"]
    options += [
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    log = (folder / "lab.log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], env=os.environ | variables, stdout=log, stderr=log, cwd=folder
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
        started = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


def end_kernels(lab: SimpleNamespace) -> None:
    """End what the page's notebooks ran; it takes memory, and time to start the next one."""
    with urllib.request.urlopen(f"{lab.url}/api/sessions") as answer:  # noqa: S310 - our own server
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{lab.url}/api/sessions/{session['id']}", method="DELETE")  # noqa: S310
        urllib.request.urlopen(request).close()  # noqa: S310


def ready(page: Any, timeout_ms: int = 90_000) -> None:
    """Wait until a notebook is open and its kernel takes cells: the notebook says so before the page is connected."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=timeout_ms)
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=timeout_ms)
    page.locator("#jp-main-statusbar", has_text="| Idle").wait_for(timeout=timeout_ms)


def notebook(path: Path, *cells: str) -> None:
    """Write a notebook of code cells without outputs."""
    code = [
        {"cell_type": "code", "id": f"cell{at}", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for at, cell in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    content = {"cells": code, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(content))
