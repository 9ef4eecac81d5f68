"""ONNX Runtime is told to say nothing before it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import telemetry

ROOT = Path(__file__).resolve().parent.parent


def run(code, tmp_path, **more):
    folders = {name: str(tmp_path / name) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    for folder in folders.values():
        Path(folder).mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **folders, **more}
    if not more:
        environment.pop(telemetry.VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    return done.stdout, [path.name for path in tmp_path.rglob("*") if path.is_file()]


def test_onnxruntime_leaves_no_file_behind(tmp_path):
    message, files = run(
        "import workbench, onnxruntime; from workbench.telemetry import telemetry; print(telemetry())", tmp_path
    )
    assert files == []
    assert message == "off (ORT_DISABLE_TELEMETRY=1), before onnxruntime was imported\n"


@pytest.mark.parametrize(
    ("value", "first", "message"),
    [("0", "workbench", "left on"), ("1", "onnxruntime", "off since workbench was imported; onnxruntime was imported")],
)
def test_doctor_says_where_it_could_not_be_prevented(tmp_path, value, first, message):
    code = f"import {first}; from workbench.telemetry import telemetry; print(telemetry())"
    assert run(code, tmp_path, ORT_DISABLE_TELEMETRY=value)[0].startswith(message)
