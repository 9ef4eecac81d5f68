"""A plan is lowered once for each state of a session, and replayed as it was."""

from __future__ import annotations

from tests.kit.searching import calibrated, small
from workbench.session import Workbench


def test_a_model_is_lowered_once_and_anew_after_a_change(tmp_path):
    wb = calibrated(small(), tmp_path, 2)
    looked = wb.tuned
    assert wb.tuned is looked
    wb.tune()
    assert wb.tuned is looked  # by the best practice, which are steps now
    assert Workbench(wb.source, recipe=wb.recipe).tuned.digest == looked.digest
    wb.plan.set("op:Gemm", "fp32")
    assert wb.tuned.digest != looked.digest
