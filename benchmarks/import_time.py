"""How long `import workbench` takes, in fresh processes, beside an empty Python and beside what it must not load.

    python benchmarks/import_time.py

Goal: under 150 ms more than an empty process.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time

CASES = {
    "an empty process": "pass",
    "import workbench": "import workbench",
    "workbench.open_model (loads onnx)": "import workbench; workbench.open_model",
    "import onnxruntime": "import onnxruntime",
}


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main(rounds: int = 9) -> None:
    print(f"Python {platform.python_version()} on {platform.machine()}, median of {rounds} rounds, cases in turns")
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, code in CASES.items():
            times[name].append(seconds(code))
    empty = statistics.median(times["an empty process"])
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:36} {1e3 * middle:7.0f} ms  {1e3 * (middle - empty):+7.0f} ms")


if __name__ == "__main__":
    main()
