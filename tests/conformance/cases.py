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

from tests.conformance import yardstick

Feeds = dict[str, Any]

REAL = "real/"
"""How the names of real models begin."""


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
        records = [*loader.load_node_model_tests(), *collect_testcases()]
    by_name = {case.name: _generated(case) for case in records if case.model is not None}
    for kind in ("simple", "pytorch-operator", "pytorch-converted"):
        for case in loader.load_model_tests(kind=kind):
            if case.model_dir is not None and case.name not in by_name:
                by_name[case.name] = _stored(case.name, Path(case.model_dir))
    return [by_name[name] for name in sorted(by_name)]


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
    """Return the real models of a folder, the largest last, fed with what lies beside or with seeded numbers."""
    entries = sorted(json.loads((folder / "MANIFEST.json").read_text()), key=lambda entry: entry["bytes"])
    return [_real(entry["name"], folder / entry["name"]) for entry in entries]


def _real(name: str, home: Path) -> Case:
    content = (home / "model.onnx").read_bytes()
    graph = onnx.ModelProto.FromString(content).graph
    if (home / "inputs.npz").is_file():
        with np.load(home / "inputs.npz") as stored:
            arrays = [stored[key] for key in stored.files]
        weights = {tensor.name for tensor in graph.initializer}
        entries = [value.name for value in graph.input if value.name not in weights]
        # Some of these files hold the weights as well, behind the inputs.
        return Case(f"{REAL}{name}", content, [dict(zip(entries, arrays, strict=False))])
    return Case(f"{REAL}{name}", content, _made_up(content))


def _made_up(content: bytes) -> list[Feeds]:
    """Return inputs of the first lengths that ONNX Runtime takes; none where it takes no model like this."""
    from workbench.errors import WorkbenchError
    from workbench.evaluate.inputs import FREE_LENGTHS, random_inputs
    from workbench.graph.load import from_proto

    for free in reversed(FREE_LENGTHS):
        with contextlib.suppress(WorkbenchError):
            feeds = [random_inputs(from_proto(onnx.ModelProto.FromString(content)), free=free)]
            with contextlib.suppress(Exception):  # ONNX Runtime raises many kinds, none of them public
                yardstick.run(content, feeds)
                return feeds
    return []
