"""Fusion maps of real pairs of engine and model, and of small ones."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.engine.fusion import fusion_map
from workbench.engine.load import load_report
from workbench.engine.source import source_graph
from workbench.errors import ReportError
from workbench.graph.load import load_model


def model_of(nodes, inputs=("x",), outputs=("y",), constants=()):
    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8])

    graph = helper.make_graph(
        nodes,
        "g",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        [helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0]) for name in constants],
    )
    return helper.make_model(graph)


def report_of(written, *layers):
    """Write layers given as (name, type, inputs, outputs, metadata)."""
    raw = [
        {
            "Name": name,
            "LayerType": kind,
            "Inputs": [{"Name": t, "Dimensions": [1, 8], "Format/Datatype": "Half"} for t in inputs],
            "Outputs": [{"Name": t, "Dimensions": [1, 8], "Format/Datatype": "Half"} for t in outputs],
            "Metadata": metadata,
        }
        for name, kind, inputs, outputs, metadata in layers
    ]
    return load_report(written({"Layers": raw, "Bindings": ["x", "y"]}))


@pytest.mark.parametrize("name", ["tf32", "fp16", "implicit_int8_fp16", "modelopt_int8_fp16"])
def test_resnet_50_accounts_for_every_conv_add_and_relu(recorded, resnet_onnx, name):
    fusion = fusion_map(recorded(name), resnet_onnx)
    for node in fusion.graph.nodes:
        if node.op_type in {"Conv", "Add", "Relu"}:
            stated = [group for group in fusion.groups if node.name in group.nodes]
            assert len(stated) == 1, node.name
            assert stated[0].how == "metadata"
    assert fusion.coverage == 1
    assert fusion.unaccounted == ()
    assert fusion.foreign == ()
    assert fusion.vanished == {"Flatten_174": "a view: Flatten moves no data"}


def test_activation_qdq_are_absorbed_by_the_layer_that_does_their_work(recorded, resnet_onnx):
    fusion = fusion_map(recorded("modelopt_int8_fp16"), resnet_onnx)
    (layer,) = fusion.by_node["l1.0.add"]
    group = fusion.by_layer[layer]
    assert group.nodes == ("l1.0.conv3", "l1.0.add", "Relu_16")
    assert set(group.absorbed) == {
        "Relu_10_out_DequantizeLinear",
        "l1.0.conv3.weight_DequantizeLinear",
        "l1.0.down_out_DequantizeLinear",
        "Relu_16_out_QuantizeLinear",
    }
    # The two that stand alone are layers of their own, known by their names.
    assert fusion.by_layer["input_QuantizeLinear"].how == "name"
    assert fusion.by_node["Relu_172_out_DequantizeLinear"][-1] == "Relu_172_out_DequantizeLinear"


@pytest.mark.parametrize(
    "name",
    [
        "mnist_cntk.int8_minmax",
        "mnist_cntk.int8_entropy2",
        "ultraface_rfb320.int8_minmax",
        "ultraface_rfb320.int8_entropy2",
    ],
)
def test_small_engines_are_covered_wholly(recorded, shared, name):
    model = onnx.load(shared / "models" / name.split(".")[0] / "model.onnx")
    fusion = fusion_map(recorded(name), model)
    assert fusion.unaccounted == ()
    for node in fusion.graph.nodes:
        if node.op_type in {"Conv", "Relu", "MaxPool", "Softmax"}:
            assert node.name in fusion.by_node
    if name.startswith("mnist"):
        assert fusion.vanished["Plus214"] == "folded into the bias of Times212"
    else:
        assert "242 nodes have no name in the model" in fusion.summary()
        assert sum("side by side" in reason for reason in fusion.vanished.values()) == 3


def test_engines_without_metadata_are_named_by_their_layers(recorded):
    fusion = fusion_map(recorded("tests_inputs_mobilenet.qat"))
    layer = "features.1.conv.0.0.weight + QuantizeLinear_25 + Conv_29 + PWN(Clip_33)"
    assert fusion.by_node["Clip_33"] == (layer,)
    assert fusion.coverage is None
    assert "no model" in fusion.summary()
    assert fusion.by_layer[layer].how == "name"


def test_names_alone_meet_the_model(written):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Identity", ["r"], ["i"], "ident"),
        helper.make_node("Sigmoid", ["i"], ["s"], "sig"),
        helper.make_node("Mul", ["s", "i"], ["y"], "mul"),
        helper.make_node("Exp", ["x"], ["dead"], "dead"),
    ]
    report = report_of(
        written,
        ("Reformatting CopyNode for Input Tensor 0 to w + conv + relu", "Reformat", ["x"], ["rx"], ""),
        ("w + conv + relu", "CaskConvolution", ["rx"], ["r"], ""),
        ("PWN(PWN(sig), mul)", "PointWiseV2", ["r"], ["y"], ""),
    )
    fusion = fusion_map(report, model_of(nodes, constants=["w"]))
    assert [group.nodes for group in fusion.groups] == [(), ("conv", "relu"), ("sig", "mul")]
    assert fusion.groups[0].serves == "w + conv + relu"
    assert fusion.by_node["ident"] == ("PWN(PWN(sig), mul)",)
    assert fusion.vanished == {"dead": "no output depends on it"}
    table = fusion.table().set_index("node")
    assert table.loc["relu", "layers"] == ["w + conv + relu"]
    assert table.loc["relu", "known_from"] == "name"
    assert table.loc["ident", "known_from"] == "tensors"


def chain(count, **kwargs):
    names = ["x", *(f"t{i}" for i in range(count - 1)), "y"]
    return model_of([helper.make_node("Exp", [names[i]], [names[i + 1]], f"n{i}") for i in range(count)], **kwargs)


def test_foreign_nodes_cover_what_lies_between(written):
    report = report_of(
        written,
        ("n0", "Exp", ["x"], ["t0"], ""),
        ("{ForeignNode[n1...n3]}", "Myelin", ["t0"], ["t3"], ""),
        ("n4", "Exp", ["t3"], ["y"], ""),
    )
    fusion = fusion_map(report, chain(5))
    assert set(fusion.groups[1].nodes) == {"n1", "n2", "n3"}
    assert fusion.unaccounted == ()
    hidden = report_of(written, ("{ForeignNode[n1...n3]}", "Myelin", ["?"], ["??"], ""))
    fusion = fusion_map(hidden, chain(5))
    assert set(fusion.groups[0].nodes) == {"n1", "n2", "n3"}
    assert fusion.unaccounted == ("n0", "n4")
    assert "unaccounted for: n0, n4" in fusion.summary()


def test_tensors_are_the_last_resort(written):
    report = report_of(
        written,
        ("__myl_ExpExp_myl0_0", "kgen", ["x"], ["t1"], ""),
        ("__myl_Exp_myl0_1", "kgen", ["t1"], ["y"], ""),
        ("shape_call", "shape_call", [], [], ""),
    )
    fusion = fusion_map(report, chain(3))
    assert [(group.nodes, group.how) for group in fusion.groups] == [
        (("n0", "n1"), "tensors"),
        (("n2",), "tensors"),
        ((), "none"),
    ]


def test_reasons_for_vanishing(written):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Mul", ["w", "w"], ["ww"], "fold"),
        helper.make_node("Conv", ["x", "ww"], ["c"], "conv"),
        helper.make_node("BatchNormalization", ["c", "w", "w", "w", "w"], ["b"], "bn"),
        helper.make_node("Reshape", ["b", "s"], ["h"], "view"),
        helper.make_node("QuantizeLinear", ["h", "w"], ["q"], "q"),
        helper.make_node("DequantizeLinear", ["q", "w"], ["d"], "dq"),
        helper.make_node("Relu", ["d"], ["y"], "relu"),
    ]
    model = model_of(nodes, constants=["w"])
    report = report_of(
        written,
        ("first", "CaskConvolution", ["x"], ["?"], "[ONNX Layer: conv]"),
        ("last", "Activation", ["?"], ["??"], "[ONNX Layer: relu]"),
    )
    assert fusion_map(report, model).vanished == {
        "shape": "shape arithmetic, done at build time or on the host",
        "fold": "computed at build time: its inputs are constants",
        "bn": "folded into the weights of conv",
        "view": "a view: Reshape moves no data",
        "q": "no layer of its own: fused with view",
        "dq": "no layer of its own: fused with relu",
    }


def test_models_that_do_not_match_are_refused(engines, resnet_onnx, written):
    other = load_report(engines / "trt-8.6.0-h200" / "dynamic" / "resnet50.int8.graph.json")
    with pytest.raises(ReportError, match="only 0 of 174 node names of the engine are in it; '/stem/Conv' is not"):
        fusion_map(other, resnet_onnx)
    part = report_of(written, ("n0", "Exp", ["x"], ["?"], "[ONNX Layer: n0]"))
    with pytest.raises(ReportError, match="4 of its 5 nodes are in no layer"):
        fusion_map(part, chain(5))


def test_nested_and_duplicate_names():
    inner = helper.make_graph([helper.make_node("Exp", ["x"], ["z"], "inner")], "b", [], [])
    nodes = [
        helper.make_node("If", ["x"], ["t"], "twice", then_branch=inner, else_branch=inner),
        helper.make_node("Exp", ["t"], ["y"]),
    ]
    graph = source_graph(model_of(nodes))
    assert [node.name for node in graph.nodes] == ["twice", "node_of_y", "inner", "inner"]
    assert graph.duplicates == ("inner",)
    assert [node.named for node in graph.nodes] == [True, False, True, True]


def test_a_loaded_model_gives_names_of_its_own(recorded, shared):
    model = load_model(shared / "models" / "ultraface_rfb320" / "model.onnx")
    fusion = fusion_map(recorded("ultraface_rfb320.int8_minmax"), model)
    assert fusion.unaccounted == ()
    assert all(node.named for node in fusion.graph.nodes)
    assert not any(name.startswith("node_of_") for name in fusion.by_node)
