"""The committed models are what models.json and the README say they are."""

from __future__ import annotations

from collections import Counter

import glyphs
import measure
import numpy as np
import onnx
import pytest


def census(path):
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_every_model_beside_the_scripts_is_listed(folder, listing):
    assert {entry["file"] for entry in listing["models"]} == {path.name for path in folder.glob("*.onnx")}
    assert listing["input"] == glyphs.INPUT_NAME
    assert listing["classes"] == glyphs.CLASSES
    assert listing["test"]["count"] == measure.TEST_COUNT
    assert listing["calibration"]["count"] == measure.CALIBRATION_COUNT


def test_model_is_valid_small_and_named(folder, entry):
    path = folder / entry["file"]
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert path.stat().st_size < 1_000_000
    assert (folder / entry["script"]).is_file()
    assert [value.name for value in model.graph.input] == [entry["input"]]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    names = [node.name for node in model.graph.node]
    assert all(name.startswith("/") for name in names)
    assert len(set(names)) == len(names)


def test_answers_do_not_depend_on_the_batch(folder, entry, test_split):
    images = test_split[0][:7]
    model = onnx.load(folder / entry["file"])
    ((together,),) = measure.outputs(model, images)
    alone = np.concatenate([next(iter(measure.outputs(model, image[None])))[0] for image in images])
    assert together.shape == (7, len(glyphs.CLASSES))
    assert np.allclose(together, alone, atol=1e-4)


def test_top1_is_as_stated_and_leaves_room(folder, entry, test_split):
    actual = measure.top1(onnx.load(folder / entry["file"]), *test_split)
    assert actual == pytest.approx(entry["expected_fp32_top1"], abs=entry["tolerance"])
    assert 0.8 < actual < 0.97


def test_stated_size_is_the_models(folder, entry):
    path = folder / entry["file"]
    assert entry["macs"] == sum(measure.macs(path).values())
    weights = onnx.load(path).graph.initializer
    assert entry["parameters"] == sum(int(np.prod(w.dims)) for w in weights if w.data_type == onnx.TensorProto.FLOAT)


def test_residual_cnn_is_not_fused(folder):
    ops = census(folder / "residual_cnn.onnx")
    assert ops["BatchNormalization"] == ops["Conv"] > 10
    assert ops["Relu"] > 10
    assert ops["Add"] == 6
    conv_outputs = {n.output[0] for n in onnx.load(folder / "residual_cnn.onnx").graph.node if n.op_type == "Conv"}
    norm_inputs = {
        n.input[0] for n in onnx.load(folder / "residual_cnn.onnx").graph.node if n.op_type == "BatchNormalization"
    }
    assert conv_outputs == norm_inputs


def test_depthwise_cnn_falls_under_plain_int8_and_recovers_with_few_layers_kept(folder, listing, test_split):
    entry = next(entry for entry in listing["models"] if entry["name"] == "depthwise_cnn")
    path = folder / entry["file"]
    calibration, _ = glyphs.glyphs(measure.CALIBRATION_COUNT, glyphs.SPLITS["calibration"])
    exact = measure.top1(onnx.load(path), *test_split)
    plain = measure.top1(measure.quantized(path, calibration), *test_split)
    mixed = measure.top1(measure.quantized(path, calibration, keep_float=entry["keep_float"]), *test_split)
    assert plain == pytest.approx(entry["expected_int8_minmax_top1"], abs=0.02)
    assert exact - plain >= 0.03
    assert exact - mixed <= 0.01
    macs = measure.macs(path)
    assert sum(macs[name] for name in entry["keep_float"]) <= 0.2 * sum(macs.values())


def test_depthwise_inputs_have_the_long_tail_the_readme_blames(folder, listing):
    entry = next(entry for entry in listing["models"] if entry["name"] == "depthwise_cnn")
    calibration, _ = glyphs.glyphs(200, glyphs.SPLITS["calibration"])
    for node in entry["keep_float"]:
        seen = measure.spread(folder / entry["file"], node, calibration)
        assert seen.largest > 3 * seen.percentile
        assert seen.largest > 2 * np.median(seen.channels)
        assert seen.largest > 20 * seen.channels.min()
        assert seen.lost > 0.2
    calm = measure.spread(folder / entry["file"], "/blocks.4/project/Conv", calibration)  # behind a plain Relu
    assert calm.lost < 0.1


def test_reference_int8_is_symmetric_per_channel_and_has_no_quantized_bias(folder):
    calibration, _ = glyphs.glyphs(20, glyphs.SPLITS["calibration"])
    graph = measure.quantized(folder / "residual_cnn.onnx", calibration).graph
    weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    scales = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(not weights[node.input[2]].any() for node in scales)
    made_by = {node.output[0]: node for node in graph.node}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    for conv in convs:
        data, weight = (made_by[name] for name in conv.input[:2])
        assert data.op_type == weight.op_type == "DequantizeLinear"
        assert weights[data.input[1]].size == 1
        assert weights[weight.input[1]].size == weights[weight.input[0]].shape[0]
        assert conv.input[2] in weights
    assert not any(node.op_type == "BatchNormalization" for node in graph.node)
