"""The garbage collector is held back, but not where a program has frozen objects of its own."""

from __future__ import annotations

import gc

import pytest

from workbench.graph.collector import collector_off, collector_spared


@pytest.fixture
def asked(monkeypatch):
    """What the collector is asked for, which it does not do."""
    calls = []
    for name in ("freeze", "unfreeze", "collect"):
        monkeypatch.setattr(gc, name, lambda name=name: calls.append(name))
    return calls


@pytest.mark.parametrize(
    ("frozen", "off", "spared"),
    [
        (0, ["freeze", "unfreeze"], ["collect", "freeze", "inside", "unfreeze"]),
        (999, ["freeze", "unfreeze"], ["collect", "freeze", "inside", "unfreeze"]),
        (1000, [], ["inside"]),
    ],
)
def test_a_thousand_frozen_objects_are_a_programs_own(asked, frozen, off, spared, monkeypatch):
    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen)
    with collector_off():
        assert not gc.isenabled()
        assert asked == []
    assert gc.isenabled()
    assert asked == off
    asked.clear()
    with collector_spared():
        asked.append("inside")
    assert asked == spared


def test_a_collector_that_was_off_stays_off(asked):
    gc.disable()
    try:
        with collector_off():
            pass
        assert not gc.isenabled()
        assert asked == []
    finally:
        gc.enable()
