"""How large a model may be that is checked without being asked to, and what is checked of a larger one."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.models import constant, model, weight
from workbench.errors import BackendError, EditError
from workbench.evaluate import edit_check
from workbench.evaluate.edit_check import checked, too_costly
from workbench.evaluate.equivalence import equivalence
from workbench.evaluate.touched import _cropped, touched
from workbench.graph.edits.base import Edit
from workbench.graph.edits.equivalence import Equivalence, Unchecked
from workbench.graph.edits.registry import edit_by_name


def chain(length, op="Sin", dtype=TensorProto.FLOAT):
    names = ["x", *(f"t{k}" for k in range(length - 1)), "y"]
    nodes = [helper.make_node(op, [a], [b], f"n{b}") for a, b in itertools.pairwise(names)]
    return model(nodes, {"x": (dtype, [1, 3])}, {"y": (dtype, [1, 3])})


def weighing(values):
    source = model([helper.make_node("Identity", ["x"], ["y"])], {"x": [1]}, {"y": [1]}, [weight("w", 1)])
    whole = source.thaw()
    whole.graph.initializers["w"].const_value = ir.Tensor(np.zeros(values, np.float32), name="w")  # never touched
    return source.replaced(whole)


def looping(times):
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Sin", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
        ],
    )
    loop = helper.make_node("Loop", ["m", "", "x"], ["y"], "loop", body=body)
    return model([loop], {"x": [1]}, {"y": [1]}, [constant("m", times)])


def product(rows, inner=1000, columns=1000):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    return model([node], {"x": [rows, inner], "w": [inner, columns]}, {"y": [rows, columns]})


def reading(rows):
    return model([helper.make_node("Sin", ["x"], ["y"])], {"x": ["N", rows, "n", 2]}, {"y": ["N", rows, "n", 2]})


@pytest.mark.parametrize(
    ("made", "at", "beyond", "reason"),
    [
        (chain, 5_000, 5_001, "the model has 5001 nodes, over 5000"),
        (weighing, 128 << 20, (128 << 20) + (1 << 18), "its weights are 513 MiB, over 512"),
        (looping, 1_000_000, 2_000_000, "a loop in it runs 2e+06 times, over 1e+06"),
        (product, 10_000, 12_000, "one run takes 12 GMACs, over 10"),
        (reading, 1 << 20, (1 << 20) + (1 << 13), "an input of it is 129 MiB, over 128"),
    ],
    ids=["nodes", "bytes", "iterations", "products", "inputs"],
)
def test_a_model_is_run_unasked_up_to_a_bound(made, at, beyond, reason):
    assert too_costly(made(at)) is None
    assert too_costly(made(beyond)) == f"{reason}; it is checked with check=True"


def test_what_is_slightly_beyond_a_bound_is_beyond():
    for beyond in (weighing((128 << 20) + 1), looping(1_000_001), product(10_001)):
        assert too_costly(beyond) is not None


def test_free_axes_count_as_long_as_they_are_tried():
    network = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": ["N", "T", 1000], "w": [1000, 1000]},
        {"y": ["N", "T", 1000]},
    )
    assert too_costly(network) is None  # 16 long
    assert too_costly(network, 10_000) is None
    assert "one run takes 10 GMACs" in too_costly(network, 10_001)


@pytest.fixture
def costly(monkeypatch):
    monkeypatch.setattr(edit_check, "MOST_NODES", 3)


def looked_at(network, name, check=None, **arguments):
    edit = edit_by_name(name, **arguments)
    return checked(edit, network, edit(network).model, check)


def branching(op):
    nodes = [helper.make_node("Neg", ["x"], ["n"], "neg")]
    nodes += [helper.make_node(op, ["n"], [f"b{k}"], f"branch{k}") for k in range(4)]
    return model(nodes, {"x": [3]}, {f"b{k}": [3] for k in range(4)})


class Replaced(Edit):
    """Put another operator in place of some nodes."""

    do: str = "replaced"
    title = "Replace some"
    nodes: tuple[str, ...]
    op: str

    def apply(self, graph, _model):
        for node in graph.graph:
            if node.name in self.nodes:
                node.op_type = self.op
        return ["done"]


@pytest.mark.parametrize(("most", "compared"), [(4, 4), (3, 2), (2, 2), (1, 1), (0, 0)])
def test_of_what_was_touched_as_much_is_compared_as_the_bound_allows(monkeypatch, most, compared):
    network = branching("Identity")
    edit = Replaced(nodes=tuple(f"branch{k}" for k in range(4)), op="Dropout")
    monkeypatch.setattr(
        edit_check, "too_costly", lambda part, *_: "large" if part is network or len(part.outputs) > most else None
    )
    verdict = checked(edit, network, edit(network).model)
    if not compared:
        assert str(verdict) == "not checked, because large; the part that was touched costs too much as well"
        return
    part_of = "" if compared == 4 else f", {compared} of 4 results"
    nodes = "one node" if compared == 1 else f"{compared} nodes"
    assert verdict.inputs == f"random inputs, seed 0, of the part that was touched: {nodes}{part_of}"
    assert list(verdict.errors) == [f"b{k}" for k in range(compared)]
    assert verdict.partly == "large"


@pytest.mark.usefixtures("costly")
def test_a_node_in_a_costly_model_that_does_not_run_is_refused_whatever_the_edit_claims():
    doubles = chain(6, "Neg", TensorProto.DOUBLE)
    with pytest.raises(EditError, match="would leave a model that does not run"):
        looked_at(doubles, "insert", tensor="t2", op="Softsign")
    with pytest.raises(EditError, match="would leave a model that does not run"):
        looked_at(doubles, "replace_node", node="nt2", op="Softsign", attributes={})
    assert isinstance(looked_at(doubles, "insert", tensor="t2", op="Abs"), Unchecked)


def test_a_part_that_costs_too_much_is_not_run_either(monkeypatch):
    monkeypatch.setattr(edit_check, "too_costly", lambda *_: "large")
    doubles = chain(6, "Neg", TensorProto.DOUBLE)
    assert isinstance(looked_at(doubles, "insert", tensor="t2", op="Softsign"), Unchecked)


def test_a_part_that_cannot_be_cut_out_is_said_and_not_run(monkeypatch):
    monkeypatch.setattr(edit_check, "MOST_NODES", 3)

    def cut(*_):
        raise ValueError("it cannot be cut out\nreally")

    monkeypatch.setattr("workbench.evaluate.touched._cut", cut)
    verdict = looked_at(chain(6), "rename_tensor", tensor="t2", to="other")
    assert str(verdict).endswith("; nor was the part that was touched: it cannot be cut out")
    assert isinstance(looked_at(chain(6, "Neg", TensorProto.DOUBLE), "insert", tensor="t2", op="Softsign"), Unchecked)


def test_a_crop_leaves_one_sample_all_channels_and_short_other_axes():
    nodes = [
        helper.make_node("Relu", ["image"], ["i"]),
        helper.make_node("Relu", ["sequence"], ["s"]),
        helper.make_node("Relu", ["rows"], ["r"]),
        helper.make_node("Identity", ["indices"], ["d"]),
        helper.make_node("Relu", ["free"], ["f"]),
    ]
    shapes = {"image": [4, 100, 90, 64], "sequence": [4, 65, 100], "rows": [100, 90], "free": ["N", 100, 90, 80]}
    indices = {"indices": (TensorProto.INT64, [4, 100, 90])}
    whole = model(nodes, {**shapes, **indices}, dict.fromkeys("isrf") | {"d": (TensorProto.INT64, None)})
    assert {tensor.name: tensor.shape for tensor in _cropped(whole).inputs} == {
        "image": (1, 100, 64, 64),
        "sequence": (1, 64, 100),
        "rows": (100, 90),
        "indices": (4, 100, 90),
        "free": ("N", 100, 90, 80),
    }


def test_only_what_something_else_reads_is_a_place_to_compare():
    network = chain(5)
    there = touched(Edit(do="nothing"), network, Replaced(nodes=("nt1", "nt2"), op="Cos")(network).model)
    assert there.places == ["t2"]
    part = there.part(["t2"])
    assert (part.places, part.nodes) == (1, 2)
    assert [tensor.name for tensor in part.before.inputs] == [tensor.name for tensor in part.after.inputs] == ["t0"]
    assert [tensor.shape for tensor in part.before.outputs] == [(1, 3)]
    last = touched(Edit(do="nothing"), network, Replaced(nodes=("ny",), op="Cos")(network).model)
    assert last.places == ["y"]


def test_names_of_nodes_are_nothing_that_is_touched_and_other_weights_are():
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "add")]
    network = model(nodes, {"x": [3]}, {"y": [3]}, [weight("w", 3)])
    graph = network.thaw()
    graph.graph[0].name = "other"
    assert touched(Edit(do="nothing"), network, network.replaced(graph)).places == []
    graph.graph.initializers["w"].const_value = ir.Tensor(np.ones(3, np.float32), name="w")
    assert touched(Edit(do="nothing"), network, network.replaced(graph)).places == ["y"]


def test_an_input_of_another_length_or_name_is_no_edit_to_compare():
    def identity(*shape, name="x"):
        return model([helper.make_node("Neg", [name], ["y"])], {name: [*shape]}, {"y": [*shape]})

    feeds = {"x": np.ones((2, 3), np.float32)}
    with pytest.raises(BackendError, match="input 'x' has an axis of 3 before and of 4 after it"):
        equivalence(identity(2, 3), identity(2, 4), feeds)
    with pytest.raises(BackendError, match="input 'z' is new"):
        equivalence(identity(2, 3), identity(2, 3, name="z"), feeds)
    assert equivalence(identity(2, "T"), identity("N", 3), feeds).holds()


@pytest.mark.parametrize(
    ("dtype", "allowed"),
    [(TensorProto.FLOAT, 1e-4), (TensorProto.DOUBLE, 1e-4), (TensorProto.FLOAT16, 1e-2), (TensorProto.BFLOAT16, 5e-2)],
)
def test_what_counts_as_equal_is_a_matter_of_the_coarsest_numbers_inside(dtype, allowed):
    nodes = [helper.make_node("CastLike", ["x", "like"], ["c"]), helper.make_node("Cast", ["c"], ["y"], to=1)]
    like = numpy_helper.from_array(np.ones(1, helper.tensor_dtype_to_np_dtype(dtype)), "like")
    network = model(nodes, {"x": [3]}, {"y": [3]}, [like])
    result = equivalence(network, network)
    assert isinstance(result, Equivalence)
    assert result.allowed == allowed


def test_free_axes_are_said_where_there_are_any():
    for shape, said in ((("N", 3), ""), (("N", "T"), ", free axes 16 long")):
        network = model([helper.make_node("Neg", ["x"], ["y"])], {"x": [*shape]}, {"y": [*shape]})
        assert equivalence(network, network).inputs == f"random inputs, seed 0{said}"


def test_a_node_that_another_operator_set_gives_another_meaning_is_touched():
    """From 14 to 15 there is a new Pow and the old Relu."""
    nodes = [helper.make_node("Relu", ["x"], ["r"], "relu"), helper.make_node("Pow", ["r", "k"], ["y"], "pow")]
    nodes.append(helper.make_node("Wobble", ["y"], ["z"], "wobble", domain="my.plugins"))
    network = model(nodes, {"x": [3]}, {"z": [3]}, [constant("k", [2.0], "float32")], opset=14, domains=["my.plugins"])
    edit = edit_by_name("convert_opset", version=15)
    assert touched(edit, network, edit(network).model).places == ["y"]


def test_a_part_begins_at_every_input_however_often_ways_meet():
    nodes = [
        helper.make_node("Neg", ["x"], ["r"], "r"),
        helper.make_node("Neg", ["z"], ["q"], "q"),
        helper.make_node("Add", ["q", "r"], ["a"], "a"),
        helper.make_node("Neg", ["r"], ["b"], "b"),
        helper.make_node("Add", ["a", "b"], ["y"], "y"),
    ]
    network = model(nodes, {"x": [3], "z": [3]}, {"y": [3]})
    names = ("r", "q", "a", "b", "y")
    others = dict(zip(names, ("Abs", "Abs", "Sub", "Abs", "Sub"), strict=True))
    graph = network.thaw()
    for node in graph.graph:
        node.op_type = others[str(node.name)]
    part = touched(Edit(do="nothing"), network, network.replaced(graph)).part(["y"])
    assert {tensor.name for tensor in part.after.inputs} == {"x", "z"}
    assert part.nodes == 5
