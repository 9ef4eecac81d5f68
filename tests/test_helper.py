"""A call that kills its process costs that call; the next one has another helper."""

from __future__ import annotations

import operator
import os
import signal
import sys
import time
from pathlib import Path

import pytest

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
    for _ in range(200):  # it answers first
        if held() < before + (1 << 25):
            return
        time.sleep(0.05)
    pytest.fail(f"{held() - before} bytes are kept")
