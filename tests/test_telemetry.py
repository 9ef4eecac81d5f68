"""ONNX Runtime is told to say nothing before it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

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


@pytest.mark.parametrize(
    ("value", "off"),
    [(None, False), ("", False), ("0", False), ("False", False), ("no", False), ("1", True), ("yes", True)],
)
def test_it_is_off_where_the_variable_says_so(monkeypatch, value, off):
    if value is None:
        monkeypatch.delenv(telemetry.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(telemetry.VARIABLE, value)
    assert telemetry._is_off() == off


@pytest.mark.parametrize(
    ("set_to", "loaded", "asked", "said"),
    [
        (None, False, 0, "off (ORT_DISABLE_TELEMETRY=1), before onnxruntime was imported"),
        (None, True, 1, "off since workbench was imported; onnxruntime was imported before it, and"),
        ("0", True, 0, "left on: ORT_DISABLE_TELEMETRY=0 is set"),
    ],
)
def test_an_onnx_runtime_that_is_there_already_is_asked_to_stop(monkeypatch, set_to, loaded, asked, said):
    calls = []
    library = SimpleNamespace(disable_telemetry_events=lambda: calls.append("stop")) if loaded else None
    monkeypatch.setattr(telemetry, "_before", [])
    monkeypatch.setattr(telemetry, "sys", SimpleNamespace(modules={"onnxruntime": library} if loaded else {}))
    monkeypatch.setenv(telemetry.VARIABLE, "unset")
    monkeypatch.delenv(telemetry.VARIABLE)
    if set_to is not None:
        monkeypatch.setenv(telemetry.VARIABLE, set_to)
    telemetry.switch_off()
    assert len(calls) == asked
    assert telemetry.telemetry().startswith(said)


def test_a_version_without_telemetry_needs_no_asking(monkeypatch):
    monkeypatch.setenv(telemetry.VARIABLE, "1")
    monkeypatch.setattr(telemetry, "_before", [])
    monkeypatch.setattr(telemetry, "sys", SimpleNamespace(modules={"onnxruntime": SimpleNamespace()}))
    telemetry.switch_off()
    assert telemetry._before == [True]
