"""Engines side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onnx import TensorProto, helper

from workbench.engine.compare import EngineComparison, LayerGroup, compare_engines
from workbench.engine.findings import find
from workbench.engine.formats import TensorFormat
from workbench.engine.load import load_report
from workbench.engine.report import EngineReport, EngineTensor, Layer
from workbench.engine.summary import load_engine
from workbench.errors import ReportError


@pytest.fixture(scope="module")
def three(recorded, resnet_onnx):
    return compare_engines([recorded(n) for n in ("fp16", "implicit_int8_fp16", "modelopt_int8_fp16")], resnet_onnx)


def test_every_layer_is_in_one_group_and_times_add_up(three, recorded):
    for i, name in enumerate(three.names):
        report = recorded(name)
        assert sorted(layer for group in three.groups for layer in group.layers[i]) == sorted(
            layer.name for layer in report.layers
        )
        assert sum(group.ms[i] for group in three.groups) == pytest.approx(three.totals[i])
        assert three.totals[i] == pytest.approx(report.layers_ms)
    assert len(three.groups) == 56
    assert len(three.shared) == 54


def group_of(comparison, node):
    (actual,) = [group for group in comparison.groups if node in group.nodes]
    return actual


def test_groups_share_source_nodes(three):
    stem = group_of(three, "stem")
    assert stem.nodes == ("stem", "Relu_3", "MaxPool_4")
    # The reformat before the stem is counted with it.
    assert [len(layers) for layers in stem.layers] == [3, 2, 1]
    assert stem.precision == ("fp16", "int8", "int8")
    assert stem.speedup(0) == 1
    assert stem.speedup(1) == pytest.approx(stem.ms[0] / stem.ms[1])


def test_fusion_differences_in_words(three):
    assert group_of(three, "stem").change == (
        "",
        "these 2 layers became one: stem + Relu_3 | MaxPool_4",
        "these 2 layers became one: stem + Relu_3 | MaxPool_4",
    )
    residual = group_of(three, "l1.0.add")
    assert residual.change[1] == "same layers"
    before, after = "l1.0.conv3 | l1.0.down + l1.0.add + Relu_16", "l1.0.down | l1.0.conv3 + l1.0.add + Relu_16"
    assert residual.change[2] == f"cut differently: {before} became {after}"
    alone = group_of(three, "Relu_172_out_DequantizeLinear")
    assert alone.change[2] == (
        "only in modelopt_int8_fp16, because Relu_172_out_DequantizeLinear stands alone before a layer in fp16"
    )
    assert alone.ms[:2] == (0.0, 0.0)
    assert alone.speedup(2) is None


def test_a_card_sets_the_last_engine_against_the_first(three):
    card = three._card()
    assert len(card.rows) == len(three.groups)
    shown = {row[0]: row[1:] for row in card.rows}
    for group in three.groups:
        first, _, last = group.ms
        saved = None if first is None or last is None else first - last
        assert shown[group.name] == (*group.ms, saved, group.change[2])
    assert any(group.change[1] != group.change[2] for group in three.groups)
    saved = [abs(row[4] or 0.0) for row in card.rows]
    assert saved == sorted(saved, reverse=True)
    assert saved[0] > saved[-1]


def test_a_lost_fusion_names_its_cause():
    def engine(*layers):
        raw = [
            {
                "Name": name,
                "LayerType": kind,
                "Inputs": [{"Name": source, "Dimensions": [8, 8], "Format/Datatype": "Row major Int8 format"}],
                "Outputs": [{"Name": target, "Dimensions": [8, 8], "Format/Datatype": "Row major Int8 format"}],
                "Origin": "QDQ" if kind == "Reformat" else "",
                "Metadata": metadata,
            }
            for name, kind, source, target, metadata in layers
        ]
        return load_report({"Layers": raw})

    fused = engine(("conv + relu", "CaskConvolution", "x", "y", "[ONNX Layer: conv][ONNX Layer: relu]"))
    torn = engine(
        ("conv", "CaskConvolution", "x", "t", "[ONNX Layer: conv]"),
        ("dq", "Reformat", "t", "u", ""),
        ("relu", "PointWiseV2", "u", "y", "[ONNX Layer: relu]"),
    )
    comparison = compare_engines([fused, torn])
    assert comparison.names == ("engine (1)", "engine (2)")
    assert group_of(comparison, "conv").change[1] == (
        "this layer became 2: conv | relu, because relu follows conv; dq stands between them"
    )
    assert group_of(comparison, "conv").ms == (None, None)
    back = compare_engines([torn, fused])
    assert group_of(back, "conv").change[1] == "these 2 layers became one: conv | relu"
    assert group_of(back, "dq").change[1] == "only in engine (1)"
    assert "no profile" in back.summary()


def test_engines_without_metadata_align_by_their_names(recorded):
    comparison = compare_engines(
        [recorded("examples_pytorch_resnet_A100_fp32_resnet"), recorded("examples_pytorch_resnet_A100_fp16_resnet")]
    )
    assert len(comparison.shared) == len(comparison.groups) == 23
    assert comparison.totals[0] / comparison.totals[1] == pytest.approx(2.123776 / 1.016832)
    assert "2.09x" in comparison.summary()
    table = comparison.table()
    assert len(table) == 23
    assert (table["examples_pytorch_resnet_A100_fp16_resnet speedup"].dropna() > 0).all()


def test_profiles_are_compared_one_at_a_time(engines):
    report = load_report(engines / "trt-10-logs" / "engine_inspector_text.log")
    for profile in (0, 1):
        comparison = compare_engines([report, replace(report, name="again")], profile=profile)
        assert sum(len(group.layers[0]) for group in comparison.groups) == 13
        # Myelin kernels that name no source node cannot be aligned; all others are.
        named = [group for group in comparison.groups if group.nodes[0].startswith("node_")]
        assert len(named) >= 7
        assert all(group.change[1] == "same layers" for group in named)


def test_strangers_are_refused(recorded):
    with pytest.raises(ReportError, match="share no source node"):
        compare_engines([recorded("fp16"), recorded("tests_inputs_mobilenet.qat")])
    with pytest.raises(ReportError, match="nothing to compare"):
        compare_engines([recorded("fp16")])


FP32, FP16, INT8 = (TensorFormat(kind, kind, "linear") for kind in ("fp32", "fp16", "int8"))


def layer(nodes, source, target, form=FP16, kind="CaskConvolution", **more):
    """A layer of some source nodes, from one tensor to another."""
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes.split())
    before, after = (EngineTensor(name, (2, 8, 4, 4), form) for name in (source, target))
    told = {"name": nodes, "type": kind, "metadata": metadata, "inputs": (before,), "outputs": (after,)}
    return Layer(**told | more)


def engine(name, *layers):
    return EngineReport(name=name, layers=layers, dialect="by hand")


def changes(one, other, **more):
    return {group.name: group.change[1] for group in compare_engines([one, other], **more).groups}


POINT = {"kind": "PointWiseV2"}


def test_a_lost_fusion_explains_more_layers_and_nothing_else():
    conv, relu = layer("conv", "x", "t"), layer("relu", "t", "u", **POINT)
    last = layer("last", "u", "y", **POINT)
    torn = engine("torn", conv, relu, last)
    why = "relu follows conv; nothing stands between them: no kernel joins the two in this precision"
    assert changes(engine("one", layer("conv relu", "x", "u"), last), torn) == {
        "conv ... relu (2)": f"this layer became 2: conv | relu, because {why}",
        "last": "same layers",
    }
    assert changes(torn, engine("again", *torn.layers)) == dict.fromkeys(("conv", "relu", "last"), "same layers")
    joined = engine("joined", conv, layer("relu last", "t", "y", **POINT))
    assert changes(torn, joined) == {
        "conv": "same layers",
        "relu ... last (2)": "these 2 layers became one: relu | last",
    }


@pytest.mark.parametrize(
    "first",
    [
        layer("a", "x", "t", FP32),  # silent-fp32
        layer("a", "x", "t", attributes={"OutMaps": 12}),  # alignment
        layer("a", "x", "t", FP32, "Myelin", name="{ForeignNode[a...a]}"),  # wide-myelin
    ],
)
def test_of_what_else_is_found_nothing_explains_a_lost_fusion(first):
    before = layer("zero", "i", "x", INT8)
    one = engine("one", before, layer("a b", "x", "y"))
    torn = engine("torn", before, first, layer("b", "t", "y", kind="CaskPooling"))
    assert len(find(torn)) > 0
    assert not [finding for finding in find(torn) if finding.kind in {"unfused", "lone-qdq"}]
    assert "because" not in changes(one, torn)["a ... b (2)"]


def test_conversions_explain_no_layer_that_stayed_as_it_was():
    def model(*nodes):
        nodes = [helper.make_node(kind, [source], [target], name) for name, kind, source, target in nodes]
        ends = [[helper.make_tensor_value_info(end, TensorProto.FLOAT, [1])] for end in "xy"]
        return helper.make_model(helper.make_graph(nodes, "g", *ends))

    a, b = ("a", "Relu", "x", "t"), ("b", "Relu", "u", "y")
    plain, cast = model(a, ("b", "Relu", "t", "y")), model(a, ("cast", "Cast", "t", "u"), b)
    one, other = (engine(name, layer("a", "x", "t"), layer("b", "t", "y")) for name in ("one", "other"))
    assert changes(one, other, models=[plain, cast]) == dict.fromkeys("ab", "same layers")
    assert changes(one, other, models=[plain]) == dict.fromkeys("ab", "same layers")  # of the other none is known


def test_the_graph_aligns_engines_that_name_no_node():
    nodes = [helper.make_node("Exp", [a], [b], name) for a, b, name in (("x", "t", "n0"), ("t", "y", "n1"))]
    ends = [[helper.make_tensor_value_info(end, TensorProto.FLOAT, [1])] for end in "xy"]
    model = helper.make_model(helper.make_graph(nodes, "g", *ends))
    kernel = layer("", "x", "y", kind="kgen", name="__myl_ExpExp_myl0_0")
    named, myelin = engine("named", layer("n0 n1", "x", "y")), engine("myelin", kernel)
    for how in ({"model": model}, {"models": [model, model]}, {"model": model, "models": [None, model]}):
        (group,) = compare_engines([named, myelin], **how).groups
        assert (group.nodes, group.layers) == (("n0", "n1"), (("n0 n1",), (kernel.name,)))
    with pytest.raises(ReportError, match="named and myelin share no source node: 'n0' against 'nothing'"):
        compare_engines([named, myelin])


def test_five_gains_and_five_changes_are_told_unless_more_are_asked_for():
    groups = tuple(
        LayerGroup((f"n{at}",), ((f"a{at}",), (f"b{at}",)), (at + 2.0, 1.0), ("fp16", "int8"), ("", "cut differently"))
        for at in range(7)
    )
    comparison = EngineComparison(("one", "two"), groups, (35.0, 7.0))
    gains = [f"two saves {at + 1:.4f} ms in n{at} (fp16 -> int8)" for at in range(6, 1, -1)]
    assert comparison.summary().splitlines() == [
        *("one: 35.000 ms in layers", "two: 7.000 ms in layers, 5.00x one", "7 of 7 groups are in every engine"),
        *gains,
        "two: 7 groups are fused differently",
        *(f"  n{at}: cut differently" for at in range(5)),
    ]
    assert comparison._card().notes == (
        *("two: 7.000 ms in layers, 5.00x one", "7 of 7 groups are in every engine"),
        "two: 7 groups are fused differently",
    )
    bare = replace(groups[0], ms=(2.0, None)), replace(groups[0], ms=(2.0, 0.0)), replace(groups[0], ms=(None, 2.0))
    assert [group.speedup(1) for group in bare] == [None, None, None]
    untimed = replace(comparison, groups=bare, totals=(35.0, None)).summary().splitlines()
    assert untimed[:2] == ["one: 35.000 ms in layers", "two: no profile"]
    assert untimed[3] == "two saves 2.0000 ms in n0 (fp16 -> int8)"


def test_engines_and_their_model_may_be_given_as_files(engines, recorded, tmp_path):
    graph = engines / "trt-8.6.0-h200/resnet50-b32.fp16.graph.json"
    whole = compare_engines([load_report(graph), recorded("implicit_int8_fp16")])
    for one in (graph, str(graph), load_engine(graph)):
        assert compare_engines([one, recorded("implicit_int8_fp16")]).groups == whole.groups
    relu = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "g", *_ends())
    path = tmp_path / "relu.onnx"
    path.write_bytes(
        helper.make_model(relu, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    layers = tmp_path / "relu.json"
    layers.write_text('{"Layers": [{"Name": "relu", "LayerType": "PointWise", "Inputs": [], "Outputs": []}]}')
    summary = load_engine(layers, model=path)
    assert summary.model is not None
    assert summary.fusion.by_layer["relu"].nodes == ("relu",)


def _ends():
    return [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])] for name in "xy"]
