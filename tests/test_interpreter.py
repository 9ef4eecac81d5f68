"""An interpreter that is started ahead does the next request, in the world that the request is made in, or none."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from tests.kit.awaited import until
from workbench import interpreter
from workbench.child import Child, ChildError, run
from workbench.interpreter import boot, booted_ahead

TEST = "the test"


@pytest.fixture
def started(monkeypatch):
    """Every process that is started, in order."""
    processes, real = [], interpreter._started

    def counted(ahead):
        processes.append(real(ahead))
        return processes[-1]

    monkeypatch.setattr(interpreter, "_started", counted)
    return processes


def pid_of_next():
    return run(Child(), TEST, os.getpid).value


def test_the_next_request_is_done_by_it_and_one_after_that_by_another(started):
    with booted_ahead("colorsys"):
        (ahead,) = started
        assert run(Child(), TEST, eval, "'colorsys' in __import__('sys').modules").value
        assert ahead.returncode == 0
        assert pid_of_next() == started[1].pid != ahead.pid
    assert len(started) == 2


def test_it_ends_where_nothing_is_asked_of_it(started):
    with booted_ahead("colorsys"):
        pass
    assert started[0].returncode is not None
    with pytest.raises(KeyError), booted_ahead("colorsys"):
        raise KeyError
    assert started[1].returncode is not None
    assert not interpreter._waiting


def test_it_is_not_taken_where_the_world_is_another_one_meanwhile(started, monkeypatch, tmp_path):
    for change in (
        lambda: monkeypatch.setenv("WORKBENCH_TEST", "other"),
        lambda: monkeypatch.syspath_prepend(tmp_path),
        lambda: monkeypatch.chdir(tmp_path),
    ):
        started.clear()
        with booted_ahead():
            change()
            assert pid_of_next() == started[1].pid
        assert started[0].returncode is not None


def test_one_that_died_is_replaced(started):
    with booted_ahead():
        started[0].kill()
        started[0].wait()
        assert pid_of_next() == started[1].pid


def test_a_module_that_is_missing_is_told_when_it_is_asked_for():
    with booted_ahead("workbench_has_no_such_module"):
        assert pid_of_next()
    with booted_ahead("workbench_has_no_such_module"), pytest.raises(ChildError, match="No module named"):
        run(Child(), TEST, exec, "import workbench_has_no_such_module")


def test_it_ends_with_its_parent():
    code = "from workbench.interpreter import boot; print(boot().pid, flush=True); import os; os._exit(0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (pid,) = map(int, done.stdout.split())
    until(lambda: not _runs(pid), "it ends")


def _runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # of one whose parent died, nobody may ask
    except psutil.NoSuchProcess:
        return False


def test_nothing_is_started_ahead_unless_asked_for(started):
    process = boot()
    assert started == [process]
    interpreter._end(process)
    assert (process.returncode is None, process.stdin.closed, process.stdout.closed) == (False, True, True)


def test_a_folder_that_was_removed_is_a_world_of_its_own(monkeypatch):
    def gone():
        raise FileNotFoundError

    here = interpreter._surroundings()
    assert here == (os.getpid(), sys.path, dict(os.environ), interpreter.Path.cwd())
    monkeypatch.setattr(interpreter.Path, "cwd", gone)
    assert interpreter._surroundings() == (*here[:3], None)


def test_what_is_loaded_ahead_is_there_and_what_is_missing_is_passed_over(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    interpreter.load_ahead(("workbench_has_no_such_module", "colorsys"))
    assert "colorsys" in sys.modules
