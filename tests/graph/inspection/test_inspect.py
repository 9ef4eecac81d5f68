"""Every real model and every odd one can be looked at, or says in one line why not."""

from __future__ import annotations

import json
import re

import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.cli import main
from workbench.errors import ModelError
from workbench.graph.inspection import tables
from workbench.graph.inspection.inspect import summary
from workbench.graph.load import _repair, load_model
from workbench.graph.model import Model

CANNOT_LOAD = {
    "empty.onnx": "no graph in it",
    "models/ext_weights.onnx": "the external data file 'ext_weights.data' of weight 'a' is missing",
}


def every_model(shared):
    return sorted([*(shared / "models").glob("*/model.onnx"), *(shared / "quirks").rglob("*.onnx")])


def test_table_of_all_shared_models(shared):
    files = every_model(shared)
    nodes = {entry["name"]: entry["nodes_all"] for entry in json.loads((shared / "models/MANIFEST.json").read_text())}
    assert len(nodes) == 32
    for path in files:
        reason = next((text for end, text in CANNOT_LOAD.items() if path.as_posix().endswith(end)), None)
        if reason is not None:
            with pytest.raises(ModelError, match=reason) as caught:
                load_model(path)
            assert "\n" not in str(caught.value)
            continue
        loaded = load_model(path)
        actual = summary(loaded)
        assert actual.nodes_with_subgraphs == nodes.get(path.parent.name, len(loaded.nodes))
        assert actual.parameters or not loaded.initializers or path.parent.name not in nodes
        lines = actual.text().splitlines()
        assert all("\n" not in quirk.text for quirk in actual.quirks)
        assert any(line.startswith("  MACs") for line in lines)
        assert json.loads(actual.to_json())["ops"] == actual.ops
        # What is unknown has its reason.
        unknown = [tensor for tensor in loaded.tensors.values() if tensor.shape is None]
        assert not unknown or str(len(unknown)) in loaded.shape_problem
        table = tables.nodes(loaded)
        assert list(table.index) == list(loaded.nodes)
        assert table["macs"].isna().sum() >= len(actual.macs_unknown) - table.shape[0] * bool(actual.assumed)
        assert len(tables.tensors(loaded)) == len(loaded.tensors)
        assert tables.ops(loaded)["nodes"].sum() == len(loaded.nodes)
        assert list(tables.initializers(loaded, values=True).index) == list(loaded.initializers)


def test_the_command_says_something_of_every_model(shared, capsys):
    files = every_model(shared)
    assert len(files) == 32 + 67
    refused = {}
    for path in files:
        with pytest.raises(SystemExit) as ended:
            main(["inspect", str(path)])
        output = capsys.readouterr()
        if ended.value.code:
            refused[path.name] = ended.value.code
            reason = next(text for end, text in CANNOT_LOAD.items() if path.as_posix().endswith(end))
            assert output.out == ""
            assert output.err.startswith(f"error: {path}: {reason}")
            assert output.err.count("\n") == 1
            continue
        lines = output.out.splitlines()
        assert lines[0].startswith(f"{path.stem}: opset ")
        assert all(line.startswith("  ") and len(line) > 14 for line in lines[1:])
        # What is unknown has its reason on the same line.
        (macs,) = (line for line in lines if line.startswith("  MACs"))
        assert "unknown" not in macs or re.search(r"unknown for (one node|\d+ nodes, the first).*: \S+", macs)
        (memory,) = (line for line in lines if line.startswith("  memory"))
        assert "unknown" not in memory or "the size of tensor" in memory
    assert refused == {"empty.onnx": 3, "ext_weights.onnx": 3}


def test_shapes_of_candy_style_are_known_in_spite_of_its_operators(shared):
    candy = load_model(shared / "models/candy_style/model.onnx")
    assert candy.shape_problem is None
    # Crop takes 2 off each border of an image of 186 x 186.
    assert candy.tensors["SpatialZeroPadding_21"].shape[2:] == tuple(
        length - 4 for length in candy.tensors["ReLU_12"].shape[2:]
    )
    assert set(summary(candy).custom_ops) == {"ImageScaler", "Crop", "Affine"}


def test_inference_survives_a_node_it_refuses():
    network = model(
        [
            helper.make_node("Relu", ["x"], ["a"], "first"),
            helper.make_node("MatMul", ["a", "w"], ["b"], "wrong"),
            helper.make_node("Relu", ["x"], ["c"], "last"),
        ],
        {"x": [2, 3]},
        {"b": None, "c": None},
        [weight("w", 5, 5)],
    )
    assert network.tensors["a"].shape == (2, 3)
    assert network.tensors["c"].shape == (2, 3)
    assert network.tensors["b"].shape is None
    assert "'wrong'" in network.shape_problem
    assert "Incompatible dimensions" in network.shape_problem


def test_summary_in_numbers():
    network = model(
        [
            helper.make_node("Conv", ["x", "w"], ["a"], "conv"),
            helper.make_node("Relu", ["a"], ["y"], "relu"),
            helper.make_node("Abs", ["a"], ["nobody"], "dead"),
            helper.make_node("Gather", ["x", "wide"], ["g"], "gather"),
        ],
        {"x": ["N", 3, 8, None]},
        {"y": ["N", 4, 6, None], "g": [1, 2, 3, 8, None]},
        [weight("w", 4, 3, 3, 3), weight("unused", 2), constant("wide", [[0, 0]])],
        opset=12,
    )
    actual = summary(network)
    kinds = {quirk.kind: quirk for quirk in actual.quirks}
    assert set(kinds) == {"old-opset", "unnamed-axis", "dead-nodes", "wide-weights", "unused-weights"}
    assert kinds["unnamed-axis"].text == "axis 3 of input 'x' is dynamic and has no name"
    assert kinds["dead-nodes"].where == "dead"
    assert "per-channel" in kinds["old-opset"].text
    assert (actual.nodes, actual.parameters, actual.depth) == (4, 108, 2)
    assert actual.assumed == {"N": 1}
    assert actual.macs_unknown == ("conv",)  # the width is unknown, the batch is assumed
    assert (
        "  MACs        unknown with N = 1; unknown for one node, conv: a shape is not known"
        in actual.text().splitlines()
    )


def test_shape_unknown_is_na_in_the_tables():
    network = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "m")], {"x": ["N", 4]}, {"y": None}, [weight("w", 4, 2)]
    )
    row = tables.nodes(network).loc["m"]
    assert str(row["macs"]) == "<NA>"
    assert row["shape"] == "Nx2"
    assert tables.nodes(network, {"N": 3}).loc["m", "macs"] == 24


def test_tensor_table_names_makers_and_readers():
    network = model(
        [helper.make_node("Relu", ["x"], ["a"], "one"), helper.make_node("Add", ["a", "a"], ["y"], "two")],
        {"x": [2, 3]},
        {"y": None},
    )
    table = tables.tensors(network)
    assert dict(table["kind"]) == {"x": "input", "a": "inner", "y": "output"}
    assert table.loc["a", "maker"] == "one"
    assert table.loc["a", "readers"] == ("two",)
    assert table.loc["a", "elements"] == 6


def test_quantized_model_says_so(shared):
    actual = summary(load_model(shared / "models/ultraface_rfb320_qdq/model.onnx"))
    assert actual.quantized
    assert not summary(load_model(shared / "models/ultraface_rfb320/model.onnx")).quantized
    assert actual.inputs[0].dtype == TensorProto.DataType.Name(TensorProto.FLOAT)


def test_the_message_and_the_graph_say_the_same(shared):
    """Models that need no repair are looked at through the message they came from: it must make no difference."""
    tidy = 0
    for path in every_model(shared):
        if any(path.as_posix().endswith(end) for end in CANNOT_LOAD):
            continue
        loaded = load_model(path)
        if loaded.flat is None:
            continue
        tidy += 1
        plain = Model(loaded.ir_model, path=path, quirks=loaded.quirks)
        assert dict(plain.tensors) == dict(loaded.tensors)
        assert plain.shape_problem == loaded.shape_problem
        assert plain.index.predecessors == loaded.index.predecessors
        assert plain.index.successors == loaded.index.successors
        assert plain.index.depth == loaded.index.depth
        assert plain.graphs == loaded.graphs
        assert not list(_repair(loaded.thaw(), path))
    assert tidy > 20


def test_what_lives_inside_an_if_keeps_it_alive():
    def branch(name):
        node = helper.make_node("Add", ["x", "x"], [f"{name}y"], f"{name}/add")
        idle = helper.make_node("Neg", ["x"], [f"{name}n"], f"{name}/idle")
        out = [helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, [3])]
        return helper.make_graph([node, idle], name, [], out)

    node = helper.make_node("If", ["c"], ["y"], "a/if", then_branch=branch("t"), else_branch=branch("e"))
    network = model([node], {"x": [3], "c": (TensorProto.BOOL, [])}, {"y": [3]})
    (dead,) = [quirk for quirk in summary(network).quirks if quirk.kind == "dead-nodes"]
    assert dead.text.startswith("2 nodes")
    assert dead.where == "a/if/else/e/idle"
