"""What every test may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.kit.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["tests.kit.lowered_graphs"]


def pytest_collection_modifyitems(items) -> None:
    """Begin with the files that hold slow tests, so that no worker is left with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real models and data beside the repository."""
    folder = ROOT.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("the folder ../shared with real models and data is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def small_cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual CNN of random weights in a file: input ``x`` [N, 3, 8, 8], output ``y`` [N, 5], dynamic batch."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(4, 3, 3, 3)),
        "w2": rng.normal(size=(4, 4, 3, 3)),
        "b2": rng.normal(size=4),
        "w3": rng.normal(size=(5, 4)),
        "b3": rng.normal(size=5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "stem/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "stem/relu"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], "block/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["a"], "block/add"),
        helper.make_node("Relu", ["a"], ["r2"], "block/relu"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], "head/pool"),
        helper.make_node("Flatten", ["p"], ["f"], "head/flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], "head/fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small_cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path_factory.mktemp("models") / "small_cnn.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples for `small_cnn` in a file: 12 of them, ``x`` [12, 3, 8, 8] float32; ``labels.npy`` beside it."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    np.savez(folder / "samples.npz", x=rng.normal(size=(12, 3, 8, 8)).astype(np.float32))
    np.save(folder / "labels.npy", rng.integers(0, 5, 12))
    return folder / "samples.npz"


@pytest.fixture
def run(capsys):
    """Run a command; return its exit code and what it printed."""

    from workbench.cli import main

    def call(*words):
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        output = capsys.readouterr()
        return caught.value.code or 0, output.out, output.err

    return call
