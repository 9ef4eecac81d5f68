"""Engines are stored with a manifest, and refused where it is not theirs."""

from __future__ import annotations

import hashlib
import json

import pytest

from workbench.backends.manifest import FORMAT, manifest_path, read_engine, write_engine
from workbench.backends.needs import this_platform
from workbench.backends.protocol import Engine
from workbench.errors import BackendError, OutputError

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
        "platform": this_platform(),
    } | changes


def test_written_and_read_back(tmp_path):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")
    engine = read_engine(path)
    assert (engine.data, engine.backend, engine.manifest) == (DATA, "tensorrt", facts())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.plan", "a.plan.json"]


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


def test_a_manifest_cannot_say_that_it_is_trusted(tmp_path):
    path = write_engine(Engine("tensorrt", DATA, facts(trusted=True)), tmp_path / "a.plan")
    assert "trusted" not in read_engine(path).manifest


@pytest.mark.parametrize(
    "changes", [{"options": ["x"]}, {"options": "x"}, {"device": 7}, {"inputs": "x"}, {"profile": [1]}, {"outputs": 7}]
)
def test_a_damaged_manifest_is_refused(tmp_path, changes):
    path = write_engine(Engine("tensorrt", DATA, facts(**changes)), tmp_path / "a.plan")
    with pytest.raises(BackendError, match="damaged"):
        read_engine(path)
