"""Engines are stored with a manifest, and refused where they do not fit."""

from __future__ import annotations

import hashlib
import json

import pytest

from workbench.backends.cudart import Device
from workbench.backends.manifest import FORMAT, _platform, check_fits, manifest_path, read_engine, write_engine
from workbench.backends.protocol import Engine
from workbench.errors import BackendError, OutputError

H200 = Device("NVIDIA H200", (9, 0), 132, 12080, 12010)
DATA = b"engine bytes"


def facts(**changes):
    return {
        "format": FORMAT,
        "backend": "tensorrt",
        "version": "8.6.0",
        "engine_sha256": hashlib.sha256(DATA).hexdigest(),
        "model": "resnet50",
        "options": {"version_compatible": False, "hardware_compatible": False},
        "device": {"name": "NVIDIA H200", "capability": [9, 0]},
        "platform": _platform(),
    } | changes


def test_written_and_read_back(tmp_path):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")
    engine = read_engine(path)
    assert (engine.data, engine.backend, engine.manifest) == (DATA, "tensorrt", facts())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.plan", "a.plan.json"]
    check_fits(engine.manifest, version="8.6.0", device=H200)


def test_an_unknown_source_is_refused_unless_trusted(tmp_path):
    path = tmp_path / "found.plan"
    path.write_bytes(DATA)
    with pytest.raises(BackendError, match="without a manifest"):
        read_engine(path)
    assert read_engine(path, trusted_backend="tensorrt").data == DATA


def test_another_file_under_the_same_manifest_is_refused(tmp_path):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")
    path.write_bytes(b"other")
    with pytest.raises(BackendError, match="not the one its manifest describes"):
        read_engine(path)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"format": "other"})])
def test_a_broken_manifest_is_refused(tmp_path, text):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")
    manifest_path(path).write_text(text)
    with pytest.raises(BackendError, match="manifest"):
        read_engine(path)


def test_a_missing_engine_or_folder(tmp_path):
    with pytest.raises(BackendError, match="no such engine"):
        read_engine(tmp_path / "none.plan")
    with pytest.raises(OutputError, match="cannot be written"):
        write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "none" / "a.plan")


@pytest.mark.parametrize(
    ("changes", "version", "reason"),
    [
        ({}, "8.6.1", r"built with tensorrt 8.6.0; this is 8.6.1"),
        (
            {"device": {"name": "NVIDIA L4", "capability": [8, 9]}},
            "8.6.0",
            r"built for NVIDIA L4 .*8\.9.*H200 \(9\.0\)",
        ),
        ({"device": None}, "8.6.0", "capability unknown"),
        ({"platform": "windows-amd64"}, "8.6.0", "built on windows-amd64"),
        ({"options": {"version_compatible": True}}, "8.5.9", "built with"),
        ({"options": {"version_compatible": True}}, "10.0.1", "built with"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(changes, version, reason):
    with pytest.raises(BackendError, match=reason):
        check_fits(facts(**changes), version=version, device=H200)


def test_compatible_engines_fit_more():
    check_fits(facts(options={"version_compatible": True}), version="8.6.3", device=H200)
    ampere = {"name": "A100", "capability": [8, 0]}
    check_fits(facts(options={"hardware_compatible": True}, device=ampere), version="8.6.0", device=H200)
    turing = Device("T4", (7, 5), 40, 12000, 12000)
    with pytest.raises(BackendError, match="built for A100"):
        check_fits(facts(options={"hardware_compatible": True}, device=ampere), version="8.6.0", device=turing)
