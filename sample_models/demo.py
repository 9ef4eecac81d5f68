"""The demo: draw data, tune a sample model to INT8, say what it cost. Run by ``make demo``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(*command: str) -> int:
    """Run a command as a person would type it."""
    return subprocess.run([sys.executable, *command], check=False).returncode


def draw(split: str, count: int, folder: Path) -> Path:
    """Draw one split of the glyph data with this folder's own script."""
    run(str(HERE / "glyphs.py"), "--split", split, "--count", str(count), "--out", str(folder))
    return folder


def main() -> None:
    """Draw, tune, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    parser.add_argument("--model", default="residual_cnn", help="one of the sample models")
    options = parser.parse_args()
    data = options.out.with_name(f"{options.out.name}-data")
    calibration = draw("calibration", 300, data / "calibration")
    test = draw("test", 1000, data / "test")
    command = [
        *("tune", str(HERE / f"{options.model}.onnx")),
        *("--samples", str(calibration / "samples.npz")),
        *("--eval-samples", str(test / "samples.npz")),
        *("--labels", str(test / "labels.npy")),
        *("--max-drop", "1.0"),
        *("--batch", "32"),
        *("--out", str(options.out)),
    ]
    print("\n$ workbench", " ".join(command), "\n", flush=True)
    sys.exit(run("-m", "workbench", *command))


if __name__ == "__main__":
    main()
