"""A result lands as a whole or not at all, and what a killed process leaves stops nobody."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from workbench import scratch
from workbench.errors import OutputError
from workbench.files import moved_into, write_bytes, write_text
from workbench.results import LANDING, held_folder, prepare_folder, refuse_source, results_folder, together

NAMES = ("a", "b", "c")


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def fill(folder, which, error=None):
    for name in which:
        write_text(folder / name, "new")
    if error is not None:
        raise error


def overfill(folder):
    write_text(folder / "a", "newer")
    write_bytes(folder / "b", bytes(1_000_000))


def in_another_process(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


HOLDER = """
import sys
from workbench.files import write_text
from workbench.results import results_folder
with results_folder(sys.argv[1], ("a", "b")) as folder:
    write_text(folder / "a", "new")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_files_land_together_and_what_is_stale_goes(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_text("old")
    with results_folder(tmp_path, NAMES, keeps=("c",)) as folder:
        write_text(folder / "a", "new")
        assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a", "c"]
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / "c").read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, OutputError, KeyboardInterrupt])
def test_nothing_lands_where_the_job_fails(tmp_path, error):
    (tmp_path / "a").write_text("old")
    with pytest.raises(error), results_folder(tmp_path, NAMES) as folder:
        fill(folder, "ab", error("no"))
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_two_files_of_a_foreign_folder_land_together(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match="no"), together(tmp_path):
        fill(tmp_path, "a", ValueError("no"))
    assert names(tmp_path) == ["mine"]
    with together(tmp_path):
        write_text(tmp_path / "a", "new")
        write_text(tmp_path / "b", "new")
        assert names(tmp_path)[1:] == ["mine"]
    assert names(tmp_path) == ["a", "b", "mine"]


def test_of_two_writers_one_is_refused_until_the_other_is_dead(tmp_path):
    other = in_another_process(HOLDER, tmp_path / "o")
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(OutputError, match="another process is writing to this folder"),
        results_folder(tmp_path / "o", NAMES),
    ):
        pass
    with pytest.raises(OutputError, match="another process"), held_folder(tmp_path / "o"):
        pass
    other.kill()
    other.wait()
    assert len(names(tmp_path / "o")) == 1  # its scratch folder
    with results_folder(tmp_path / "o", NAMES) as folder:
        write_text(folder / "b", "new")
    assert names(tmp_path / "o") == ["b"]


def test_a_result_whose_landing_was_killed_half_way_is_finished_by_the_next(tmp_path):
    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    (tmp_path / LANDING).mkdir()
    (tmp_path / LANDING / "b").write_text("new")
    with pytest.raises(ValueError, match="no"), results_folder(tmp_path, NAMES):
        raise ValueError("no")
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "b").read_text() == "new"


def test_ctrl_c_while_landing_waits_for_its_end(tmp_path, monkeypatch):
    replace = Path.replace

    def interrupted(self, target):
        signal.raise_signal(signal.SIGINT)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    # Where the tests run in the background, Python found the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), results_folder(tmp_path, NAMES) as folder:
            fill(folder, NAMES)
    finally:
        signal.signal(signal.SIGINT, before)
    assert names(tmp_path) == list(NAMES)


def test_leftovers_of_the_dead_are_swept_those_of_the_living_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_swept", set())
    dead = tmp_path / f"{scratch.PREFIX}abcdefgh"
    (dead / "deep").mkdir(parents=True)
    (tmp_path / "trt-workbench-notes").mkdir()
    with scratch.scratch_folder() as living:
        assert not dead.exists()
        scratch.sweep(tmp_path)
        assert names(tmp_path) == sorted(["trt-workbench-notes", living.name])
    assert names(tmp_path) == ["trt-workbench-notes"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="cannot be written"), results_folder(tmp_path, NAMES):
        pytest.fail("the work began")


def test_a_folder_of_the_kernel_is_said_before_the_work():
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(OutputError, match="cannot be written"), together(Path("/proc/self")):
        pytest.fail("the work began")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_plain_file_in_a_results_folder_is_not_replaced(tmp_path, kind):
    path = tmp_path / "o" / "a"
    path.parent.mkdir()
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(OutputError, match="would be replaced"):
        prepare_folder(path.parent, NAMES)
    assert not path.is_file()


def test_a_link_stays_one_and_its_file_keeps_its_mode(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to("real")
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    with together(tmp_path):
        write_bytes(link, b"newer")
    assert link.is_symlink()
    assert real.read_text() == "newer"


def test_a_link_to_nothing_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to("real")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_through_and_one_without_a_reader_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="nobody reads this pipe"):
        write_bytes(pipe, b"new")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(pipe, b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()


def test_more_than_a_pipe_holds_goes_through_it(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR)  # a reader that waits for more
    reader = threading.Thread(target=lambda: read.extend(_pieces(descriptor, 1 << 20)), daemon=True)
    reader.start()
    write_bytes(pipe, bytes(1 << 20))
    reader.join()
    os.close(descriptor)
    assert b"".join(read) == bytes(1 << 20)


def _pieces(descriptor, count):
    while count:
        yield (piece := os.read(descriptor, count))
        count -= len(piece)


def test_a_device_stays_one(tmp_path):
    null = Path("/dev/null")
    write_bytes(null, b"gone")
    assert stat.S_ISCHR(null.stat().st_mode)
    with pytest.raises(OutputError, match="the disk is full"):
        write_bytes("/dev/full", b"no room")
    with pytest.raises(OutputError, match="this is a folder"):
        write_bytes(tmp_path, b"no file")


def test_a_disk_that_is_full_in_the_middle_changes_nothing(tmp_path):
    mount = shutil.which("mount")
    tiny = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if mount is None or subprocess.run(tiny, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tiny disk needs root")
    try:
        with results_folder(tmp_path, NAMES) as folder:
            fill(folder, NAMES)
        with pytest.raises(OutputError, match="the disk is full"), results_folder(tmp_path, NAMES) as folder:
            overfill(folder)
        assert names(tmp_path) == list(NAMES)
        assert (tmp_path / "a").read_text() == "new"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)  # noqa: S607


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_was_made_for_a_result_goes_where_there_is_none(there, tmp_path):
    out = tmp_path / "out"
    if there:
        out.mkdir()

    def fail():
        with results_folder(out, ["a"]) as folder:
            write_text(folder / "a", "half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert out.exists() == there
    assert not there or list(out.iterdir()) == []


def test_what_cannot_be_read_elsewhere_is_not_said_of_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError), results_folder(tmp_path / "out", NAMES):
        (tmp_path / "gone").read_bytes()
    assert not (tmp_path / "out").exists()


def test_what_is_written_elsewhere_meanwhile_is_there_at_once(tmp_path):
    (tmp_path / "o" / "deep").mkdir(parents=True)
    for place in (tmp_path / "other", tmp_path / "o" / "a"):
        with together(tmp_path / "o"):
            write_text(place, "new")
            write_text(tmp_path / "o" / "deep" / "b", "new")
            assert place.exists() == (place.parent == tmp_path)
            assert (tmp_path / "o" / "deep" / "b").read_text() == "new"
        assert place.read_text() == "new"


@pytest.mark.parametrize("half", ["half", None])
def test_a_file_that_fails_while_it_is_kept_back_does_not_land(tmp_path, half):
    def fail():
        with moved_into(tmp_path / "a") as file:
            assert file.name == "a"
            if half is not None:
                file.write_text(half)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with together(tmp_path):
        with pytest.raises(KeyError):
            fail()
        write_text(tmp_path / "b", "new")
    assert names(tmp_path) == ["b"]


def test_a_result_never_takes_the_place_of_what_it_is_made_of(tmp_path):
    (tmp_path / "m.onnx").write_text("model")
    (tmp_path / "link.onnx").symlink_to("m.onnx")
    for source in (tmp_path / "m.onnx", tmp_path / "link.onnx"):
        with pytest.raises(OutputError, match=r"m\.onnx in it is the model that this is made of.*another place"):
            refuse_source(tmp_path, ("nowhere", "m.onnx"), source)
    refuse_source(tmp_path, ("m.onnx",), None)
    refuse_source(tmp_path, ("other.onnx",), tmp_path / "m.onnx")
    refuse_source(tmp_path, ("m.onnx",), tmp_path / "gone.onnx")


def test_a_file_in_a_folders_place_cannot_be_held(tmp_path):
    (tmp_path / "o").write_text("")
    with pytest.raises(OutputError, match="this is a file, not a folder"), held_folder(tmp_path / "o"):
        pass


@pytest.mark.parametrize("there", [True, False])
def test_a_held_folder_that_was_made_for_nothing_goes(there, tmp_path):
    out = tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)
    with pytest.raises(KeyError), held_folder(out):
        raise KeyError
    assert out.exists() == there
    with held_folder(out) as held:
        assert (held, out.is_dir()) == (out, True)


@pytest.mark.parametrize("where", ["inside", "elsewhere", "nowhere"])
def test_an_error_of_the_system_is_of_the_folder_where_it_names_nothing_else(tmp_path, where):
    file = {"inside": str(tmp_path / "o" / "f"), "elsewhere": str(tmp_path / "f"), "nowhere": None}[where]
    kind = FileNotFoundError if where == "elsewhere" else OutputError
    with pytest.raises(kind), results_folder(tmp_path / "o", NAMES):
        raise FileNotFoundError(2, "No such file", file)


def test_results_land_from_another_thread_too(tmp_path):
    """Only the main thread may hold Ctrl+C back."""

    def work():
        with results_folder(tmp_path, NAMES) as folder:
            fill(folder, "a")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert names(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_no_other_content(tmp_path):
    (tmp_path / LANDING).mkdir()
    (tmp_path / f".{scratch.PREFIX}abcdefgh").mkdir()
    assert prepare_folder(tmp_path, NAMES) == tmp_path
    assert names(tmp_path) == [LANDING]
