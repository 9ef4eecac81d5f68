"""The engine as an ONNX file for other viewers."""

from __future__ import annotations

import onnx
import pytest

from tests.kit.places import RECORDED
from workbench.engine.export import DOMAIN, engine_onnx
from workbench.engine.formats import TensorFormat
from workbench.engine.load import load_report
from workbench.engine.report import Binding, EngineReport, EngineTensor, Layer


def load(name):
    return load_report(RECORDED / f"{name}.graph.json", profile=RECORDED / f"{name}.profile.json")


@pytest.mark.parametrize("name", ["resnet50.qdq", "resnet50.fp16", "mobilenet_v2.implicit-int8", "vit_small.fp16"])
def test_a_recorded_engine_is_a_valid_graph(name):
    report = load(name)
    model = engine_onnx(report)
    onnx.checker.check_model(model)
    assert [node.name for node in model.graph.node] == [layer.name for layer in report.layers]
    assert {node.domain for node in model.graph.node} == {DOMAIN}
    ends = {value.name for value in (*model.graph.input, *model.graph.output)}
    assert ends == {binding.name for binding in report.bindings}


def test_a_layer_keeps_what_is_known_of_it():
    report = load("resnet50.qdq")
    model = engine_onnx(report)
    node, layer = model.graph.node[3], report.layers[3]
    by_name = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert node.op_type == layer.type
    assert by_name["precision"] == b"int8"
    assert by_name["milliseconds"] == pytest.approx(layer.ms)
    assert by_name["tactic"].decode() == layer.tactic
    assert by_name["source_nodes"].decode() == " + ".join(layer.sources)
    types = {value.name: value.type.tensor_type for value in model.graph.value_info}
    assert types[layer.outputs[0].name].elem_type == onnx.TensorProto.INT8
    assert tuple(d.dim_value for d in types[layer.outputs[0].name].shape.dim) == layer.outputs[0].dims


def test_what_is_not_told_is_left_out():
    raw = {"Name": "a", "LayerType": "Brand new", "Inputs": [{"Name": "x"}], "Outputs": [{"Name": "y"}]}
    twice = {**raw, "Name": "b"}
    model = engine_onnx(load_report({"Layers": [raw, twice, "bare"], "Bindings": ["x", "y"]}))
    first, second, bare = model.graph.node
    assert first.op_type == "Brand_new"
    assert {attribute.name for attribute in first.attribute} == {"kind", "inputs", "outputs", "weight_bytes"}
    assert list(second.output) == ["y (2)"]
    assert (bare.op_type, list(bare.input)) == ("unknown", [])
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UNDEFINED


def test_every_real_engine_can_be_written(shared):
    for path in sorted((shared / "engines").rglob("*.graph.json")):
        report = load_report(path)
        model = engine_onnx(report)
        assert len(model.graph.node) == sum(layer.profile == 0 for layer in report.layers)
        assert onnx.ModelProto.FromString(model.SerializeToString()) == model


def test_an_output_that_is_read_too_is_an_output_alone():
    def layer(name, source, target, profile=0):
        tensors = [EngineTensor(one, (2, 0), TensorFormat("", "fp16", "linear")) for one in (source, target)]
        return Layer(name=name, type="k", inputs=tuple(tensors[:1]), outputs=tuple(tensors[1:]), profile=profile)

    layers = [
        layer("a", "x", "t"),
        layer("b", "t", "y"),
        layer("c", "y", "z"),
        layer("d", "x", "z"),
        layer("e", "x", "z"),
    ]
    others = [layer("one", "x", "t", 1), layer("two", "t", "y", 2)]
    ends = (Binding("x", "input"), Binding("y", "output"))
    report = EngineReport(name="r", layers=(*layers, *others), dialect="d", bindings=ends)
    graph = engine_onnx(report).graph
    assert [list(node.output) for node in graph.node] == [["t"], ["y"], ["z"], ["z (2)"], ["z (3)"]]
    assert [value.name for value in graph.value_info] == ["t"]
    assert [value.name for value in graph.output] == ["y", "z", "z (2)", "z (3)"]
    assert [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim] == [2, 0]
    assert [[node.name for node in engine_onnx(report, at).graph.node] for at in (1, 2, 3)] == [["one"], ["two"], []]
    assert [(one.domain, one.version) for one in engine_onnx(report).opset_import] == [(DOMAIN, 1)]
