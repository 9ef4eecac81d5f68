"""Packages of other versions are installed once, and a failure leaves nothing half made."""

from __future__ import annotations

import zipfile

import pytest

from workbench.environments import cache_folder, packages_folder
from workbench.errors import BackendError


@pytest.fixture
def wheel(tmp_path):
    """A wheel of one module."""
    path = tmp_path / "tiny_wheel-1.0-py3-none-any.whl"
    info = "tiny_wheel-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_wheel.py", "answer = 42\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_packages_are_installed_once(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    folder = packages_folder("tiny-1.0", [str(wheel)])
    assert (folder / "tiny_wheel.py").read_text() == "answer = 42\n"
    wheel.unlink()
    assert packages_folder("tiny-1.0", [str(wheel)]) == folder


def test_what_cannot_be_installed_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackendError, match="cannot be installed"):
        packages_folder("none", [str(tmp_path / "none.whl")])
    assert list((tmp_path / "cache/packages").iterdir()) == []
