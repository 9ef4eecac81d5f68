"""Where the models come from: ONNX's backend cases, as the installed package generates them, and real ones."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.model import collect_testcases

Feeds = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A model, and what it is fed.

    Parameters
    ----------
    name
        Unique among all cases.
    model
        The file's bytes.
    feeds
        One {input: array} a run.
    """

    name: str
    model: bytes
    feeds: list[Feeds] = field(repr=False)


def backend_cases() -> list[Case]:
    """Return ONNX's backend cases: those its test generator makes, and those whose files the package brings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        made = [*loader.load_node_model_tests(), *collect_testcases()]
    found = {case.name: _generated(case) for case in made if case.model is not None}
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        for case in loader.load_model_tests(kind=kind):
            if case.model_dir is not None and case.name not in found:
                found[case.name] = _stored(case.name, Path(case.model_dir))
    return [found[name] for name in sorted(found)]


def _generated(case: Any) -> Case:
    names = [value.name for value in case.model.graph.input]
    feeds = [dict(zip(names, map(_array, inputs), strict=False)) for inputs, _ in case.data_sets]
    return Case(case.name, case.model.SerializeToString(), feeds)


def _array(given: Any) -> Any:
    if isinstance(given, onnx.TensorProto):
        return numpy_helper.to_array(given)
    return np.asarray(given) if isinstance(given, np.generic) else given


def _stored(name: str, folder: Path) -> Case:
    content = (folder / "model.onnx").read_bytes()
    graph = onnx.ModelProto.FromString(content).graph
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    runs = sorted(folder.glob("test_data_set_*"))
    feeds = [{v.name: _read(run / f"input_{at}.pb", v.type) for at, v in enumerate(inputs)} for run in runs]
    return Case(name, content, feeds)


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    content = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def real_cases(folder: Path) -> list[Case]:
    """Return the real models of a folder, each fed with what lies beside it, else with seeded numbers."""
    from workbench.errors import WorkbenchError
    from workbench.evaluate.inputs import random_inputs
    from workbench.graph.load import from_proto

    cases = []
    for entry in json.loads((folder / "MANIFEST.json").read_text()):
        home = folder / entry["name"]
        content = (home / "model.onnx").read_bytes()
        if (home / "inputs.npz").is_file():
            with np.load(home / "inputs.npz") as stored:
                feeds = [dict(stored)]
        else:
            try:
                feeds = [random_inputs(from_proto(onnx.ModelProto.FromString(content)), free=64)]
            except WorkbenchError:
                feeds = []
        cases.append(Case(f"real/{entry['name']}", content, feeds))
    return cases
