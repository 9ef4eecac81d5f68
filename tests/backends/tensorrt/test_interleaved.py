"""The schedule of a comparison: who is loaded when, takes turns with whom, and what is told of it.

What runs an engine needs a GPU (tests/gpu/test_bench.py); here engines are clocks, so that only the schedule is tested.
"""

from __future__ import annotations

import pytest

from workbench.backends.protocol import LayerTime, TimingOptions
from workbench.backends.tensorrt import interleaved
from workbench.backends.tensorrt.interleaved import measure_files, median_error_ms
from workbench.errors import BackendError

MS = {"a": 1.0, "b": 2.0}


class Clock:
    """An engine that takes as long as its name says, and a hundredth more with every loading."""

    graph = None

    def __init__(self, journal, name, placement):
        self.journal, self.name, self.ms = journal, name, MS[name] * (1 + placement / 100)

    def close(self):
        self.journal.append(("close", self.name))

    def inspect(self):
        return f"{self.name}.json"


@pytest.fixture
def journal(monkeypatch):
    """Return what happened, in order: engines loaded (`c` fails at its third loading), turns and closings."""
    done, loaded = [], {}

    class Block:
        def __init__(self, _, nbytes):
            done.append(("block", nbytes))

        def close(self):
            done.append(("block gone", 0))

    def ready(_package, path, _options, warm_up_s):
        loaded[path] = loaded.get(path, 0) + 1
        if path == "c" and loaded[path] == 3:
            raise BackendError("no memory")
        done.append(("load", path, warm_up_s))
        return Clock(done, path if path != "c" else "a", loaded[path] - 1)

    def take_turn(context, runs, placement):
        done.append(("turn", context.name))
        return interleaved._Turn(placement, (context.ms,) * runs, runs * context.ms / 1000)

    monkeypatch.setattr(interleaved, "cuda", lambda: None)
    monkeypatch.setattr(interleaved, "Buffer", Block)
    monkeypatch.setattr(interleaved, "_ready", ready)
    monkeypatch.setattr(interleaved, "_take_turn", take_turn)
    monkeypatch.setattr(interleaved, "_conditions", lambda *_: {"profiled_runs": 50})
    monkeypatch.setattr(interleaved, "layer_times", lambda *_: (LayerTime("l", 1.0, 1.0),))
    return done


def test_engines_are_loaded_ten_times_in_turning_order_and_median_and_error_follow(journal):
    found = measure_files("tensorrt", {"a": "a", "b": "b"}, TimingOptions(runs=400, warm_up_s=1.0))
    loads = [name for what, name, *_ in journal if what == "load"]
    assert loads == ["a", "b", "b", "a"] * 5
    assert [warm for what, *_, warm in journal if what == "load"] == [1.0] * 2 + [0.1] * 18
    assert len({size for what, size, *_ in journal if what == "block"}) == 10
    assert sum(what == "turn" for what, *_ in journal) == 2 * 10 * 2
    assert sum(what == "close" for what, *_ in journal) == len(loads)
    for name, measured in found.items():
        assert len(measured.latencies_ms) == 400
        medians = measured.timing.conditions["placement_medians_ms"]
        assert medians == pytest.approx([MS[name] * (1 + placement / 100) for placement in range(10)])
        assert measured.timing.median_ms == pytest.approx(MS[name] * 1.045)
        assert median_error_ms(measured.timing) == pytest.approx(MS[name] * 0.0302765 / 10**0.5, rel=1e-4)
        assert measured.timing.conditions["beside"] == ["b" if name == "a" else "a"]
        assert "loaded anew 10 times" in measured.timing.conditions["clock"]
        assert measured.inspector == f"{name}.json"


@pytest.mark.usefixtures("journal")
def test_an_engine_that_fails_does_not_stop_the_others():
    found = measure_files("tensorrt", {"c": "c", "a": "a"}, TimingOptions(runs=40))
    assert found["c"].error.endswith("no memory")
    assert found["c"].timing is None
    assert list(found) == ["c", "a"]
    assert len(found["a"].latencies_ms) == 40
    assert found["a"].timing.conditions["beside"] == []


@pytest.mark.parametrize(("runs", "shape"), [(1, (1, 1, 1)), (5, (5, 1, 1)), (15, (10, 2, 1)), (401, (10, 2, 21))])
def test_few_runs_are_spread_over_fewer_loadings(runs, shape):
    schedule = interleaved._Schedule.of(runs)
    assert (schedule.placements, schedule.rounds, schedule.each) == shape


def test_several_streams_are_refused():
    with pytest.raises(BackendError, match="3 streams"):
        measure_files("tensorrt", {}, TimingOptions(streams=3))
