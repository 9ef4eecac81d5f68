"""Tables: what adds up in the file adds up here, and what is not told is missing."""

from __future__ import annotations

import pytest

from workbench.engine.load import load_report
from workbench.engine.tables import convolutions_table, kinds_table, memory_table, precisions_table, tactics_table

SHAPES = (("x", [1, 2, 2, 2]), ("y", [1, 3, 2, 2]))


@pytest.fixture(scope="module")
def report(recorded):
    return recorded("modelopt_int8_fp16")


def test_groups_hold_every_layer_and_all_time(report):
    for table in (kinds_table(report), precisions_table(report), tactics_table(report)):
        assert table["layers"].sum() == len(report.layers)
        assert table["ms"].sum() == pytest.approx(report.layers_ms)
        assert table["percent"].sum() == pytest.approx(100)
        assert list(table["ms"]) == sorted(table["ms"], reverse=True)


def test_a_convolution_in_full(report):
    table = convolutions_table(report).set_index("nodes")
    row = table.loc["l2.0.conv2 + Relu_42"]
    assert (row["kernel"], row["stride"], row["in_channels"], row["out_channels"]) == ("3x3", "2x2", 128, 128)
    assert (row["precision"], row["activation"], row["input"]) == ("int8", "relu", "int8 CHW32")
    # 2 x batch x output pixels x output channels x input channels x kernel.
    assert row["ops"] == 2 * 32 * 28 * 28 * 128 * 128 * 9
    assert row["tops"] == pytest.approx(row["ops"] / row["ms"] / 1e9)
    assert row["gb_per_s"] == pytest.approx(row["bytes"] / row["ms"] / 1e6)
    assert row["tensor_cores"]
    assert len(table) == 54


def test_rates_are_of_the_time_in_seconds():
    rows = ({"Name": name, "Dimensions": dims, "Format/Datatype": "Row major linear FP32"} for name, dims in SHAPES)
    x, y = ([row] for row in rows)
    layer = {"Name": "c", "LayerType": "CaskConvolution", "Inputs": x, "Outputs": y, "Kernel": [1, 1]}
    weights = {"Weights": {"Type": "Float", "Count": 6}, "Groups": 1, "OutMaps": 3, "ParameterType": "Convolution"}
    report = load_report({"Layers": [layer | weights]}, profile=[{"name": "c", "averageMs": 7000.0}])
    row = convolutions_table(report).iloc[0]
    assert (row["ops"], row["bytes"]) == (2 * 3 * 2 * 4, 4 * (2 * 4 + 3 * 4 + 6))
    assert row["ops_per_byte"] == 48 / 104
    assert row["tops"] == 48 / 7 / 1e12
    assert row["gb_per_s"] == 104 / 7 / 1e9


def test_memory_of_layers_is_that_of_the_report(report):
    table = memory_table(report)
    assert table["weight_bytes"].sum() == report.weight_bytes
    one = report.layers[3]
    row = table.iloc[3]
    assert row["layer"] == one.name
    assert row["output_bytes"] == sum(tensor.nbytes for tensor in one.outputs)


def test_what_is_not_told_is_missing():
    report = load_report({"Layers": ["a", {"Name": "b", "LayerType": "CaskConvolution"}]})
    row = convolutions_table(report).iloc[0]
    assert all(row.isna()[name] for name in ("ms", "kernel", "out_channels", "ops", "tops", "tensor_cores", "tactic"))
    assert memory_table(report)["bytes"].isna().all()
    kinds = kinds_table(report).set_index("kind")
    assert set(kinds.index) == {"unknown", "conv"}
    assert kinds["ms"].isna().all()
    empty = load_report({"Layers": []})
    for table in (convolutions_table, kinds_table, memory_table, precisions_table, tactics_table):
        assert table(empty).empty


def test_every_recorded_engine_has_its_tables(engines):
    for path in engines.rglob("*.graph.json"):
        report = load_report(path)
        assert kinds_table(report)["layers"].sum() == len(report.layers)
        assert len(memory_table(report)) == len(report.layers)
        convolutions_table(report)
        tactics_table(report)


FP32, FP16 = "Row major linear FP32", "Row major linear FP16 format"


def layer(name, kind, ms=None, inputs=(FP32,), **more):
    """A layer of 2 x 4 elements in each tensor; milliseconds are given as a profile has them."""
    tensors = [{"Name": f"t{at}", "Dimensions": [2, 4], "Format/Datatype": form} for at, form in enumerate(inputs)]
    outputs = [{"Name": "y", "Dimensions": [2, 4], "Format/Datatype": FP32}]
    raw = {"Name": name, "LayerType": kind, "Inputs": tensors, "Outputs": outputs, **more}
    return raw, {"name": name, "averageMs": ms}


def reported(*layers):
    rows = [row for _, row in layers if row["averageMs"] is not None]
    return load_report({"Layers": [raw for raw, _ in layers]}, profile=rows or None)


def test_groups_are_in_order_of_time_and_what_was_not_timed_counts_for_nothing():
    made = reported(
        layer("a", "Slice", 1.0),
        layer("b", "CaskPooling"),
        layer("c", "Slice", 2.0),
        layer("d", "NoOp", 5.0),
        layer("e", "Relu", 0.0),
    )
    table = kinds_table(made)
    assert table[["kind", "layers"]].to_numpy().tolist() == [*(["noop", 1], ["slice", 2], ["unknown", 1], ["pool", 1])]
    assert list(table.index) == [0, 1, 2, 3]
    assert table["ms"].tolist()[:3] == [5.0, 3.0, 0.0]
    assert table["percent"].tolist()[:3] == [62.5, 37.5, 0.0]
    assert table[["ms", "percent"]].iloc[3].isna().all()
    assert table["weight_bytes"].tolist() == [0, 0, 0, 0]
    assert table["moves_only"].tolist() == [True, True, False, False]
    still = kinds_table(reported(layer("a", "Slice", 0.0)))
    assert (still["ms"][0], still["percent"].isna()[0]) == (0.0, True)


def test_a_tactic_is_of_the_kind_of_its_first_layer():
    same = {"TacticName": "sm80_hmma"}
    table = tactics_table(reported(layer("a", "CaskConvolution", 1.0, **same), layer("b", "CaskPooling", 1.0, **same)))
    assert table.to_numpy().tolist() == [["sm80_hmma", 2, 2.0, 100.0, "conv", True]]


def test_a_product_has_no_groups_and_what_is_odd_is_missing():
    odd = {"Kernel": "3", "Stride": [], "Dilation": [2, 1], "Activation": 1}
    made = reported(
        layer("product", "gemm", 2.0, (FP16, FP32)),
        layer("odd", "CaskConvolution", 1.0, **odd),
        layer("p", "CaskPooling"),
    )
    product, other = (row for _, row in convolutions_table(made).iterrows())
    assert (product["layer"], product["input"], product["output"]) == ("product", "fp16 linear", "fp32 linear")
    assert product[["groups", "in_channels", "bytes", "ops_per_byte", "gb_per_s"]].isna().all()
    assert (product["ops"], product["tops"]) == (2 * 8 * 4, 2 * 8 * 4 / 0.002 / 1e12)
    assert (other["groups"], other["in_channels"], other["dilation"]) == (1, 4, "2x1")
    assert other[["kernel", "stride", "activation", "ops", "ops_per_byte", "tops"]].isna().all()
    assert (other["bytes"], other["gb_per_s"]) == (64, 64 / 0.001 / 1e9)


def test_a_tensor_without_elements_takes_no_memory():
    raw, _ = layer("a", "CaskPooling")
    raw["Inputs"] = [{"Name": "x", "Dimensions": [0, 4], "Format/Datatype": FP32}] * 2
    row = memory_table(load_report({"Layers": [raw]})).iloc[0]
    assert row.tolist() == ["a", "pool", 0, 0, 32, 32]
