"""What a page hears of something that takes long."""

from __future__ import annotations

import pytest

from workbench.views.app import tasks
from workbench.views.app.tasks import Task


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(tasks.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def heard():
    return []


@pytest.fixture
def task(clock, heard):  # noqa: ARG001 - it is made by that clock
    return Task("searching", heard.append)


def test_the_time_left_is_of_what_is_being_done_and_not_of_what_came_before(task, clock, heard) -> None:
    clock[0] += 50.0  # the reference ran
    task.step("searching", 0, 20)
    clock[0] += 10.0
    task.step("searching", 2, 20)
    assert (heard[-1]["left"], heard[-1]["count"], heard[-1]["spent"]) == (90.0, "2 of 20", 60.0)
    task.step("measuring sensitivity", 0, 4)
    clock[0] += 1.0
    task.step("measuring sensitivity", 1, 4)
    assert heard[-1]["left"] == 3.0
    clock[0] += 1.0
    task.step("measuring sensitivity", 0, 4)  # once more, with other ranges
    clock[0] += 2.0
    task.step("measuring sensitivity", 2, 4)
    assert heard[-1]["left"] == 2.0


def test_phases_of_one_thing_share_its_time(task, clock, heard) -> None:
    task.step("building: parsing", 0.0, 1.0)
    clock[0] += 3.0
    task.step("building: timing tactics", 0.75, 1.0)
    assert (heard[-1]["left"], heard[-1]["count"]) == (1.0, "")


def test_silence_is_told_too(task, clock, heard) -> None:
    task.best("SQNR 30 dB")
    clock[0] += 1.0
    task.beat()
    assert heard == [
        {"doing": "searching", "count": "", "share": None, "left": None, "spent": 1.0, "best": "SQNR 30 dB"}
    ]
    task.step("searching", 0, 10)
    clock[0] += 1.0
    task.step("searching", 2, 10)
    task.beat()  # that was news
    assert len(heard) == 2
    clock[0] += 3.0
    task.beat()
    assert (heard[-1]["left"], heard[-1]["spent"]) == (1.0, 5.0)
    clock[0] += 3.0
    task.beat()
    assert heard[-1]["left"] is None  # it takes longer than it seemed to
