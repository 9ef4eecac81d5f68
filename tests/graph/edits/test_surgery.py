"""The moves that edits are made of."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests.kit.models import constant, model, weight
from workbench.errors import EditError
from workbench.graph.edits import surgery
from workbench.graph.edits.surgery import (
    add_constant,
    add_node,
    constant_array,
    constants_to_nodes,
    drop_unused,
    fresh_name,
    import_default,
    lengths_of,
    node_at,
    redirect,
    typed,
    value_at,
)

node = helper.make_node


def network(*names, outputs=("y",), weights=()):
    """Relus one behind the other on x [2, 3], called after their results."""
    results = [*names, "y"]
    nodes = [node("Relu", [before], [after], after) for before, after in zip(["x", *names], results, strict=True)]
    return model(nodes, {"x": [2, 3]}, {name: [2, 3] for name in outputs}, weights).thaw()


def test_a_node_and_a_tensor_are_found_by_their_address_or_near_ones_told():
    graph = network("first", "second", weights=[weight("w", 3)])
    assert node_at(graph, "second").name == "second"
    assert [value_at(graph, name).name for name in ("x", "w", "first", "y")] == ["x", "w", "first", "y"]
    for find, what in ((node_at, "node"), (value_at, "tensor")):
        with pytest.raises(EditError) as near:
            find(graph, "secondo")
        assert str(near.value) == f"secondo: there is no such {what}. Did you mean second?"
        with pytest.raises(EditError) as far:
            find(graph, "7")
        assert str(far.value) == (f"7: there is no such {what}. Look at the table of the model's nodes and tensors.")


def test_a_constant_takes_a_name_that_nothing_has():
    graph = network("a", weights=[weight("w", 3)]).graph
    first = add_constant(graph, "k", np.arange(6, dtype=np.int32).reshape(2, 3).T)
    assert (first.name, first.shape.numpy(), first.dtype) == ("k", (3, 2), ir.DataType.INT32)
    assert first.const_value.numpy().flags.c_contiguous
    assert [add_constant(graph, name, np.zeros(1)).name for name in ("w", "k", "k", "a")] == [
        "w__2",
        "k__2",
        "k__3",
        "a__2",
    ]
    assert list(graph.initializers) == ["w", "k", "w__2", "k__2", "k__3", "a__2"]
    assert fresh_name(graph, "y") == "y__2"


def test_a_node_is_put_before_another_or_at_the_end():
    graph = network("a").graph
    x = graph.inputs[0]
    last = add_node(graph, "Neg", [x], name="n")
    before = add_node(graph, "LeakyRelu", [x], name="n", attributes={"alpha": 1}, before=graph.node("a"))
    made = add_node(graph, "Own", [x, None], name="o", domain="own", outputs=["a", "q"], before=graph.node("y"))
    assert [one.name for one in graph] == ["n__2", "a", "o", "y", "n"]
    assert [value.name for value in (*last.outputs, *before.outputs, *made.outputs)] == ["n", "n__2", "a__2", "q"]
    assert (made.domain, made.op_type, made.inputs) == ("own", "Own", (x, None))
    assert before.attributes["alpha"].as_float() == 1.0


def test_whole_numbers_are_floats_where_onnx_knows_them_as_floats():
    assert typed("LeakyRelu", "", {"alpha": 1}) == {"alpha": 1.0}
    assert isinstance(typed("LeakyRelu", "", {"alpha": 1})["alpha"], float)
    scales = typed("Upsample", "", {"scales": [1, 2]})
    assert scales == {"scales": [1, 2]}  # the newest has no such attribute
    floats = typed("Constant", "", {"value_floats": [1, 2], "value_ints": [1, 2], "value_int": 3, "value_float": 0.5})
    assert {name: type(value[0] if isinstance(value, list) else value) for name, value in floats.items()} == {
        "value_floats": float,
        "value_ints": int,
        "value_int": int,
        "value_float": float,
    }
    assert typed("Own", "own", {"alpha": 1}) == {"alpha": 1}
    assert isinstance(typed("LeakyRelu", "own", {"alpha": 1})["alpha"], int)


def test_all_readers_are_redirected_and_an_output_keeps_its_name():
    graph = network("a", "b", outputs=("a", "y"))
    part = graph.graph
    made = add_node(part, "Neg", [part.inputs[0]], name="n", before=part.node("a")).outputs[0]
    old = part.node("a").outputs[0]
    redirect(old, made, part)
    assert [value.name for value in part.outputs] == ["a", "y"]
    assert part.outputs[0] is made
    assert (made.dtype, made.shape.numpy()) == (ir.DataType.FLOAT, (2, 3))
    assert part.node("b").inputs[0] is made
    assert old.name == "a_before"


@pytest.mark.parametrize("which", ["an input", "a weight", "an output"])
def test_what_cannot_take_an_outputs_name_gives_it_through_an_identity(which):
    part = network("a", "b", outputs=("a", "b", "y"), weights=[weight("w", 2, 3)]).graph
    new = {"an input": part.inputs[0], "a weight": part.initializers["w"], "an output": part.node("b").outputs[0]}[
        which
    ]
    redirect(part.node("a").outputs[0], new, part)
    assert [value.name for value in part.outputs] == ["a", "b", "y"]
    identity = part.outputs[0].producer()
    assert (identity.op_type, identity.name, identity.inputs) == ("Identity", "a_identity", (new,))


def test_numbers_and_lengths_of_what_is_stored():
    nodes = [
        node("Constant", [], ["c"], "c", value=constant("v", [1, 2, 3])),
        node("Add", ["x", "w"], ["t"], "add"),
        node("Gather", ["t", "c"], ["y"], "gather"),
    ]
    stated = model(nodes, {"x": [2, 3], "n": ["N", 3]}, {"y": [3, 3]}, [weight("w", 2, 3)]).thaw().graph
    values = {name: value_at(ir.Model(stated, ir_version=8), name) for name in ("c", "w", "x", "n", "t")}
    assert constant_array(values["c"]).tolist() == [1, 2, 3]
    assert constant_array(values["w"]).shape == (2, 3)
    assert [constant_array(values[name]) for name in ("x", "t")] == [None, None]
    lengths = {name: lengths_of(value) for name, value in values.items()}
    assert lengths == {"c": (3,), "w": (2, 3), "x": (2, 3), "n": None, "t": None}
    assert lengths_of(None) is None


def test_only_what_nothing_needs_is_dropped():
    nodes = [
        node("Constant", [], ["c"], "c", value=constant("v", [1.0], "float32")),
        node("Constant", [], ["k"], "k", value=constant("v", [1.0], "float32")),
        node("Add", ["x", "k"], ["y"], "add"),
        node("Neg", ["x"], ["n"], "neg"),
    ]
    weights = [weight(name, 1) for name in ("idle", "given", "kept")]
    part = model(nodes, {"x": [1]}, {"y": [1], "given": [1]}, weights).thaw().graph
    values = [
        *(part.initializers[name] for name in ("idle", "given")),
        *(part.node(name).outputs[0] for name in ("c", "k", "neg")),
    ]
    drop_unused(part, [None, *values])
    assert list(part.initializers) == ["given", "kept"]
    assert [one.name for one in part] == ["k", "add", "neg"]


def test_weights_of_a_function_become_nodes():
    body = [node("Neg", ["a"], ["b"], "neg"), node("Neg", ["b"], ["c"], "last")]
    function = helper.make_function("own", "Does", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    call = node("Does", ["x"], ["y"], "call", domain="own")
    graph = model([call], {"x": [2]}, {"y": [2]}, domains=["own"], functions=[function]).thaw()
    (held,) = graph.functions.values()
    part = held.graph
    added = add_constant(part, "k", np.float32([1, 2]))
    part.node("last").replace_input_with(0, added)
    constants_to_nodes(graph)
    assert list(part.initializers) == []
    assert [(one.op_type, one.name, one.outputs[0].name) for one in part] == [
        ("Constant", "k", "k"),
        ("Neg", "neg", "b"),
        ("Neg", "last", "c"),
    ]
    assert part.node("last").inputs[0].producer().name == "k"


def test_a_model_without_the_default_operator_set_gets_one_for_its_first_node_of_it():
    assert surgery.FIRST_IMPORT == 13
    for domain, ir_version, expected in (
        ("", 3, ({"own": 1, "": 13}, 7)),
        ("", 9, ({"own": 1, "": 13}, 9)),
        ("own", 3, ({"own": 1}, 3)),
    ):
        part = ir.Graph([], [], nodes=[ir.node("Neg", [], domain=domain, name="n")], opset_imports={"own": 1})
        graph = ir.Model(part, ir_version=ir_version)
        import_default(graph)
        assert (dict(graph.opset_imports), graph.ir_version) == expected
    graph.opset_imports[""] = 9
    import_default(graph)
    assert graph.opset_imports[""] == 9
