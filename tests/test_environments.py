"""Packages of other versions are installed once, and a failure leaves nothing half made."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from workbench import environments
from workbench.environments import cache_folder, packages_folder
from workbench.errors import BackendError, OutputError


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


def test_the_cache_lies_where_it_is_asked_for_else_where_the_users_caches_lie(monkeypatch):
    monkeypatch.delenv("WORKBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/trt-workbench")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "trt-workbench"


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Stands for pip: it makes the folder unless it fails, and its commands are kept."""
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    said = SimpleNamespace(commands=[], code=0, stderr="", makes=True, error=None)

    def run(command, **options):
        said.commands.append((command, options["timeout"]))
        if said.error is not None:
            raise said.error
        if said.makes:
            Path(command[command.index("--target") + 1]).mkdir()
        return SimpleNamespace(returncode=said.code, stderr=said.stderr)

    monkeypatch.setattr(environments.subprocess, "run", run)
    return said


@pytest.mark.parametrize(
    ("options", "python", "more", "seconds"),
    [
        ({}, sys.executable, ["--no-deps"], 900.0),
        ({"dependencies": True, "python": "other", "timeout_s": 5.0}, "other", [], 5.0),
    ],
)
def test_pip_is_asked_for_the_packages_alone_unless_for_what_they_need(pip, tmp_path, options, python, more, seconds):
    assert packages_folder("both", ["a==1", "b"], **options) == tmp_path / "packages" / "both"
    ((command, waited),) = pip.commands
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", *more]
    assert command[:-3] == [python, "-m", "pip", "install", *quiet, "--target"]
    assert (command[-2:], waited) == (["a==1", "b"], seconds)


@pytest.mark.parametrize(
    ("code", "makes", "stderr", "said"),
    [
        (1, True, "first\n last \n\n", "a b cannot be installed: last"),
        (0, False, "", "a b cannot be installed: pip said nothing"),
    ],
)
def test_the_last_line_of_pip_is_why(pip, tmp_path, code, makes, stderr, said):
    pip.code, pip.makes, pip.stderr = code, makes, stderr
    with pytest.raises(BackendError, match=said):
        packages_folder("both", ["a", "b"])
    assert list((tmp_path / "packages").iterdir()) == []


def test_what_takes_too_long_is_given_up(pip):
    pip.error = subprocess.TimeoutExpired("pip", 5.0)
    with pytest.raises(BackendError, match=r"installing a b took over 2\.5 s"):
        packages_folder("both", ["a", "b"], timeout_s=2.5)


@pytest.mark.usefixtures("pip")
@pytest.mark.parametrize("faster", [True, False])
def test_of_two_processes_the_faster_ones_folder_is_as_good(monkeypatch, tmp_path, faster):
    place = tmp_path / "packages" / "both"

    def rename(_, target):
        if faster:
            target.mkdir()
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(Path, "rename", rename)
    if faster:
        assert packages_folder("both", ["a"]) == place
        return
    with pytest.raises(OutputError, match=r"packages cannot be kept: Directory not empty\. Set WORKBENCH_CACHE"):
        packages_folder("both", ["a"])
