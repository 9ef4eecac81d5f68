"""Precision on the workbench: rules as steps of a recipe, replayed byte for byte."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

from tests.kit.networks import Net, network
from workbench.cli import main
from workbench.errors import PlanWarning, PrecisionError, SelectorError
from workbench.graph.load import load_model
from workbench.recipe import Recipe
from workbench.recipe.replay import replay
from workbench.recipe.steps import PrecisionStep
from workbench.session import Workbench, open_recipe


def workbench(tmp_path, *blocks, head="none", opset=13):
    model = network(*blocks, head=head, opset=opset)
    onnx.save(model.proto, tmp_path / "model.onnx")
    return Workbench(load_model(tmp_path / "model.onnx"))


def samples(count=3):
    return {"x": np.random.default_rng(0).normal(size=(count, 4, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("name", ["fp16", "int8", "int8+fp16", "fp8+fp16", "bf16"])
def test_a_recipe_replays_byte_for_byte(tmp_path, name):
    wb = workbench(tmp_path, "conv_bn_relu", "residual", head="attention")
    wb.plan.set_target("rtx@sm89")
    wb.prepare()
    wb.plan.use(name)
    wb.calibrate(samples())
    content = wb.tune().model.to_bytes()
    wb.recipe.save(tmp_path / "recipe.yaml")
    again = open_recipe(tmp_path / "recipe.yaml")
    assert again.tune().model.to_bytes() == content
    assert again.recipe.tuned.sha256 == hashlib.sha256(content).hexdigest()
    state, lowered = replay(Recipe.load(tmp_path / "recipe.yaml"), wb.source)
    assert lowered.model.to_bytes() == content
    assert str(state.target) == "rtx@sm89"


def test_a_tuning_raises_the_operator_set_as_a_step(tmp_path):
    wb = workbench(tmp_path, "conv_bn_relu", head="gemm")
    wb.prepare()
    wb.plan.use("int8+fp16")
    wb.calibrate(samples(), overflow=False)
    assert wb.model.opset == 13
    wb.tune()
    assert wb.model.opset == 19
    assert [step.version for step in wb.recipe.steps if step.do == "convert_opset"] == [19]


def test_options_are_kept_and_nothing_else_is_told(tmp_path):
    wb = workbench(tmp_path, "conv", "conv")
    wb.plan.set("op:Conv", "int8", per_channel=False, amax=2.5)
    wb.plan.set("name:Conv_1", "fp16", islands=False)
    text = wb.recipe.to_yaml()
    assert (
        "- do: set_precision\n  select: op:Conv\n  precision: int8\n  per_channel: false\n  amax: 2.5\n"
        "- do: set_precision\n  select: name:Conv_1\n  precision: fp16\n  islands: false\n"
    ) in text
    wb.recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml").of_kind(PrecisionStep) == wb.recipe.of_kind(PrecisionStep)


@pytest.mark.parametrize(
    ("precision", "options", "message"),
    [
        ("int7", {}, "precision"),
        ("int8", {"islands": False}, "islands means nothing for int8"),
        ("fp16", {"weight_only": True}, "weight_only means nothing for fp16"),
        ("fp32", {"keep_inputs": False}, "keep_inputs means nothing for fp32"),
        ("int8", {"amax": -1.0}, "amax"),
        ("int8", {"colour": "red"}, "colour"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, precision, options, message):
    wb = workbench(tmp_path, "conv")
    with pytest.raises(PrecisionError, match=message):
        wb.plan.set("op:Conv", precision, **options)
    assert wb.recipe.steps == ()


def test_a_card_lists_the_rules_or_says_where_tuning_starts(tmp_path):
    wb = workbench(tmp_path, "conv")
    assert repr(wb.plan).splitlines()[0] == "no rules yet: tune() starts from the best practice"
    wb.plan.set("op:Conv", "int8")
    wb.plan.set("*", "fp16")
    assert repr(wb.plan).splitlines()[0] == "2 rules; the last that selects a node decides"


def test_a_rule_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(SelectorError):
        workbench(tmp_path, "conv").plan.set("op:LSTM", "int8")


def test_options_do_what_they_say(tmp_path):
    wb = workbench(tmp_path, "conv", "conv", "conv")
    wb.calibrate(samples())
    wb.plan.set("name:Conv_0", "int8", amax=12.7)
    wb.plan.set("name:Conv_1", "int8", weight_only=True)
    wb.plan.set("name:Conv_2", "int8", per_channel=False)
    result = wb.tune()
    assert result.activations == ("x", "t1")
    nodes = result.model.nodes
    assert float(nodes["Conv_0"].inputs[0].producer().inputs[1].const_value.numpy()) == pytest.approx(0.1)
    assert nodes["Conv_1"].inputs[0].name == "t0"
    assert nodes["Conv_1"].inputs[1].producer().op_type == "DequantizeLinear"
    assert [nodes[f"Conv_{i}"].inputs[1].producer().inputs[1].shape.rank() for i in range(3)] == [1, 1, 0]


def test_values_beyond_fp16_are_seen_recorded_and_avoided(tmp_path):
    net = Net(opset=17)
    large = net.op("Mul", net.conv("x"), net.constant(np.float32(3e5)))
    small = net.op("Mul", large, net.constant(np.float32(1e-3)))
    onnx.save(net.model(net.conv(small)).proto, tmp_path / "model.onnx")
    wb = Workbench(load_model(tmp_path / "model.onnx"))
    wb.plan.use("fp16")
    wb.calibrate(samples())
    step = wb.recipe.steps[-1]
    assert list(step.overflow) == [large]
    wb.tune()
    assert np.isfinite(wb.compare(runs=0).worst_sqnr_db)
    assert wb.compare(runs=0).worst_sqnr_db > 40
    assert "reaches" in wb.plan.explain("Mul_2")
    wb.recipe.save(tmp_path / "recipe.yaml")
    assert open_recipe(tmp_path / "recipe.yaml").tune().model.to_bytes() == wb.tuned.to_bytes()


def test_a_residual_add_follows_its_convolution(tmp_path):
    wb = workbench(tmp_path, "residual")
    wb.prepare()
    wb.plan.use("int8")
    add = next(node for node in wb.model.nodes if node.startswith("Add"))
    assert wb.plan.resolve()[add].precision == "int8"
    convolution = wb.model.nodes[add].inputs[0].producer().name
    wb.plan.set(f"name:{convolution}", "fp32")
    assert wb.plan.resolve()[add].precision == "fp32"
    assert f"the convolution {convolution!r} before it is fp32, so the two cannot be fused" in wb.plan.explain(add)


@pytest.mark.parametrize("preset_name", ["fp8+fp16", "bf16"])
def test_what_the_target_cannot_have_is_refused_before_it_is_a_rule(tmp_path, preset_name):
    wb = workbench(tmp_path, "conv")
    wb.plan.set_target("tensorrt-8.6")
    with pytest.raises(PrecisionError, match=r"'Conv_0'.*tensorrt-8.6 has no (fp8|bf16)"):
        wb.plan.use(preset_name)
    with pytest.raises(PrecisionError, match=r"'Conv_0', by rule 0 \(op:Conv -> fp8\).*tensorrt-8.6 has no fp8"):
        wb.plan.set("op:Conv", "fp8")
    wb.plan.set_target("rtx@sm86")
    with pytest.raises(PrecisionError, match=r"'Conv_0'.*fp8 needs sm89 or newer, and the target is rtx@sm86"):
        wb.plan.set("op:Conv", "fp8")
    assert wb.recipe.steps == ()


def test_a_target_that_comes_later_is_held_against_the_rules(tmp_path):
    wb = workbench(tmp_path, "conv")
    wb.plan.set("op:Conv", "fp8")
    wb.calibrate(samples())
    wb.plan.set_target("tensorrt-8.6")
    with pytest.raises(PrecisionError, match=r"'Conv_0'.*tensorrt-8.6 has no fp8"):
        wb.tune()


def test_a_trtexec_command_line_becomes_steps(tmp_path):
    wb = workbench(tmp_path, "conv", "conv")
    notes = wb.plan.import_trtexec("trtexec --onnx=m.onnx --int8 --layerPrecisions=*:int8,Conv_1:fp32,gone:fp16")
    assert [(step.select, step.precision) for step in wb.recipe.steps] == [("name:*", "int8"), ("name:Conv_1", "fp32")]
    assert wb.plan.resolve().nodes("int8") == ["Conv_0"]
    assert len(notes) == 1
    assert "gone" in notes[0]


def test_the_command_line_takes_preset_and_target(tmp_path):
    wb = workbench(tmp_path, "conv_bn_relu", "residual", head="gemm")
    np.savez(tmp_path / "samples.npz", **samples())
    words = [str(wb.source.path), "--samples", str(tmp_path / "samples.npz"), "--runs", "0"]
    with pytest.raises(SystemExit) as ended:
        main(["tune", *words, "--preset", "int8+fp16", "--target", "rtx@sm86", "--out", str(tmp_path / "out")])
    assert not ended.value.code
    recipe = Recipe.load(tmp_path / "out" / "recipe.yaml")
    assert recipe.target == "rtx@sm86"
    assert [rule.precision for rule in recipe.of_kind(PrecisionStep)][:2] == ["fp16", "int8"]
    model = load_model(tmp_path / "out" / "tuned.onnx")
    assert {"Cast", "QuantizeLinear"} <= {node.op_type for node in model.nodes.values()}


@pytest.mark.parametrize(
    "option", [["--preset", "int7"], ["--target", "rtz"], ["--preset", "fp8+fp16", "--target", "rtx@sm86"]]
)
def test_the_command_line_refuses_what_cannot_be(tmp_path, capsys, option):
    wb = workbench(tmp_path, "conv")
    np.savez(tmp_path / "samples.npz", **samples())
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "tune",
                str(wb.source.path),
                "--samples",
                str(tmp_path / "samples.npz"),
                *option,
                "--out",
                str(tmp_path / "o"),
            ]
        )
    assert ended.value.code == PrecisionError.exit_code
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "o" / "tuned.onnx").exists()


def test_a_rule_whose_nodes_an_edit_took_away_is_told_on_replay(tmp_path):
    wb = workbench(tmp_path, "conv_bn_relu", "conv")
    wb.plan.set("op:BatchNormalization", "fp16")
    wb.plan.set("op:Conv", "int8")
    wb.calibrate(samples())
    wb.prepare()
    wb.tune()
    assert "0  op:BatchNormalization -> fp16  selects nothing\n  1  op:Conv -> int8" in repr(wb.plan)
    wb.recipe.save(tmp_path / "recipe.yaml")
    with pytest.warns(PlanWarning, match=r"rule 0 \(op:BatchNormalization -> fp16\) selects nothing"):
        again = open_recipe(tmp_path / "recipe.yaml")
    assert again.tune().model.to_bytes() == wb.tuned.to_bytes()
    with pytest.warns(PlanWarning, match="rule 0"):
        replay(Recipe.load(tmp_path / "recipe.yaml"), wb.source)


@pytest.mark.parametrize("preset_name", ["int8", "int8+fp16", "original"])
def test_what_was_tuned_is_not_quantized_again(tmp_path, preset_name):
    first = workbench(tmp_path, "conv_bn_relu", "residual", head="gemm", opset=19)
    first.prepare()
    first.calibrate(samples())
    first.tune()
    onnx.save(first.tuned.proto, tmp_path / "tuned.onnx")
    wb = Workbench(load_model(tmp_path / "tuned.onnx"))
    wb.plan.use(preset_name)
    again = wb.tune()
    assert (again.activations, again.weights) == ((), ())
    assert count(wb.tuned) == count(first.tuned) > 0


def test_a_plan_for_everything_leaves_real_quantized_models_alone(shared):
    for folder in ("yolox_nano_qdq", "ultraface_rfb320_qdq"):
        wb = Workbench(load_model(next((shared / "models" / folder).glob("*.onnx"))))
        wb.plan.set("*", "int8")
        assert wb.plan.resolve().nodes("int8")
        before = count(wb.model)
        assert before > 100
        assert wb.plan.resolve().to_quantize() == []
        assert count(wb.tuned) == before


def count(model):
    return sum(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.nodes.values())


def test_the_sensitivity_of_a_plan_without_int8_says_so(small_cnn, small_data):
    wb = Workbench(load_model(small_cnn))
    wb.calibrate(small_data, batch=4)
    wb.plan.use("fp16")
    with pytest.raises(PrecisionError, match="no node computes in INT8"):
        wb.sensitivity()
