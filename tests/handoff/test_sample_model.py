"""Sample models that come with the package, and what is drawn for them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import workbench
from workbench.errors import WorkbenchError
from workbench.handoff import sample_model


def test_a_sample_model_takes_the_images_that_are_drawn_for_it(tmp_path):
    example = workbench.example("depthwise_cnn", out=tmp_path)
    drawn = example.draw("test", 2)
    assert drawn.samples.parent == tmp_path / "test"
    with np.load(drawn.samples) as arrays:
        (name,) = arrays
        assert len(arrays[name]) == len(np.load(drawn.labels)) == 2
    model = workbench.load_model(example.model)
    assert [tensor.name for tensor in model.inputs] == [name]


def test_images_are_drawn_by_the_script_beside_the_model_and_its_failure_is_one(tmp_path, monkeypatch):
    asked = []
    run = SimpleNamespace(run=lambda command, **how: asked.append((command[1:], how["check"])), DEVNULL=None)
    monkeypatch.setattr(sample_model, "subprocess", run)
    example = sample_model.Example(tmp_path / "net.onnx", tmp_path / "out")
    assert example.draw("train", 7) == (tmp_path / "out/train/samples.npz", tmp_path / "out/train/labels.npy")
    words = ["--split", "train", "--count", "7", "--out", str(tmp_path / "out/train")]
    assert asked == [([str(tmp_path / "glyphs.py"), *words], True)]
    assert repr(example) == "<Example net>"


def test_a_misspelt_one_is_refused_with_the_near_name():
    with pytest.raises(WorkbenchError, match="Did you mean residual_cnn"):
        workbench.example("residual_cn")
