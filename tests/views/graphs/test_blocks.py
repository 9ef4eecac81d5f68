from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from workbench.views.graphs.blocks import blocks, live_tensors, repeats


def test_live_tensors_counts_what_passes_each_place() -> None:
    assert live_tensors(4, [(0, 1), (1, 2), (2, 3), (0, 3)]) == [0, 1, 2, 2, 0]


def test_repeats_finds_the_run_and_the_best_rotation() -> None:
    #        a b c a b c a b c d, joined by one tensor only before each c
    signs = [1, 2, 3, 1, 2, 3, 1, 2, 3, 9]
    assert repeats(signs, [0] * 11) == (0, 3, 3)
    live = [5, 5, 1, 5, 5, 1, 5, 5, 1, 5, 0]
    assert repeats(signs, live) == (2, 3, 2)
    assert repeats([1, 1, 1, 1, 1, 1], [0] * 7) is None
    assert repeats([1, 2, 3, 4], [0] * 5) is None


def test_repeated_blocks_become_pieces() -> None:
    signs = [7, 8, *[1, 2, 3] * 6, 4, 5]
    edges = [(i, i + 1) for i in range(len(signs) - 1)]
    assert blocks(signs, edges, 40) == [(0, 2), *[(2 + 3 * k, 5 + 3 * k) for k in range(6)], (20, 22)]


def test_where_nothing_repeats_the_cut_is_at_the_narrowest_place() -> None:
    # Two bundles of parallel paths, joined by a single tensor between items 10 and 11.
    edges = [(0, i) for i in range(1, 10)] + [(i, 10) for i in range(1, 10)]
    edges += [(10, 11)] + [(11, i) for i in range(12, 20)] + [(i, 20) for i in range(12, 20)]
    cuts = {end for _, end in blocks(list(range(21)), edges, 40)}
    assert 11 in cuts


@given(st.lists(st.integers(0, 3), max_size=90), st.integers(4, 20), st.data())
def test_pieces_cover_everything_once_and_are_few(signs, limit, data) -> None:
    n = len(signs)
    pair = st.tuples(st.integers(0, max(n - 1, 0)), st.integers(0, max(n - 1, 0)))
    edges = [(a, b) for a, b in data.draw(st.lists(pair, max_size=30)) if a < b < n]
    pieces = blocks(signs, edges, limit)
    assert all(start < end for start, end in pieces)
    assert all(a[1] == b[0] for a, b in pairwise(pieces))
    assert [pieces[0][0], pieces[-1][1]] == [0, n] if n else not pieces
    assert len(pieces) <= limit
