"""Execute every notebook with papermill and export it as a page that shows its pictures offline. Used by CI."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from workbench.handoff.notebook import export_html, run_notebook

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run them all, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 00_quickstart; all of them where left out")
    parser.add_argument("--out", type=Path, default=Path("out/notebooks"))
    parser.add_argument("-p", "--parameters", type=json.loads, default={}, help="JSON, for the notebooks named")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    notebooks = sorted(HERE.glob("*.ipynb"))
    if options.names:
        notebooks = [HERE / f"{name}.ipynb" for name in options.names]
    for notebook in notebooks:
        start = time.perf_counter()
        executed = run_notebook(notebook, out / notebook.name, options.parameters, cwd=HERE.parent)
        page = export_html(executed, out / f"{notebook.stem}.html")
        print(f"{notebook.name}: {time.perf_counter() - start:.0f} s, {page}", flush=True)
    if not notebooks:
        sys.exit("there are no notebooks")


if __name__ == "__main__":
    main()
