"""A model's nodes, tensors, weights and operators as tables, row by row."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, model, proto, weight
from workbench.graph.inspection import tables
from workbench.graph.load import from_proto, load_model
from workbench.graph.model import Model

node = helper.make_node


def network():
    nodes = [
        node("MatMul", ["x", "w"], ["a"], "head/mm"),
        node("Clip", ["a", "", "most"], ["b"], "head/clip"),
        node("Wobble", ["b"], ["y"], "wobble", domain="own", list=[1, 2], table=weight("t", 2), word="text"),
        node("MatMul", ["y", "w"], ["z"], "mm"),
    ]
    weights = [weight("w", 3, 3), constant("most", 6, "float32")]
    return model(nodes, {"x": ["N", 3]}, {"y": ["N", 3], "z": None}, weights, domains=["own"])


def rows(table):
    clean = table.astype(object).where(table.notna(), None)
    return {str(name): list(row) for name, row in zip(table.index, clean.to_numpy().tolist(), strict=True)}


def test_one_row_a_node():
    table = tables.nodes(network(), {"N": 5})
    assert table.index.name == "node"
    assert (
        list(table.columns)
        == (
            "op domain scope depth inputs outputs shape dtype parameters macs macs_inside macs_note weight_bytes "
            "activation_bytes attributes"
        ).split()
    )
    found = rows(table)
    assert found["head/mm"] == (
        ["MatMul", "", "head", 0, ("x", "w"), ("a",), "Nx3", "FLOAT", 9, 45, 0, "", 36, 2 * 5 * 3 * 4, {}]
    )
    assert found["head/clip"] == (
        ["Clip", "", "head", 1, ("a", "", "most"), ("b",), "Nx3", "FLOAT", 0, 0, 0, "", 0, 2 * 5 * 3 * 4, {}]
    )
    attributes = found["wobble"].pop()
    assert found["wobble"] == (
        ["Wobble", "own", "", 2, ("b",), ("y",), "Nx3", "FLOAT", 0, None, 0, "there is no rule for Wobble", 0, None]
    )
    assert (attributes["list"], attributes["word"]) == ((1, 2), "text")
    assert attributes["table"] == str(network().nodes["wobble"].attributes["table"].value)[:80]
    assert [table[name].dtype.name for name in ("depth", "parameters", "macs", "activation_bytes")] == ["Int64"] * 4


def test_a_node_without_a_result_has_no_shape():
    loaded = model([node("Own", ["x"], [], "n", domain="own")], {"x": [2]}, {}, domains=["own"])
    row = tables.nodes(loaded).loc["n"]
    assert (row["outputs"], row["shape"], row["dtype"]) == ((), None, None)


def test_references_and_graphs_are_told_in_a_word():
    given = onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope")
    leaky = node("LeakyRelu", ["a"], ["b"], "leaky")
    leaky.attribute.append(given)
    function = helper.make_function("own", "F", ["a"], ["b"], [leaky], [helper.make_opsetid("", 17)], ["slope"])
    body = helper.make_graph([node("Neg", ["x"], ["z"], "neg")], "b", [], [helper.make_tensor_value_info("z", 1, [2])])
    nodes = [
        node("F", ["x"], ["t"], "call", domain="own", slope=0.5),
        node("Own", ["t"], ["y"], "held", domain="own", one=body, more=[body]),
    ]
    loaded = model(nodes, {"x": [2]}, {"y": [2]}, domains=["own"], functions=[function])
    column = tables.nodes(loaded)["attributes"]
    assert column["function(own:F)/leaky"] == {"alpha": "@slope"}
    assert column["held"] == {"one": "graph", "more": "graph"}
    assert column["call"] == {"slope": 0.5}


def test_one_row_a_tensor():
    table = tables.tensors(network())
    assert (table.index.name, list(table.columns)) == (
        "tensor",
        ["kind", "dtype", "shape", "elements", "maker", "readers"],
    )
    assert rows(table) == {
        "x": ["input", "FLOAT", "Nx3", None, None, ("head/mm",)],
        "y": ["output", "FLOAT", "Nx3", None, "wobble", ("mm",)],
        "z": ["output", "FLOAT", "Nx3", None, "mm", ()],
        "a": ["inner", "FLOAT", "Nx3", None, "head/mm", ("head/clip",)],
        "b": ["inner", "FLOAT", "Nx3", None, "head/clip", ("wobble",)],
        "w": ["weight", "FLOAT", "3x3", 9, None, ("head/mm", "mm")],
        "most": ["weight", "FLOAT", "", 1, None, ("head/clip",)],
    }


def test_whole_numbers_are_unknown_beyond_64_bits():
    frame = tables._whole(pd.DataFrame({"n": [1.0, None, float(2**63)], "m": ["a", "b", "c"]}), ["n"])
    assert [None if pd.isna(one) else one for one in frame["n"]] == [1, None, None]
    exact = tables._whole(pd.DataFrame({"n": [2**63 - 1, 2**63]}, dtype=object), ["n"])
    assert [None if pd.isna(one) else one for one in exact["n"]] == [2**63 - 1, None]


def test_one_row_a_weight(tmp_path):
    table = tables.initializers(network())
    assert list(table.columns) == ["dtype", "shape", "elements", "bytes", "external", "readers"]
    assert rows(table) == {
        "w": ["FLOAT", (3, 3), 9, 36, False, ("head/mm", "mm")],
        "most": ["FLOAT", (), 1, 4, False, ("head/clip",)],
    }
    network().save(tmp_path / "m.onnx", external=True)
    made = proto([node("Identity", ["w"], ["y"], "i")], {}, {"y": None}, [weight("w", 3)])
    onnx.save(made, tmp_path / "e.onnx", save_as_external_data=True, size_threshold=0)
    assert list(tables.initializers(load_model(tmp_path / "e.onnx"))["external"]) == [True]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([3, -4, 0]), (-4.0, 3.0, math.sqrt(25 / 3))),
        (np.float32([3, np.inf, np.nan, -4]), (-4.0, 3.0, math.sqrt(25 / 2))),
        (np.int8([3, 4]), (3.0, 4.0, math.sqrt(25 / 2))),
        (np.float32([[np.nan]]), (None, None, None)),
        (np.zeros((0, 2), np.float32), (None, None, None)),
    ],
)
def test_finite_numbers_are_measured_on_request(values, expected):
    loaded = model([node("Identity", ["w"], ["y"], "i")], {}, {"y": None}, [numpy_helper.from_array(values, "w")])
    table = tables.initializers(loaded, values=True)
    assert list(table.columns)[-3:] == ["min", "max", "rms"]
    assert rows(table)["w"][-3:] == [one if one is None else pytest.approx(one, rel=1e-15) for one in expected]


def test_a_weight_without_content_has_no_row():
    graph = model([node("Sum", ["v", "w"], ["y"], "s")], {}, {"y": [2]}, [weight("v", 2), weight("w", 2)]).thaw()
    graph.graph.initializers["v"].const_value = None
    assert list(tables.initializers(Model(graph)).index) == ["w"]


def test_text_and_what_is_stripped_are_not_measured():
    words = helper.make_tensor("words", TensorProto.STRING, [1], [b"a"])
    bare = TensorProto(name="bare", data_type=1, dims=[2])
    nodes = [node("Identity", [name], [f"{name}y"], name) for name in ("words", "bare")]
    loaded = from_proto(proto(nodes, {}, {"wordsy": (8, [1]), "barey": [2]}, [words, bare]))
    assert [row[-3:] for row in rows(tables.initializers(loaded, values=True)).values()] == [[None] * 3] * 2


def test_one_row_an_operator_the_most_frequent_first():
    table = tables.ops(network(), {"N": 5})
    assert list(table.columns) == ["nodes", "parameters", "macs", "macs_unknown", "weight_bytes"]
    assert rows(table) == {
        "MatMul": [2, 18, 45, 1, 72],
        "Clip": [1, 0, 0, 0, 0],
        "Wobble": [1, 0, None, 1, 0],
    }
    assert list(tables.ops(network())["macs_unknown"]) == [2, 0, 1]
    assert list(table.index) == ["MatMul", "Clip", "Wobble"]
