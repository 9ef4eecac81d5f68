"""Fusion maps of real pairs of engine and model, and of small ones."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.engine.fusion import FusionMap, LayerNodes, fusion_map
from workbench.engine.load import load_report
from workbench.engine.source import SourceGraph, SourceNode, source_graph
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


@pytest.mark.parametrize("tensors", [(["t0"], ["t3"]), (["?"], ["t3"]), (["t0"], ["?"]), ([], [])])
def test_a_foreign_graph_holds_what_its_tensors_bound_or_what_lies_between_its_nodes(written, tensors):
    nodes = [helper.make_node("Exp", [f"t{at}"], [f"t{at + 1}"], f"n{at + 1}") for at in range(2)]
    nodes = [
        helper.make_node("Exp", ["x"], ["t0"], "n0"),
        *nodes,
        helper.make_node("Exp", ["t0"], ["s"], "side"),
        helper.make_node("Add", ["t2", "s"], ["t3"], "n3"),
        helper.make_node("Exp", ["t3"], ["y"], "n4"),
    ]
    report = report_of(written, ("{ForeignNode[n1...n3]}", "Myelin", *tensors, ""))
    fusion = fusion_map(report, model_of(nodes))
    bounded = tensors == (["t0"], ["t3"])
    assert set(fusion.groups[0].nodes) == {"n1", "n2", "n3"} | ({"side"} if bounded else set())
    assert set(fusion.unaccounted) == {"n0", "n4"} | (set() if bounded else {"side"})


@pytest.mark.parametrize(
    ("name", "kind", "metadata", "nodes", "foreign"),
    [
        ("n1+n2", "kgen", "", ("n1", "n2"), ()),
        ("n1+gone", "kgen", "", (), ("n1+gone",)),
        ("odd", "kgen", "[ONNX Layer: n1+n2]", (), ("n1+n2",)),
        ("gone", "kgen", "", (), ("gone",)),
        ("n1_clone_2", "kgen", "", ("n1",), ()),
        ("reshape_after_n1", "kgen", "", ("n1",), ()),
        ("odd", "kgen", "[ONNX Layer: (Unnamed Layer* 3) [Shuffle]]", (), ()),
        ("t1", "Constant", "", ("n1",), ()),
        ("w", "Constant", "", (), ()),
        ("t1", "CaskConvolution", "", (), ()),
        ("t1", "PointWiseV2", "", (), ()),
    ],
)
def test_names_are_those_of_nodes_their_copies_their_sums_and_their_constants(
    written, name, kind, metadata, nodes, foreign
):
    known = [(f"n{at}", "Exp", ["?"], ["??"], "") for at in (0, 3, 4, 5)]
    fusion = fusion_map(report_of(written, *known, (name, kind, ["?"], ["??"], metadata)), chain(6, constants=["w"]))
    assert (fusion.groups[-1].nodes, fusion.foreign) == (nodes, foreign)
    how = "metadata" if metadata else "name"
    assert fusion.groups[-1].how == (how if nodes else "none")


@pytest.mark.parametrize(
    ("source", "target", "nodes"),
    [("t0", "t3", ("n2", "n3")), ("t1", "t3", ("n2", "n3")), ("?", "t3", ()), ("t0", "?", ()), ("t2", "t3", ("n3",))],
)
def test_a_layer_whose_name_is_not_known_does_what_lies_between_its_tensors_and_no_other_does(
    written, source, target, nodes
):
    """Behind what another layer does nothing is reached."""
    known = [(f"n{at}", "Exp", ["?"], ["??"], "") for at in (0, 1, 4)]
    fusion = fusion_map(report_of(written, *known, ("gone", "kgen", [source], [target], "")), chain(5))
    assert (fusion.groups[-1].nodes, fusion.groups[-1].how) == (nodes, "tensors" if nodes else "none")
    assert fusion.foreign == ("gone",)


@pytest.mark.parametrize(
    ("sides", "absorbed"),
    [
        ((["t1"], ["r"]), ("q",)),
        (([], ["r"]), ()),
        ((["t1", "t0"], ["r"]), ()),
        ((["t1"], []), ()),
        ((["t1"], ["r", "s"]), ()),
    ],
)
def test_a_reformat_of_one_tensor_is_looked_through(written, sides, absorbed):
    nodes = [
        helper.make_node("Exp", ["x"], ["t0"], "a"),
        helper.make_node("Exp", ["t0"], ["t1"], "b"),
        helper.make_node("Identity", ["t1"], ["q"], "q"),
        helper.make_node("Exp", ["q"], ["y"], "c"),
    ]
    layers = [
        ("a", "Exp", ["x"], ["t0"], ""),
        ("b", "Exp", ["t0"], ["t1"], ""),
        ("Reformatting CopyNode for Input Tensor 0 to c", "Reformat", *sides, ""),
        ("c", "Exp", ["r"], ["y"], ""),
    ]
    fusion = fusion_map(report_of(written, *layers), model_of(nodes))
    assert fusion.groups[-1].absorbed == absorbed
    assert (fusion.groups[2].how, fusion.groups[2].serves) == ("serves", "c")


@pytest.mark.parametrize(("known", "foreign", "refused"), [(1, 2, True), (2, 2, False), (1, 3, True), (3, 1, False)])
def test_half_of_the_names_of_an_engine_have_to_be_known(written, known, foreign, refused):
    names = [*(f"n{at}" for at in range(known)), *(f"gone{at}" for at in range(foreign))]
    report = report_of(written, *((name, "Exp", ["?"], ["??"], "") for name in names))
    if not refused:
        assert fusion_map(report, chain(known)).foreign == tuple(names[known:])
        return
    message = f"only {known} of {known + foreign} node names of the engine are in it; 'gone0' is not"
    with pytest.raises(ReportError, match=message):
        fusion_map(report, chain(known))


@pytest.mark.parametrize(("known", "coverage"), [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)])
def test_half_of_the_nodes_of_a_model_have_to_be_in_a_layer(written, known, coverage):
    layers = [(f"n{at}", "Exp", ["?"], ["??"], "") for at in range(known)]
    report = report_of(written, *layers, ("__myl_Exp_myl0_1", "kgen", [], [], ""))
    if coverage >= 0.5:
        fusion = fusion_map(report, chain(4))
        assert (fusion.coverage, fusion.unaccounted) == (coverage, tuple(f"n{at}" for at in range(known, 4)))
        return
    message = f"{4 - known} of its 4 nodes are in no layer, such as 'n{known}'"
    with pytest.raises(ReportError, match=message):
        fusion_map(report, chain(4))


def test_of_a_model_without_nodes_all_is_covered(written):
    report = report_of(written, ("__myl_Exp_myl0_1", "kgen", ["x"], ["y"], ""))
    assert fusion_map(report, model_of([], outputs=("x",))).coverage == 1.0


def test_a_map_as_a_table_has_a_row_a_node_of_the_model_or_of_the_engine(written):
    report = report_of(
        written,
        ("n0", "Exp", ["x"], ["t0"], ""),
        ("odd", "kgen", ["t0"], ["t1"], "[ONNX Layer: n1]\x1e[ONNX Layer: n2]"),
    )
    columns = ["node", "op_type", "layers", "known_from", "vanished"]
    alone = fusion_map(report).table()
    assert list(alone.columns) == columns
    assert alone.fillna("-").to_numpy().tolist() == [
        ["n0", "-", ["n0"], "name", "-"],
        *(["n1", "-", ["odd"], "metadata", "-"], ["n2", "-", ["odd"], "metadata", "-"]),
    ]
    nodes = [helper.make_node("Exp", [a], [b], name) for a, b, name in (("x", "t0", "n0"), ("t0", "t1", "n1"))]
    nodes += [helper.make_node("Exp", ["t1"], ["y"], "n2"), helper.make_node("Exp", ["x"], ["d"], "dead")]
    nodes += [helper.make_node("Relu", ["x"], ["lost"], "lost")]
    table = fusion_map(report, model_of(nodes, outputs=("y", "lost"))).table().fillna("-")
    assert table.to_numpy().tolist() == [
        ["n0", "Exp", ["n0"], "name", "-"],
        ["n1", "Exp", ["odd"], "metadata", "-"],
        ["n2", "Exp", ["odd"], "metadata", "-"],
        ["dead", "Exp", [], "-", "no output depends on it"],
        ["lost", "Relu", [], "-", "-"],
    ]


def test_a_map_in_words_names_some_of_each_kind():
    nodes = [SourceNode(f"n{at}", "Exp", (), (f"t{at}",), named=at % 5 > 0) for at in range(20)]
    nodes += [SourceNode(f"n{at}", "Exp", (), (f"s{at}",)) for at in range(6)]
    graph = SourceGraph(tuple(nodes), frozenset(), frozenset(), frozenset())
    groups = (LayerNodes("one", ("n0", "n1"), "name", absorbed=("n2",)),)
    unaccounted = tuple(f"n{at}" for at in range(11, 20))
    fusion = FusionMap(groups, graph, {"n3": "a view"}, unaccounted, ("gone", "lost"))
    # Six names are of two nodes each.
    assert fusion.summary().splitlines() == [
        "26 source nodes: 6 in layers, 1 vanished for a known reason, 9 unaccounted for (65.4% covered)",
        "unaccounted for: n11, n12, n13, n14, n15, n16, n17, n18, ...",
        "4 nodes have no name in the model: TensorRT calls them node_of_<first output>",
        "names shared by several nodes, told apart by none: n0, n1, n2, n3, n4",
        "2 names in the engine are not in the model, such as gone",
    ]
    assert replace(fusion, unaccounted=unaccounted[:8]).summary().splitlines()[1] == (
        "unaccounted for: n11, n12, n13, n14, n15, n16, n17, n18"
    )
    assert replace(fusion, graph=None).summary() == (
        "3 source nodes are named by the engine (no model to check them against)"
    )


def test_a_node_without_a_name_is_called_by_the_first_tensor_that_it_makes():
    nodes = [
        helper.make_node("Split", ["x"], ["a", "b"]),
        helper.make_node("Split", ["a"], ["c", "y"], "named"),
        helper.make_node("Relu", ["b"], ["y2"], "twice"),
        helper.make_node("Relu", ["c"], ["y3"], "twice"),
    ]
    graph = source_graph(model_of(nodes))
    assert [node.name for node in graph.nodes] == ["node_of_a", "named", "twice", "twice"]
    assert graph.by_name["node_of_c"] is graph.by_name["named"]
    assert graph.by_name["twice"].outputs == ("y2",)
    assert [name in graph.by_name for name in ("node_of_a", "node_of_b", "node_of_y", "gone")] == [True, *[False] * 3]
