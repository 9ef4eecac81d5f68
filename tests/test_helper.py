"""A call that kills its process costs that call; the next one has another helper."""

from __future__ import annotations

import os
import signal

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
