"""Engines are stored with a manifest, and refused where it is not theirs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from onnx import helper

from tests.kit.models import model
from workbench.backends.compiler import Compilation
from workbench.backends.cudart import CudaDevice
from workbench.backends.manifest import FORMAT, make_manifest, manifest_path, read_engine, tensors_of, write_engine
from workbench.backends.needs import this_platform
from workbench.backends.profiles import ProfileInput
from workbench.backends.protocol import BuildOptions, Engine, ShapeRange
from workbench.errors import BackendError, OutputError
from workbench.graph import Tensor

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
    text = (tmp_path / "a.plan.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == sorted(facts())


def test_a_manifest_says_of_what_with_what_and_for_which_machine_an_engine_was_made():
    relu = [helper.make_node("Relu", ["x"], ["y"], "r")]
    network = model(relu, {"x": ["N", 3, 5]}, {"y": ["N", 3, 5]})
    profile = (ProfileInput("x", ShapeRange((1, 3, 5), (2, 3, 5), (4, 3, 5)), stated=True),)
    options = BuildOptions(profiles=({"x": profile[0].range},), optimization_level=2)
    compilation = Compilation("10.1", True, True, DATA, 12, (), (), profile, (), 0.5, 1.5)
    device = CudaDevice("H200", (9, 0), 132, 12080, 12010)
    made = make_manifest("tensorrt", network, compilation, options, device)
    lengths = {"min": [1, 3, 5], "opt": [2, 3, 5], "max": [4, 3, 5]}
    assert json.loads(json.dumps(made)) == {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": "10.1",
        "engine_sha256": hashlib.sha256(DATA).hexdigest(),
        "engine_bytes": 12,
        "model": network.name,
        "model_sha256": network.digest,
        "inputs": [{"name": "x", "dtype": "FLOAT", "shape": ["N", 3, 5]}],
        "outputs": [{"name": "y", "dtype": "FLOAT", "shape": ["N", 3, 5]}],
        "options": json.loads(json.dumps(asdict(options))),
        "profile": [{"input": "x", **lengths, "given": True}],
        "device": {"name": "H200", "capability": [9, 0], "multiprocessors": 132, "driver": 12080, "runtime": 12010},
        "target": None,
        "platform": this_platform(),
        "parse_s": 0.5,
        "build_s": 1.5,
    }
    assert made["options"]["profiles"] == [{"x": lengths}]
    elsewhere = make_manifest("tensorrt_rtx", network, replace(compilation, engine=None), options, None, "sm86")
    assert (elsewhere["device"], elsewhere["target"]) == (None, "sm86")
    assert elsewhere["engine_sha256"] == hashlib.sha256(b"").hexdigest()
    assert tensors_of([Tensor("z", None, None), Tensor("s", (), "INT64"), Tensor("t", (None,), "BOOL")]) == [
        {"name": "z", "dtype": None, "shape": None},
        {"name": "s", "dtype": "INT64", "shape": []},
        {"name": "t", "dtype": "BOOL", "shape": [None]},
    ]


def test_an_unknown_source_is_refused_unless_trusted(tmp_path):
    path = tmp_path / "found.plan"
    path.write_bytes(DATA)
    with pytest.raises(BackendError, match="without a manifest"):
        read_engine(path)
    (tmp_path / "m.onnx").write_bytes(DATA)
    with pytest.raises(BackendError, match=r"a model, and no engine\. Build one first: .*m\.onnx --out"):
        read_engine(tmp_path / "m.onnx")
    trusted = read_engine(path, trusted_backend="tensorrt")
    assert trusted == Engine("tensorrt", DATA, {"backend": "tensorrt", "trusted": True})


def test_another_file_under_the_same_manifest_is_refused(tmp_path):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")
    digests = set()
    for other in (b"a", b"b", b"c", b"d", b"e"):
        path.write_bytes(other)
        digests.add(hashlib.sha256(other).hexdigest() < facts()["engine_sha256"])
        with pytest.raises(BackendError, match="not the one its manifest describes"):
            read_engine(path)
    assert digests == {True, False}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "the manifest cannot be read: Expecting"),
        ("[" * 100_000, "the manifest cannot be read: maximum recursion"),
        ("[]", f"the manifest is not of the format {FORMAT}"),
        ("{}", f"the manifest is not of the format {FORMAT}"),
        (json.dumps(facts(format="an older one")), f"the manifest is not of the format {FORMAT}"),
        (json.dumps(facts(format="workbench-engine/2")), f"the manifest is not of the format {FORMAT}"),
        (json.dumps(facts(backend=None)), "the manifest names no backend"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path, text, what):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")
    manifest_path(path).write_text(text)
    with pytest.raises(BackendError) as caught:
        read_engine(path)
    assert caught.value.what.startswith(what)


def test_a_manifest_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    path = write_engine(Engine("tensorrt", DATA, facts()), tmp_path / "a.plan")

    def forbidden(*_):
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(BackendError, match=r"a\.plan\.json: the manifest cannot be read: not yours"):
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
