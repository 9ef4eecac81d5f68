"""Nothing is recommended that was not measured: tune and search that build engines, and what they say and write."""

from __future__ import annotations

import json

import pytest

from workbench.backends.protocol import TimingOptions
from workbench.errors import OptionError
from workbench.graph.load import load_model
from workbench.jobs import search, tune
from workbench.precision.measuring import options as options_module
from workbench.recipe import Recipe


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("workbench.jobs.placing.TimingOptions", lambda **_: TimingOptions(runs=20, warm_up_s=0.0))
    monkeypatch.setattr(options_module.MeasureOptions, "loadings", 3)


def test_tune_without_an_engine_says_that_nothing_was_measured(small_cnn, small_data, tmp_path):
    result = tune(small_cnn, small_data, tmp_path / "out", runs=0)
    assert "not measured: no engine was built" in result.text()
    assert json.loads((tmp_path / "out/report.json").read_text())["pays"]["verdict"] == "not measured"
    assert "not measured: no engine was built" in (tmp_path / "out/report.html").read_text()
    assert not (tmp_path / "out.engines").exists()


def test_tune_writes_what_pays_and_says_by_how_much(small_cnn, small_data, tmp_path):
    out = tmp_path / "out"
    result = tune(small_cnn, small_data, out, runs=0, measure="onnxruntime", gates=("speedup >= 100",))
    recipe = Recipe.load(out / "recipe.yaml")
    pays = recipe.pays
    assert pays.against == "fp32"
    assert str(pays) in result.text()
    assert str(pays).partition(" (")[0] in (out / "report.html").read_text()
    quantized = any(node.op_type == "QuantizeLinear" for node in load_model(out / "tuned.onnx").nodes.values())
    assert quantized == (pays.verdict == "pays")
    (verdict,) = result.verdicts
    assert (verdict.gate, verdict.passed) == ("speedup >= 100", False)
    assert verdict.value == pytest.approx(pays.speedup)
    assert "onnxruntime" in verdict.conditions
    assert sorted(path.suffix for path in (tmp_path / "out.engines").glob("*.engine")) == [".engine"] * 2


def test_search_writes_every_engine_and_its_journal_beside_the_results(small_cnn, small_data, tmp_path):
    out, message = tmp_path / "out", []
    result = search(
        small_cnn, small_data, out, runs=0, min_sqnr=5.0, measure="onnxruntime", builds=2, say=message.append
    )
    value = json.loads((out / "search.json").read_text())["measured"]
    assert [point["name"] for point in value["points"]] == ["fp32", "int8"]
    assert value["pays"]["verdict"] == Recipe.load(out / "recipe.yaml").pays.verdict
    assert result.search.measured.reason in result.text()
    assert (tmp_path / "out.engines/journal.jsonl").exists()
    assert message[0] == "fp32: built (it was not timed)"


def test_a_speedup_that_nobody_measured_fails_with_the_reason(small_cnn, small_data, tmp_path):
    result = tune(small_cnn, small_data, tmp_path / "out", runs=0, gates=("speedup >= 1.02",))
    assert (
        "gate speedup >= 1.02: not measured, FAILED (no engine in floating point was timed beside it" in result.text()
    )
    assert result.exit_code == 12


def test_a_backend_that_cannot_measure_here_says_why(small_cnn, small_data, tmp_path):
    with pytest.raises(OptionError, match="`measure`: cuda is not one of"):
        tune(small_cnn, small_data, tmp_path / "out", measure="cuda")
