"""The training scripts, cut very short: the same seed gives the same file, and the file computes what was trained."""

from __future__ import annotations

import dataclasses
import importlib

import onnx
import pytest

CLASSES = {
    "residual_cnn": "ResidualCnn",
    "depthwise_cnn": "DepthwiseCnn",
    "small_vit": "SmallVit",
    "recurrent": "Recurrent",
}


def test_same_seed_same_file_with_the_committed_models_structure(folder, entry, tmp_path):
    pytest.importorskip("torch", reason="training the sample models needs PyTorch")
    training = importlib.import_module("training")
    module = importlib.import_module(entry["name"])
    short = training.Course(epochs=1, images=128, batch=64, threads=1)
    files = []
    for course in (short, short, dataclasses.replace(short, seed=1)):
        # `run` raises if ONNX Runtime and torch disagree on the file.
        training.run(str(tmp_path / "model.py"), getattr(module, CLASSES[entry["name"]]), module.write, course)
        files.append((tmp_path / "model.onnx").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]
    committed = onnx.load(folder / entry["file"]).graph
    written = onnx.load_from_string(files[0]).graph
    assert list(written.node) == list(committed.node)
    assert [(w.name, w.dims) for w in written.initializer] == [(w.name, w.dims) for w in committed.initializer]
