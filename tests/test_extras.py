"""A package that is missing is one line with the extra that brings it."""

from __future__ import annotations

import sys

import pytest

from workbench.errors import BackendError
from workbench.extras import missing, require


@pytest.mark.parametrize(
    ("module", "install"),
    [
        ("nbformat", '"trt-workbench[lab]"'),
        ("prometheus_client.core", '"trt-workbench[serve]"'),
        ("elsewhere", "elsewhere"),
    ],
)
def test_the_extra_that_brings_a_module_is_named(module, install):
    assert str(missing(module)).endswith(f"is missing. Install it: pip install {install}.")


def test_what_is_there_is_no_error():
    require("numpy", "json")
    with pytest.raises(BackendError, match="the package no-such-module is missing"):
        require("numpy", "no_such_module")


def test_a_verb_without_its_package_ends_in_one_line(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nbconvert", None)
    (tmp_path / "n.ipynb").write_text("{}")
    code, _, error = run("export", tmp_path / "n.ipynb")
    assert code == 7
    assert error == 'error: the package nbconvert is missing. Install it: pip install "trt-workbench[lab]".\n'
