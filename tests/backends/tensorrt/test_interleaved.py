"""Engines on a GPU side by side: what is loaded behind which block, and what is told of it.

What runs an engine needs a GPU (tests/gpu/test_bench.py); here engines are clocks, so that only the order is tested.
"""

from __future__ import annotations

import pytest

from workbench.backends.protocol import TimingOptions
from workbench.backends.tensorrt import interleaved
from workbench.backends.tensorrt.interleaved import measure_files
from workbench.engine.report import LayerTime
from workbench.errors import BackendError

MS = {"a": 1.0, "b": 2.0}


@pytest.fixture
def journal(monkeypatch):
    """Return what happened, in order: blocks of memory, engines loaded, turns and closings."""
    done = []

    class Block:
        def __init__(self, _, nbytes):
            done.append(("block", nbytes))

        def close(self):
            done.append(("block gone", 0))

    class Clock:
        def __init__(self, _package, path, _options, warm_up_s, _clocks):
            done.append(("load", path, warm_up_s))
            self.name = path

        def turn(self, runs):
            done.append(("turn", self.name))
            return [MS[self.name]] * runs, runs * MS[self.name] / 1000

        def finish(self, schedule, beside):
            return {"beside": list(beside), "clock": str(schedule)}, (LayerTime("l", 1.0, 1.0),), f"{self.name}.json"

        def close(self):
            done.append(("close", self.name))

    monkeypatch.setattr(interleaved, "cuda", lambda: None)
    monkeypatch.setattr(interleaved, "Clocks", lambda _: None)
    monkeypatch.setattr(interleaved, "Buffer", Block)
    monkeypatch.setattr(interleaved, "_OnGpu", Clock)
    return done


def test_each_loading_lies_behind_a_block_of_another_size(journal):
    actual = measure_files("tensorrt", {"a": "a", "b": "b"}, TimingOptions(runs=400, warm_up_s=1.0))
    assert [warm for what, *_, warm in journal if what == "load"] == [1.0] * 2 + [0.1] * 18
    assert [size for what, size, *_ in journal if what == "block"] == [n * (14 << 20) for n in range(10)]
    assert sum(what == "block gone" for what, *_ in journal) == 10
    assert journal[0][0] == "block"
    assert actual["a"].timing.median_ms == MS["a"]
    assert actual["b"].inspector == "b.json"


def test_a_block_goes_only_when_the_engines_before_it_are_gone(journal):
    measure_files("tensorrt", {"a": "a", "b": "b"}, TimingOptions(runs=40), loadings=3)
    held = 0
    for what, *_ in journal:
        held += {"load": 1, "close": -1}.get(what, 0)
        if what == "block gone":
            assert held == 0


def test_several_streams_are_refused():
    with pytest.raises(BackendError, match="3 streams"):
        measure_files("tensorrt", {}, TimingOptions(streams=3))
