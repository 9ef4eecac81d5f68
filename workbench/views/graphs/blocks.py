"""Blocks for a model whose names tell none: repeated ones first, then cuts at the narrowest places.

Everything works on one sequence in running order and gives contiguous pieces of it, so the pieces form no cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["blocks", "live_tensors", "repeats"]

_LEAST_BLOCK = 2
_LONGEST_PERIOD = 400
_PIECES = 12


def live_tensors(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Return, for each place before item i (0 to count), from how many items data passes over it."""
    last = list(range(count))
    for tail, head in edges:
        last[tail] = max(last[tail], head)
    change = [0] * (count + 2)
    for tail in range(count):
        if last[tail] > tail:
            change[tail + 1] += 1
            change[last[tail] + 1] -= 1
    return [int(total) for total in np.cumsum(change)[: count + 1]]


def repeats(signs: Sequence[int], live: Sequence[int]) -> tuple[int, int, int] | None:
    """Return (start, period, times) of the run of equal pieces that covers most, or None where nothing repeats.

    Of all rotations of a run the one is taken whose pieces are joined by the fewest tensors; of equal runs the one with
    the shortest period.
    """
    row = np.asarray(signs)
    covered = start = span = best = 0
    for period in range(_LEAST_BLOCK, min(len(row) // 2, _LONGEST_PERIOD) + 1):
        if covered == len(row):
            break
        equal = row[:-period] == row[period:]
        if np.count_nonzero(equal) + period <= covered:
            continue
        same = np.concatenate(([0], equal, [0])).astype(np.int8)
        bounds = np.flatnonzero(np.diff(same))
        spans = bounds[1::2] - bounds[::2] + period
        whole = np.where(spans >= 2 * period, spans - spans % period, 0)
        at = int(whole.argmax()) if len(whole) else 0
        if not len(whole) or whole[at] <= covered:
            continue
        first = int(bounds[2 * at])
        if len(set(row[first : first + period].tolist())) < _LEAST_BLOCK:
            continue  # one operator many times over is no block
        covered, start, span, best = int(whole[at]), first, int(spans[at]), period
    if not best:
        return None

    def cost(shift: int) -> tuple[float, int, int]:
        times = (start + span - shift) // best
        return sum(live[shift + best * k] for k in range(times + 1)) / (times + 1), -times, shift

    _, times, first = min(cost(shift) for shift in range(start, min(start + best, start + span - 2 * best + 1)))
    return first, best, -times


def blocks(signs: Sequence[int], edges: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Return the pieces (start, end) of a sequence: at most `limit` of them, none empty, all of it covered.

    Parameters
    ----------
    signs
        What each item is: equal numbers for equal items.
    edges
        Pairs (from, to) of item numbers.
    limit
        The most pieces; each repeat of a repeated block is one.
    """
    live = live_tensors(len(signs), edges)
    pieces = _pieces(list(signs), live, 0, len(signs))
    while len(pieces) > limit:
        pieces = _join(pieces, live, limit)
    return pieces


def _pieces(signs: list[int], live: list[int], start: int, end: int) -> list[tuple[int, int]]:
    size = end - start
    if size <= 2 * _LEAST_BLOCK:
        return [(start, end)] if size else []
    repeat = repeats(signs[start:end], live[start : end + 1])
    if repeat is None or repeat[1] * repeat[2] < max(size // 6, 4):
        return _cut(live, start, end, max(size // _PIECES, 4))
    first, period, times = repeat[0] + start, repeat[1], repeat[2]
    middle = [(first + k * period, first + (k + 1) * period) for k in range(times)]
    return [*_pieces(signs, live, start, first), *middle, *_pieces(signs, live, middle[-1][1], end)]


def _cut(live: list[int], start: int, end: int, size: int) -> list[tuple[int, int]]:
    """Cut into pieces of about `size` items, each time where the fewest tensors pass."""
    pieces = []
    while end - start > 3 * size // 2:
        places = range(start + max(size // 2, 1), min(start + 3 * size // 2, end - 1) + 1)
        at = min(places, key=lambda place: (live[place], abs(place - start - size)))
        pieces.append((start, at))
        start = at
    return [*pieces, (start, end)]


def _join(pieces: list[tuple[int, int]], live: list[int], limit: int) -> list[tuple[int, int]]:
    """Cut the sequence of pieces into larger ones, fewer than `limit`."""
    bounds = [live[start] for start, _ in pieces] + [0]
    larger = _cut(bounds, 0, len(pieces), max(-(-len(pieces) * 2 // limit), 2))
    return [(pieces[a][0], pieces[b - 1][1]) for a, b in larger]
