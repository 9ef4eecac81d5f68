"""What every edit makes of its cases, node by node: a change of any of it is seen in the snapshots beside this file."""

from __future__ import annotations

import pytest

from tests.kit.holders import CASES, arguments_at, held
from tests.kit.networks import BLOCKS, network
from tests.kit.odd_models import ODD
from tests.kit.portrait import of_model, text_of
from workbench.errors import WorkbenchError
from workbench.graph.edits.base import python_line
from workbench.graph.edits.registry import applicable, edit_by_name
from workbench.graph.load import from_proto

HOLDER = {"if": "hold/then/", "loop": "hold/body/", "function": "function(local:Hold)/"}
NETWORKS = {
    "convolutions": network(*BLOCKS, head="gemm"),
    "attention": network("conv", head="attention", opset=18),
    "products": network("residual", head="matmul", opset=13),
}


def changes(before, after, most):
    """The first lines of a portrait that are gone, and the first that are new."""
    now = of_model(after).splitlines()
    gone = [f"  - {line}" for line in before if line not in now]
    return gone[:most] + [f"  + {line}" for line in now if line not in before][:most]


@pytest.mark.parametrize("name", [name for name in CASES if name != "restore_weights"])
def test_what_an_edit_makes(name, snapshot):
    case = CASES[name]
    holder = case.holders[0]
    result = edit_by_name(name, **arguments_at(case, HOLDER[holder]))(held(case, holder))
    assert of_model(result.model) == snapshot(name="model")
    assert result.notes == snapshot(name="notes")


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_offered_and_what_becomes_of_it(name, snapshot):
    model = NETWORKS[name]
    offers = {address: applicable(model, [address]) for address in ["", *model.nodes] if address}
    offers["the model"] = applicable(model, [])
    lines, seen = [], set()
    for address, edits in offers.items():
        for edit in edits:
            lines.append(f"{address}: {python_line(edit)}")
            if (edit.do, model.nodes[address].op_type if address in model.nodes else "") in seen:
                continue
            seen.add((edit.do, model.nodes[address].op_type if address in model.nodes else ""))
            try:
                result = edit(model)
            except WorkbenchError as error:
                lines.append(f"  refused: {error}")
                continue
            lines += [f"  {note}" for note in result.notes]
            lines += [line for line in changes(of_model(model).splitlines(), result.model, 12) if line[2] == "+"]
    assert "\n".join(lines) == snapshot


@pytest.mark.parametrize("name", ODD)
def test_what_edits_of_the_whole_make_of_odd_models(name, snapshot):
    model = from_proto(ODD[name]())
    before, lines = of_model(model).splitlines(), []
    for edit in applicable(model, []):
        lines.append(text_of(edit.model_dump(mode="json")))
        try:
            result = edit(model)
        except WorkbenchError as error:
            lines.append(f"  refused: {error}")
            continue
        lines += [f"  {note}" for note in result.notes]
        lines += changes(before, result.model, 6)
    assert "\n".join(lines) == snapshot


ASKED = [
    ("set_batch", {"size": 3}),
    ("set_batch", {"size": "N"}),
    ("set_batch", {"size": 2, "inputs": ["x"]}),
    ("set_batch", {"size": 2, "inputs": ["y"]}),
    ("set_input_type", {"input": "x", "dtype": "FLOAT16"}),
    ("set_input_type", {"input": "x", "dtype": "UINT8"}),
    ("set_input_type", {"input": "x", "dtype": "FLOAT17"}),
    ("set_input_layout", {"input": "x", "layout": "NHWC"}),
    ("set_input_layout", {"input": "x", "layout": "NCHW"}),
    ("mark_output", {"tensor": "t1"}),
    ("mark_output", {"tensor": "x"}),
    ("mark_output", {"tensor": "w0"}),
    ("mark_output", {"tensor": "t999"}),
    ("drop_output", {"output": "t1"}),
    ("extract", {"inputs": ["t1"], "outputs": ["t4"]}),
    ("extract", {"inputs": ["t4"], "outputs": ["t1"]}),
    ("insert", {"tensor": "t1", "op": "Relu", "name": "between"}),
    ("insert", {"tensor": "t1", "op": "LeakyRelu", "attributes": {"alpha": 0.5}}),
    ("insert", {"tensor": "t1", "op": "Conv"}),
    ("insert", {"tensor": "t1", "op": "Relu", "readers": ["Relu_2"]}),
    ("insert", {"tensor": "t1", "op": "Relu", "readers": ["Conv_0"]}),
    ("bypass", {"node": "Relu_2"}),
    ("bypass", {"node": "Conv_0", "input": 1}),
    ("bypass", {"node": "Conv_0", "input": 9}),
    ("delete", {"node": "Conv_0"}),
    ("replace_node", {"node": "Relu_2", "op": "Sigmoid"}),
    ("replace_node", {"node": "Conv_0", "op": "Add", "inputs": [0, 0]}),
    ("replace_node", {"node": "Conv_0", "op": "Add", "inputs": [0, 7]}),
    ("rename_node", {"node": "Conv_0", "to": "c"}),
    ("rename_node", {"node": "Conv_0", "to": "Relu_2"}),
    ("rename_tensor", {"tensor": "t1", "to": "t2"}),
    ("rename_tensor", {"tensor": "x", "to": "image"}),
    ("convert_opset", {"version": 13}),
    ("convert_opset", {"version": 21}),
    ("equalize_channels", {"exponents": {"x": [1, 0, -1, 2]}}),
    ("equalize_channels", {"exponents": {"t2": [1, 0, -1, 2]}}),
    ("equalize_channels", {"exponents": {"t2": [1]}}),
    ("correct_bias", {"shifts": {"Conv_0": [1, 2, 3, 4]}}),
    ("correct_bias", {"shifts": {"Conv_0": [1, 2, 3]}}),
    ("correct_bias", {"shifts": {"Relu_2": [1]}}),
    ("replace_pattern", {"pattern": "y = Relu(x)", "replacement": "y = Elu(x)"}),
    ("replace_pattern", {"pattern": "y = Relu(x", "replacement": "y = Elu(x)"}),
    ("fold_constants", {"only": "op:Cnov"}),
    ("no_such_edit", {}),
    ("delete", {"nodes": 3}),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_what_becomes_of_what_is_asked_for(name, snapshot):
    model = NETWORKS[name]
    before, lines = of_model(model).splitlines(), []
    for edit, arguments in ASKED:
        lines.append(f"{edit} {text_of(arguments)}")
        try:
            result = edit_by_name(edit, **arguments)(model)
            again = edit_by_name(edit, **arguments)(result.model) if edit in ("correct_bias", "insert") else result
        except WorkbenchError as error:
            lines.append(f"  refused: {error}")
            continue
        lines += [f"  {note}" for note in result.notes]
        lines += changes(before, again.model, 8)
    assert "\n".join(lines) == snapshot
