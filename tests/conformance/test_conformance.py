"""A seeded sample of ONNX's backend cases goes through everything; and the suite notices what it is there to notice."""

from __future__ import annotations

import os
import random
import time

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.conformance import yardstick
from tests.conformance.cases import Case, backend_cases
from tests.conformance.guard import Guard
from tests.conformance.steps import Broken, attempt, examine
from tests.conformance.table import count, markdown
from tests.kit.models import proto
from workbench.errors import EditError
from workbench.graph.edits import fold_constants

SAMPLE, SEED = 150, 28


@pytest.mark.slow
def test_a_sample_of_onnxs_backend_cases_holds():
    cases = random.Random(SEED).sample(backend_cases(), SAMPLE)  # noqa: S311 - no secret
    by_name = {case.name: outcomes for case, outcomes in Guard(seconds=300).examine(cases, processes=1)}
    faults = [
        f"{name}: {o.step}: {o.detail}" for name, outcomes in by_name.items() for o in outcomes if o.status == "fault"
    ]
    assert not faults, "\n".join(faults)
    opened = [outcomes for outcomes in by_name.values() if outcomes[0].status != "skipped"]
    assert len(opened) > 0.75 * SAMPLE  # ONNX Runtime has kernels for most
    assert all(outcomes[-1].step.startswith(("preset", "calibrate")) for outcomes in opened)


def folding() -> Case:
    nodes = [helper.make_node("Add", ["k", "k"], ["two"], "two"), helper.make_node("Mul", ["x", "two"], ["y"], "mul")]
    weights = [helper.make_tensor("k", 1, [1], [1.5])]
    onnx_model = proto(nodes, {"x": [4]}, {"y": [4]}, weights)
    return Case("folding", onnx_model.SerializeToString(), [{"x": np.arange(4, dtype=np.float32)}])


def faults(case: Case) -> dict[str, str]:
    return {outcome.step: outcome.detail for outcome in examine(case) if outcome.status == "fault"}


def test_a_wrong_number_of_an_edit_is_a_fault(monkeypatch):
    assert faults(folding()) == {}
    computed = fold_constants._evaluate
    monkeypatch.setattr(
        fold_constants, "_evaluate", lambda *arguments: [array * 1.001 for array in computed(*arguments) or []]
    )
    errors = faults(folding())
    assert "would move output 'y'" in errors["edit fold_constants"]  # offered, and refused by the workbench's own check
    monkeypatch.setattr("workbench.session.editing.checked", lambda *_: None)
    errors = faults(folding())
    assert errors["edit fold_constants"].endswith("Broken: output 'y': moved by 0.001 of the largest value")
    assert "moved by 0.001" in errors["prepare"]


@pytest.mark.parametrize(
    ("raised", "refusable", "status"),
    [
        (None, True, "held"),
        (EditError("it has no axis", fix="Name one."), True, "refused"),
        (EditError("it has no axis", fix="Name one."), False, "fault"),
        (EditError("convert.h:23: adapt: Assertion `false` failed"), True, "fault"),
        (EditError("onnx::Node says no"), True, "fault"),
        (Broken("moved"), True, "fault"),
        (KeyError("axis"), True, "fault"),
    ],
)
def test_only_a_refusal_that_helps_is_none_of_the_faults(raised, refusable, status):
    def do():
        if raised is not None:
            raise raised

    assert attempt("step", "", do, refusable=refusable).status == status


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ([1.0, 2.0], [1.0, 2.0001], None),
        ([1.0, 2.0], [1.0, 2.01], "moved by 0.005"),
        ([1.0, np.nan], [1.0, np.nan], None),
        ([1.0, 2.0], [1.0, np.inf], "NaN or infinite elsewhere"),
        ([1.0, 2.0], [[1.0, 2.0]], "float64[1, 2], was float64[2]"),
        ([1, 2], [1, 3], "50.0% of the values differ"),
    ],
)
def test_the_yardstick_tells_how_far_outputs_are_apart(old, new, said):
    messages = yardstick.apart({"y": np.array(old)}, {"y": np.array(new)})
    assert messages is None if said is None else said in str(messages)


def test_the_yardstick_feeds_a_scalar_of_a_type_that_numpy_lacks_as_a_scalar():
    nodes = [helper.make_node("Cast", ["x"], ["y"], "cast", to=TensorProto.FLOAT)]
    onnx_model = proto(nodes, {"x": (TensorProto.BFLOAT16, [])}, {"y": []})
    (got,) = yardstick.run(onnx_model.SerializeToString(), [{"x": np.array(1.5, ml_dtypes.bfloat16)}])
    assert got["y"].shape == ()
    assert got["y"] == 1.5


class Deadly:
    """Ends, or holds up, the process that unpickles it."""

    def __init__(self, do, *arguments):
        self.name, self._does = do.__name__, (do, arguments)

    def __reduce__(self):
        return self._does


def test_a_process_that_dies_or_hangs_costs_its_own_case_alone():
    cases = [Deadly(os._exit, 7), folding()]
    (_, (died,)), (_, outcomes) = Guard(seconds=120).examine(cases, processes=1)
    assert (died.status, died.detail) == ("fault", "the process died, code 7")
    assert not [outcome for outcome in outcomes if outcome.status == "fault"]
    ((_, (hung,)),) = Guard(seconds=0.5).examine([Deadly(time.sleep, 60)], processes=1)
    assert (hung.status, hung.detail) == ("fault", "over 0 s")


def test_the_table_counts_every_outcome():
    by_name = {case.name: list(examine(case)) for case in [folding()]}
    lines = markdown(count(by_name)).splitlines()
    assert lines[2] == "| open | 1 | 1 | 0 | 0 |"
    assert any(line.startswith("| edit fold_constants | ") for line in lines)
    assert lines[-1].startswith("| all offered edits | ")
