"""Run what the documentation shows: fenced code, and each row of a table that says what is done "Here".

Every page has a folder of its own with a model, samples and a recorded engine in it, and a Python in which names stay
from one example to the next. A line of a shell block is run, too; it ends with exit code 0, or with the one that a
comment names: ``# exit code 12``. What needs a GPU says so, and must be refused where there is none.

``make examples`` writes the files, to follow a page by hand.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from sybil import Region, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser, SkipParser

import workbench
from tests.kit.places import RECORDED, ROOT
from workbench import cli
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sybil import Document, Example

NEEDS_GPU = "needs a GPU"
TABLE = re.compile(r"^\|.*\bHere\b.*\|\n\|[-:| ]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
CELL = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"(`+)(.+?)\1")
EXIT_CODE = re.compile(r"#.*\bexit code (\d+)")


def rows(document: Document) -> Iterator[Region]:
    """Find the rows of tables with a column "Here": the code in it is what is run."""
    for table in TABLE.finditer(document.text):
        heads = [head.strip() for head in CELL.split(table[0].splitlines()[0])]
        for row in re.finditer(r"\|.*\|\n", table[1]):
            start = table.start(1) + row.start()
            cells = CELL.split(row[0])
            here = [code.replace("\\|", "|") for _, code in CODE.findall(cells[heads.index("Here")])]
            yield Region(start, start + len(row[0]), (here, NEEDS_GPU in row[0]), run_row)


def run_row(example: Example) -> None:
    """Run the code of a row, one piece after the other."""
    pieces, needs_gpu = example.parsed
    assert pieces, "this row shows nothing to run"
    for piece in pieces:
        if piece.startswith("workbench "):
            run_line(f"{piece}  # {NEEDS_GPU}" if needs_gpu else piece)
            continue
        with refused_without_gpu(needs_gpu):
            exec(compile(piece, f"{example.path}:{example.line}", "exec"), example.namespace)  # noqa: S102


def has_gpu() -> bool:
    """Say whether TensorRT runs here."""
    from workbench.backends import backend_named

    return backend_named("tensorrt").capabilities().run


@contextlib.contextmanager
def refused_without_gpu(needed: bool) -> Iterator[None]:
    """Expect a `BackendError` of what needs a GPU where there is none."""
    if not needed or has_gpu():
        yield
        return
    with pytest.raises(BackendError):
        yield


def run_shell(example: Example) -> None:
    """Run a block of shell lines."""
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            run_line(line.removeprefix("$ "))


def run_line(line: str) -> None:
    """Run a line in the page's folder; what would install or take minutes is only looked up."""
    line, _, comment = line.partition("  #")
    words = line.split()
    if words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"the Makefile has no {line}"
        return
    if words[:2] == ["pip", "install"] or words[0] in ("git", "conda"):
        extras = re.findall(r"\[([a-z,]+)\]", line)
        matches = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert {extra for actual in extras for extra in actual.split(",")} <= set(matches), f"unknown extra: {line}"
        return
    expected = re.search(EXIT_CODE, f"#{comment}")
    allowed = {int(expected[1]) if expected else 0}
    if NEEDS_GPU in comment and not has_gpu():
        allowed = {BackendError.exit_code}
    code, message = run_verb(line) if words[0] == "workbench" else run_program(line)
    assert code in allowed, f"{line} ended with exit code {code}:\n{message[-3000:]}"


def run_verb(line: str) -> tuple[int, str]:
    """Run a verb in this process, which is faster than a Python of its own."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            cli.main(shlex.split(line)[1:])
        except SystemExit as end:
            return int(end.code or 0), text.getvalue()
    raise AssertionError("a verb ends the process")


def run_program(line: str) -> tuple[int, str]:
    """Run a line of another program."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, env=environment)  # noqa: S602
    return done.returncode, done.stdout + done.stderr


def read_yaml(example: Example) -> None:
    """Read a block of YAML; one that begins like a recipe must be a valid one."""
    content = yaml.safe_load(str(example.parsed))
    if isinstance(content, dict) and "workbench" in content:
        Path("example.yaml").write_text(str(example.parsed))
        workbench.Recipe.load("example.yaml")


@cache
def files() -> Path:
    """Return a folder with what every page may use; see CONTRIBUTING.md."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-docs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copy(ROOT / "sample_models/residual_cnn.onnx", folder / "model.onnx")
    for split, count, stem in (("calibration", 64, ""), ("test", 200, "test_")):
        out = folder / split
        script = ROOT / "sample_models/glyphs.py"
        subprocess.run([sys.executable, script, "--split", split, "--count", str(count), "--out", out], check=True)
        (out / "samples.npz").rename(folder / ("samples.npz" if not stem else "test.npz"))
        if stem:
            (out / "labels.npy").rename(folder / "labels.npy")
        shutil.rmtree(out)
    write_cache(folder)
    write_built(folder)
    for kind in ("graph", "profile", "timing"):
        shutil.copy(RECORDED / f"mobilenet_v2.qdq.{kind}.json", folder / f"{kind}.json")
        shutil.copy(RECORDED / f"mobilenet_v2.fp16.{kind}.json", folder / f"fp16.{kind}.json")
    return folder


def write_cache(folder: Path) -> None:
    """Write ranges of the model as TensorRT's entropy calibrator would have left them."""
    wb = workbench.open_model(folder / "model.onnx")
    wb.prepare()
    wb.calibrate(folder / "samples.npz", batch=32)
    entries = [f"{tensor}: {struct.pack('>f', amax / 127).hex()}" for tensor, amax in wb.ranges.items()]
    (folder / "calibration.cache").write_text("TRT-8600-EntropyCalibration2\n" + "\n".join(entries) + "\n")


def write_built(folder: Path) -> None:
    """Write the models of which the recorded engines were built: plain.onnx in FP16, built.onnx in INT8."""
    from workbench.backends import BuildOptions
    from workbench.jobs.bench.variants import open_source, variant_of
    from workbench.precision import TARGETS

    subprocess.run([sys.executable, ROOT / "benchmarks/models.py", folder, "mobilenet_v2"], check=True)
    source = open_source(folder / "mobilenet_v2.onnx", batch=32)
    source.model.save(folder / "plain.onnx")
    variant_of(source, "qdq", BuildOptions(), TARGETS["tensorrt-8.6"])[0].save(folder / "built.onnx")
    (folder / "mobilenet_v2.onnx").unlink()


def enter(namespace: dict[str, Any]) -> None:
    """Begin a page: a folder of its own, which is the current one, with the files in it."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-page-"))
    for file in files().iterdir():
        shutil.copy(file, folder)
    namespace["_before"], namespace["_page"] = Path.cwd(), folder
    os.chdir(folder)


def leave(namespace: dict[str, Any]) -> None:
    """End a page; one that could not begin has no folder, and the current one is the checkout."""
    if (folder := namespace.pop("_page", None)) is not None:
        os.chdir(namespace["_before"])
        shutil.rmtree(folder)


PAGES = Sybil(
    path=str(ROOT),
    patterns=["README.md", "docs/**/*.md", "docs/*.md"],
    parsers=[
        rows,
        PythonCodeBlockParser(),
        CodeBlockParser("bash", run_shell),
        CodeBlockParser("yaml", read_yaml),
        SkipParser(),
    ],
    setup=enter,
    teardown=leave,
)

if __name__ == "__main__":
    shutil.copytree(files(), sys.argv[1], dirs_exist_ok=True)
