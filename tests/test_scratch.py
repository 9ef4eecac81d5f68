"""Temporary folders and locks, whoever else holds them."""

from __future__ import annotations

import os
import tempfile
from types import SimpleNamespace

import pytest

from workbench import scratch
from workbench.errors import OutputError
from workbench.scratch import PREFIX, hold, hold_name, is_scratch, scratch_folder, sweep


@pytest.fixture
def system(monkeypatch, tmp_path):
    """The system's folder for temporary files, which no process has looked at."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_swept", set())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        (f"{PREFIX}ab_d3fgh", True),
        (f".{PREFIX}abcdefgh", True),
        (f"{PREFIX}abcdefg", False),
        (f"{PREFIX}abcdefghi", False),
        (f"x{PREFIX}abcdefgh", False),
        ("trt-workbench-notes", False),
    ],
)
def test_a_scratch_folder_is_told_by_its_name(name, ours):
    assert is_scratch(name) == ours


def test_it_is_hidden_beside_a_file_and_goes_at_the_end(system):
    beside = system / "results"
    beside.mkdir()
    for folder, start in ((None, PREFIX), (beside, f".{PREFIX}")):
        with scratch_folder(folder) as made:
            assert made.parent == (folder or system)
            assert made.name.startswith(start)
            assert is_scratch(made.name)
            (made / "file").write_text("content")
        assert not made.exists()


def test_the_systems_folder_is_swept_once_a_process_and_one_of_results_each_time(system):
    def left_by_the_dead(parent):
        dead = parent / f"{PREFIX}abcdefgh"
        dead.mkdir(exist_ok=True)
        return dead

    for swept in (True, False):
        dead = left_by_the_dead(system)
        with scratch_folder():
            assert dead.exists() != swept
    dead.rmdir()
    results = system / "results"
    results.mkdir()
    for _ in range(2):
        dead = left_by_the_dead(results)
        with scratch_folder(results):
            assert not dead.exists()


def test_only_folders_of_this_user_are_swept(system, monkeypatch):
    (system / "elsewhere").mkdir()
    link, file, dead = (system / f"{PREFIX}{name * 8}" for name in "lfd")
    link.symlink_to(system / "elsewhere")
    file.write_text("no folder")
    dead.mkdir()
    uid = os.getuid()
    monkeypatch.setattr(scratch.os, "getuid", lambda: uid + 1)
    sweep(system)
    assert dead.exists()
    monkeypatch.setattr(scratch.os, "getuid", lambda: uid)
    sweep(system)
    assert (dead.exists(), link.is_symlink(), file.exists()) == (False, True, True)
    sweep(system / "nowhere")


def test_a_folder_that_another_process_swept_first_is_made_again(system, monkeypatch):
    made, real = [], scratch._new_folder

    def unlucky(*arguments):
        made.append(real(*arguments))
        if len(made) == 1:
            made[0].rmdir()
        return made[-1]

    monkeypatch.setattr(scratch, "_new_folder", unlucky)
    with scratch_folder() as folder:
        assert folder == made[1]
    assert list(system.iterdir()) == []


def test_where_none_can_be_made_the_variable_is_named_or_the_file_is_what_fails(system, monkeypatch):
    gone = system / "gone"
    monkeypatch.setattr(tempfile, "tempdir", str(gone))
    with (
        pytest.raises(OutputError, match=r"gone: no temporary folder can be made: No such file.* Set TMPDIR"),
        scratch_folder(),
    ):
        pass
    with pytest.raises(FileNotFoundError), scratch_folder(gone):
        pass

    def none():
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(OutputError, match=r"there is no folder for temporary files\. Set TMPDIR"), scratch_folder():
        pass


def test_of_two_who_hold_a_path_the_first_has_it(tmp_path):
    with hold(tmp_path) as first, hold(tmp_path) as second:
        assert (first, second) == (True, False)
    with hold(tmp_path) as again:
        assert again
    with hold(tmp_path / "nowhere") as missing:
        assert not missing


def path_is_gone(path):
    assert not path.exists()


def path_is_new(path):
    path.write_text("another")


def test_a_path_that_is_another_one_meanwhile_is_not_held(tmp_path, monkeypatch):
    path, real, meanwhile = tmp_path / "f", os.open, [path_is_gone, path_is_new]

    def opened(*arguments):
        descriptor = real(*arguments)
        path.unlink()
        meanwhile.pop()(path)
        return descriptor

    monkeypatch.setattr(scratch.os, "open", opened)
    while meanwhile:
        path.write_text("one")
        with hold(path) as mine:
            assert not mine


def test_without_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(scratch.fcntl, "flock", none)
    with hold(tmp_path) as mine:
        assert mine
    monkeypatch.setattr(scratch, "sys", SimpleNamespace(platform="win32"))
    dead = tmp_path / f"{PREFIX}abcdefgh"
    dead.mkdir()
    sweep(tmp_path)
    assert dead.exists()
    with hold(tmp_path / "nowhere") as mine:
        assert mine


def test_a_file_that_is_replaced_is_held_by_one_beside_it(tmp_path):
    path, lock = tmp_path / "file", tmp_path / ".file.lock"
    with hold_name(path) as first:
        assert first
        assert lock.exists()
        with hold_name(path) as second:
            assert not second
        assert lock.exists()
    assert list(tmp_path.iterdir()) == []
