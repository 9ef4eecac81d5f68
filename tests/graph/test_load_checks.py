"""What is checked of a file when it is loaded, each on both sides of what it asks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.kit.models import constant, model, proto, weight
from workbench.errors import ModelError
from workbench.graph import load
from workbench.graph.load import _check_external, from_proto, load_model
from workbench.graph.quirk import Quirk

node = helper.make_node
NEWEST = onnx.defs.onnx_opset_version()


def relu(**options):
    return proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]}, **options)


def message_of(made):
    with pytest.raises(ModelError) as caught:
        from_proto(made)
    return str(caught.value)


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
@pytest.mark.parametrize(("version", "known"), [(0, False), (1, True), (NEWEST, True), (NEWEST + 1, False)])
def test_operator_sets_are_known_from_the_first_to_the_newest(domain, version, known):
    made = relu(opset=version)
    made.opset_import[0].domain = domain
    if known:
        assert from_proto(made).opset == version
    else:
        assert message_of(made) == (
            f"g: operator set version {version} is not known; this onnx package knows 1 to {NEWEST}. "
            "Upgrade the onnx package, or export with an older opset."
        )


@pytest.mark.parametrize(("version", "known"), [(-1, False), (0, True), (2**31 - 1, True), (2**31, False)])
def test_versions_of_another_domain_are_whole_numbers_of_31_bits(version, known):
    made = relu()
    made.opset_import.add(domain="own", version=version)
    function = helper.make_function("own", "F", ["a"], ["b"], [node("Neg", ["a"], ["b"], "n")], [])
    held = relu(functions=[function])
    held.functions[0].opset_import.add(domain="own", version=version)
    for each in (made, held):
        if known:
            from_proto(each)
        else:
            text = f"g: operator set version {version} of the domain 'own' is none. Export or copy it again."
            assert message_of(each) == text


def test_a_model_has_nodes_or_outputs():
    assert list(from_proto(proto([], {"x": [2]}, {"x": [2]})).nodes) == []
    assert len(from_proto(proto([node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {})).nodes) == 1
    text = "g: no graph in it. This is not an ONNX model; export it again."
    assert message_of(proto([], {"x": [2]}, {})) == text


def external(location="w.data", count=3, kind=TensorProto.FLOAT, **entries):
    tensor = onnx.TensorProto(name="w", data_type=kind, dims=[count], data_location=TensorProto.EXTERNAL)
    for key, text in ({"location": location} | entries).items():
        tensor.external_data.add(key=key, value=text)
    return tensor


@pytest.mark.parametrize(
    ("size", "entries", "fits"),
    [(12, {}, True), (11, {}, False), (20, {"offset": "8"}, True), (19, {"offset": "8", "length": "12"}, False)],
)
def test_a_weight_beside_the_model_fits_its_file(tmp_path, size, entries, fits):
    (tmp_path / "w.data").write_bytes(bytes(size))
    tensors = [weight("inside", 2), external(**entries), external(**entries)]
    if fits:
        assert _check_external(tensors, tmp_path, "m") == 2
        return
    with pytest.raises(ModelError) as caught:
        _check_external(tensors, tmp_path, "m")
    text = "m: the external data file 'w.data' is too short for weight 'w'. Copy it again; it is truncated."
    assert str(caught.value) == text


def test_weights_inside_the_model_lie_nowhere_else():
    assert _check_external([weight("inside", 2)], None, "m") == 0


REFUSED = "Refused for safety; put the data file beside the model."


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("", f"m: weight 'w' points outside the model's folder: ''. {REFUSED}"),
        ("../w", f"m: weight 'w' points outside the model's folder: '../w'. {REFUSED}"),
        ("v", "m: the external data file 'v' of weight 'w' is missing. Copy it beside the model."),
        (".", "m: the external data file '.' of weight 'w' is missing. Copy it beside the model."),
        ("\0" * 99, f"m: weight 'w' lies in {chr(0) * 80!r}, and no file can be called so. Export or copy it again."),
    ],
)
def test_a_weight_lies_in_a_file_of_the_models_own_folder(tmp_path, location, text):
    with pytest.raises(ModelError) as caught:
        _check_external([external(location)], tmp_path, "m")
    assert str(caught.value) == text


def test_what_a_model_was_read_from_is_counted_with_the_files_beside_it(tmp_path):
    def made():
        nodes = [node("Sum", ["x", "v", "w"], ["y"], "s")]
        return proto(nodes, {"x": [3]}, {"y": [3]}, [weight("v", 3), weight("w", 3)])

    onnx.save(made(), tmp_path / "whole.onnx")
    assert load_model(tmp_path / "whole.onnx").read_bytes == (tmp_path / "whole.onnx").stat().st_size
    for name, together in (("one", True), ("two", False)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "m.onnx"
        onnx.save(made(), path, save_as_external_data=True, all_tensors_to_one_file=together, size_threshold=0)
        files = list((tmp_path / name).iterdir())
        assert len(files) == (2 if together else 3)
        assert load_model(path).read_bytes == sum(file.stat().st_size for file in files)
    assert from_proto(made()).read_bytes is None


def test_a_file_of_any_size_up_to_protobufs_limit_is_read(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    onnx.save(relu(), path)
    size = path.stat().st_size
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", size)
    assert len(load_model(path).nodes) == 1
    monkeypatch.setattr(onnx.checker, "MAXIMUM_PROTOBUF", size - 1)
    with pytest.raises(ModelError, match=r"0\.0 GiB in one file; protobuf reads 2 GiB at most"):
        load_model(path)


def test_a_large_file_is_read_apart_from_its_weights(tmp_path, monkeypatch):
    path, read = tmp_path / "m.onnx", []
    onnx.save(relu(), path)
    monkeypatch.setattr(load, "read_apart", lambda path: (read.append(path), (onnx.load(path), {}))[1])
    assert load.LARGE_FILE == 16 * 2**20
    for least, apart in ((path.stat().st_size, True), (path.stat().st_size + 1, False)):
        monkeypatch.setattr(load, "LARGE_FILE", least)
        load_model(path)
        assert bool(read) == apart
        read.clear()


def test_a_name_that_no_file_can_have_is_told(tmp_path):
    name = tmp_path / ("n" * 300)
    with pytest.raises(ModelError, match=r"cannot be read: .*Check the path") as caught:
        load_model(name)
    assert caught.value.where == repr(str(name))[:200]
    with pytest.raises(ModelError, match=r"cannot be read: .*null byte"):
        load_model("a\0b")
    with pytest.raises(ModelError, match=r"no such file\. Check the path\."):
        load_model(tmp_path / "none" / "m.onnx")


def quirks(made):
    return list(from_proto(made).quirks)


def listed(ir_version, *names):
    nodes = [node("Sum", ["x", "v", "w"], ["y"], "s")]
    inputs = {name: [3] for name in ("x", *names)}
    return proto(nodes, inputs, {"y": [3]}, [weight("v", 3), weight("w", 3)], ir_version=ir_version, opset=8)


def test_weights_among_the_inputs_leave_them():
    def told(count):
        return [
            Quirk(
                "weights-as-inputs",
                "v",
                f"{count} weights were also listed as graph inputs; they are treated as constant",
            )
        ]

    assert quirks(listed(8)) == []
    assert quirks(listed(8, "v")) == told(1)
    assert quirks(listed(3, "v", "w")) == told(2)
    loaded = from_proto(listed(3, "v", "w"))
    assert ([tensor.name for tensor in loaded.inputs], loaded.ir_model.ir_version) == (["x"], 4)
    assert from_proto(listed(8, "v")).ir_model.ir_version == 8
    text = "IR version 4 is written from here on: older ones want every weight among the inputs"
    assert quirks(listed(3)) == [Quirk("old-ir", "g", text)]
    assert quirks(listed(4)) == []
    nameless = listed(3)
    nameless.graph.name = ""
    assert quirks(nameless) == [Quirk("old-ir", "model", text)]


@pytest.mark.parametrize(
    ("kind", "shape", "told"),
    [
        (TensorProto.FLOAT16, [5, 3], "stated as float16[5,3], and it is float[3,5]; what it is counts"),
        (TensorProto.FLOAT, [3, 4], "stated as float[3,4], and it is float[3,5]; what it is counts"),
        (TensorProto.FLOAT, [3, 5], None),
        (TensorProto.FLOAT, ["n", 5], None),
    ],
)
def test_a_weight_is_what_it_is_whatever_is_stated_of_it(kind, shape, told):
    made = proto([node("MatMul", ["x", "w"], ["y"], "m")], {"x": [2, 3]}, {"y": None}, [weight("w", 3, 5)])
    made.graph.value_info.append(helper.make_tensor_value_info("w", kind, shape))
    loaded = from_proto(made)
    assert list(loaded.quirks) == ([Quirk("misstated-weight", "w", told)] if told else [])
    held = loaded.initializers["w"]
    assert (held.dtype.name, list(held.shape), str(loaded.tensor("y"))) == ("FLOAT", [3, 5], "y float[2x5]")


def test_custom_operators_are_told_with_how_many_nodes_there_are():
    nodes = [node(op, ["x"], [f"y{at}"], f"n{at}", domain="own") for at, op in enumerate("ABBB")]
    made = proto(nodes, {"x": [2]}, {f"y{at}": [2] for at in range(4)}, domains=["own"])
    assert quirks(made) == [
        Quirk("custom-op", "n0", "custom operator own.A: a backend needs its implementation"),
        Quirk("custom-op", "n1", "custom operator own.B and 2 more: a backend needs its implementation"),
    ]


def test_an_error_of_the_reader_is_told_by_its_deepest_cause():
    twice = proto([node("Relu", ["x"], ["y"], "a"), node("Abs", ["x"], ["y"], "b")], {"x": [2]}, {"y": [2]})
    text = message_of(twice)
    assert text.startswith("g: the graph contradicts itself: ")
    assert text.endswith("Export it again, or repair the named part.")
    assert "Error" not in text


def test_what_reads_a_tensor_from_nowhere_is_named():
    assert message_of(proto([node("Add", ["x", "g"], ["y"], "n")], {"x": [2]}, {"y": [2]})) == (
        "g: node 'n' reads tensor 'g', which nothing makes. Export it again; a node or an initializer is missing."
    )
    assert message_of(proto([node("Relu", ["x"], ["y"], "n")], {"x": [2]}, {"y": [2], "g": [2]})) == (
        "g: nothing makes the output 'g'. Export it again; a node or an initializer is missing."
    )


def test_what_holds_tensors_among_attributes_is_looked_into():
    """Tensors of attributes are checked wherever there are any, and external ones found."""
    wrong = TensorProto(name="k", data_type=1, dims=[2], raw_data=b"1")
    for held in (
        [node("Constant", [], ["y"], "k", value=wrong)],
        [node("ConstantOfShape", ["s"], ["y"], "k", value=wrong)],
        [node("Own", ["s"], ["y"], "k", domain="own", value=wrong)],
    ):
        made = proto(held, {}, {"y": [2]}, [constant("s", [2])], domains=["own"])
        assert "has 1 bytes of data, and its lengths and type want 8" in message_of(made)
    body = [node("Constant", [], ["k"], "k", value=wrong), node("Add", ["a", "k"], ["b"], "add")]
    function = helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    assert "has 1 bytes of data" in message_of(relu(functions=[function]))
    inner = helper.make_graph(
        [node("Add", ["x", "k"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, [2])], [wrong]
    )
    branched = node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    made = proto([branched], {"x": [2], "c": (TensorProto.BOOL, [])}, {"y": [2]})
    assert "has 1 bytes of data" in message_of(made)


def test_a_constant_beside_the_model_is_read_from_there(tmp_path):
    array = np.arange(3, dtype=np.float32)
    (tmp_path / "w.data").write_bytes(array.tobytes())
    made = proto(
        [node("Constant", [], ["k"], "k", value=external()), node("Add", ["x", "k"], ["y"], "a")],
        {"x": [3]},
        {"y": [3]},
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    loaded = load_model(path)
    tensor = loaded.nodes["k"].attributes["value"].as_tensor()
    np.testing.assert_array_equal(tensor.numpy(), array)
    (tmp_path / "w.data").write_bytes(array[::-1].tobytes())
    assert tensor.tobytes() == array.tobytes()  # it is in the message from then on
    with pytest.raises(ModelError) as caught:
        from_proto(made)
    assert str(caught.value) == (
        "g: weight 'w' lies in the external file 'w.data', and the model has no folder. "
        "Load it from its file, not from bytes."
    )


def test_inputs_of_a_model_are_what_has_to_be_fed():
    loaded = model([node("Add", ["x", "w"], ["y"], "a")], {"x": ["N", 3]}, {"y": None}, [weight("w", 3)])
    assert [str(tensor) for tensor in (*loaded.inputs, *loaded.outputs)] == ["x float[Nx3]", "y float[Nx3]"]
    assert loaded.dtypes == {"FLOAT"}
    assert str(loaded.tensor("nowhere")) == "nowhere ?[?]"
