"""How far ahead of who asks things are made, in their order."""

from __future__ import annotations

import threading

import pytest

from workbench.calibration import ahead as module
from workbench.calibration.ahead import ahead, each_ahead


class Counted:
    """Numbers from 0 on, and how many of them were asked for."""

    def __init__(self, count: int) -> None:
        self.numbers, self.taken = iter(range(count)), 0

    def __iter__(self):
        return self

    def __next__(self) -> int:
        number = next(self.numbers)
        self.taken += 1
        return number


@pytest.mark.parametrize(("workers", "taken"), [(1, [1, 3, 4, 5, 6]), (3, [1, 3, 6, 9, 10])])
def test_of_many_things_twice_as_many_as_there_are_workers_are_made_ahead(monkeypatch, workers, taken):
    monkeypatch.setattr(module, "usable_cores", lambda: workers)
    sources = Counted(40)
    made = each_ahead(lambda number: number**2, sources)
    seen = []
    for at, result in zip(range(5), made, strict=False):
        assert result == at**2
        seen.append(sources.taken)
    assert seen == taken
    assert list(made) == [at**2 for at in range(5, 40)]


def test_items_of_one_thread_come_in_order_and_only_so_far_ahead():
    items = Counted(9)
    going = ahead(items, 2)
    for at in range(4):
        assert next(going) == at
        assert items.taken <= at + 3
    assert list(going) == [4, 5, 6, 7, 8]
    assert list(ahead([], 3)) == []


def test_who_stops_asking_ends_what_was_begun():
    before = set(threading.enumerate())
    going = ahead(iter(range(1000)), 3)
    assert next(going) == 0
    going.close()
    assert set(threading.enumerate()) <= before
