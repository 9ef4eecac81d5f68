from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.errors import EditError
from workbench.graph.load import load_model
from workbench.session import Workbench
from workbench.views.graph_ops import Network
from workbench.views.graph_surgery import Offer, Surgery

_spec = importlib.util.spec_from_file_location("graphs", Path(__file__).with_name("graphs.py"))
graphs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(graphs)


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
    told = []
    view.tell = told.append
    bench.edit("fold_constants")
    # The page still lists the edits of the model as it was: the first of them is not done by mistake.
    view.handle({"type": "apply", "index": 0})
    assert "edited elsewhere" in told[0]["text"]
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
    view.apply(next(at for at, offer in enumerate(view.offers) if "fold_constants" in offer.line))
    steps = bench.recipe.steps

    class Idle:
        workbench = bench
        network = staticmethod(lambda: view.picture.scopes.network)
        offers = staticmethod(lambda _: [Offer("Nothing", "Does nothing.", "wb.edit('nothing')", None)])
        after = staticmethod(lambda _: view.picture.scopes.network)
        apply = staticmethod(lambda _: False)
        lines = staticmethod(list)

    idle = Surgery(Idle())
    assert idle.preview(0).changes == 0
    assert "changes nothing" in idle.mark_state()["preview"]["doc"]
    with pytest.raises(EditError, match="changes nothing"):
        idle.apply(0)
    assert bench.recipe.steps == steps


class DropBench:
    """A bench of its own kind: it takes operators out of a network."""

    def __init__(self, network: Network) -> None:
        self.now, self.done = network, []

    def network(self) -> Network:
        return self.now

    def offers(self, names):
        if not names:
            return []
        return [Offer("Drop", "Take these nodes out.", f"drop({list(names)!r})", tuple(names))]

    def after(self, offer: Offer) -> Network:
        ops = [op for op in self.now.ops if op.name not in offer.edit]
        return Network(ops, self.now.inputs, self.now.outputs)

    def apply(self, offer: Offer) -> bool:
        self.now = self.after(offer)
        self.done.append(offer.line)
        return True

    def lines(self):
        return self.done


def test_the_offers_follow_the_selection_and_what_was_open_stays_open() -> None:
    view = Surgery(DropBench(graphs.decoder(4)))
    assert view.offers == []
    view.expand("layers.1/mlp")
    view.selected = ["/layers.1/mlp/Gelu", "/layers.1/Add"]
    assert [offer.name for offer in view.offers] == ["Drop"]
    marks = view.mark_state()
    assert marks["edits"] == [{"name": "Drop", "doc": "Take these nodes out."}]
    assert "preview" not in marks
    view.handle({"type": "preview", "index": 0})
    shown = view.mark_state()["preview"]
    assert 'data-id="/layers.1/mlp/Gelu"' in shown["before"]
    assert 'data-id="/layers.1/mlp/Gelu"' not in shown["after"]
    view.handle({"type": "apply", "index": 0})
    assert view.bench.done == ["drop(['/layers.1/mlp/Gelu', '/layers.1/Add'])"]
    assert view.selected == []
    assert view.offers == []
    assert "layers.1/mlp/" in view.picture.shown.expanded


def test_there_is_no_seventh_edit() -> None:
    view = Surgery(DropBench(graphs.decoder(2)))
    with pytest.raises(EditError, match="no such edit"):
        view.preview(6)
