"""Weights beside the model: read when needed, never from a file that changed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import ModelError
from workbench.graph.load import load_model
from workbench.graph.stored.external import StoredWeight
from workbench.graph.structure import content_of

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
