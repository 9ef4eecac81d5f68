"""A model goes to GraphSurgeon and comes back: what was changed is counted, all else is what it was."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, weight
from workbench.errors import EditError
from workbench.graph.edits.round_trip import changed_by
from workbench.graph.load import from_proto

node = helper.make_node
info = helper.make_tensor_value_info


def chain():
    nodes = [
        node("Mul", ["x", "w"], ["a"], "mul", doc_string="a product"),
        node("LeakyRelu", ["a"], ["b"], "leaky", alpha=0.5),
        node("Neg", ["b"], ["y"], "neg"),
    ]
    return model(nodes, {"x": [2, 3]}, {"y": [2, 3]}, [weight("w", 3), weight("v", 3), constant("idle", [1])])


def done(subject, function):
    """What is said of a change, and the model after it."""
    graph = subject.thaw()
    notes = changed_by(graph, function, where="f", tensors=subject.tensors)
    return notes, subject.replaced(graph)


def line(graph):
    """The nodes in words."""
    return [
        f"{one.name} {one.op_type}({', '.join(str(v and v.name) for v in one.inputs)})" for one in graph.nodes.values()
    ]


def inserted(graph):
    first = graph.nodes[0]
    out = first.outputs[0]
    between = gs.Variable("between", dtype=np.float32)
    first.outputs = [between]
    graph.nodes.append(gs.Node("Abs", "abs", inputs=[between], outputs=[out]))
    graph.toposort()


def removed(graph):
    last = graph.nodes[-1]
    graph.outputs = [last.inputs[0]]
    graph.outputs[0].dtype = np.dtype("float32")
    graph.cleanup()


def attribute(graph):
    graph.nodes[1].attrs["alpha"] = 0.25


def operator(graph):
    graph.nodes[2].op = "Abs"


def several(graph):
    inserted(graph)
    next(one for one in graph.nodes if one.op == "LeakyRelu").attrs["alpha"] = 0.25
    graph.nodes.append(gs.Node("Exp", "exp", inputs=[graph.outputs[0]], outputs=[gs.Variable("e", dtype=np.float32)]))
    graph.outputs = [graph.nodes[-1].outputs[0]]


def renamed(graph):
    graph.nodes[0].name = "product"


def other_weight(graph):
    graph.tensors()["w"].values = graph.tensors()["w"].values * 2


def rewired(graph):
    graph.nodes[0].inputs[1] = gs.Constant("new", np.ones(3, np.float32))


def dropped(graph):
    del graph.nodes[1].attrs["alpha"]


def more(graph):
    graph.nodes[2].attrs["extra"] = 3


QUIET = "only the order, shapes, names or weights of nodes changed"
CHANGES = {
    inserted: "1 nodes added",
    removed: "1 nodes removed",
    attribute: "1 nodes changed",
    operator: "1 nodes changed",
    dropped: "1 nodes changed",
    more: "1 nodes changed",
    several: "2 nodes added, 1 nodes changed",
    renamed: QUIET,
    other_weight: QUIET,
    rewired: QUIET,
}


@pytest.mark.parametrize("function", CHANGES)
def test_what_was_done_is_counted(function):
    notes, after = done(chain(), function)
    assert notes == [CHANGES[function]]
    assert "idle" in after.initializers  # which no node reads, so that GraphSurgeon does not see it
    before = chain().initializers["idle"].const_value
    np.testing.assert_array_equal(after.initializers["idle"].const_value.numpy(), before.numpy())


def test_what_was_not_done_is_no_change():
    for function in (lambda _: None, lambda graph: graph):
        subject = chain()
        notes, after = done(subject, function)
        assert notes is None
        assert after.to_bytes() == subject.to_bytes()


def test_weights_that_were_not_changed_are_the_very_ones():
    subject = chain()
    _, after = done(subject, attribute)
    assert list(after.initializers) == ["w", "v", "idle"]
    for name in ("w", "idle"):
        assert after.initializers[name].const_value is subject.initializers[name].const_value
    _, doubled = done(subject, other_weight)
    expected = subject.initializers["w"].const_value.numpy() * 2
    np.testing.assert_array_equal(doubled.initializers["w"].const_value.numpy(), expected)


def test_what_a_function_returns_is_taken_and_what_is_no_graph_refused():
    def copied(graph):
        again = graph.copy()
        again.nodes[1].attrs = {"alpha": 0.25}
        return again

    notes, after = done(chain(), copied)
    assert notes == ["1 nodes changed"]
    assert line(after) == ["mul Mul(x, w)", "leaky LeakyRelu(a)", "neg Neg(b)"]
    assert after.nodes["mul"].doc_string == "a product"
    with pytest.raises(EditError) as refused:
        done(chain(), lambda _: 3)
    assert str(refused.value) == (
        "f: it returned a int. Return a GraphSurgeon graph, or nothing where the one given was changed."
    )


def test_what_graphsurgeon_cannot_write_is_one_line():
    def odd(graph):
        graph.nodes[1].attrs["alpha"] = object()

    with pytest.raises(EditError, match=r"^f: GraphSurgeon cannot write what it made: .+") as refused:
        done(chain(), odd)
    assert refused.value.fix == "Correct the function; the model is unchanged."
    assert "\n" not in str(refused.value)


def test_types_that_the_file_does_not_state_are_seen_and_not_written():
    seen = {}

    def look(graph):
        seen.update({name: (tensor.dtype, tensor.shape) for name, tensor in graph.tensors().items()})

    subject = chain()
    assert done(subject, look)[0] is None
    assert seen["a"] == (np.float32, [2, 3])
    assert changed_by(subject.thaw(), look, where="f") is None
    assert seen["a"] == (None, None)


def test_what_is_said_of_a_graph_its_nodes_and_tensors_comes_back():
    stated = chain().proto
    del stated.graph.value_info[:]
    for place in (stated, stated.graph, stated.graph.node[2], stated.graph.input[0]):
        place.metadata_props.add(key="from", value="torch")
    stated.graph.input[0].doc_string = "an image"
    stated.graph.value_info.append(info("b", TensorProto.FLOAT, [2, 3]))
    stated.graph.value_info[-1].metadata_props.add(key="of", value="b")
    _, after = done(from_proto(stated), attribute)
    graph = after.ir_model.graph
    for place in (after.ir_model, graph, after.nodes["neg"], graph.inputs[0]):
        assert place.metadata_props == {"from": "torch"}
    assert (graph.inputs[0].doc_string, after.nodes["mul"].doc_string) == ("an image", "a product")
    b = after.nodes["leaky"].outputs[0]
    assert (b.metadata_props, b.shape.numpy(), b.dtype) == ({"of": "b"}, (2, 3), ir.DataType.FLOAT)


def test_the_type_that_a_function_states_is_written():
    def state(graph):
        graph.tensors()["b"].shape = [2, 3]
        graph.tensors()["b"].dtype = np.float32

    assert done(chain(), state)[0] is None  # as it is known to be anyway
    graph = chain().thaw()
    assert changed_by(graph, state, where="f") == [QUIET]
    assert graph.graph.node("leaky").outputs[0].shape.numpy() == (2, 3)


def tensors_in_attributes():
    nodes = [
        node("Constant", [], ["k"], "k", value=constant("kept", [1, 2, 3], "float32")),
        node("Add", ["x", "k"], ["s"], "add"),
        node("Constant", [], ["e"], "e", value_ints=[3]),
        node("Reshape", ["s", "e"], ["y"], "reshape"),
    ]
    return model(nodes, {"x": [3]}, {"y": [3]})


def test_a_tensor_among_the_attributes_is_the_one_it_was_unless_it_is_changed():
    subject = tensors_in_attributes()

    def read(graph):
        for one in graph.nodes:
            if "value" in one.attrs:
                assert one.attrs["value"].values.shape == (3,)

    assert done(subject, read)[0] is None

    def changed(graph):
        for one in graph.nodes:
            if "value" in one.attrs:
                one.attrs["value"] = gs.Constant("kept", one.attrs["value"].values * 2)

    notes, after = done(subject, changed)
    assert notes == ["1 nodes changed"]
    np.testing.assert_array_equal(after.nodes["k"].attributes["value"].as_tensor().numpy(), [2, 4, 6])


def branches():
    def branch(op):
        return helper.make_graph(
            [node(op, ["x", "w"], ["t"], "first"), node("Mul", ["t", "own"], ["r"], "last")],
            op,
            [],
            [info("r", TensorProto.FLOAT, [3])],
            [weight("own", 3)],
        )

    choice = node("If", ["c"], ["y"], "if", then_branch=branch("Add"), else_branch=branch("Sub"))
    inputs = {"x": [3], "c": (TensorProto.BOOL, [])}
    return model([choice], inputs, {"y": [3]}, [weight("w", 3)])


def test_subgraphs_keep_their_weights_and_are_counted():
    subject = branches()

    def into(graph):
        for one in graph.nodes:
            for part in one.subgraphs():
                part.nodes[0].op = "Mul"

    notes, after = done(subject, into)
    assert notes == ["2 nodes changed"]
    assert [(prefix, list(part.initializers)) for prefix, part in after.graphs] == [
        ("", ["w"]),
        ("if/else/", ["own"]),
        ("if/then/", ["own"]),
    ]
    assert {name: one.op_type for name, one in after.nodes.items()} == {
        "if": "If",
        "if/else/first": "Mul",
        "if/else/last": "Mul",
        "if/then/first": "Mul",
        "if/then/last": "Mul",
    }


def test_a_weight_that_a_branch_gets_is_the_branchs():
    def give(graph):
        branch = next(iter(graph.nodes[0].subgraphs()))
        branch.nodes[1].inputs[1] = gs.Constant("fresh", np.ones(3, np.float32))

    _, after = done(branches(), give)
    assert [list(part.initializers) for _, part in after.graphs] == [["w"], ["fresh"], ["own"]]


def with_functions(*names, overloads=("", "")):
    functions = [
        helper.make_function(
            "own",
            name,
            ["a"],
            ["b"],
            [node("Neg", ["a"], ["m"], "neg"), node("Abs", ["m"], ["b"], "abs")],
            [helper.make_opsetid("", 17)],
            overload=overload,
        )
        for name, overload in zip(names, overloads, strict=False)
    ]
    calls = []
    for at, (name, overload) in enumerate(zip(names, overloads, strict=False)):
        calls.append(node(name, [f"t{at}"], [f"t{at + 1}"], f"call{at}", domain="own"))
        calls[-1].overload = overload
    return model(calls, {"t0": [3]}, {f"t{len(names)}": [3]}, domains=["own"], functions=functions, ir_version=10)


def test_only_the_functions_that_are_touched_are_written_anew():
    def into(graph):
        graph.functions[1].nodes[0].op = "Exp"

    subject = with_functions("One", "Two")
    notes, after = done(subject, into)
    assert notes == ["1 nodes changed"]
    assert {name: one.op_type for name, one in after.nodes.items() if name.endswith("/neg")} == {
        "function(own:One)/neg": "Neg",
        "function(own:Two)/neg": "Exp",
    }

    def without(graph):
        graph.nodes = graph.nodes[:1]
        graph.outputs = [graph.nodes[0].outputs[0]]
        graph.functions = graph.functions[:1]

    notes, after = done(subject, without)
    assert notes == ["3 nodes removed"]
    assert list(after.nodes) == ["call0", "function(own:One)/neg", "function(own:One)/abs"]


def test_an_overload_is_kept_and_two_of_a_name_are_refused():
    def into(graph):
        graph.functions[0].nodes[0].op = "Exp"

    _, after = done(with_functions("One", overloads=("fast",)), into)
    assert list(after.ir_model.functions) == [("own", "One", "fast")]
    assert after.nodes["call0"].overload == "fast"
    with pytest.raises(EditError) as refused:
        done(with_functions("One", "One", overloads=("fast", "slow")), lambda _: None)
    assert str(refused.value) == (
        "f: GraphSurgeon cannot hold this model: two functions are called One and told apart by their overload alone. "
        "Cut off the part that it cannot hold first."
    )


def test_another_operator_set_converts_nothing_and_says_so():
    def later(graph):
        graph.opset = 18
        graph.nodes[2].op = "Abs"

    notes, after = done(chain(), later)
    assert notes[0] == "1 nodes changed"
    assert notes[1:] == ["opset 18 was set on the graph, which converts nothing: use convert_opset"]
    assert after.opset == 17


def test_a_domain_that_was_not_imported_is_not_afterwards():
    stated = chain().proto
    stated.graph.node[1].domain = "own"
    subject = from_proto(stated)
    assert dict(subject.ir_model.opset_imports) == {"": 17}
    _, after = done(subject, operator)
    assert dict(after.ir_model.opset_imports) == {"": 17}
    assert after.nodes["leaky"].domain == "own"


def test_what_no_one_can_hand_over_is_said():
    body = helper.make_graph([node("Neg", ["x"], ["r"], "neg")], "b", [], [info("r", TensorProto.FLOAT, [3])])
    held = node("Own", ["x"], ["y"], "own", domain="own", plain=1)
    held.attribute.append(helper.make_attribute("bodies", [body]))
    subject = model([node("Abs", ["x0"], ["x"], "abs"), held], {"x0": [3]}, {"y": [3]}, domains=["own"])

    def into(graph):
        graph.nodes[1].op = "Other"

    notes, after = done(subject, into)
    assert notes[0] == "1 nodes changed"
    assert notes[1].startswith("attribute bodies of own is lost: GraphSurgeon does not read ")
    assert sorted(after.nodes["own"].attributes) == ["plain"]
    assert onnx.ModelProto.FromString(after.to_bytes()).graph.node[1].op_type == "Other"
