"""Loading: each thing that can be wrong with a file is said in one line, and nothing is lost."""

from __future__ import annotations

import gc
import os
import weakref

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from benchmarks import graph_index
from tests.kit.models import constant, model, proto, random_feeds, run, weight
from workbench.errors import ModelError
from workbench.graph.collector import collector_off, collector_spared
from workbench.graph.load import from_proto, load_model


def simple(**options) -> onnx.ModelProto:
    return proto(
        [helper.make_node("MatMul", ["x", "w"], ["a"], "matmul"), helper.make_node("Relu", ["a"], ["y"], "relu")],
        {"x": ["N", 8]},
        {"y": ["N", 4]},
        [weight("w", 8, 4)],
        **options,
    )


def external(folder, network=None) -> onnx.ModelProto:
    """Write a model with its weights beside it and return its message, to be damaged."""
    path = folder / "m.onnx"
    onnx.save(network or simple(), path, save_as_external_data=True, size_threshold=0, location="m.data")
    return onnx.load(path, load_external_data=False)


def refused(path, *words) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.fix
    for word in (path.name, *words):
        assert word in text
    return text


def test_not_a_file(tmp_path):
    refused(tmp_path / "nothing.onnx", "no such file")
    refused(tmp_path, "folder")


def test_not_onnx(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("This is a letter, not a model. " * 50)
    refused(path, "not an ONNX file")
    path.write_bytes(b"")
    refused(path, "empty")
    path.write_bytes(onnx.ModelProto(ir_version=8).SerializeToString())
    refused(path, "no graph in it")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path, share):
    whole = simple().SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_model_or_a_model_error(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp("noise") / "m.onnx"
    path.write_bytes(noise)
    try:
        load_model(path)
    except ModelError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right


def test_over_two_gigabytes_in_one_file(tmp_path):
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)
    refused(path, "2.0 GiB in one file", "save_as_external_data")


def test_external_data_missing(tmp_path):
    external(tmp_path)
    (tmp_path / "m.data").unlink()
    refused(tmp_path / "m.onnx", "'m.data' of weight 'w' is missing")


@pytest.mark.parametrize("location", ["../secret.data", "/etc/hostname", "a/../../secret.data", ""])
def test_external_data_outside_the_folder(tmp_path, location):
    (tmp_path / "secret.data").write_bytes(bytes(128))
    (tmp_path / "in").mkdir()
    outcome = external(tmp_path / "in")
    for entry in outcome.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path = tmp_path / "in" / "m.onnx"
    path.write_bytes(outcome.SerializeToString())
    refused(path, "outside the model's folder")


def test_external_data_behind_a_link_that_leaves_the_folder(tmp_path):
    (tmp_path / "in").mkdir()
    external(tmp_path / "in")
    (tmp_path / "in" / "m.data").rename(tmp_path / "elsewhere.data")
    (tmp_path / "in" / "m.data").symlink_to(tmp_path / "elsewhere.data")
    refused(tmp_path / "in" / "m.onnx", "outside the model's folder")


def test_external_data_truncated(tmp_path):
    external(tmp_path)
    os.truncate(tmp_path / "m.data", 100)
    refused(tmp_path / "m.onnx", "'m.data' is too short for weight 'w'")


@pytest.mark.parametrize(("key", "value"), [("offset", "-4"), ("offset", "many"), ("length", "12")])
def test_external_data_with_odd_numbers(tmp_path, key, value):
    path = external(tmp_path)
    tensor = path.graph.initializer[0]
    entries = {entry.key: entry.value for entry in tensor.external_data} | {key: value}
    del tensor.external_data[:]
    for name, text in entries.items():
        tensor.external_data.add(key=name, value=text)
    (tmp_path / "m.onnx").write_bytes(path.SerializeToString())
    refused(tmp_path / "m.onnx", "weight 'w'")


def test_external_data_in_bytes_without_a_folder(tmp_path):
    with pytest.raises(ModelError, match="has no folder"):
        from_proto(external(tmp_path))


def test_unknown_operator_set(tmp_path):
    path = tmp_path / "new.onnx"
    onnx_model = simple()
    onnx_model.opset_import[0].version = 999
    path.write_bytes(onnx_model.SerializeToString())
    refused(path, "operator set version 999 is not known")


def test_custom_operator_is_named_with_its_node():
    network = model(
        [helper.make_node("Wobble", ["x"], ["y"], "the_wobble", domain="my.ops")],
        {"x": [2]},
        {"y": [2]},
        domains=["my.ops"],
    )
    (quirk,) = network.quirks
    assert (quirk.kind, quirk.where) == ("custom-op", "the_wobble")
    assert "my.ops.Wobble" in quirk.text


def test_local_function_is_no_custom_operator():
    inner = helper.make_function(
        "my.ops", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    network = model(
        [helper.make_node("Twice", ["x"], ["y"], "n", domain="my.ops")],
        {"x": [2]},
        {"y": [2]},
        domains=["my.ops"],
        functions=[inner],
    )
    assert [quirk.kind for quirk in network.quirks] == ["empty-name"]
    assert list(network.nodes) == ["n", "function(my.ops:Twice)/b"]


def test_duplicate_and_empty_names_are_repaired_and_said():
    network = model(
        [
            helper.make_node("Relu", ["x"], ["a"], "n"),
            helper.make_node("Relu", ["a"], ["b"], "n"),
            helper.make_node("Relu", ["b"], ["c"]),
            helper.make_node("Relu", ["c"], ["y"], "c"),
        ],
        {"x": [2]},
        {"y": [2]},
    )
    assert list(network.nodes) == ["n", "n__2", "c__2", "c"]
    assert [(quirk.kind, quirk.where) for quirk in network.quirks] == [
        ("duplicate-name", "n__2"),
        ("empty-name", "c__2"),
    ]
    assert network.quirks[0].text == "the name 'n' was taken; it is now called 'n__2'"


@given(st.lists(st.sampled_from(["", "a", "b", "a__2", "t0", "t1"]), min_size=1, max_size=8))
def test_names_end_up_unique_and_unique_names_stay(names):
    tensors = ["x", *(f"t{place}" for place in range(len(names)))]
    nodes = [helper.make_node("Relu", [tensors[i]], [tensors[i + 1]], name) for i, name in enumerate(names)]
    network = model(nodes, {"x": [2]}, {tensors[-1]: [2]})
    items = list(network.nodes)
    assert len(set(items)) == len(names)
    assert all(new == old for new, old in zip(items, names, strict=True) if old and names.count(old) == 1)


def test_cycle():
    with pytest.raises(ModelError, match="the graph has a cycle"):
        model(
            [helper.make_node("Add", ["x", "b"], ["a"], "one"), helper.make_node("Relu", ["a"], ["b"], "two")],
            {"x": [2]},
            {"b": [2]},
        )


def test_unsorted_nodes_are_sorted_and_said():
    network = model(
        [helper.make_node("Relu", ["a"], ["y"], "second"), helper.make_node("Relu", ["x"], ["a"], "first")],
        {"x": [2]},
        {"y": [2]},
    )
    assert list(network.nodes) == ["first", "second"]
    assert [(quirk.kind, quirk.where) for quirk in network.quirks] == [("unsorted", "second")]


def test_tensor_from_nowhere():
    with pytest.raises(ModelError, match="node 'n' reads tensor 'ghost', which nothing makes"):
        model([helper.make_node("Add", ["x", "ghost"], ["y"], "n")], {"x": [2]}, {"y": [2]})
    with pytest.raises(ModelError, match="nothing makes the output 'ghost'"):
        model([helper.make_node("Relu", ["x"], ["y"], "n")], {"x": [2]}, {"y": [2], "ghost": [2]})


def test_tensor_made_twice():
    with pytest.raises(ModelError, match="contradicts itself"):
        model(
            [helper.make_node("Relu", ["x"], ["y"], "one"), helper.make_node("Abs", ["x"], ["y"], "two")],
            {"x": [2]},
            {"y": [2]},
        )


def test_weights_listed_as_inputs_leave_them():
    onnx_model = proto(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "n")],
        {"x": [1, 3], "w": [3, 2]},
        {"y": [1, 2]},
        [weight("w", 3, 2)],
        opset=7,
        ir_version=3,
    )
    loaded = from_proto(onnx_model)
    assert [quirk.kind for quirk in loaded.quirks] == ["weights-as-inputs"]
    assert [value.name for value in loaded.proto.graph.input] == ["x"]
    assert loaded.proto.ir_version >= 4
    np.testing.assert_array_equal(
        run(loaded, {"x": np.ones((1, 3), np.float32)})[0],
        np.ones((1, 3), np.float32) @ loaded.initializers["w"].const_value.numpy(),
    )


def test_shape_stated_twice_is_said():
    onnx_model = simple()
    onnx_model.graph.value_info.extend([helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4])] * 2)
    assert [(quirk.kind, quirk.where) for quirk in from_proto(onnx_model).quirks] == [("repeated-value-info", "a")]


def test_identity_is_the_same_inside_and_beside_the_file(tmp_path):
    external(tmp_path)
    beside, inside = load_model(tmp_path / "m.onnx"), from_proto(simple())
    assert beside.digest == inside.digest
    assert beside.to_bytes() == inside.to_bytes()
    changed = simple()
    changed.graph.initializer[0].raw_data = bytes(8 * 4 * 4)
    assert from_proto(changed).digest != inside.digest


def test_identity_does_not_depend_on_how_numbers_are_stored():
    stored = simple()
    values = onnx.numpy_helper.to_array(stored.graph.initializer[0])
    stored.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, values.shape, values.ravel()))
    assert not stored.graph.initializer[0].raw_data
    assert from_proto(stored).digest == from_proto(simple()).digest


def test_identity_sees_weights_of_subgraphs_and_attributes():
    def branches(number):
        def branch(name):
            value = helper.make_node("Add", ["x", f"{name}_w"], [f"{name}_y"], "add")
            out = [helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, [2])]
            return helper.make_graph([value], name, [], out, [constant(f"{name}_w", [number, 2], "float32")])

        node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("t"), else_branch=branch("e"))
        return model([node], {"x": [2], "c": (TensorProto.BOOL, [])}, {"y": [2]})

    assert branches(1).digest == branches(1).digest
    assert branches(1).digest != branches(3).digest


def test_nothing_is_lost_on_a_round_trip(tmp_path):
    onnx_model = simple()
    onnx_model.doc_string = "about the model"
    onnx_model.producer_name = "me"
    onnx_model.metadata_props.add(key="who", value="me")
    onnx_model.graph.doc_string = "about the graph"
    onnx_model.graph.metadata_props.add(key="k", value="v")
    onnx_model.graph.node[0].doc_string = "about the node"
    onnx_model.graph.node[0].metadata_props.add(key="source", value="line 3")
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_model.SerializeToString())
    again = onnx.load_from_string(load_model(path).to_bytes())
    # A weight's shape is stated once more, among the tensors.
    assert [value.name for value in again.graph.value_info] == ["w"]
    del again.graph.value_info[:]
    assert again == onnx_model


def test_real_models_compute_the_same_after_loading(shared):
    for name in ("silero_vad_16k_op15", "mnist_cntk", "gtcrn_simple"):
        path = shared / "models" / name / "model.onnx"
        loaded = load_model(path)
        feeds = random_feeds(loaded, free=1) | (
            {"input": np.ones((1, 512), np.float32), "sr": np.array(16000)} if "silero" in name else {}
        )
        for ours, theirs in zip(run(loaded, feeds), run(path, feeds), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def huge(tmp_path):
    """A model with 2.4 GB of weights beside it, in a file that takes no room."""
    rows, width = 600_000, 1000
    onnx_model = proto(
        [helper.make_node("Gather", ["w", "x"], ["e"], "embed"), helper.make_node("MatMul", ["e", "v"], ["y"], "head")],
        {"x": (TensorProto.INT64, ["N"])},
        {"y": ["N", 4]},
        [weight("v", width, 4)],
    )
    large = onnx_model.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[rows, width])
    large.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "huge.data"), ("offset", "0"), ("length", str(rows * width * 4))):
        large.external_data.add(key=key, value=value)
    with (tmp_path / "huge.data").open("wb") as file:
        file.truncate(rows * width * 4)
    path = tmp_path / "huge.onnx"
    path.write_bytes(onnx_model.SerializeToString())
    return path


def test_over_two_gigabytes_beside_the_file_are_not_read(huge):
    import resource

    from workbench.graph.edits.registry import edit_by_name
    from workbench.graph.inspection import tables
    from workbench.graph.inspection.inspect import summary

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = load_model(huge)
    assert str(loaded.outputs[0]) == "y float[Nx4]"
    actual = summary(loaded)
    assert (actual.parameters, actual.macs) == (600_004_000, 4000)
    assert bool(tables.initializers(loaded).loc["w", "external"])
    after = edit_by_name("rename_node", node="embed", to="embedding")(loaded).model
    assert "embedding" in after.nodes
    assert "huge" in repr(after)
    with pytest.raises(ModelError, match="over 2 GB, which one ONNX file cannot hold"):
        after.to_bytes()
    # ru_maxrss counts kilobytes; reading the weights would take 2.4 million of them.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_what_was_made_counts_as_old_afterwards_and_the_collector_is_as_it_was():
    assert gc.isenabled()
    with collector_off():
        assert not gc.isenabled()
        entries = [[] for _ in range(100)]
    assert gc.isenabled()
    assert sum(one is entries for one in gc.get_objects(generation=2)) == 1
    with pytest.raises(ZeroDivisionError), collector_off():
        _ = 1 / 0
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_a_program_froze_stays_frozen():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with collector_off():
            records = [[]]
        # Some may die meanwhile: other tests' threads let go of theirs.
        assert gc.get_freeze_count() > count / 2
        assert any(one is records for young in (0, 1) for one in gc.get_objects(generation=young))
    finally:
        gc.unfreeze()


@pytest.mark.slow
def test_opening_a_large_model_takes_little_more_than_reading_it():
    # The benchmark's goal is 1.5 at 10,000 nodes; the slack is for a busy machine.
    result = graph_index.measure(nodes=4000, rounds=5, width=64)
    assert result["ratio_of_least"] < 3.0


def test_frozen_objects_are_not_counted_again_and_again_where_the_collector_is_spared(monkeypatch):
    with collector_spared():
        monkeypatch.setattr(gc, "get_freeze_count", lambda: pytest.fail("walks all that was there before"))
        with collector_spared(), collector_off():
            assert not gc.isenabled()
        assert gc.isenabled()
    monkeypatch.undo()
    assert gc.get_freeze_count() < 1000


def test_the_collector_is_spared_what_was_there_before_and_takes_what_comes_and_goes():
    class Ring:
        def __init__(self):
            self.own = self

    before = [[]]
    with collector_spared():
        assert not any(one is before for one in gc.get_objects())
        gone = weakref.ref(Ring())
        gc.collect()
        assert gone() is None
    assert any(one is before for one in gc.get_objects())
    with pytest.raises(ZeroDivisionError), collector_spared():
        _ = 1 / 0
    assert gc.get_freeze_count() < 1000
