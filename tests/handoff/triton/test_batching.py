"""How requests are put together follows from what was measured, and from nothing else."""

from __future__ import annotations

import json

import pytest

from workbench.errors import ReportError
from workbench.handoff.triton import choose_batching, read_curve
from workbench.handoff.triton.batching import BatchPoint
from workbench.jobs.bench.rows import BenchRow, rows_json


def curve(**ms):
    return tuple(BatchPoint(int(batch[1:]), median) for batch, median in ms.items())


def bench(folder, *rows):
    """Write results as bench itself writes them."""
    folder.mkdir()
    entries = [
        BenchRow(model, variant, "measured", median_ms=median, batch=batch) for model, variant, batch, median in rows
    ]
    (folder / "results.json").write_text(rows_json(entries, {}))
    return folder


@pytest.mark.parametrize(
    ("measured", "most", "delay_us", "instances"),
    [
        # Rises to the end: the GPU is not full.
        (curve(b1=1.0, b8=2.0, b32=4.0), 32, 1000, 2),
        # Flat from 8 on: 32 gains nothing.
        (curve(b1=1.0, b8=2.0, b32=8.0), 8, 1000, 1),
        # 32 gains a little, but more than a twentieth.
        (curve(b1=1.0, b8=2.0, b32=7.5), 32, 1000, 1),
        # A batch never pays.
        (curve(b1=1.0, b8=8.0), 1, None, 1),
        # Only one was measured.
        (curve(b4=0.25), 4, 250, 1),
    ],
)
def test_what_was_measured_decides(measured, most, delay_us, instances):
    chosen = choose_batching(measured, batches=True)
    assert (chosen.most, chosen.delay_us, chosen.instances) == (most, delay_us, instances)
    assert all(f"{point.batch}: {point.throughput:.0f}" in chosen.why[0] for point in measured)


def test_an_engine_that_takes_fewer_is_given_fewer():
    chosen = choose_batching(curve(b1=1.0, b8=2.0, b32=4.0), batches=True, limit=16)
    assert (chosen.most, chosen.tuned) == (8, 8)
    assert choose_batching((), batches=True, limit=4).most == 4


def test_nothing_measured_leaves_the_defaults_and_says_so():
    chosen = choose_batching((), batches=True)
    assert (chosen.most, chosen.delay_us, chosen.instances) == (8, None, 1)
    assert "No batch was measured" in chosen.why[0]
    alone = choose_batching(curve(b1=1.0, b8=1.0), batches=False)
    assert (alone.most, alone.dynamic) == (0, False)
    assert "no free batch" in alone.why[0]


def test_the_curve_is_read_from_what_bench_writes(tmp_path):
    one = bench(
        tmp_path / "one",
        ("net-b1", "qdq", 1, 0.5),
        ("net-b8", "qdq", 8, 1.0),
        ("net-b8", "fp16", 8, 0.1),
        ("other", "qdq", 8, 0.2),
        ("net", "qdq", None, 0.3),
    )
    two = bench(tmp_path / "two", ("net", "qdq", 8, 0.9), ("net", "qdq", 32, 2))
    assert read_curve([one, two], "net") == (BatchPoint(1, 0.5), BatchPoint(8, 0.9), BatchPoint(32, 2))
    assert read_curve([one], "net", variant="fp16") == (BatchPoint(8, 0.1),)
    with pytest.raises(ReportError, match="nothing was measured of mine as qdq with a fixed batch; they are of net-b1"):
        read_curve([one], "mine")


@pytest.mark.parametrize("content", [None, "{", "[]", json.dumps({"schema": "x", "rows": []}), json.dumps({"rows": 1})])
def test_what_bench_did_not_write_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ReportError, match=r"results\.json: not what workbench bench writes"):
        read_curve([tmp_path], "net")
