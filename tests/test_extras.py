"""A package that is missing is one line with the extra that brings it."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from workbench import extras
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


def test_a_package_belongs_to_the_first_extra_that_is_for_users(monkeypatch):
    stated = [
        "numpy>=2",
        "dask>=2; extra == 'dev'",
        "dask>=2; extra == 'scale'",
        "Dask; extra == 'all'",
        'a.B-c ; python_version < "3.12" and extra == "serve"',
        "sphinx; extra == 'docs'",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: stated)
    assert extras._extras() == {"dask": "scale", "a.b-c": "serve"}
    assert str(missing("Dask.array")).endswith('pip install "trt-workbench[scale]".')
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: None)
    assert extras._extras() == {}


def test_of_a_checkout_that_nobody_installed_the_package_itself_is_named(monkeypatch):
    def none(_):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", none)
    assert str(missing("nbformat")).endswith("Install it: pip install nbformat.")
