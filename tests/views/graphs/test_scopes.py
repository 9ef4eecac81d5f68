from __future__ import annotations

import pytest

from tests.kit import graphs
from workbench.errors import SelectorError
from workbench.graph.load import load_model
from workbench.views.graphs.network import Network, Op, network_of
from workbench.views.graphs.scopes import MOST_VISIBLE, GraphScopes
from workbench.views.graphs.tree import MOST_CHILDREN


def shown_ids(panel) -> set[str]:
    return {item.id for item in panel.walk() if item.kind not in {"port", "stub"}}


def test_equal_siblings_are_folded_and_one_odd_one_out_is_not() -> None:
    tree = GraphScopes(graphs.decoder(12)).tree
    assert [child.label for child in tree.root.children if not isinstance(child, int)] == [
        "mask",
        "layers.0 … layers.11",
    ]
    fold = tree.scopes["layers.0…11/"]
    assert fold.kind == "fold"
    assert len(fold.children) == 12
    odd = GraphScopes(graphs.decoder(12, extra={5})).tree
    labels = [child.label for child in odd.root.children if not isinstance(child, int)]
    assert labels == ["mask", "layers.0 … layers.4", "layers.5", "layers.6 … layers.11"]


def test_a_scope_with_one_operator_is_that_operator() -> None:
    tree = GraphScopes(graphs.decoder(2)).tree
    assert "embed/" not in tree.scopes
    assert tree.network.index["/embed/Gather"] in tree.root.children


def test_expanding_and_collapsing_go_back_and_forth() -> None:
    scopes = GraphScopes(graphs.decoder(12))
    start = scopes.collapse(scopes.first(), "layers.0…11")
    one = scopes.expand(start, "layers.3/attn")
    ids = shown_ids(scopes.panel(one))
    assert {"layers.3/attn/", "/layers.3/attn/Softmax", "layers.2/", "layers.3/"} <= ids
    assert "/layers.2/attn/Softmax" not in ids
    assert scopes.collapse(one, "layers.0…11/").expanded == start.expanded


def test_every_operator_is_shown_exactly_once_and_every_edge_is_there() -> None:
    scopes = GraphScopes(graphs.decoder(5, extra={2}))
    shown = scopes.first()
    for path in list(scopes.tree.scopes):
        if path:
            shown = scopes.expand(shown, path)
    panel = scopes.panel(shown)
    names = [item.id for item in panel.walk() if item.kind == "op"]
    assert sorted(names) == sorted(scopes.network.index)
    # Walk every edge through the ports: the tensor edges that come out are those of the network.
    assert reached(panel) == {
        (scopes.network.ops[a].name, scopes.network.ops[b].name)
        for a, b in zip(scopes.network.tails.tolist(), scopes.network.heads.tolist(), strict=True)
    }


def end_of(panel, at, port) -> tuple[str, str]:
    item = panel.items[at]
    return (panel.path, item.id) if item.panel is None else (item.panel.path, item.panel.items[port].id)


def steps(panel) -> dict[tuple[str, str], set[tuple[str, str]]]:
    step: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for inner in panels(panel):
        for link in inner.links:
            tail, head = end_of(inner, link.tail, link.tail_port), end_of(inner, link.head, link.head_port)
            step.setdefault(tail, set()).add(head)
        for item in inner.items:
            if item.kind == "stub":
                step.setdefault((inner.path, item.note), set()).add((inner.path, item.id))
    return step


def reached(panel) -> set[tuple[str, str]]:
    step = steps(panel)
    ops = {(inner.path, item.id) for inner in panels(panel) for item in inner.items if item.kind == "op"}
    names = set()
    for start in ops:
        todo, seen = list(step.get(start, ())), set()
        while todo:
            place = todo.pop()
            if place in ops:
                names.add((start[1], place[1]))
            elif place not in seen:
                seen.add(place)
                todo += step.get(place, ())
    return names


def panels(panel):
    yield panel
    for item in panel.items:
        if item.panel is not None:
            yield from panels(item.panel)


def test_a_hub_that_feeds_far_and_many_is_split_into_stubs() -> None:
    scopes = GraphScopes(graphs.decoder(12))
    panel = scopes.panel(scopes.expand(scopes.collapse(scopes.first(), "layers.0…11"), "layers.0…11"))
    fold = next(item.panel for item in panel.items if item.id == "layers.0…11/")
    stubs = [item for item in fold.items if item.kind == "stub"]
    assert len(stubs) >= 8
    assert {item.label for item in stubs} == {"/mask/Sub:0"}
    near = [link for link in fold.links if fold.items[link.head].id == "layers.0/"]
    assert not any(fold.items[link.tail].kind == "stub" for link in near)


def test_there_are_never_more_than_500_nodes() -> None:
    scopes = GraphScopes(graphs.decoder(90))
    assert max(len(scope.children) for scope in scopes.tree.scopes.values()) <= MOST_CHILDREN
    shown = scopes.first()
    for path in list(scopes.tree.scopes):
        if path:
            shown = scopes.expand(shown, path)
            panel = scopes.panel(shown)
            assert panel.visible() <= MOST_VISIBLE
            assert path in {item.id for item in panel.walk() if item.panel is not None}


def test_names_without_scopes_get_blocks() -> None:
    kinds = ["Conv", "BatchNormalization", "Relu"] * 40 + ["GlobalAveragePool", "Flatten", "Gemm"]
    scopes = GraphScopes(graphs.chain([(f"{kind}_{at}", kind) for at, kind in enumerate(kinds)]))
    fold = next(child for child in scopes.tree.root.children if not isinstance(child, int))
    assert (fold.kind, len(fold.children), len(fold.ops)) == ("fold", 40, 120)
    assert all(len(block.ops) == 3 for block in fold.children)


def test_no_scope_is_a_crowd_however_flat_the_model() -> None:
    kinds = [f"Op{(at * at) % 97}" for at in range(3000)]
    tree = GraphScopes(graphs.chain([(f"n{at}", kind) for at, kind in enumerate(kinds)])).tree
    assert max(len(scope.children) for scope in tree.scopes.values()) <= MOST_CHILDREN
    assert sorted(tree.root.ops) == list(range(3000))


def test_an_operator_without_a_scope_joins_those_it_feeds() -> None:
    ops = [
        Op("/a/b/Relu", "Relu", ("x",), ("t",), ("a", "b"), "Relu"),
        Op("Transpose_1", "Transpose", ("t",), ("u",), (), "Transpose_1"),
        Op("/a/c/Conv", "Conv", ("u",), ("v",), ("a", "c"), "Conv"),
        Op("/a/c/Relu", "Relu", ("v",), ("y",), ("a", "c"), "Relu"),
    ]
    tree = GraphScopes(Network(ops, ["x"], ["y"])).tree
    assert tree.home[1].path == "a/c/"


def test_search_finds_names_types_and_tensors() -> None:
    scopes = GraphScopes(graphs.decoder(3))
    assert scopes.search("softmax") == [f"/layers.{i}/attn/Softmax" for i in range(3)]
    assert scopes.search(r"layers\.[01]/mlp/gelu$") == ["/layers.0/mlp/Gelu", "/layers.1/mlp/Gelu"]
    assert "/mask/Cast" in scopes.search("^attention_mask$")
    assert scopes.search("nothing at all") == []
    with pytest.raises(SelectorError, match="regular expression"):
        scopes.search("(")


def test_reveal_opens_what_is_around_and_focus_shows_the_neighbourhood() -> None:
    scopes = GraphScopes(graphs.decoder(12))
    shown = scopes.reveal(scopes.first(), "/layers.7/attn/Softmax")
    assert "/layers.7/attn/Softmax" in shown_ids(scopes.panel(shown))
    near = scopes.focus(shown, ["/layers.7/attn/Softmax"], 1)
    assert shown_ids(scopes.panel(near)) == {"/layers.7/attn/Softmax", "/layers.7/attn/Add", "/layers.7/attn/MatMul_1"}
    marks = {item.id: item.label for item in scopes.panel(near).walk() if item.id.startswith("beyond")}
    assert marks
    assert set(marks.values()) <= {"1 more", "2 more", "3 more"}
    assert "beyond</layers.7/attn/Add" in marks
    assert scopes.members(near, "beyond</layers.7/attn/Add") == []
    assert scopes.focus(near, [], 1).focus == ()


def test_wrong_names_suggest_near_ones() -> None:
    scopes = GraphScopes(graphs.decoder(3))
    with pytest.raises(SelectorError, match=r"layers\.1/attn"):
        scopes.expand(scopes.first(), "layer.1/attn")
    with pytest.raises(SelectorError, match=r"/layers\.0/attn/Softmax"):
        scopes.select(scopes.first(), ["/layers.0/attn/softmax"])


def test_members_of_a_scope_are_its_operators() -> None:
    scopes = GraphScopes(graphs.decoder(3))
    shown = scopes.expand(scopes.first(), "layers.1")
    assert set(scopes.members(shown, "layers.1/mlp/")) == {f"/layers.1/mlp/{n}" for n in ("MatMul", "Gelu", "MatMul_1")}
    assert scopes.members(shown, "/layers.1/Add") == ["/layers.1/Add"]


def test_a_crowd_of_inputs_is_one_item() -> None:
    ops = [Op(f"n{i}", "Relu", (f"in{i}",), (f"out{i}",)) for i in range(30)]
    panel = GraphScopes(Network(ops, [f"in{i}" for i in range(30)], [f"out{i}" for i in range(30)])).panel(
        GraphScopes(Network(ops)).first()
    )
    assert {item.label for item in panel.items if item.kind in {"input", "output"}} == {"30 inputs", "30 outputs"}


def test_cycles_made_by_collapsing_are_drawn() -> None:
    ops = [
        Op("/a/Relu", "Relu", ("x",), ("t",), ("a",), "Relu"),
        Op("/b/Relu", "Relu", ("t",), ("u",), ("b",), "Relu"),
        Op("/a/Neg", "Neg", ("u",), ("v",), ("a",), "Neg"),
        Op("/b/Neg", "Neg", ("v",), ("y",), ("b",), "Neg"),
    ]
    scopes = GraphScopes(Network(ops, ["x"], ["y"]))
    panel = scopes.panel(scopes.collapse(scopes.collapse(scopes.first(), "a"), "b"))
    pairs = {(panel.items[link.tail].id, panel.items[link.head].id) for link in panel.links}
    assert {("a/", "b/"), ("b/", "a/")} <= pairs


def test_an_edited_model_keeps_its_scopes() -> None:
    kinds = ["Conv", "BatchNormalization", "Relu"] * 20 + ["Flatten", "Gemm"]
    before = graphs.chain([(f"n{at}", kind) for at, kind in enumerate(kinds)])
    old = GraphScopes(before)
    block = next(path for path, scope in old.tree.scopes.items() if scope.kind == "block")
    # BatchNormalization goes, a Cast comes before the second Conv.
    ops, renamed = [], {}
    for op in before.ops:
        inputs = tuple(renamed.get(tensor, tensor) for tensor in op.inputs)
        if op.op_type == "BatchNormalization":
            renamed[op.outputs[0]] = inputs[0]
            continue
        if op.name == "n3":
            ops.append(Op("cast", "Cast", inputs, ("cast:0",), (), "cast"))
            inputs = ("cast:0",)
        ops.append(Op(op.name, op.op_type, inputs, op.outputs, (), op.label))
    new = GraphScopes(Network(ops, before.inputs, before.outputs), old)
    assert set(new.tree.scopes) == set(old.tree.scopes)
    names = [[scopes.network.ops[at].name for at in scopes.tree.scopes[block].ops] for scopes in (old, new)]
    assert [name for name in names[0] if name in new.network.index] == [name for name in names[1] if name != "cast"]
    assert new.tree.home[new.network.index["cast"]] is new.tree.home[new.network.index["n3"]]
    assert sorted(new.tree.root.ops) == list(range(len(ops)))
    shown = new.expand(new.first(), block)
    assert new.panel(shown).visible() > new.panel(new.first()).visible()


def test_another_model_gets_scopes_of_its_own() -> None:
    old = GraphScopes(graphs.decoder(4))
    other = graphs.chain([(f"n{at}", "Relu") for at in range(9)])
    assert set(GraphScopes(other, old).tree.scopes) == {""}


@pytest.mark.parametrize("name", ["yolox_nano_qdq", "silero_vad_16k_op15", "ppocr_det_en_v3", "microllama_fp32"])
def test_real_models_open_with_a_readable_picture(shared, name) -> None:
    scopes = GraphScopes(network_of(load_model(shared / "models" / name / "model.onnx")))
    panel = scopes.panel(scopes.first())
    assert 3 <= panel.visible() <= 60
    assert max(len(scope.children) for scope in scopes.tree.scopes.values()) <= MOST_CHILDREN
    drawn = sum(1 for at, host in enumerate(scopes.network.host) if at == host)
    assert len(scopes.tree.root.ops) == drawn
