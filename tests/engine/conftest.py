"""Recorded engines, and small ones written by hand."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import onnx
import pytest

from workbench.engine.load import load_report

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def engines(shared) -> Path:
    return shared / "engines"


@pytest.fixture(scope="session")
def recorded(engines):
    """Return a loader: `recorded("fp16")` is the ResNet-50 of TensorRT 8.6.0 with its profile."""

    def load(name: str):
        for folder, stem in (
            ("trt-8.6.0-h200", f"resnet50-b32.{name}"),
            ("trt-8.6.0-h200/small", name),
            ("trt-8.x-a100", f"{name}.onnx.engine"),
        ):
            graph = engines / folder / f"{stem}.graph.json"
            if graph.exists():
                profile = graph.with_name(f"{stem}.profile.json")
                return load_report(graph, profile=profile if profile.exists() else None, name=name)
        raise AssertionError(name)

    return load


@pytest.fixture(scope="session")
def resnet_onnx(engines) -> onnx.ModelProto:
    data = gzip.decompress((engines / "trt-8.6.0-h200" / "resnet50-b32.modelopt.zeroed.onnx.gz").read_bytes())
    return onnx.load_model_from_string(data)


@pytest.fixture
def written(tmp_path):
    """Return a writer of JSON files: `written({...}, "name.json")` is its path."""

    def write(data, name="engine.graph.json") -> Path:
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write
