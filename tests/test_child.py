"""A child process ends in a value or in a clear error, whatever happens inside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from workbench import child as child_module
from workbench.child import Child, ChildError, Progress, run
from workbench.errors import BackendError

TEST = "the test"


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_value_log_time_and_memory_come_back():
    seen = []
    outcome = run(Child(on_line=seen.append), TEST, eval, "print('one') or print('two') or 6 * 7")
    assert outcome.value == 42
    assert outcome.log == ("one", "two")
    assert seen == ["one", "two"]
    assert 0 < outcome.seconds < 30
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
        "import subprocess, time; p = subprocess.Popen(['sleep', '60']); "
        f"open({str(pid_file)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )
    start = time.monotonic()
    with pytest.raises(ChildError, match="ran past its limit of 2 s") as caught:
        run(Child(timeout_s=2.0), TEST, exec, code)
    assert caught.value.kind == "timeout"
    assert time.monotonic() - start < 20
    grandchild = pid_file.read_text()
    assert not alive(int(grandchild))


def test_memory_limit_ends_it():
    code = "b = bytearray(400_000_000)\nimport time\nfor i in range(0, len(b), 4096): b[i] = 1\ntime.sleep(30)"
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
        run(Child(cancel=cancel), TEST, time.sleep, 60)
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
    inner = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"from workbench.child import Child, run; run(Child(), 'x', exec, {inner!r})"
    parent = subprocess.Popen(
        [sys.executable, "-c", outer], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    for _ in range(200):
        if pid_file.exists() and pid_file.read_text():
            break
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    child = pid_file.read_text()
    for _ in range(100):
        if not alive(int(child)):
            return
        time.sleep(0.05)
    pytest.fail(f"child {child} outlived its parent")


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
