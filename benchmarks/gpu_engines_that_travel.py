"""Which engine loads where, tried on a GPU: builds each kind with the TensorRT that is here, and gives it to runtimes.

    python benchmarks/gpu_engines_that_travel.py OUT [--lean FOLDER]... [--model FILE]

FOLDER holds a lean runtime; its name stands in the results:

    pip install --no-deps --target FOLDER tensorrt-lean-cu13-libs==10.16.1.11 tensorrt-lean-cu13-bindings==10.16.1.11

Each engine is given to `workbench run` and to the runtime itself, each in a process of its own, so that what the
manifest foretells can be held against what TensorRT does. Writes OUT/results.json after every step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# cuBLAS and cuDNN need not be there; version-compatible engines must not use them anyway.
COMMON = {
    "tactic_sources": ("EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"),
    "workspace_bytes": 1 << 30,
    "optimization_level": 1,
    "tf32": False,
}
KINDS = {
    "plain": {},
    "version": {"version_compatible": True},
    "version-without-lean": {"version_compatible": True, "exclude_lean_runtime": True},
    "hardware": {"hardware_compatible": True},
    "version-hardware": {"version_compatible": True, "exclude_lean_runtime": True, "hardware_compatible": True},
    "refit": {"refit": True},
    "strip": {"strip": True},
}
RAW = """
import importlib, sys
trt = importlib.import_module(sys.argv[1])
class Log(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
    def log(self, severity, message):
        if "ERROR" in str(severity):
            print(message, flush=True)
runtime = trt.Runtime(Log())
runtime.engine_host_code_allowed = True
engine = runtime.deserialize_cuda_engine(open(sys.argv[2], "rb").read())
print("LOADED" if engine is not None else "REFUSED", trt.__version__)
"""


def ended(words: list[str], path: list[Path]) -> tuple[int, str]:
    """Run a program; return its status and the last lines it printed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [ROOT, *path]))}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=environment)
    return done.returncode, "\n".join((done.stdout + done.stderr).strip().splitlines()[-4:])


def build(kind: str, model: object, out: Path) -> dict[str, object]:
    """Build one kind of engine, and write it."""
    from workbench.backends import BuildOptions, write_engine
    from workbench.backends.tensorrt import TensorRT
    from workbench.errors import WorkbenchError

    start = time.monotonic()
    try:
        engine = TensorRT().build(model, BuildOptions(**COMMON, **KINDS[kind]))
    except WorkbenchError as error:
        return {"built": False, "said": str(error)}
    write_engine(engine, out / f"{kind}.plan")
    return {"built": True, "bytes": len(engine.data), "seconds": round(time.monotonic() - start, 1)}


def tried(plan: Path, module: str, path: list[Path], samples: Path, expected: dict) -> dict[str, object]:
    """Give an engine to the workbench and to a runtime itself."""
    runtime = "full" if module == "tensorrt" else "lean"
    results = plan.with_suffix(f".{path[-1].name if path else 'here'}.npz")
    words = [sys.executable, "-m", "workbench", "run", str(plan), "--runtime", runtime]
    code, said = ended([*words, "--samples", str(samples), "--batch", "4", "--out", str(results)], path)
    found: dict[str, object] = {"workbench": {"status": code, "said": said}}
    if code == 0:
        with np.load(results) as file:
            found["largest_difference"] = max(float(np.abs(file[name] - expected[name]).max()) for name in expected)
    code, said = ended([sys.executable, "-c", RAW, module, str(plan)], path)
    return found | {"itself": {"status": code, "said": said}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lean", type=Path, action="append", default=[])
    parser.add_argument("--model", type=Path, default=ROOT / "sample_models/residual_cnn.onnx")
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    import onnxruntime

    from workbench.backends.cudart import first_device
    from workbench.graph import load_model

    model = load_model(arguments.model)
    (given,) = model.inputs
    shape = [length if isinstance(length, int) else 8 for length in given.shape]
    array = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    samples = out / "samples.npz"
    np.savez(samples, **{given.name: array})
    session = onnxruntime.InferenceSession(model.to_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(names, {given.name: array}), strict=True))

    results: dict[str, object] = {"gpu": str(first_device()), "engines": {}}
    runtimes = [("tensorrt", []), *(("tensorrt_lean_bindings", [folder.resolve()]) for folder in arguments.lean)]
    for kind in KINDS:
        row = results["engines"][kind] = build(kind, model, out)
        print(kind, row, flush=True)
        for module, path in runtimes if row["built"] else ():
            where = path[-1].name if path else "here"
            row[where] = tried(out / f"{kind}.plan", module, path, samples, expected)
            print(" ", where, json.dumps(row[where]), flush=True)
            (out / "results.json").write_text(json.dumps(results, indent=1))
    (out / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
