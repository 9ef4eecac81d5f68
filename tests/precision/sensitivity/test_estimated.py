"""How far a budget goes, and what an estimate is made of: what is measured is stood in for."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from workbench.precision.sensitivity import estimated
from workbench.precision.sensitivity.estimated import _affordable, _estimate, _filled, _own_share, quick
from workbench.precision.sensitivity.measured import _deal, downstream_share
from workbench.precision.sensitivity.result import NodeError, Sensitivity
from workbench.progress import Stopped, watched

NODES = list("abcdefgh")
MODEL = SimpleNamespace(top_nodes={node: SimpleNamespace(op_type="Conv") for node in NODES})


class Some:
    """Stands for so many samples."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


@pytest.fixture
def asked(monkeypatch):
    """Stands for measuring: every node's own noise is 0.01, and on the first sample 0.02."""
    made = SimpleNamespace(exact=[], local=[], share=2.5, sqnr={}, resolution=None)

    def exact(_, nodes, __, samples, *, batch, resolution):
        assert resolution is made.resolution
        made.exact.append((list(nodes), len(samples), batch))
        errors = tuple(NodeError(node, "Conv", made.sqnr.get(node, 10.0), differing=0.5) for node in nodes)
        return Sensitivity(errors, "exact", len(samples), 6.0, 1.0)

    def local_noise(_, nodes, __, samples, *, batch, resolution):
        assert resolution is made.resolution
        made.local.append((list(nodes), len(samples), batch))
        return dict.fromkeys(nodes, 0.02 if len(samples) == 1 else 0.01)

    monkeypatch.setattr(estimated, "work_of", lambda *_: {**dict.fromkeys(NODES, 5), "rest": 40})
    monkeypatch.setattr(estimated, "cuts", lambda _, nodes: [SimpleNamespace(node=node) for node in nodes])
    monkeypatch.setattr(estimated, "downstream_share", lambda *_: made.share)
    monkeypatch.setattr(estimated, "first_samples", lambda _, count: Some(count))
    monkeypatch.setattr(estimated, "exact", exact)
    monkeypatch.setattr(estimated, "local_noise", local_noise)
    return made


@pytest.mark.parametrize(
    ("count", "budget", "few"),
    [(6, 21.0, 6), (6, 50.0, 6), (6, 4.0, 1), (6, 3.5, 1), (10, 4.0, 1), (11, 4.0, 2)],
)
def test_every_node_is_measured_on_as_many_samples_as_the_budget_pays_for(asked, count, budget, few):
    """All eight nodes are 20 forward passes, and floating point is one."""
    asked.resolution = object()
    result = quick(MODEL, NODES, {}, Some(count), batch=3, budget=budget, resolution=asked.resolution)
    assert asked.exact == [(NODES, few, 3)]
    assert (result.kind, result.samples, result.forwards) == ("quick", few, 6.0 * few / count)
    assert [error.sqnr_db for error in result.errors] == [10.0] * 8
    assert asked.local == []


def test_it_may_be_stopped_before_anything_runs(asked):
    watcher = SimpleNamespace(stopping=lambda: True, step=lambda *_, **__: None, best=print)
    with watched(watcher), pytest.raises(Stopped):
        quick(MODEL, NODES, {}, Some(6))
    assert (asked.exact, asked.local) == ([], [])


def test_where_it_does_not_pay_for_one_sample_gains_are_measured_of_some_nodes(asked):
    """A pass with copies is 1.5: of 20, 7.5 are for five samples, 1 and 1.5 for one, and 10 for four nodes."""
    asked.sqnr = {"a": 10.0, "c": 20.0, "e": 10.0, "g": 0.0}
    result = quick(MODEL, NODES, {}, Some(5), batch=3)
    assert asked.local == [(NODES, 5, 3), (["a", "c", "e", "g"], 1, 3)]
    assert asked.exact == [(["a", "c", "e", "g"], 1, 3)]
    # Noise of 0.1, 0.01, 0.1 and 1 where 0.02 was made: gains of 5, 0.5, 5 and 50, and their geometric means between.
    gains = [5, math.sqrt(2.5), 0.5, math.sqrt(2.5), 5, math.sqrt(250), 50, 50]
    assert [error.noise for error in result.errors] == pytest.approx([0.01 * gain for gain in gains])
    assert result.forwards == pytest.approx(1.5 + (6.0 + 1.5) / 5)
    assert (result.samples, result.kind) == (5, "quick")
    assert [error.node for error in result.errors] == NODES


def test_where_it_pays_for_no_gain_the_local_noise_is_the_estimate(asked):
    result = quick(MODEL, NODES, {}, Some(1), budget=2.0)
    assert (asked.exact, len(asked.local)) == ([], 1)
    assert [error.sqnr_db for error in result.errors] == pytest.approx([-10 * math.log10(0.02)] * 8)
    assert (result.forwards, result.samples) == (1.5, 1)


def test_of_whole_numbers_an_estimate_is_the_share_that_differs(asked):
    asked.sqnr = dict.fromkeys(NODES, math.nan)
    result = quick(MODEL, NODES, {}, Some(5))
    assert [error.differing for error in result.errors] == pytest.approx([0.01 * 0.5 / 0.02] * 8)
    assert all(math.isnan(error.sqnr_db) for error in result.errors)
    assert [_estimate("a", "Conv", noise, True).differing for noise in (0.5, 1.0, 7.0)] == [0.5, 1.0, 1.0]
    assert _estimate("a", "Conv", 0.001, False) == NodeError("a", "Conv", pytest.approx(30.0), differing=None)


def test_of_no_node_nothing_is_measured():
    assert quick(MODEL, [], {}, Some(5)) == Sensitivity((), "quick", 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("allowance", "nodes"), [(15, "abcde"), (14.9, "ace"), (9, "ace"), (8.9, "ad"), (5, "ad"), (4.9, ""), (-1, "")]
)
def test_nodes_whose_gains_are_measured_lie_evenly(allowance, nodes):
    share = dict(zip("abcde", (1, 2, 3, 4, 5), strict=True))
    assert _affordable(list("abcde"), share, allowance) == list(nodes)


def test_a_gain_that_was_not_measured_is_that_of_its_neighbours():
    assert _filled("abcdef", {"b": 1.0, "d": 100.0, "e": 0.0}) == pytest.approx(
        {"a": 1.0, "b": 1.0, "c": 10.0, "d": 100.0, "e": 100.0, "f": 100.0}
    )
    assert _filled("ab", {}) == _filled("ab", {"a": 0.0}) == {"a": 1.0, "b": 1.0}


def test_shares_are_of_the_work_of_a_forward_pass():
    work = {"a": 1, "b": 2, "c": 5}
    assert _own_share(["a", "b"], work) == 0.375
    assert downstream_share(SimpleNamespace(affected={"b", "c"}), work) == 0.875


@pytest.mark.parametrize(
    ("parts", "dealt"),
    [(1, ["abcde"]), (2, ["abc", "de"]), (3, ["be", "ad", "c"]), (5, ["b", "d", "c", "e", "a"]), (9, list("bdcea"))],
)
def test_nodes_are_dealt_out_so_that_every_part_has_about_as_much_to_do(parts, dealt):
    share = dict(zip("abcde", (0.1, 0.5, 0.3, 0.4, 0.2), strict=True))
    assert _deal(list("abcde"), share, parts) == [list(each) for each in dealt]
    assert _deal([], share, parts) == []
