"""The hand-over to Triton: which engines it takes, and what it says of what it did."""

from __future__ import annotations

import hashlib

import pytest
from onnx import TensorProto, helper

from tests.kit.serving import saved
from workbench.backends import Engine, write_engine
from workbench.backends.needs import this_platform
from workbench.errors import BackendError
from workbench.handoff import open_deployment
from workbench.jobs import handing_over
from workbench.jobs.bench.rows import BenchRow, rows_json


def value(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "tuned"
    out.mkdir()
    nodes = [helper.make_node("Identity", [a], [b], a) for a, b in (("x", "y"), ("h", "g"))]
    return saved(out, [value("x", "N", 3), value("h", "N", 4)], [value("y", "N", 3), value("g", "N", 4)], nodes)


def engine(folder, **changes):
    facts = {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": "10.3.0",
        "engine_sha256": hashlib.sha256(b"plan").hexdigest(),
        "model": "source",
        "device": {"name": "NVIDIA H200", "capability": [9, 0]},
        "model_sha256": open_deployment(folder).model.digest,
        "platform": this_platform(),
        "options": {},
        "profile": [{"input": name, "min": [1, n], "opt": [2, n], "max": [6, n]} for name, n in (("x", 3), ("h", 4))],
    } | changes
    return write_engine(Engine(facts["backend"], b"plan", facts), folder.parent / "model.plan")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "tensorrt_rtx"}, r"an engine of tensorrt_rtx.*Triton runs those of tensorrt"),
        ({"backend": "onnxruntime"}, r"an engine of onnxruntime.*Triton runs those of tensorrt"),
        ({"model_sha256": "f" * 64}, r"it is not an engine of"),
        ({"model_sha256": "0" * 64}, r"it is not an engine of .*tuned\.onnx.*workbench build"),
        ({"options": {"strip": True}}, r"written without its weights.*--weights .*tuned\.onnx"),
    ],
)
def test_engines_that_triton_cannot_serve_are_refused_with_what_helps(folder, changes, message):
    with pytest.raises(BackendError, match=message):
        handing_over._engine_of(engine(folder, **changes), open_deployment(folder))


def test_an_engine_is_served_with_the_largest_batch_that_it_takes(folder, tmp_path):
    result = handing_over.handoff_triton(folder, tmp_path / "repository", engine=engine(folder))
    assert (result.served.platform, result.served.manifest["version"]) == ("plan", "10.3.0")
    assert result.text() == "source for Triton: up to 6 samples a run, 1 instance a GPU"
    assert (tmp_path / "repository/source/1/model.plan").read_bytes() == b"plan"


def test_a_repository_follows_what_was_measured_and_keeps_what_is_there(folder, tmp_path):
    measured = tmp_path / "bench"
    measured.mkdir()
    rows = [("source", "qdq", 1, 1.0), ("source", "qdq", 8, 2.0), ("source", "fp16", 8, 1.0), ("other", "qdq", 32, 1.0)]
    entries = [BenchRow(name, variant, "measured", median_ms=ms, batch=batch) for name, variant, batch, ms in rows]
    (measured / "results.json").write_text(rows_json(entries, {}))

    def handed(**options):
        return handing_over.handoff_triton(folder, tmp_path / "repository", bench=[measured], **options)

    first = handed()
    written = next(path for path in first.files if path.name == "compose.yaml")
    written.write_text(written.read_text() + "# mine")
    second = handed(version=2, name="source")
    assert first.text() == "source for Triton: up to 8 samples a run, 2 instances a GPU"
    assert first.served.platform == "onnx"
    assert any("4000" in why for why in first.remarks)
    assert not any("is kept as it was" in remark for remark in first.remarks)
    assert any("is kept as it was" in remark for remark in second.remarks)
    assert "x=y, h=g" in first.remarks[-1]
    assert repr(first).startswith(first.text())


def test_a_model_with_a_state_is_not_warmed_up(folder, tmp_path):
    result = handing_over.handoff_triton(folder, tmp_path / "repository", state=("h=g",))
    assert [pair.input.name for pair in result.served.states] == ["h"]
    assert result.served.warm_ups == ()
    assert result.remarks[-1] == "No warm-up: Triton gives no state to the runs that it warms up with."


@pytest.mark.parametrize(
    ("version", "kind", "narrow"),
    [("8.6.0", TensorProto.INT64, True), ("10.3.0", TensorProto.INT64, False), ("8.6.0", TensorProto.INT32, False)],
)
def test_samples_are_as_narrow_as_the_engine_takes_them(tmp_path, monkeypatch, version, kind, narrow):
    out = tmp_path / "tuned"
    out.mkdir()
    whole = [value(name, "N", 3, kind=kind) for name in "xy"]
    saved(out, whole[:1], whole[1:], [helper.make_node("Identity", ["x"], ["y"], "x")])
    asked = []
    monkeypatch.setattr(handing_over, "make_warm_ups", lambda *_, **how: asked.append(how["narrow"]) or ((), ""))
    handing_over.handoff_triton(out, tmp_path / "repository", engine=engine(out, version=version, profile=[]))
    assert asked == [narrow]
