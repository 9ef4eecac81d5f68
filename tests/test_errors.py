"""Errors say what, where and what to do."""

from __future__ import annotations

from workbench import errors


def test_message_names_place_problem_and_fix():
    error = errors.ModelError("truncated", where="m.onnx", fix="Export it again.")
    assert str(error) == "m.onnx: truncated. Export it again."
    assert error.exit_code == 3


def test_every_error_has_its_own_exit_code():
    kinds = [getattr(errors, name) for name in errors.__all__ if not name.endswith("Warning")]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(issubclass(kind, errors.WorkbenchError) for kind in kinds)
