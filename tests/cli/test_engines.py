"""The verbs about engines: reading files, asking the compiler."""

from __future__ import annotations

import importlib.util
import json

import onnx
import pytest

from tests.kit.places import RECORDED
from workbench.backends.onnxruntime.engine import OnnxRuntime
from workbench.errors import ReportError
from workbench.graph.load import load_model
from workbench.jobs.verbs import EXIT_REFUSED
from workbench.session import open_model, open_recipe

GRAPH, PROFILE = RECORDED / "resnet50.qdq.graph.json", RECORDED / "resnet50.qdq.profile.json"
FP16 = [
    "--against",
    RECORDED / "resnet50.fp16.graph.json",
    "--against-profile",
    RECORDED / "resnet50.fp16.profile.json",
]
needs_rtx = pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT-RTX is missing")


def test_engine_prints_what_it_is_made_of(run):
    code, out, _ = run("engine", GRAPH, "--profile", PROFILE, "--tensorrt-version", "8.6.0")
    assert code == 0
    assert "TensorRT 8.6.0" in out
    assert "57, 1 of them Reformat" in out
    assert "Findings (2)" in out


def test_engine_writes_its_layers_for_other_viewers(run, tmp_path):
    code, out, _ = run("engine", GRAPH, "--profile", PROFILE, "--onnx", tmp_path / "engine.onnx")
    assert code == 0
    assert f"wrote {tmp_path / 'engine.onnx'}" in out
    assert len(onnx.load(tmp_path / "engine.onnx").graph.node) == 57


def test_engine_prints_json(run):
    code, out, _ = run("engine", GRAPH, "--profile", PROFILE, "--json")
    assert code == 0
    assert len(json.loads(out)["layers"]) == 57


def test_engine_compares_and_writes_a_page_that_loads_nothing(run, tmp_path):
    page = tmp_path / "card.html"
    code, out, _ = run("engine", GRAPH, "--profile", PROFILE, *FP16, "--gpu", "H200 SXM", "--html", page)
    assert code == 0
    assert "1.35x resnet50.fp16" in out
    assert f"wrote {page}" in out
    text = page.read_text()
    assert "Comparison" in text
    assert "H200 SXM" in text
    assert "src='http" not in text
    assert 'src="http' not in text


def test_engine_says_where_a_recipe_got_something_else_than_it_asked_for(run, small_cnn, small_data, tmp_path):
    wb = open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data)
    backend = OnnxRuntime()
    graph = tmp_path / "small.graph.json"
    graph.write_text(backend.inspect(backend.build(wb.tune().model)))
    wb.recipe.save(tmp_path / "r.yaml")
    code, out, _ = run("engine", graph, "--recipe", tmp_path / "r.yaml", "--model", small_cnn, "--json")
    assert code == 0
    by_name = {one["node"]: (one["requested"], one["status"]) for one in json.loads(out)["requested"]}
    asked = {decision.node for decision in wb.plan.resolve().decisions.values() if decision.precision == "int8"}
    assert {node for node, (requested, _) in by_name.items() if requested == "int8"} == asked
    code, out, _ = run("engine", graph, "--recipe", tmp_path / "r.yaml", "--model", small_cnn)
    assert f"of {len(by_name)} nodes as requested" in out


def test_engine_names_a_profile_of_another_engine(run):
    code, _, err = run("engine", GRAPH, "--profile", RECORDED / "mobilenet_v2.qdq.profile.json")
    assert code == ReportError.exit_code
    assert "a profile of another engine" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against-profile", PROFILE], "go with --against"),
        (["--gpu", "RTX 1"], "RTX 1 is none of T4"),
        (["--json", *FP16], "--json is about one engine"),
    ],
)
def test_engine_says_which_option_is_wrong(run, words, message):
    code, _, err = run("engine", GRAPH, *words)
    assert code == 2
    assert message in err


@needs_rtx
def test_check_accepts_for_several_targets(run, small_cnn):
    code, out, _ = run("check", small_cnn, "--target", "sm86", "--target", "sm89", "--shape", "x:2x3x8x8")
    assert code == 0
    assert out.count("accepted; 8 accepted") == 2


@needs_rtx
def test_check_refuses_with_the_reason_and_mends(run, shared, tmp_path):
    model = shared / "models" / "ultraface_rfb320_qdq" / "model.onnx"
    code, out, _ = run("check", model)
    assert code == EXIT_REFUSED
    assert "DequantizeLinear of INT32" in out
    fixed = tmp_path / "fixed.onnx"
    code, out, _ = run("check", model, "--fix", "--out", fixed)
    assert code == 0
    assert "stored 52 INT32 constants" in out
    onnx.checker.check_model(str(fixed))
    recipe = tmp_path / "fixed.recipe.yaml"
    assert open_recipe(recipe, model=model).model.digest == load_model(fixed).digest


@needs_rtx
def test_check_prints_json(run, small_cnn):
    code, out, _ = run("check", small_cnn, "--json")
    (verdict,) = json.loads(out)
    assert code == 0
    assert [node["status"] for node in verdict["nodes"]] == ["accepted"] * 8


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--fix"], "give both"), (["--shape", "x=3"], "is not like INPUT:1x3x224x224")],
)
def test_check_says_which_option_is_wrong(run, small_cnn, words, message):
    code, _, err = run("check", small_cnn, *words)
    assert code == 2
    assert message in err
