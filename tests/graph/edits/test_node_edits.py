"""Single nodes and names: put in, taken out, replaced, renamed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, random_feeds, run, weight
from workbench.errors import EditError
from workbench.graph.edits.registry import applicable, edit_by_name

node = helper.make_node


def chain(*ops, outputs=("y",), weights=()):
    """Nodes one behind the other, each called after its place and operator, on x [2, 3]; t0, t1, ... between them."""
    names = ["x", *(f"t{place}" for place in range(len(ops) - 1)), "y"]
    nodes = [node(op, [names[at]], [names[at + 1]], f"{at}{op}") for at, op in enumerate(ops)]
    return model(nodes, {"x": [2, 3]}, {name: [2, 3] for name in outputs}, weights)


def refusal(network, name, **arguments):
    with pytest.raises(EditError) as refused:
        edit_by_name(name, **arguments)(network)
    return str(refused.value)


def wires(network):
    return [f"{name}: {one.inputs[0].name} -> {one.outputs[0].name}" for name, one in network.nodes.items()]


def test_what_is_inserted_stands_before_the_first_that_reads_it():
    network = chain("Abs", "Neg", "Exp")
    done = edit_by_name("insert", tensor="t0", op="Relu")(network)
    assert done.notes == ("inserted Relu 't0_Relu' behind t0",)
    assert wires(done.model) == ["0Abs: x -> t0", "t0_Relu: t0 -> t0_Relu", "1Neg: t0_Relu -> t1", "2Exp: t1 -> y"]
    named = edit_by_name("insert", tensor="t0", op="Relu", name="r")(network)
    assert list(named.model.nodes) == ["0Abs", "r", "1Neg", "2Exp"]


def test_an_output_keeps_its_name_and_is_what_the_new_node_makes():
    network = chain("Abs", "Neg", outputs=("t0", "y"))
    done = edit_by_name("insert", tensor="t0", op="Exp")(network).model
    assert [tensor.name for tensor in done.outputs] == ["t0", "y"]
    x = random_feeds(network)["x"]
    first, second = run(done, {"x": x})
    np.testing.assert_allclose(first, np.exp(np.abs(x)), rtol=1e-5)
    np.testing.assert_array_equal(second, -first)
    # Only a reader was named, so that the output stays.
    kept = edit_by_name("insert", tensor="t0", op="Exp", readers=["1Neg"])(network).model
    first, second = run(kept, {"x": x})
    np.testing.assert_array_equal(first, np.abs(x))
    np.testing.assert_allclose(second, -np.exp(first), rtol=1e-5)


def test_an_input_that_is_an_output_stays_one():
    network = model([node("Neg", ["x"], ["y"], "neg")], {"x": [3]}, {"y": [3], "x": [3]})
    done = edit_by_name("insert", tensor="x", op="Abs")(network).model
    x = np.float32([1, -2, 3])
    np.testing.assert_array_equal(run(done, {"x": x}), [-np.abs(x), x])


def test_only_the_readers_that_are_named_read_the_new_result():
    nodes = [
        node("Abs", ["x"], ["t"], "abs"),
        *(node("Neg", ["t"], [name], name) for name in "abc"),
        node("Sum", ["a", "b", "c"], ["y"], "sum"),
    ]
    network = model(nodes, {"x": [3]}, {"y": [3]})
    done = edit_by_name("insert", tensor="t", op="Exp", readers=["a", "c"])(network).model
    assert [done.nodes[name].inputs[0].name for name in "abc"] == ["t_Exp", "t", "t_Exp"]
    assert refusal(network, "insert", tensor="t", op="Exp", readers=["a", "sum"]) == (
        "sum: it does not read 't'. Name nodes that do."
    )


def test_a_domain_is_imported_at_version_one_unless_it_is_already():
    network = chain("Abs")
    for name, where in (("insert", {"tensor": "x"}), ("replace_node", {"node": "0Abs"})):
        done = edit_by_name(name, op="Own", domain="own", **where)(network).model
        assert done.ir_model.opset_imports == {"": 17, "own": 1}
        assert edit_by_name(name, op="Neg", **where)(network).model.ir_model.opset_imports == {"": 17}
    stated = chain("Abs").proto
    stated.opset_import.append(helper.make_opsetid("own", 3))
    from workbench.graph.load import from_proto

    done = edit_by_name("insert", op="Own", domain="own", tensor="x")(from_proto(stated)).model
    assert done.ir_model.opset_imports == {"": 17, "own": 3}


def test_a_bypassed_nodes_reader_reads_the_input_that_is_named():
    nodes = [node("Where", ["c", "a", "b"], ["t"], "where"), node("Neg", ["t"], ["y"], "neg")]
    network = model(nodes, {"c": (TensorProto.BOOL, [3]), "a": [3], "b": [3]}, {"y": [3]})
    for place, name in ((1, "a"), (2, "b")):
        done = edit_by_name("bypass", node="where", input=place)(network)
        assert done.notes == ("bypassed where",)
        assert wires(done.model) == [f"neg: {name} -> y"]
    for place in (-1, 3):
        message = refusal(network, "bypass", node="where", input=place)
        assert message == f"where: it has no input {place}. It has 3."
    clip = model([node("Clip", ["x", "", "m"], ["y"], "clip")], {"x": [3]}, {"y": [3]}, [constant("m", 1, "float32")])
    assert refusal(clip, "bypass", node="clip", input=1) == "clip: it has no input 1. It has 3."


def bypasses(network, address):
    return [edit.input for edit in applicable(network, [address]) if edit.do == "bypass"]


def test_a_node_is_offered_for_bypassing_where_an_input_is_like_its_floating_result():
    for dtype, offered in (("FLOAT", [0]), ("FLOAT16", [0]), ("BFLOAT16", [0]), ("DOUBLE", [0]), ("INT32", [])):
        kind = (getattr(TensorProto, dtype), [2, 3])
        assert bypasses(model([node("Neg", ["x"], ["y"], "n")], {"x": kind}, {"y": kind}), "n") == offered
    held = [weight("w", 2, 3)]
    subtract = [node("Sub", ["w", "x"], ["y"], "n")]
    assert bypasses(model(subtract, {"x": [2, 3]}, {"y": [2, 3]}, held), "n") == [1]
    assert bypasses(model(subtract, {"x": [3]}, {"y": [2, 3]}, held), "n") == []
    unknown = model([node("Neg", ["x"], ["y"], "n")], {"x": [None, 3]}, {"y": [None, 3]})
    assert bypasses(unknown, "n") == []
    symbolic = model([node("Neg", ["x"], ["y"], "n")], {"x": ["N", 3]}, {"y": ["N", 3]})
    assert bypasses(symbolic, "n") == [0]
    skipped = model(
        [node("Resize", ["x", "", "s"], ["y"], "n", mode="nearest")],
        {"x": [1, 1, 2, 2]},
        {"y": [1, 1, 2, 2]},
        [constant("s", [1, 1, 1, 1], "float32")],
    )
    assert bypasses(skipped, "n") == [0]


def split(*read):
    """A Split into three, of which some are read."""
    nodes = [node("Split", ["x"], ["a", "b", "c"], "split", axis=0), *(node("Neg", [r], [f"{r}n"], r) for r in read)]
    parts = {f"{r}n": [1, 3] for r in read}
    return model(nodes, {"x": [3, 3]}, parts | ({} if parts else {"a": [1, 3]}), opset=17)


def test_a_node_goes_only_where_nothing_needs_its_results():
    assert refusal(split("a", "b"), "bypass", node="split") == (
        "split: another of its results is read as well. Bypass its readers first."
    )
    assert not bypasses(split("a", "b"), "split")
    assert refusal(split("b"), "delete", node="split") == (
        "split: its result 'b' is read by b. Bypass it instead, or drop the output."
    )
    assert refusal(split(), "delete", node="split") == "split: its result 'a' is an output. Drop the output instead."
    for network, address, offered in ((split("b"), "split", False), (split("b"), "b", False)):
        assert ("delete" in {edit.do for edit in applicable(network, [address])}) is offered
    idle = model([node("Neg", ["x"], ["t"], "idle"), node("Relu", ["x"], ["y"], "r")], {"x": [3]}, {"y": [3]})
    assert "delete" in {edit.do for edit in applicable(idle, ["idle"])}
    done = edit_by_name("delete", node="idle")(idle)
    assert (done.notes, list(done.model.nodes)) == (("deleted idle",), ["r"])


def test_the_reader_without_a_name_is_called_after_its_operator():
    network = chain("Neg", "Relu")
    graph = network.thaw()
    graph.graph.node("1Relu").name = None
    with pytest.raises(EditError, match="its result 't0' is read by Relu"):
        edit_by_name("delete", node="0Neg").apply(graph, network)


def test_a_replaced_node_keeps_what_is_said_of_it():
    stated = model(
        [node("Where", ["c", "a", "b"], ["t"], "it", doc_string="a choice"), node("Neg", ["t"], ["y"], "neg")],
        {"c": (TensorProto.BOOL, [3]), "a": [3], "b": [3]},
        {"y": [3]},
    ).proto
    stated.graph.node[0].metadata_props.add(key="from", value="torch")
    from workbench.graph.load import from_proto

    network = from_proto(stated)
    done = edit_by_name("replace_node", node="it", op="Sub", inputs=[2, 1])(network)
    assert done.notes == ("it is a Sub now",)
    new = done.model.nodes["it"]
    assert [value.name for value in (*new.inputs, *new.outputs)] == ["b", "a", "t"]
    assert (new.doc_string, new.metadata_props) == ("a choice", {"from": "torch"})
    own = edit_by_name("replace_node", node="it", op="Own", domain="my.own")(network)
    assert own.notes == ("it is a my.own.Own now",)
    assert [value.name for value in own.model.nodes["it"].inputs] == ["c", "a", "b"]
    assert refusal(network, "replace_node", node="it", op="Own", domain="own", inputs=[0, 3]) == (
        "it: it has 3 inputs, not 4"
    )
    assert "it has 3 inputs" in refusal(network, "replace_node", node="it", op="Own", domain="own", inputs=[-1, 0])
    assert [
        value.name
        for value in edit_by_name("replace_node", node="it", op="Own", domain="own", inputs=[2, 0])(network)
        .model.nodes["it"]
        .inputs
    ] == ["b", "c"]


def test_what_is_renamed_has_its_name_everywhere():
    network = chain("Abs", "Neg", outputs=("t0", "y"))
    done = edit_by_name("rename_node", node="0Abs", to="first")(network)
    assert (done.notes, list(done.model.nodes)) == (("0Abs is called 'first' now",), ["first", "1Neg"])
    assert not edit_by_name("rename_node", node="0Abs", to="0Abs")(network).changed
    assert refusal(network, "rename_node", node="0Abs", to="1Neg") == (
        "0Abs: the name '1Neg' is taken. Choose another."
    )
    tensor = edit_by_name("rename_tensor", tensor="t0", to="middle")
    assert tensor(network).notes == ("t0 is called 'middle' now",)
    assert wires(tensor(network).model) == ["0Abs: x -> middle", "1Neg: middle -> y"]
    assert [one.name for one in tensor(network).model.outputs] == ["middle", "y"]
    assert [tensor.origin(name) for name in ("middle", "y", "t0")] == ["t0", "y", "t0"]
    assert not edit_by_name("rename_tensor", tensor="t0", to="t0")(network).changed
    for name in ("x", "y"):
        assert refusal(network, "rename_tensor", tensor="t0", to=name) == (
            f"t0: the name '{name}' is taken. Choose another."
        )
    lone = model([node("Abs", ["x"], ["y"], "a")], {"x": [3], "idle": [3]}, {"y": [3]})
    assert "is taken" in refusal(lone, "rename_tensor", tensor="x", to="idle")


def test_a_weight_is_stored_under_its_new_name():
    network = model([node("Add", ["x", "w"], ["y"], "add")], {"x": [3]}, {"y": [3]}, [weight("w", 3)])
    done = edit_by_name("rename_tensor", tensor="w", to="kernel")(network).model
    assert {name: value.name for name, value in done.initializers.items()} == {"kernel": "kernel"}
    assert done.nodes["add"].inputs[1].name == "kernel"
