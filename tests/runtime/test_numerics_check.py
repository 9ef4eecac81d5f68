"""What is measured on ONNX Runtime is what the graph says, and the check of that notices where it is not."""

from __future__ import annotations

import pytest

from workbench.runtime import as_written, narrow, numerics_check, session
from workbench.runtime.small_graphs import FLOATING, MULTIPLYING, QUANTIZED, floating_operators

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
