"""Every graph that a test lowers is parsed and built by a real TensorRT compiler, for two targets.

`workbench.precision.lowering.lower` is the only writer of precision, and everything that it returns during the tests is
noted here, whichever test asked for it. After the last test all of them go through TensorRT-RTX's parser and builder,
many in one child process. A graph that is refused fails the run; those that TensorRT cannot have are listed below, with
the reason. Nothing has to be done in a test.

Two graphs of one structure (nodes, wiring, attributes, types and shapes, but other numbers) count as one. All of them
are built for the first target. For the second one are built, the largest graphs first, those that hold a kind of node
that no graph before them had: an operator with its attributes, and of each input its type, rank and what makes it. The
parser is the same for both, and what a compiler refuses for one target alone is a type or an operator there.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import pytest

FOLDER = "WORKBENCH_LOWERED_GRAPHS"
TARGETS = ("sm86", "sm120")
FP8_TARGETS = ("sm89", "sm120")
LIMIT_S = 300.0

AS_IT_CAME = "quantized by ONNX Runtime, INT32 biases and all; a plan leaves such a model as it came"
UNKNOWN_FORMS = "text, maps, sequences and odd functions, which the parser refuses in FP32 too"
REFUSED = {
    "*::test_a_plan_for_everything_leaves_real_quantized_models_alone": AS_IT_CAME,
    "*[[-]yolox_nano_qdq[]-]*": AS_IT_CAME,
    "*[[-]ultraface_rfb320_qdq[]-]*": AS_IT_CAME,
    "*, not in TensorRT-*]": "an operator, or a form of it, that the parser has in no type",
    "*[[]FLOAT4E2M1-*]": "the model's own FP4 weights, which sm86 has not",
    "*[[]UINT4-32-*]": "the parser reads no UINT4 constants",
    "*[[-]dtln_1[]-]*": "the builder fails on this model in FP32 too (Myelin, two LSTMs)",
    "*[[-]silero_vad_16k_op15[]-]*": "the builder fails on this model in FP32 too (nested If with an LSTM)",
    "*[[-]silero_vad_op18_ifless[]-]*": "refused in FP32 too, in the shapes that are taken where none are given",
    "*text_as_weight-int8]": UNKNOWN_FORMS,
    "*text_constants-int8]": UNKNOWN_FORMS,
    "*map_as_output-int8]": UNKNOWN_FORMS,
    "*sequence_as_output-int8]": UNKNOWN_FORMS,
    "*optional_inside-int8]": UNKNOWN_FORMS,
    "*function_with_several_results_and_one_unread-int8]": UNKNOWN_FORMS,
    "*::test_what_computes_on_integers_*": "the parser has no operator that computes on integers by definition",
    "*::test_where_the_work_of_a_node_is_unknown_nodes_are_counted": "the parser reads no Loop that names no condition",
}
"""Pattern of a test's address to the reason why a compiler refuses what it lowers."""

BUILT = "*/test_verdict_of_lowered.py::test_*build*[[]*"
"""Tests that themselves let a compiler build what they lower, for a first target."""

_test = ""


def structure(model) -> str:
    """Return a hash over all of a model that is no number."""
    import onnx_ir as ir

    def plain(attribute):
        graphs = attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        return "graph" if graphs else str(attribute.value)

    nodes = [
        (
            node.op_type,
            node.domain,
            [value and value.name for value in node.inputs],
            [value.name for value in node.outputs],
            sorted((name, plain(attribute)) for name, attribute in node.attributes.items()),
        )
        for node in model.nodes.values()
    ]
    constants = [(name, str(value.dtype), str(value.shape)) for name, value in model.initializers.items()]
    ends = [(tensor.name, tensor.shape, tensor.dtype) for tensor in (*model.inputs, *model.outputs)]
    return hashlib.sha256(repr((nodes, sorted(constants), ends, model.opset)).encode()).hexdigest()[:24]


def kinds(model) -> list[str]:
    """Return what kinds of nodes a model has."""

    def read(value):
        if value is None:
            return None
        maker = value.producer()
        made_by = maker.op_type if maker else "weight" if value.is_initializer() else "input"
        return str(value.dtype), made_by, None if value.shape is None else len(value.shape)

    return sorted(
        {
            repr((node.op_type, node.domain, [read(value) for value in node.inputs], sorted(node.attributes)))
            for node in model.nodes.values()
        }
    )


def note(model) -> None:
    """Keep a lowered graph in the folder of this run."""
    path = Path(os.environ[FOLDER]) / f"{structure(model)}.onnx"
    if path.exists():
        return
    about = json.dumps({"test": _test, "kinds": kinds(model)})
    for file, content in ((path.with_suffix(".json"), about.encode()), (path, model.to_bytes())):
        # Another worker may be writing the same graph.
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(content)
        part.replace(file)


def pytest_addoption(parser) -> None:
    parser.addoption("--skip-lowered", action="store_true", help="do not build the graphs that tests lower")


def pytest_configure(config) -> None:
    from workbench.precision.lowering import lowering

    if config.getoption("--skip-lowered"):
        return
    if not hasattr(config, "workerinput"):
        config.lowered_folder = tempfile.TemporaryDirectory(prefix="workbench-lowered-")
        os.environ[FOLDER] = config.lowered_folder.name

    class Noted(lowering.Lowered):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            note(self.model)

    lowering.Lowered = Noted


def pytest_runtest_logstart(nodeid) -> None:
    global _test  # noqa: PLW0603 - one test runs at a time in a process
    _test = nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus) -> None:
    folder = getattr(session.config, "lowered_folder", None)
    if folder is None or hasattr(session.config, "workerinput") or exitstatus not in (0, 1):
        return
    began = time.perf_counter()
    lines, refused = build_all(Path(folder.name), workers=getattr(session.config.option, "numprocesses", None) or 1)
    folder.cleanup()
    session.config.lowered_lines = [*lines, f"{time.perf_counter() - began:.0f} s"] if lines else []
    if refused:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config) -> None:
    lines = getattr(config, "lowered_lines", [])
    if lines:
        terminalreporter.section("lowered graphs in TensorRT-RTX")
        for line in lines:
            terminalreporter.write_line(line)


def build_all(folder: Path, workers: int) -> tuple[list[str], bool]:
    """Build all graphs of a folder; return what to tell of it, and whether one was refused that should not be."""
    from workbench.backends.compiler import rtx as tensorrt_rtx

    # Dealt out by size, so that every worker has as much to do.
    graphs = sorted(folder.glob("*.onnx"), key=lambda path: (-path.stat().st_size, path.name))
    if not graphs:
        return [], False
    if not tensorrt_rtx.rtx_capabilities().build:
        return [
            f"{len(graphs)} graphs not built: tensorrt_rtx is not installed (pip install trt-workbench[rtx])"
        ], False
    about = {str(path): json.loads(path.with_suffix(".json").read_text()) for path in graphs}
    builds = _builds(about)
    results: dict[str, list] = {}
    jobs = [list(builds)[start::workers] for start in range(workers)]
    running = [(paths, *_start(paths, builds)) for paths in jobs if paths]
    while running:
        paths, process, output = running.pop(0)
        try:
            process.wait(timeout=LIMIT_S + 10.0 * len(paths))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        output.seek(0)
        done = [json.loads(line) for line in output if line.startswith('{"lowered"')]
        output.close()
        results.update((one["lowered"], one["verdicts"]) for one in done)
        left = [path for path in paths if path not in results]
        if left:  # it died at the first of them
            results[left[0]] = [["any", f"the compiler died with exit status {process.returncode}"]]
            running += [(left[1:], *_start(left[1:], builds))] if left[1:] else []
    return _told(results, {path: entry["test"] for path, entry in about.items()})


def _builds(about: dict[str, dict]) -> dict[str, list[int]]:
    """Return for which of its two targets each graph is built, the largest first."""
    seen: set[str] = set()
    builds = {}
    for path, entry in about.items():
        first = [] if fnmatch.fnmatch(entry["test"], BUILT) else [0]
        second = [] if seen.issuperset(entry["kinds"]) else [1]
        if _reason(entry["test"]) is None:  # nothing is learned from what is refused
            seen.update(entry["kinds"])
        if first or second:
            builds[path] = first + second
    return builds


def _reason(test: str) -> str | None:
    """Return the pattern in `REFUSED` that a test's address matches."""
    return next((pattern for pattern in REFUSED if fnmatch.fnmatch(test, pattern)), None)


def _start(paths: list[str], builds: dict[str, list[int]]) -> tuple[subprocess.Popen, IO[str]]:
    # A file: whoever is not waited for yet would stop at a full pipe.
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed when it was read
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    process.stdin.write(json.dumps({path: builds[path] for path in paths}))
    process.stdin.close()
    return process, output


def _told(results: dict[str, list], tests: dict[str, str]) -> tuple[list[str], bool]:
    builds = sum(len(verdicts) for verdicts in results.values())
    lines, wrong, expected = [], 0, dict.fromkeys(REFUSED, 0)
    for path, verdicts in results.items():
        test = tests[path]
        pattern = _reason(test)
        entries = [f"{target}: {error}" for target, error in verdicts if error]
        if entries and pattern is not None:
            expected[pattern] += 1
        elif entries:
            wrong += 1
            lines += [f"REFUSED {test}", *(f"    {text}" for text in entries)]
    lines += [f"{count} refused as expected: {REFUSED[pattern]}" for pattern, count in expected.items() if count]
    return [*lines, f"{len(results)} graphs, {builds} builds, {wrong} graphs refused"], wrong > 0


def _child() -> None:
    """Build what the parent names; one line of JSON a graph."""
    import onnx

    from workbench.backends.compiler.nvinfer import compile_model
    from workbench.backends.compiler.workspace import with_workspace
    from workbench.backends.protocol import BuildOptions
    from workbench.graph.load import from_proto

    for path, chosen in json.load(sys.stdin).items():
        model = from_proto(onnx.load(path))
        options = with_workspace(BuildOptions(), model)
        fp8 = any(
            value.dtype is not None and value.dtype.name == "FLOAT8E4M3FN" for value in model.initializers.values()
        )
        verdicts = []
        for target in [(FP8_TARGETS if fp8 else TARGETS)[at] for at in chosen]:
            compilation = compile_model("tensorrt_rtx", path, options, target=target, keep_engine=False)
            errors = [issue.text for issue in compilation.issues] or [
                line.text for line in compilation.log if "ERROR" in line.severity and "cudaError 35" not in line.text
            ]
            verdicts.append(
                [target, "" if compilation.built else "; ".join(errors)[:300] or "no engine, and no word why"]
            )
        print(json.dumps({"lowered": path, "verdicts": verdicts}), flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    _child()
