"""Results are there whole or not at all."""

from __future__ import annotations

import errno
import resource
import shutil
import socket
import subprocess
import sys

import pytest

from workbench.errors import OutputError
from workbench.files import write_bytes, write_error, write_text
from workbench.results import prepare_folder


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "a.bin"
    write_bytes(target, b"old")
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert target.stat().st_mode & 0o044 == 0o044 & ~_umask()


def _umask() -> int:
    return int(subprocess.run(["sh", "-c", "umask"], capture_output=True, text=True, check=True).stdout, 8)  # noqa: S607


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    # The operating system itself ends the write: files of this process may not grow over 4 kB.
    code = (
        "import resource, signal, sys\n"
        "from workbench.errors import OutputError\n"
        "from workbench.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write_bytes(sys.argv[1], bytes(100_000))\n"
        "except OutputError as error:\n"
        "    print(error)\n"
    )
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    assert resource.RLIMIT_FSIZE  # what the child uses exists here
    out = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True)
    assert "cannot be written" in out.stdout
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_full_disk_is_called_that(tmp_path):
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a tiny disk needs root")
    try:
        write_bytes(tmp_path / "a.bin", b"old")
        with pytest.raises(OutputError, match="the disk is full"):
            write_bytes(tmp_path / "a.bin", bytes(1_000_000))
        assert (tmp_path / "a.bin").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)  # noqa: S607


def test_a_folder_with_other_content_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"holds other content \(thesis\.tex\)"):
        prepare_folder(tmp_path, ("tuned.onnx",))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_our_own_results_is_used_again(tmp_path):
    (tmp_path / "tuned.onnx").write_bytes(b"")
    assert prepare_folder(tmp_path, ("tuned.onnx",)) == tmp_path
    assert prepare_folder(tmp_path / "new" / "deep", ("tuned.onnx",)).is_dir()


def test_a_file_in_the_folders_place_is_said(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="this is a file, not a folder"):
        prepare_folder(tmp_path / "out", ())


def test_a_text_is_written_in_utf_8_and_what_that_cannot_say_is_a_question_mark(tmp_path):
    assert write_text(tmp_path / "t", "µ\ud800").read_bytes() == "µ?".encode()


def test_a_socket_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # its name may have no more than a hundred letters
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        with pytest.raises(OutputError, match="this is a device or a socket"):
            write_bytes("s", b"new")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left"),
            "o: the disk is full. Free some space; what was there before is untouched.",
        ),
        (OSError(errno.ENXIO, "No such device"), "o: cannot be written: nobody reads this pipe. Check the path."),
        (OSError(errno.EACCES, "Permission denied"), "o: cannot be written: Permission denied. Check the path."),
        (OSError("it is so"), "o: cannot be written: it is so. Check the path."),
    ],
)
def test_why_something_cannot_be_written_is_a_line(error, said):
    assert str(write_error(error, "o")) == said


@pytest.mark.parametrize(
    ("names", "said"), [("abc", r"\(a, b, c\)\. Choose"), ("abcd", r"\(a, b, c, \.\.\.\)\. Choose")]
)
def test_three_of_what_else_is_in_a_folder_are_named(tmp_path, names, said):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(OutputError, match=said):
        prepare_folder(tmp_path, ("tuned.onnx",))
