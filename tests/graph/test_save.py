"""Models are written whole, in one file or two, and read again as the same model."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from tests.kit.models import assert_same, constant, model, random_feeds, run, weight
from workbench.errors import ModelError, OutputError
from workbench.graph import save
from workbench.graph.edits.registry import edit_by_name
from workbench.graph.load import load_model
from workbench.graph.model import Model
from workbench.graph.save import save_model
from workbench.graph.structure import is_external


@pytest.fixture
def made():
    """A model with two large weights and a shape."""
    return model(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"], "one"),
            helper.make_node("MatMul", ["a", "v"], ["b"], "two"),
            helper.make_node("Reshape", ["b", "shape"], ["y"], "three"),
        ],
        {"x": ["N", 32]},
        {"y": [None, 4, 8]},
        [weight("w", 32, 64), weight("v", 64, 32), constant("shape", [0, 4, 8])],
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_file_where_it_fits_and_two_where_not(made, tmp_path):
    assert save_model(made, tmp_path / "m.onnx") == (tmp_path / "m.onnx",)
    assert (tmp_path / "m.onnx").read_bytes() == made.to_bytes()
    size = len(made.to_bytes())
    assert len(save_model(made, tmp_path / "fits.onnx", limit=size + 1000)) == 1
    written = save_model(made, tmp_path / "big.onnx", limit=size - 1)
    assert [path.name for path in written] == ["big.onnx", "big.onnx.data"]
    again = load_model(tmp_path / "big.onnx")
    assert again.digest == made.digest
    assert_same(made, again)
    np.testing.assert_array_equal(run(tmp_path / "big.onnx", feeds := random_feeds(made))[0], run(made, feeds)[0])
    assert names(tmp_path) == ["big.onnx", "big.onnx.data", "fits.onnx", "m.onnx"]


def test_on_request_deterministic_relative_and_small_weights_inside(made, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        made.save(tmp_path / folder / "m.onnx", external=True)
    for name in ("m.onnx", "m.onnx.data"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    proto = onnx.load(tmp_path / "one/m.onnx", load_external_data=False)
    by_name = {t.name: {e.key: e.value for e in t.external_data} for t in proto.graph.initializer}
    assert by_name["shape"] == {}
    assert {entry["location"] for name, entry in by_name.items() if name != "shape"} == {"m.onnx.data"}
    assert (tmp_path / "one/m.onnx.data").stat().st_size == 4 * 2 * 32 * 64
    onnx.checker.check_model(str(tmp_path / "one/m.onnx"))
    # The two move together.
    (tmp_path / "one").rename(tmp_path / "three")
    assert load_model(tmp_path / "three/m.onnx").digest == made.digest


def test_from_external_data_to_external_data_and_back(made, tmp_path):
    made.save(tmp_path / "a.onnx", external=True)
    loaded = load_model(tmp_path / "a.onnx")
    edited = edit_by_name("rename_node", node="one", to="first")(loaded).model
    edited.save(tmp_path / "b.onnx", external=True)
    assert (tmp_path / "b.onnx.data").read_bytes() == (tmp_path / "a.onnx.data").read_bytes()
    edited.save(tmp_path / "c.onnx")
    assert load_model(tmp_path / "b.onnx").digest == load_model(tmp_path / "c.onnx").digest
    with pytest.raises(ModelError, match=r"the model's own weights lie in it.*Save under another name"):
        edited.save(tmp_path / "a.onnx", external=True)
    assert load_model(tmp_path / "a.onnx").digest == made.digest


def test_weights_beside_the_model_are_no_obstacle_to_another_operator_set(made, tmp_path):
    made.save(tmp_path / "m.onnx", external=True)
    newer = edit_by_name("convert_opset", version=20)(load_model(tmp_path / "m.onnx")).model
    assert newer.opset == 20
    assert sorted(newer.initializers) == ["shape", "v", "w"]
    assert is_external(newer.initializers["w"])
    newer.save(tmp_path / "n.onnx", external=True)
    assert (tmp_path / "n.onnx.data").read_bytes() == (tmp_path / "m.onnx.data").read_bytes()
    assert_same(made, newer)


def test_strip_and_restore_go_through_external_data(made, tmp_path):
    made.save(tmp_path / "whole.onnx", external=True)
    loaded = load_model(tmp_path / "whole.onnx")
    stripped = edit_by_name("strip_weights", keep=10)(loaded).model
    stripped.save(tmp_path / "stripped.onnx", external=True)
    assert (tmp_path / "stripped.onnx").stat().st_size < 2000
    assert (tmp_path / "stripped.onnx.data").stat().st_size == 0
    bare = load_model(tmp_path / "stripped.onnx")
    restored = edit_by_name("restore_weights", source=str(tmp_path / "whole.onnx"))(bare).model
    restored.save(tmp_path / "restored.onnx", external=True)
    assert (tmp_path / "restored.onnx").stat().st_size > 200
    assert load_model(tmp_path / "restored.onnx").to_bytes() == made.to_bytes()


def test_a_weight_of_a_branch_stays_in_its_model(tmp_path):
    def branch(name):
        node = helper.make_node("MatMul", ["x", f"{name}w"], [f"{name}y"], name)
        out = [helper.make_tensor_value_info(f"{name}y", TensorProto.FLOAT, [1, 64])]
        return helper.make_graph([node], name, [], out, [weight(f"{name}w", 32, 64)])

    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=branch("t"), else_branch=branch("e"))
    network = model([node], {"x": [1, 32], "c": (TensorProto.BOOL, [])}, {"y": [1, 64]})
    network.save(tmp_path / "m.onnx", external=True)
    assert load_model(tmp_path / "m.onnx").digest == network.digest
    with pytest.raises(ModelError, match="over 2 GB without its weights"):
        save_model(network, tmp_path / "n.onnx", limit=10_000)
    assert names(tmp_path) == ["m.onnx", "m.onnx.data"]


def test_a_write_that_fails_leaves_what_was_there(made, tmp_path):
    made.save(tmp_path / "m.onnx", external=True)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    other = edit_by_name("rename_node", node="one", to="first")(made).model
    code = """
    import resource, signal, sys
    from workbench.errors import OutputError
    from workbench.graph.load import load_model
    model = load_model(sys.argv[1])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        model.save(sys.argv[2], external=True)
    except OutputError as error:
        print(error)
    """
    assert resource.RLIMIT_FSIZE  # what the child uses exists here
    other.save(tmp_path / "other.onnx")
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "other.onnx"), str(tmp_path / "m.onnx")]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written" in out.stdout
    (tmp_path / "other.onnx").unlink()
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before
    with pytest.raises(OutputError, match="cannot be written"):
        made.save(tmp_path / "nowhere/m.onnx", external=True)


LARGE = r"""
import pathlib, re, sys
import numpy as np, onnx_ir as ir
from workbench.graph.load import load_model
from workbench.graph.model import Model
count, shape = 9, [2**16, 2**10]
x = ir.val("x", ir.DataType.FLOAT, [1, 1])
last, nodes, weights = x, [], []
for at in range(count):
    array = np.zeros(shape, np.float32)
    array[-1, -1] = at + 1
    tensor = ir.Tensor(array, name=f"w{at}")
    value = ir.Value(name=tensor.name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(shape))
    weights.append(value)
    nodes.append(ir.node("Add", [last, value], outputs=[ir.Value(name=f"y{at}")], name=f"add{at}"))
    last = nodes[-1].outputs[0]
last.type, last.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
graph = ir.Graph([x], [last], nodes=nodes, initializers=weights, opset_imports={"": 17}, name="large")
files = Model(ir.Model(graph, ir_version=8)).save(sys.argv[1])
again = load_model(files[0])
assert len(again.nodes) == count and all(tensor.shape for tensor in again.tensors.values())
again.save(sys.argv[2])
assert [again.initializers[f"w{at}"].const_value.numpy()[-1, -1] for at in range(count)] == list(range(1, count + 1))
# Not getrusage: it counts what the process that started this one had.
peak = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
print(len(files), files[1].stat().st_size, files[0].stat().st_size, peak)
"""


@pytest.mark.slow
def test_over_two_gigabytes_and_back(tmp_path):
    """2.25 GiB of weights: saved, loaded, and saved again from the file, through less than 512 MiB of memory."""
    if shutil.disk_usage(tmp_path).free < 6 << 30:
        pytest.skip("it writes 5 GB, which this disk does not have")
    if not Path("/proc/self/status").exists():
        pytest.skip("what a process has needed of memory is only read off Linux")
    command = [sys.executable, "-c", LARGE, str(tmp_path / "large.onnx"), str(tmp_path / "again.onnx")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    (tmp_path / "large.onnx.data").unlink()
    (tmp_path / "again.onnx.data").unlink()
    count, data, graph, peak_kib = map(int, out)
    assert (count, data) == (2, 9 * 2**28)
    assert graph < 5000
    # The zeros made here are never touched, so they take no memory of their own.
    assert peak_kib < 512 << 10


def test_a_model_lies_in_one_file_up_to_the_limit(made, tmp_path):
    size = save._size(made)
    assert len(save_model(made, tmp_path / "one.onnx", limit=size)) == 1
    assert len(save_model(made, tmp_path / "two.onnx", limit=size - 1)) == 2
    graph = (tmp_path / "two.onnx").stat().st_size
    assert len(save_model(made, tmp_path / "two.onnx", limit=graph)) == 2
    with pytest.raises(ModelError, match="g: over 2 GB without its weights, which one ONNX file cannot hold"):
        save_model(made, tmp_path / "three.onnx", limit=graph - 1)
    assert len(save_model(made, tmp_path / "small.onnx", external=False, limit=1)) == 1


def test_weights_of_over_a_kibibyte_lie_beside(tmp_path):
    nodes = [helper.make_node("Identity", [name], [f"{name}y"], name) for name in ("just", "over")]
    network = model(nodes, {}, {"justy": None, "overy": None}, [weight("just", 256), weight("over", 257)])
    network.save(tmp_path / "m.onnx", external=True)
    assert (tmp_path / "m.onnx.data").stat().st_size == 257 * 4


def test_a_model_fits_one_file_up_to_protobufs_limit(made, monkeypatch):
    weights = sum(value.const_value.nbytes for value in made.initializers.values())
    small, large = made.proto.ByteSize() + weights, save._size(made)
    for kept, size in ((weights, small), (weights - 1, large)):
        monkeypatch.setattr(save, "KEPT", kept)
        for limit, fits in ((size, True), (size - 1, False)):
            monkeypatch.setattr(save, "PROTOBUF_LIMIT", limit)
            assert save.fits_one_file(made) == fits
            # What does not fit is counted, and known by its identity.
            assert save.file_bytes(made) == (len(made.to_bytes()) if fits else large)
            assert (save.file_digest(made) == made.digest) == (not fits)


def test_the_size_of_a_model_counts_what_a_weight_is_said_to_be(made):
    skeleton = save.skeleton_proto(made).ByteSize()
    numbers = 4 * 2 * 32 * 64 + 8 * 3
    assert save._size(made) == skeleton + numbers + (1 + 16 * 4) + (1 + 16 * 4) + (5 + 16 * 3)
    words = helper.make_tensor("words", TensorProto.STRING, [3], [b"ab", b"c", b""])
    told = model([helper.make_node("Identity", ["words"], ["y"], "i")], {}, {"y": (8, [3])}, [words])
    held = told.initializers["words"].const_value
    assert save._stored(held) == held.nbytes + 6 * 3


def test_bytes_are_those_that_were_read_or_would_be_written(made, tmp_path):
    assert save.stored_bytes(made) == len(made.to_bytes())
    files = made.save(tmp_path / "m.onnx", external=True)
    assert save.stored_bytes(load_model(files[0])) == sum(path.stat().st_size for path in files)


def test_the_file_that_a_weight_of_a_branch_lies_in_is_not_written(tmp_path):
    bias = weight("b", 2)
    out = [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])]
    body = helper.make_graph([helper.make_node("Add", ["x", "b"], ["z"], "add")], "b", [], out, [bias])
    node = helper.make_node("If", ["c"], ["y"], "if", then_branch=body, else_branch=body)
    network = model([node], {"x": [2], "c": (TensorProto.BOOL, [])}, {"y": [2]}).thaw()
    held = ir.ExternalTensor("m.onnx.data", 0, 8, ir.DataType.FLOAT, shape=ir.Shape([2]), name="b", base_dir=tmp_path)
    for attribute in network.graph[0].attributes.values():
        attribute.as_graph().initializers["b"].const_value = held
    with pytest.raises(ModelError, match="the model's own weights lie in it and are read when they are needed"):
        save_model(Model(network), tmp_path / "m.onnx", external=True)
