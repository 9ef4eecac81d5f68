"""A child process ends in a value or in a clear error, whatever happens inside."""

from __future__ import annotations

import io
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from tests.kit.awaited import until
from workbench import child as child_module
from workbench.child import Child, ChildError, Outcome, Progress, run
from workbench.errors import BackendError, ModelError

TEST = "the test"


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_value_log_time_and_memory_come_back():
    seen = []
    outcome = run(Child(on_line=seen.append), TEST, eval, "print('one') or print('two') or 6 * 7")
    assert outcome.value == 42
    assert outcome.log == ("one", "two")
    assert seen == ["one", "two"]
    assert outcome.seconds > 0
    assert outcome.peak_bytes > 1_000_000


def test_large_arrays_cross_both_ways():
    data = np.arange(3_000_000, dtype=np.float32)
    outcome = run(Child(), TEST, np.negative, data)
    np.testing.assert_array_equal(outcome.value, -data)


def test_a_crash_in_native_code_is_an_error_with_the_signal():
    with pytest.raises(ChildError, match=r"crashed in native code \(SIGSEGV\)") as caught:
        run(Child(), TEST, exec, "import ctypes; print('before'); ctypes.string_at(0)")
    assert caught.value.kind == "crashed"
    assert "before" in caught.value.log
    assert any("Segmentation fault" in line for line in caught.value.log)


def test_an_exit_without_result_is_an_error():
    with pytest.raises(ChildError, match="exit status 3") as caught:
        run(Child(), TEST, os._exit, 3)
    assert caught.value.kind == "crashed"


def test_time_limit_ends_it_and_its_children(tmp_path):
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, time; p = subprocess.Popen(['sleep', '600']); "
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(600)"
    )
    for limit in (1, 4, 16, 64):  # until there is time enough to get that far
        with pytest.raises(ChildError, match=f"ran past its limit of {limit} s") as caught:
            run(Child(timeout_s=limit), TEST, exec, code)
        assert caught.value.kind == "timeout"
        if pid_file.exists() and (grandchild := pid_file.read_text()):
            break
    until(lambda: not alive(int(grandchild)), "the child's child ends")


def test_memory_limit_ends_it():
    code = "b = bytearray(400_000_000)\nimport time\nfor i in range(0, len(b), 4096): b[i] = 1\ntime.sleep(600)"
    with pytest.raises(ChildError, match="its limit is 200 MiB") as caught:
        run(Child(memory_bytes=200 * 2**20), TEST, exec, code)
    assert caught.value.kind == "memory"


def test_memory_is_that_of_a_process_and_its_children_by_linux_as_by_psutil(monkeypatch):
    code = "b = bytearray(b'1') * 300_000_000; print(flush=True); input()"
    command = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        told = child_module._resident_bytes(process.pid)
        monkeypatch.setattr(child_module, "_knows_children", lambda: False)
        by_psutil = child_module._resident_bytes(process.pid)
        process.communicate(b"\n")
    assert told > 300_000_000
    assert told == pytest.approx(by_psutil, rel=0.1)


def test_cancel_from_another_thread():
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(ChildError, match="was cancelled") as caught:
        run(Child(cancel=cancel), TEST, time.sleep, 600)
    assert caught.value.kind == "cancelled"


def test_python_exceptions_keep_type_message_and_traceback():
    with pytest.raises(ChildError, match="ZeroDivisionError") as caught:
        run(Child(), TEST, exec, "1 / 0")
    assert caught.value.kind == "raised"
    assert any("Traceback" in line for line in caught.value.log)


def test_workbench_errors_pass_through_whole():
    code = "from workbench.errors import BackendError\nraise BackendError('bad', where='here', fix='Do this.')"
    with pytest.raises(BackendError, match=r"here: bad\. Do this\.") as caught:
        run(Child(), TEST, exec, code)
    assert not isinstance(caught.value, ChildError)
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("bad", "here", "Do this.")


def test_progress_reports_are_no_log_lines():
    steps = []
    code = "from workbench.child import progress\nprogress('build', 0.5)\nprint('line')\nprogress('build', 1.0)"
    outcome = run(Child(on_progress=steps.append), TEST, exec, code)
    assert steps == [Progress("build", 0.5), Progress("build", 1.0)]
    assert outcome.log == ("line",)


def test_the_child_leaves_when_its_parent_is_killed(tmp_path):
    pid_file = tmp_path / "pid"
    inner = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    outer = f"from workbench.child import Child, run; run(Child(), 'x', exec, {inner!r})"
    parent = subprocess.Popen(
        [sys.executable, "-c", outer], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    until(lambda: pid_file.exists() and pid_file.read_text(), "the child begins")
    parent.kill()
    parent.wait()
    until(lambda: not alive(int(pid_file.read_text())), "the child ends with its parent")


def test_a_function_of_main_is_refused_with_the_reason():
    def here() -> None: ...

    here.__module__ = "__main__"
    with pytest.raises(BackendError, match="Move it into a module"):
        run(Child(), TEST, here)


def test_a_memory_limit_that_nobody_can_watch_is_refused(monkeypatch):
    monkeypatch.setattr(child_module, "_can_watch", lambda: False)
    monkeypatch.setattr(child_module, "_knows_children", lambda: False)
    with pytest.raises(BackendError, match="without the package psutil"):
        run(Child(memory_bytes=2**30), TEST, abs, -1)
    outcome = run(Child(), TEST, abs, -1)
    assert outcome.value == 1
    assert outcome.peak_bytes > 1_000_000  # the child's own word


# What became of it, as its parent tells it


def told(tmp_path, value=None, *, code=0, peak=3 << 20, log=("first", "last"), answer=None, child=None):
    """What `run` returns or raises of a child that ended so, after 1.25 s."""
    result = tmp_path / "result"
    if answer is not None:
        result.write_bytes(pickle.dumps(answer))
    child = child or Child(timeout_s=1.5, memory_bytes=2 << 20)
    return child_module._outcome(child, "the work", code, result, Outcome(value, 1.25, peak, log))


@pytest.mark.parametrize(
    ("ended", "kind", "message"),
    [
        (
            {"value": "timeout"},
            "timeout",
            "the work ran past its limit of 1.5 s. Raise the time limit, or simplify the model.",
        ),
        (
            {"value": "memory"},
            "memory",
            "the work took 3 MiB of memory; its limit is 2 MiB. Raise the memory limit, or lower the workspace limit.",
        ),
        ({"value": "cancelled"}, "cancelled", "the work was cancelled after 1.2 s"),
        (
            {"code": 3},
            "crashed",
            "last: the work ended with exit status 3 and no result after 1.2 s at 3 MiB of memory",
        ),
        (
            {"code": -11, "log": (), "peak": 0},
            "crashed",
            "the work crashed in native code (SIGSEGV) after 1.2 s at an unknown amount of memory",
        ),
        (
            {"code": -9, "log": ()},
            "memory",
            f"the work {child_module.death(-9)} after 1.2 s at 3 MiB of memory",
        ),
        ({"answer": (False, "it is so", 0)}, "raised", "the work failed: it is so"),
    ],
)
def test_an_end_without_a_value_says_which_and_after_what(tmp_path, ended, kind, message):
    with pytest.raises(ChildError) as caught:
        told(tmp_path, **ended)
    assert (caught.value.kind, str(caught.value)) == (kind, message)
    assert caught.value.log == ended.get("log", ("first", "last"))


@pytest.mark.parametrize(("own", "peak"), [(5 << 20, 5 << 20), (1 << 20, 3 << 20)])
def test_a_value_comes_with_the_larger_of_both_peaks(tmp_path, own, peak):
    outcome = told(tmp_path, answer=(True, 42, own))
    assert outcome == Outcome(42, 1.25, peak, ("first", "last"))
    with pytest.raises(ModelError, match="bad"):
        told(tmp_path, answer=(False, ModelError("bad"), 0))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "ended with exit status 0 and no result"),
        (1, "ended with exit status 1 and no result"),
        (-6, "crashed in native code (SIGABRT)"),
        (-9, "was killed by the system (most often: the machine ran out of memory)"),
        (-200, "crashed in native code (signal 200)"),
    ],
)
def test_a_death_is_said_in_words(code, said):
    assert child_module.death(code) == said


@pytest.mark.parametrize(
    ("child", "peak", "seconds", "met"),
    [
        (Child(), 1 << 40, 1e9, None),
        (Child(memory_bytes=5), 5, 0.0, None),
        (Child(memory_bytes=5), 6, 0.0, "memory"),
        (Child(timeout_s=5.0), 0, 5.0, None),
        (Child(timeout_s=5.0), 0, 5.5, "timeout"),
        (Child(memory_bytes=5, timeout_s=5.0), 6, 6.0, "memory"),
        (Child(cancel=threading.Event()), 0, 0.0, None),
    ],
)
def test_a_limit_is_met_beyond_it(child, peak, seconds, met):
    assert child_module._limit_met(child, peak, seconds) == met
    if child.cancel is not None:
        child.cancel.set()
        assert child_module._limit_met(child, peak, seconds) == "cancelled"


def test_lines_are_read_to_the_end_and_told_apart_from_progress(capsys):
    child_module.progress("build", 0.5)
    said = capsys.readouterr().out
    assert said == '\x1eprogress ["build", 0.5]\n'
    lines, log, seen = queue.Queue(), [], []
    stream = io.BytesIO(b"one \r\n" + said.encode() + b"t\xffwo\n")
    child_module._read(SimpleNamespace(stdout=stream), lines)
    child_module._read(SimpleNamespace(stdout=None), lines)
    child = Child(on_line=seen.append, on_progress=seen.append)
    assert [child_module._drain(child, lines, log, 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert child_module._drain(child, lines, log, 0.0)  # nothing yet is no end
    assert seen == ["one ", Progress("build", 0.5), "t\ufffdwo"]
    assert log == ["one ", "t\ufffdwo"]
    child_module._deliver(Child(), "quiet", log)
    child_module._deliver(Child(), said, log)
    assert log == ["one ", "t\ufffdwo", "quiet"]


@pytest.mark.parametrize("error", [BrokenPipeError, ValueError])
def test_a_request_to_a_child_that_died_first_is_not_missed(error):
    def write(_):
        raise error

    child_module._send(SimpleNamespace(stdin=SimpleNamespace(write=write)), b"request")
    child_module._send(SimpleNamespace(stdin=None), b"request")


@pytest.mark.parametrize(
    ("linux", "psutil_is_there", "watched"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_memory_is_watched_by_linux_or_by_psutil(monkeypatch, linux, psutil_is_there, watched):
    monkeypatch.setattr(child_module, "_knows_children", lambda: linux)
    monkeypatch.setattr(child_module.importlib.util, "find_spec", lambda _: psutil_is_there or None)
    assert child_module._can_watch() == watched
    if not watched:
        assert child_module._resident_bytes(os.getpid()) == 0


@pytest.mark.parametrize(("platform", "peak"), [("linux", 7 << 10), ("darwin", 7), ("win32", 0)])
def test_a_peak_is_in_bytes_whatever_the_system_counts_in(monkeypatch, platform, peak):
    import resource

    monkeypatch.setattr(child_module, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7 if who == 0 else 1))
    assert child_module._own_peak_bytes() == peak


# The child's own life, here


class LeftError(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Let `serve` do one request of standard input; return how it left and what it wrote."""

    def leave(code):
        raise LeftError(code)

    def call(request):
        monkeypatch.setattr(child_module.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(request)))
        with pytest.raises(LeftError) as left:
            child_module.serve(())
        written = [path.name for path in tmp_path.iterdir()]
        answer = pickle.loads((tmp_path / "result").read_bytes()) if written else None  # noqa: S301 - made here
        return left.value.args, written, answer

    monkeypatch.setattr(child_module.os, "_exit", leave)
    monkeypatch.setattr(child_module, "_leave_with_parent", lambda: None)
    monkeypatch.setattr(child_module, "_own_peak_bytes", lambda: 5)
    return call


def raises(error):
    raise error


@pytest.mark.parametrize(
    ("function", "argument", "answer"),
    [
        (abs, -3, (True, 3, 5)),
        (raises, MemoryError(), (False, "out of memory (MemoryError)", 5)),
        (raises, SystemExit(3), (False, "SystemExit: 3", 5)),
        (raises, KeyError("k"), (False, "KeyError: 'k'", 5)),
    ],
)
def test_a_request_leaves_an_answer_whatever_becomes_of_it(serve, tmp_path, capsys, function, argument, answer):
    request = pickle.dumps((function, (argument,), {}, str(tmp_path / "result")))
    assert serve(request) == ((0,), ["result"], answer)
    assert ("Traceback" in capsys.readouterr().err) == isinstance(argument, (SystemExit, KeyError))


def test_an_error_of_ours_goes_over_as_it_is_and_no_request_is_the_end(serve, tmp_path):
    request = pickle.dumps((raises, (ModelError("bad", where="m"),), {}, str(tmp_path / "result")))
    _, _, (done, error, _) = serve(request)
    assert (done, type(error), str(error)) == (False, ModelError, "m: bad")
    (tmp_path / "result").unlink()
    assert serve(b"") == ((0,), [], None)


def test_it_leaves_when_its_parent_says_no_more(monkeypatch):
    said = io.BytesIO(b"more than was asked for")
    monkeypatch.setattr(child_module.sys, "stdin", SimpleNamespace(buffer=said))
    codes = []
    monkeypatch.setattr(child_module.os, "_exit", codes.append)
    child_module._leave_with_parent()
    assert (codes, said.read()) == ([1], b"")
