from __future__ import annotations

import json

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.errors import EditError, SelectorError
from workbench.graph.edits.registry import EDITS
from workbench.graph.load import from_proto, load_model
from workbench.session import Workbench
from workbench.views.graphs.forms import arguments_of, form_of
from workbench.views.graphs.surgery_view import Surgery


@pytest.fixture
def bench(tmp_path) -> Workbench:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Constant", [], ["two"], name="two", value_float=2.0),
        helper.make_node("Constant", [], ["three"], name="three", value_float=3.0),
        helper.make_node("Mul", ["two", "three"], ["six"], name="product"),
        helper.make_node("Mul", ["x", "six"], ["h"], name="scale"),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    graph = helper.make_graph(nodes, "g", [value("x", TensorProto.FLOAT, [4])], [value("y", TensorProto.FLOAT, [4])])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return Workbench(load_model(path))


def names(picture) -> set[str]:
    return {op.name for op in picture.scopes.network.ops}


def test_a_real_edit_is_offered_previewed_and_becomes_a_recipe_line(bench) -> None:
    view = Surgery(bench)
    index = next(at for at, offer in enumerate(view.offers) if offer.line == 'wb.edit("fold_constants")')
    before = bench.model
    preview = view.preview(index)
    assert "product" in names(preview.before)
    assert "product" not in names(preview.after)
    assert "scale" in names(preview.after)
    assert preview.changes > 0
    assert bench.model is before
    assert bench.recipe.steps == ()

    assert view.apply(index) == 'wb.edit("fold_constants")'
    assert len(bench.recipe.steps) == 1
    assert "product" not in view.picture.scopes.network.index
    assert view.mark_state()["log"] == ['wb.edit("fold_constants")']
    assert view.model is bench.model


def test_it_follows_a_model_that_is_edited_elsewhere(bench) -> None:
    view = Surgery(bench)
    view.color_by("activation_bytes")
    view.offers  # noqa: B018 - as the page has them
    messages, shown = [], view.widget().marks["version"]
    view.send = messages.append
    bench.edit("fold_constants")
    # The page still lists the edits of the model as it was: the first of them is not done by mistake.
    view.handle({"type": "apply", "version": shown})
    assert "changed meanwhile" in messages[0]["text"]
    assert len(bench.recipe.steps) == 1
    assert view.model is bench.model
    assert "product" not in view.picture.scopes.network.index
    assert view.picture.overlay is view.columns["activation_bytes"]
    assert set(view.picture.overlay.values) == set(bench.model.nodes)
    bench.undo()
    view.selected = ["product"]
    assert view.picture.scopes.network.index["product"] == 2


def test_an_edit_that_changes_nothing_is_refused_and_said(bench) -> None:
    view = Surgery(bench)
    assert view.fill_in("fold_constants", {"only": "name:relu"}).changes == 0
    assert "changes nothing" in view.mark_state()["preview"]["doc"]
    with pytest.raises(EditError, match="changes nothing"):
        view.apply()
    assert bench.recipe.steps == ()


def test_the_offers_follow_the_selection_and_what_was_open_stays_open() -> None:
    value = helper.make_tensor_value_info
    names = [f"/layers.{layer}/{part}" for layer in range(12) for part in ("a", "b", "c")]
    nodes = [helper.make_node("Neg", [f"t{at}"], [f"t{at + 1}"], name) for at, name in enumerate(names)]
    ends = [[value(f"t{at}", TensorProto.FLOAT, [4])] for at in (0, len(names))]
    proto = helper.make_model(helper.make_graph(nodes, "g", *ends), opset_imports=[helper.make_opsetid("", 17)])
    view = Surgery(Workbench(from_proto(proto)))
    view.expand("layers.1")
    view.selected = ["/layers.1/b"]
    line = """wb.edit("bypass", node='/layers.1/b')"""
    index = next(at for at, offer in enumerate(view.offers) if offer.line == line)
    offer = view.offers[index]
    assert view.mark_state()["edits"][index] == {"name": offer.name, "doc": offer.doc, "at": ""}
    assert "preview" not in view.mark_state()
    view.handle({"type": "preview", "index": index})
    shown = view.mark_state()["preview"]
    assert 'data-id="/layers.1/b"' in shown["before"]
    assert 'data-id="/layers.1/b"' not in shown["after"]
    view.handle({"type": "apply"})
    assert view.mark_state()["log"] == [line]
    assert view.selected == []
    assert line not in [offer.line for offer in view.offers]
    assert "layers.1/" in view.picture.shown.expanded


def test_there_is_no_sixtieth_edit(bench) -> None:
    with pytest.raises(EditError, match="no such edit"):
        Surgery(bench).preview(59)


def test_a_preview_and_an_applied_edit_say_what_the_check_said(bench) -> None:
    view = Surgery(bench)
    index = next(at for at, offer in enumerate(view.offers) if "fold_constants" in offer.line)
    assert view.preview(index).check == "the output exactly as before, on random inputs, seed 0"
    assert view.mark_state()["preview"]["check"] == view.previewed.check
    view.handle({"type": "apply"})
    done = 'wb.edit("fold_constants"): the output exactly as before, on random inputs, seed 0'
    assert view.mark_state()["done"] == done
    view.selected = ["relu"]
    bypass = next(at for at, offer in enumerate(view.offers) if "bypass" in offer.line)
    assert view.preview(bypass).check == "not checked, because this edit is not meant to keep what the model computes"


def test_what_is_picked_is_what_an_edit_acts_on(bench) -> None:
    view = Surgery(bench)
    view.selected = ["two", "three", "product"]
    line = next(offer.line for offer in view.offers if "fold_constants" in offer.line)
    assert line == """wb.edit("fold_constants", only='name:two|three|product')"""


def test_several_nodes_by_a_selector_or_between_two(bench) -> None:
    view = Surgery(bench)
    messages = []
    view.send = messages.append
    view.handle({"type": "pick", "selector": "op:Mul|Relu"})
    assert view.selected == ["product", "scale", "relu"]
    view.handle({"type": "pick", "selector": "op:Conv"})
    assert "matches nothing" in messages[-1]["text"]
    view.selected = ["relu", "two"]
    view.handle({"type": "between"})
    assert view.selected == ["two", "product", "scale", "relu"]
    view.selected = ["two", "three"]
    view.handle({"type": "between"})
    assert "no path leads from one to the other" in messages[-1]["text"]
    view.selected = ["two"]
    view.handle({"type": "between"})
    assert "it takes two nodes" in messages[-1]["text"]


def test_any_edit_has_a_form_that_the_selection_fills_in(bench) -> None:
    view = Surgery(bench)
    view.selected = ["scale"]
    view.handle({"type": "form", "edit": "insert"})
    form = view.mark_state()["form"]
    fields = {one["name"]: one for one in form["fields"]}
    assert list(fields) == ["tensor", "op", "domain", "attributes", "name", "readers"]
    assert (fields["tensor"]["value"], fields["op"]["required"], fields["name"]["required"]) == ("h", True, False)
    assert "Addresses of the nodes" in fields["readers"]["help"]
    view.handle(
        {
            "type": "try",
            "edit": "insert",
            "arguments": {"tensor": "h", "op": "LeakyRelu", "attributes": "alpha: 0.5", "readers": "relu", "name": ""},
        }
    )
    assert view.previewed.offer.line == (
        """wb.edit("insert", tensor='h', op='LeakyRelu', attributes={'alpha': 0.5}, readers=('relu',))"""
    )
    assert {one["name"]: one["value"] for one in view.mark_state()["form"]["fields"]}["attributes"] == "alpha: 0.5"
    view.handle({"type": "apply"})
    assert bench.model.nodes["h_LeakyRelu"].attributes["alpha"].as_float() == 0.5
    assert view.mark_state()["form"] is None


@pytest.mark.parametrize("edit", sorted(EDITS))
def test_a_node_that_is_not_there_is_refused_while_any_form_is_open_and_the_form_stays(bench, edit) -> None:
    view = Surgery(bench)
    form = view.open_form(edit)
    with pytest.raises(SelectorError, match="gone"):
        view.choose(["gone"])
    assert view._form == form
    assert view.selected == []


def test_an_offers_arguments_can_be_changed(bench) -> None:
    view = Surgery(bench)
    view.selected = ["two", "three", "product"]
    view.preview(next(at for at, offer in enumerate(view.offers) if "fold_constants" in offer.line))
    assert view.mark_state()["form"]["fields"][0]["value"] == "name:two|three|product"
    view.handle({"type": "try", "edit": "fold_constants", "arguments": {"only": "name:product"}})
    assert view.previewed.offer.line == """wb.edit("fold_constants", only='name:product')"""
    assert view.mark_state()["preview"]["index"] == -1


def test_undo_and_redo(bench) -> None:
    view = Surgery(bench)
    assert (view.mark_state()["undo"], view.mark_state()["redo"]) == ("", "")
    view.apply(next(at for at, offer in enumerate(view.offers) if "fold_constants" in offer.line))
    assert view.mark_state()["undo"] == "fold_constants"
    view.handle({"type": "undo"})
    assert bench.recipe.steps == ()
    assert "product" in view.picture.scopes.network.index
    assert (view.mark_state()["undo"], view.mark_state()["redo"]) == ("", "fold_constants")
    view.handle({"type": "redo"})
    assert "product" not in view.picture.scopes.network.index
    assert view.mark_state()["log"] == ['wb.edit("fold_constants")']


def test_a_refused_edit_says_why_at_its_node_and_changes_nothing(bench) -> None:
    view = Surgery(bench)
    messages = []
    view.send = messages.append
    view.selected = ["relu"]
    before = bench.model
    view.handle({"type": "try", "edit": "replace_node", "arguments": {"node": "relu", "op": "Reluu"}})
    refused = view.mark_state()["refused"]
    assert refused["id"] == "relu"
    assert "No Op registered for Reluu" in refused["text"]
    assert refused["text"].startswith("relu: replace a node would leave an invalid graph")
    assert messages == []
    assert (view.previewed, bench.model, bench.recipe.steps) == (None, before, ())
    view.handle({"type": "try", "edit": "delete", "arguments": {"node": "scale"}})
    assert view.mark_state()["refused"]["id"] == "scale"
    view.handle({"type": "try", "edit": "rename_tensor", "arguments": {"tensor": "h", "to": "y"}})
    assert view.mark_state()["refused"]["id"] == "scale"
    view.handle({"type": "try", "edit": "insert", "arguments": {"tensor": "h", "op": "Neg", "attributes": "{"}})
    assert "cannot be read" in view.mark_state()["refused"]["text"]
    view.handle({"type": "try", "edit": "set_batch", "arguments": {}})
    assert "argument 'size': Field required" in view.mark_state()["refused"]["text"]
    view.handle({"type": "details", "pane": 0, "id": "relu"})
    assert "refused" not in view.mark_state()


@pytest.mark.parametrize("name", EDITS)
def test_every_form_gives_back_what_it_was_filled_with(name) -> None:
    kind = EDITS[name]
    values = {
        "only": "op:Conv & !name:a|b",
        "tensor": "a/b",
        "op": "Neg",
        "attributes": {"alpha": 0.5, "axes": [1, 2]},
        "readers": ("one", "two"),
        "node": "n",
        "inputs": (0, 2) if name == "replace_node" else ("x", "y"),
        "outputs": ("z",),
        "to": "c",
        "input": 1 if name == "bypass" else "x",
        "layout": "NHWC",
        "dtype": "UINT8",
        "size": "batch" if len(name) % 2 else 4,
        "version": 20,
        "keep": 5,
        "source": "dir/m.onnx",
        "pattern": "a = Neg(x)\ny = Neg(a)" if name == "replace_pattern" else "gelu",
        "replacement": "h = Neg(x)\ny = Abs(h)",
        "output": "y",
        "otherwise": "if/else/u",
        "exponents": {"t": (1, -2)},
        "shifts": {"n": (0.5, -0.25)},
        "domain": "my.plugins",
        "script": "passes.py",
        "sha256": "0" * 64,
        "function": "fold",
        "arguments": {"depth": 2},
        "name": "me",
    }
    by_name = {field: values[field] for field in kind.model_fields if field != "do"}
    edit = kind(**by_name)
    form = form_of(kind, edit.model_dump(exclude={"do"}))
    assert (form["edit"], form["title"]) == (name, kind.title)
    assert all(one["help"] for one in form["fields"] if one["name"] == "only")
    json.dumps(form)
    assert kind(**arguments_of(kind, {one["name"]: one["value"] for one in form["fields"]})) == edit
    empty = {one["name"]: one["value"] for one in form_of(kind, {})["fields"]}
    assert not {n for n in arguments_of(kind, empty) if kind.model_fields[n].is_required()}
