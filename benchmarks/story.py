"""The story of five minutes, told by mouse and keyboard alone: from a model to a tuned one on one screen.

``python benchmarks/story.py`` tells it on both models of ../shared, in JupyterLab and in Notebook 7, asserts on what is
on the screen and on the recipe that was written, and prints how long each chapter took. A test tells it on the smaller
model.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.kit.lab import chromium, end_kernels, guarded, running_lab  # noqa: E402
from tests.kit.story import MODELS, NOTEBOOK, open_story, tell  # noqa: E402

if TYPE_CHECKING:
    from types import SimpleNamespace

PLACES = {"lab": "lab/tree", "notebook": "notebooks"}


def main() -> None:
    """Tell it, and print the chapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--model", choices=sorted(MODELS), help="one of them alone")
    parser.add_argument("--place", choices=sorted(PLACES), help="one of them alone")
    parser.add_argument("--pictures", type=Path, default=ROOT / "out" / "story", help="where screenshots go")
    options = parser.parse_args()
    options.pictures.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="workbench-story-"))
    try:
        with running_lab(folder) as lab, chromium() as browser:
            for model in [options.model] if options.model else MODELS:
                for place in [options.place] if options.place else PLACES:
                    told(lab, browser, model, place, options)
    finally:
        shutil.rmtree(folder)


def told(lab: SimpleNamespace, browser: Any, model: str, place: str, options: argparse.Namespace) -> None:
    """Tell it once."""
    page = guarded(browser.new_page(viewport={"width": 1280, "height": 800}))
    wrong: list[str] = []
    page.on("pageerror", lambda error: None if NOTEBOOK in (error.stack or "") else wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if abroad(request.url) else None)
    open_story(lab, page, model, PLACES[place], options.shared)
    start, chapters = time.perf_counter(), []
    for chapter in tell(page, lab.folder):
        now = time.perf_counter()
        chapters.append(f"{chapter} {now - start:.0f}")
        start = now
        page.screenshot(path=options.pictures / f"{model}-{place}-{len(chapters)}-{chapter.split()[0]}.png")
    print(f"{model} in {place}: {', '.join(chapters)} s")
    if wrong:
        raise SystemExit(json.dumps(wrong))
    end_kernels(lab)
    page.close()


def abroad(url: str) -> bool:
    """Say whether a request leaves this machine."""
    return url.startswith("http") and url.split("/")[2].rsplit(":", 1)[0] not in {"127.0.0.1", "localhost"}


if __name__ == "__main__":
    main()
