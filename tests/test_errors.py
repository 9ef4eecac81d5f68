"""Errors say what, where and what to do."""

from __future__ import annotations

import pickle

import pytest

from workbench import errors
from workbench.child import ChildError


def test_message_names_place_problem_and_fix():
    error = errors.ModelError("truncated", where="m.onnx", fix="Export it again.")
    assert str(error) == "m.onnx: truncated. Export it again."
    assert error.exit_code == 3


def test_every_error_has_its_own_exit_code():
    kinds = [getattr(errors, name) for name in errors.__all__ if not name.endswith("Warning")]
    codes = [kind.exit_code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(issubclass(kind, errors.WorkbenchError) for kind in kinds)


def test_a_message_is_one_line_whatever_names_hold():
    error = errors.ModelError("says\nmore\x1b[31m", where="a\rb\u2028c\ud800", fix="Mend it.")
    assert str(error) == "a\\rb\\u2028c\\ud800: says more\\x1b[31m. Mend it."


def test_errors_come_through_a_pickle_as_they_were():
    child = ChildError("died", kind="crashed", log=("a",), where="m", fix="Again.")
    for error in (errors.ModelError("bad", where="m", fix="Mend it."), child):
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made a line above
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_a_sentence_ends_once():
    assert str(errors.WorkbenchError("it is so.", fix="Change it.")) == "it is so. Change it."
    assert str(errors.WorkbenchError("it is so", where="m", fix="Change it.")) == "m: it is so. Change it."


def test_exit_codes_are_those_that_scripts_rely_on():
    kinds = {getattr(errors, name).exit_code: name for name in errors.__all__ if not name.endswith("Warning")}
    names = "Workbench Option Model Samples Recipe Output Backend Selector Edit Precision Report".split()
    assert kinds == {code: f"{name}Error" for code, name in enumerate(names, 1)}


@pytest.mark.parametrize(
    ("where", "fix", "message"),
    [
        (None, None, "is it so?"),
        (0, None, "0: is it so?"),
        (None, "Look.", "is it so? Look."),
        ("", "Look.", ": is it so? Look."),
    ],
)
def test_what_is_not_said_leaves_nothing(where, fix, message):
    error = errors.WorkbenchError("is it so?", where=where, fix=fix)
    assert str(error) == message
    assert (error.what, error.where, error.fix) == ("is it so?", None if where is None else str(where), fix)
