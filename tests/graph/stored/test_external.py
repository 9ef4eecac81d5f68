"""Weights beside the model: read when needed, never from a file that changed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import ModelError
from workbench.graph.load import load_model
from workbench.graph.stored import external
from workbench.graph.stored.external import StoredWeight
from workbench.graph.structure import content_of
from workbench.runtime.session import Session

TYPES = ("float32", "float16", "int64", "bool", "bfloat16", "float8_e4m3fn", "int4", "uint4")


@pytest.fixture
def stored(tmp_path):
    """A model whose weights, one of each type, lie in ``m.data``."""
    rng = np.random.default_rng(0)
    weights = {name: rng.integers(0, 2, (3, 5)).astype(getattr(ml_dtypes, name, name)) for name in TYPES}
    nodes = [helper.make_node("Identity", [name], [f"{name}/y"]) for name in TYPES]
    outputs = [
        helper.make_tensor_value_info(f"{name}/y", helper.np_dtype_to_tensor_dtype(array.dtype), [3, 5])
        for name, array in weights.items()
    ]
    graph = helper.make_graph(
        nodes, "g", [], outputs, [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    path = tmp_path / "m.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location="m.data", size_threshold=0)
    return path, weights


def test_weights_of_every_type_are_what_was_stored(stored):
    path, weights = stored
    model = load_model(path)
    inside = load_model(path.with_name("inside.onnx")) if model.save(path.with_name("inside.onnx")) else None
    for name, array in weights.items():
        content = content_of(model.initializers[name])
        assert isinstance(content, StoredWeight)
        assert content.numpy().dtype == array.dtype
        assert np.array_equal(content.numpy(), array)
        assert content.tobytes() == content_of(inside.initializers[name]).tobytes()
        assert not content.numpy().flags.writeable
    assert model.digest == inside.digest


def test_an_array_is_shared_while_somebody_holds_it_and_kept_by_nobody(stored):
    content = content_of(load_model(stored[0]).initializers["float32"])
    held = content.numpy()
    assert content.numpy() is held
    del held
    assert content._shared() is None


@pytest.mark.parametrize("how", ["cut off", "same size", "replaced", "removed"])
def test_a_file_that_changed_is_one_line_whatever_is_asked(stored, how):
    path, _ = stored
    data = path.with_name("m.data")
    model = load_model(path)
    content = data.read_bytes()
    if how == "cut off":
        os.truncate(data, 0)
    elif how == "removed":
        data.unlink()
    elif how == "replaced":
        data.rename(path.with_name("old"))
        data.write_bytes(content)
    else:
        data.write_bytes(bytes(len(content)))
    weight = content_of(model.initializers["float32"])
    for ask in (weight.numpy, weight.tobytes, lambda: model.digest, lambda: model.save(path.with_name("n.onnx"))):
        with pytest.raises(ModelError, match="was changed while the model was open"):
            ask()
    assert not path.with_name("n.onnx").exists()


def test_a_file_that_is_cut_off_does_not_end_the_process(stored):
    # What is mapped and cut off ends a process with SIGBUS, so another process tries it.
    code = (
        "import os, sys, workbench\n"
        "wb = workbench.open_model(sys.argv[1])\n"
        "wb.model.digest\n"
        "os.truncate(sys.argv[2], 0)\n"
        "try:\n"
        "    wb.tune()\n"
        "except workbench.errors.WorkbenchError as error:\n"
        "    print(error)\n"
    )
    path = stored[0]
    command = [sys.executable, "-c", code, str(path), str(path.with_name("m.data"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "was changed while the model was open" in done.stdout


def test_a_weight_of_no_elements_is_read(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Concat", ["x", "e"], ["y"], axis=0)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["M"])],
        [numpy_helper.from_array(np.zeros(0, np.float32), "e"), numpy_helper.from_array(np.ones(300, "f4"), "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="m.data", size_threshold=0)
    model = load_model(path)
    assert content_of(model.initializers["e"]).numpy().shape == (0,)
    assert len(model.digest) == 64


class Poured(list):
    """What takes bytes, a part at a time."""

    write = list.append


@pytest.fixture
def beside(tmp_path):
    """Weights that lie in the middle of a file."""
    numbers = np.arange(8, dtype=np.float32)
    (tmp_path / "m.data").write_bytes(b"ahead of it!" + numbers.tobytes() + b"behind")

    def make(count=5, offset=16, length=20, **more):
        about = {"shape": ir.Shape([count]), "name": "w", "base_dir": tmp_path} | more
        return StoredWeight(ir.ExternalTensor("m.data", offset, length, ir.DataType.FLOAT, **about))

    return make, tmp_path / "m.data"


def test_a_weight_is_read_from_its_place(beside):
    make, _ = beside
    expected = np.arange(1, 6, dtype=np.float32)
    for weight in (make(), make(length=None)):
        np.testing.assert_array_equal(weight.numpy(), expected)
        assert weight.tobytes() == expected.tobytes()
        weight.tofile(poured := Poured())
        assert b"".join(poured) == expected.tobytes()
    assert bytes(make(3, None, 12).tobytes()) == b"ahead of it!"
    make(3, None, 12).tofile(poured := Poured())
    assert b"".join(poured) == b"ahead of it!"


def test_a_weight_is_written_a_part_at_a_time(beside, monkeypatch):
    make, _ = beside
    assert external.CHUNK == 16 * 2**20
    monkeypatch.setattr(external, "CHUNK", 8)
    make().tofile(poured := Poured())
    assert [len(part) for part in poured] == [8, 8, 4]


def test_an_array_is_as_numpy_asks_for_it(beside):
    weight = beside[0]()
    assert np.asarray(weight) is weight.numpy()
    # What was read is seen as numbers, and not copied.
    assert weight.numpy().base.dtype == np.uint8
    assert np.asarray(weight, np.float64).dtype == np.float64
    copy = np.array(weight, copy=True)
    assert copy.flags.writeable
    assert not np.shares_memory(copy, weight.numpy())


def test_what_is_said_of_a_weight_stays(beside):
    weight = beside[0](doc_string="about", metadata_props={"k": "v"})
    assert (weight.name, weight.doc_string, dict(weight.metadata_props)) == ("w", "about", {"k": "v"})
    assert (weight.location, weight.offset, weight.length, list(weight.shape)) == ("m.data", 16, 20, [5])


@pytest.mark.parametrize("ask", [lambda one: one.numpy(), lambda one: one.tobytes(), lambda one: one.tofile(Poured())])
def test_a_file_that_was_not_there_or_ends_early_was_changed(beside, ask):
    make, path = beside
    short = make(20, 16, 80)
    with pytest.raises(ModelError, match="the file of weight 'w' was changed while the model was open"):
        ask(short)
    held = make()
    path.unlink()
    gone = make()
    path.write_bytes(bytes(100))
    for weight in (gone, held):
        with pytest.raises(ModelError) as caught:
            ask(weight)
        assert str(caught.value) == (
            f"{path}: the file of weight 'w' was changed while the model was open. Open the model again."
        )
    path.unlink()
    with pytest.raises(ModelError, match="was changed"):
        ask(held)


def test_a_file_that_goes_between_the_look_at_it_and_its_reading_was_changed(beside, monkeypatch):
    make, path = beside
    monkeypatch.setattr(StoredWeight, "_look", lambda _: (1, 2, 3, 4))
    weight = make()
    path.unlink()
    for ask in (weight.numpy, weight.tobytes, lambda: weight.tofile(Poured())):
        with pytest.raises(ModelError, match="was changed while the model was open"):
            ask()


def test_a_file_that_changes_while_it_is_written_is_told(beside, monkeypatch):
    make, path = beside
    monkeypatch.setattr(external, "CHUNK", 8)

    class Changing:
        def write(self, _):
            path.write_bytes(bytes(101))

    with pytest.raises(ModelError, match="was changed"):
        make().tofile(Changing())
    path.write_bytes(bytes(100))
    monkeypatch.setattr(external, "CHUNK", 20)
    with pytest.raises(ModelError, match="was changed"):
        make().tofile(Changing())


def test_weights_of_branches_and_constants_are_part_of_the_message(tmp_path):
    """Written into another folder the model has them still, and other numbers are another model."""
    (tmp_path / "m.data").write_bytes(np.float32([1.5, -2]).tobytes())
    held = TensorProto(name="w", data_type=1, dims=[2], data_location=1)
    held.external_data.add(key="location", value="m.data")
    nodes = [
        helper.make_node("Constant", [], ["k"], "k", value=held),
        helper.make_node("Constant", [], ["plain"], "plain", value=numpy_helper.from_array(np.zeros(2, "f4"))),
        helper.make_node("Sum", ["k", "w", "plain"], ["z"], "add"),
    ]
    body = helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("z", 1, [2])], [held])
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)
    values = [helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, [2])]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    model = load_model(path)
    other = tmp_path / "other"
    other.mkdir()
    for apart in (False, True):
        model.save(other / "m.onnx", external=apart)
        read = load_model(other / "m.onnx")
        assert read.digest == model.digest
        for branch in ("then", "else"):
            for one in (model, read):
                held = one.nodes[f"if/{branch}/k"].attributes["value"].as_tensor()
                weight = one.nodes[f"if/{branch}/add"].inputs[1].const_value
                assert [held.numpy().tolist(), weight.numpy().tolist()] == [[1.5, -2]] * 2
        assert Session(read).run({"c": np.array(True)})["y"].tolist() == [3, -4]
    (tmp_path / "m.data").write_bytes(np.float32([1.5, 2]).tobytes())
    assert load_model(path).digest != model.digest


def test_weights_of_functions_are_read_from_the_folder_of_the_model(tmp_path):
    (tmp_path / "m.data").write_bytes(np.float32([1.5, -2]).tobytes())
    held = TensorProto(name="k", data_type=1, dims=[2], data_location=1)
    held.external_data.add(key="location", value="m.data")
    nodes = [helper.make_node("Constant", [], ["k"], value=held), helper.make_node("Add", ["x", "k"], ["y"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["x"], ["y"], nodes, opsets[:1])
    values = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("F", ["x"], ["y"], "f", domain="own")], "g", values[:1], values[1:])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph, functions=[function], opset_imports=opsets).SerializeToString())
    assert Session(load_model(path)).run({"x": np.float32([1, 1])})["y"].tolist() == [2.5, -1]
