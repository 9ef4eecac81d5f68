"""What is measured on ONNX Runtime is what the graph says, and the check of that notices where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.errors import BackendError
from workbench.runtime import as_written, narrow, numerics_check, session
from workbench.runtime.small_graphs import FLOATING, MULTIPLYING, QUANTIZED, SHAPE, floating_operators

MOST = 120


def tried(operators, precisions):
    return [numerics_check.tried(operator, precision) for operator in operators for precision in precisions]


@pytest.mark.parametrize("precision", FLOATING)
def test_every_floating_operator_is_computed_as_written(precision):
    operators = list(floating_operators())
    assert len(operators) > MOST
    # FP32 and BF16 take the same way as FP16: a third of the operators each.
    some = operators if precision == "fp16" else operators[:: 3 if precision == "fp32" else 2]
    assert [str(one) for one in tried(some, [precision]) if not one.holds] == []


@pytest.mark.parametrize("kind", QUANTIZED)
def test_every_quantized_operator_is_computed_as_written(kind):
    over = FLOATING if kind in ("int8", "fp8") else ("fp32",)
    names = [kind if one == "fp32" else f"{kind} over {one}" for one in over]
    assert [str(one) for one in tried(MULTIPLYING, names) if not one.holds] == []


@pytest.mark.parametrize(
    ("switch", "operator", "precision"),
    [
        ("session.disable_double_qdq_remover", "MatMul", "int8"),
        ("ReluQuantRewrite", "Conv", "int4"),
        ("ClipQuantRewrite", "Conv", "fp8"),
    ],
)
def test_it_notices_what_is_not_switched_off(monkeypatch, switch, operator, precision):
    left = tuple(one for one in as_written.SWITCHED_OFF if one.name != switch)
    assert len(left) == len(as_written.SWITCHED_OFF) - 1
    monkeypatch.setattr(as_written, "SWITCHED_OFF", left)
    assert not numerics_check.tried(operator, precision).holds


@pytest.mark.parametrize("operator", ["Conv", "Softmax", "LayerNormalization", "Tanh"])
def test_it_notices_fp16_that_is_not_rounded(monkeypatch, operator):
    monkeypatch.setattr(session, "NARROW", frozenset())
    assert not numerics_check.tried(operator, "fp16").holds
    monkeypatch.setattr(session, "NARROW", narrow.NARROW)
    assert numerics_check.tried(operator, "fp16").holds


@pytest.mark.parametrize(
    ("precision", "moved_by", "off"),
    [
        ("fp32", 0.9e-4, 0.0),  # of the largest result
        ("fp32", 1.1e-4, 1.0),
        ("fp16", 0.9e-5, 0.0),
        ("fp16", 1.1e-5, 1.0),
        ("int8", 0.9e-5, 0.0),
        ("int8", 1.1e-5, 1.0),
        ("int8 over fp16", 1.1e-5, 1.0),
    ],
)
def test_a_result_is_off_from_a_share_of_the_largest_on(monkeypatch, precision, moved_by, off):
    seen = []

    class Exact:
        """Returns what is expected, moved a little."""

        def __init__(self, graph):
            self.proto = graph.proto

        def run(self, feeds):
            seen.append(feeds["x"])
            results = numerics_check.reference(self.proto, feeds)
            return {name: array + moved_by * np.abs(array).max() for name, array in results.items() if name != "x"}

    monkeypatch.setattr(numerics_check, "Session", Exact)
    assert numerics_check.tried("Add", precision).off == off
    # As on any machine that this is compared with.
    fed = np.random.default_rng(3).uniform(-0.95, 0.95, SHAPE).astype(np.float32)
    np.testing.assert_array_equal(seen, [fed])


def test_pairs_go_over_the_type_that_is_asked_for(monkeypatch):
    made, real = [], numerics_check.quantized_graph
    monkeypatch.setattr(numerics_check, "quantized_graph", lambda *given: made.append(given) or real(*given))
    for precision in ("int8", "int8 over fp16"):
        assert numerics_check.tried("Add", precision).holds
    assert made == [("Add", "int8", "fp32"), ("Add", "int8", "fp16")]


def test_what_is_refused_is_said_and_does_not_hold(monkeypatch):
    def refuse(_):
        raise BackendError("no kernel")

    monkeypatch.setattr(numerics_check, "Session", refuse)
    told = numerics_check.tried("Add", "fp16")
    assert (told.operator, told.precision, told.allowed, told.refused) == ("Add", "fp16", 0.1, "no kernel")
    assert math.isnan(told.off)
    assert not told.holds
