"""A call that kills its process costs that call; the next one has another helper."""

from __future__ import annotations

import io
import operator
import os
import pickle
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.kit.awaited import until
from workbench import helper


def test_a_call_gives_what_it_gives_here_and_what_it_raises_in_words():
    assert helper.call(divmod, 7, 3) == (2, 1)
    failed = helper.call(int, "x")
    assert isinstance(failed, helper.Failed)
    assert failed.kind[:2] == ("ValueError", "Exception")
    assert "invalid literal" in failed.text


def test_one_process_does_one_call_after_the_other_until_one_kills_it():
    first = helper.call(os.getpid)
    assert first == helper.call(os.getpid) != os.getpid()
    with pytest.raises(helper.HelperDiedError) as error:
        helper.call(os.kill, first, int(signal.SIGSEGV))
    assert error.value.code == -signal.SIGSEGV
    assert helper.call(os.getpid) not in (first, os.getpid())


def test_what_cannot_be_sent_leaves_no_half_request_behind():
    with pytest.raises((AttributeError, TypeError)):  # pickle's own
        helper.call(print, lambda: None)
    assert helper.call(divmod, 7, 3) == (2, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process holds")
def test_what_a_call_was_given_and_gave_is_let_go_of_before_the_next():
    def held():
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pid = helper.call(os.getpid)
    before = held()
    assert helper.call(operator.mul, b"1" * (1 << 26), 2) == b"1" * (1 << 27)
    until(lambda: held() < before + (1 << 25), "they are let go of")  # it answers first


def test_it_is_in_a_session_of_its_own_and_belongs_to_who_started_it(monkeypatch):
    assert helper.call(os.getsid, 0) == helper.call(os.getpid)  # Ctrl+C is for the parent
    assert helper._helper.is_alive()
    monkeypatch.setattr(helper._helper, "_owner", os.getpid() + 1)  # as after a fork
    assert not helper._helper.is_alive()


def test_where_none_starts_it_is_said_and_nothing_is_called(monkeypatch):
    monkeypatch.setattr(helper, "_helper", None)
    monkeypatch.setattr(helper, "_BOOT", "print('no')")
    with pytest.warns(UserWarning, match="no helper process starts"), pytest.raises(helper.NoHelperError):
        helper.call(divmod, 7, 3)
    assert helper._helper is None


class Files:
    """Stands for `Path` where /proc is read and written."""

    written = None

    def __init__(self, path):
        self.path = path

    def read_text(self):
        return {
            "/proc/meminfo": "MemTotal:  9000 kB\nMemAvailable:   1000 kB\n",
            "/proc/self/status": "Name:\tpython\nVmData:\t  200 kB\n",
        }[self.path]

    def write_text(self, text):
        self.written[self.path] = text


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on data is one of Linux")
def test_it_may_hold_what_it_has_and_nine_tenths_of_what_is_free(monkeypatch):
    import resource

    bounds = []
    monkeypatch.setattr(helper, "Path", Files)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 30, 1 << 40))
    monkeypatch.setattr(resource, "setrlimit", lambda *given: bounds.append(given))
    helper._limit_memory()
    assert bounds == [(resource.RLIMIT_DATA, ((200 + 900) << 10, 1 << 40))]
    monkeypatch.setattr(Files, "read_text", lambda _: "MemTotal: 9000 kB\n")
    helper._limit_memory()  # it is not told: no bound
    monkeypatch.setattr(helper, "sys", SimpleNamespace(platform="darwin"))
    helper._limit_memory()
    assert len(bounds) == 1


def test_it_answers_one_request_after_the_other_until_there_are_no_more(monkeypatch):
    answers, moved, bounds, written = io.BytesIO(), [], [], {}
    opened = {(7, "wb"): answers}
    requests = b"".join(pickle.dumps((function, (value,))) for function, value in ((abs, -3), (int, "x")))
    files = SimpleNamespace(dup={1: 7}.get, dup2=lambda *to: moved.append(to), fdopen=lambda *to: opened[to])
    monkeypatch.setattr(helper, "os", files)
    monkeypatch.setattr(helper.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(requests)))
    monkeypatch.setattr(helper, "Path", Files)
    monkeypatch.setattr(Files, "written", written)
    monkeypatch.setattr(helper, "_limit_memory", lambda: bounds.append("bound"))
    helper.serve()
    answers.seek(0)
    assert answers.readline() == b"ready\n"
    assert pickle.load(answers) == (True, 3)  # noqa: S301 - made here
    done, (kinds, text) = pickle.load(answers)  # noqa: S301 - made here
    assert (done, kinds) == (False, ("ValueError", "Exception", "BaseException", "object"))
    assert text.startswith("invalid literal")
    assert answers.read() == b""
    assert moved == [(2, 1)]  # what a library prints is no answer
    assert written == {"/proc/self/oom_score_adj": "1000"}
    assert bounds == ["bound"] * 2
