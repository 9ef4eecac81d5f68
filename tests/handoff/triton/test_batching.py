"""How requests are put together follows from what was measured, and from nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.kit.serving import saved
from workbench.calibration import Preprocessing
from workbench.errors import ReportError
from workbench.handoff import Port, open_deployment
from workbench.handoff.triton import choose_batching, read_curve
from workbench.handoff.triton.batching import BatchPoint, DynamicBatching
from workbench.handoff.triton.warm_up import _read, make_warm_ups
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
        # 32 gains a twentieth, and no more.
        (curve(b1=1.0, b19=2.0, b32=3.2), 19, 1000, 1),
        # It rises by a tenth to the end, and by less.
        (curve(b1=1.0, b10=2.0, b11=2.0), 11, 1000, 2),
        (curve(b1=1.0, b100=2.0, b109=2.0), 109, 1000, 1),
        (curve(b2=1.0), 2, 1000, 1),
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


def test_an_engine_that_takes_less_than_was_measured_is_served_as_the_smallest_was():
    chosen = choose_batching(curve(b4=1.0, b8=1.5), batches=True, limit=2)
    assert (chosen.most, chosen.delay_us) == (4, 1000)
    assert choose_batching(curve(b1=1.0, b8=2.0), batches=True, limit=8).most == 8
    assert [choose_batching((), batches=True, limit=limit).most for limit in (7, 8, 9, None)] == [7, 8, 8, 8]


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


def of_bench(**content):
    return json.dumps({"schema": "workbench-bench/1", **content})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        ("{", "Expecting property name"),
        ("[]", "list indices must be integers"),
        ("[" * 100_000, "maximum recursion depth"),
        (json.dumps({"schema": "x", "rows": []}), "it is something else"),
        (of_bench(rows=[1]), "it is something else"),
        (of_bench(rows=1), "'int' object is not iterable"),
        (of_bench(), "'rows'"),
        (json.dumps({"rows": 1}), "'schema'"),
    ],
)
def test_what_bench_did_not_write_is_refused(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(ReportError, match=r"results\.json: not what workbench bench writes: " + re.escape(reason)):
        read_curve([tmp_path], "net")


def test_what_was_not_measured_of_a_batch_is_no_point(tmp_path):
    rows = [
        {"model": "net-b2", "variant": "qdq", "batch": 2, "median_ms": 0.0},
        {"model": "net-b2", "variant": "qdq", "batch": 2, "median_ms": None},
        {"model": "net-b2", "variant": "qdq", "batch": "2", "median_ms": 1.0},
        {"model": "net-b12", "variant": "qdq", "batch": 12, "median_ms": 3},
        {"model": "net-b12", "variant": "qdq", "batch": 12, "median_ms": 2.5},
        {"model": "net-b12", "variant": "qdq", "batch": 12, "median_ms": 4.0},
        {"model": "a", "variant": "qdq", "batch": 1, "median_ms": 1.0},
    ]
    (tmp_path / "results.json").write_text(of_bench(rows=rows))
    assert read_curve([tmp_path], "net") == (BatchPoint(12, 2.5),)
    assert BatchPoint(12, 2.5).throughput == 4800
    (tmp_path / "results.json").write_text(of_bench(rows=rows[:3]))
    with pytest.raises(ReportError) as failure:
        read_curve([tmp_path], "net")
    assert failure.value.what == "nothing was measured of net as qdq with a fixed batch"


def test_what_was_chosen_is_said_with_the_figures_it_follows_from():
    rising = choose_batching(curve(b1=0.5, b8=2.0, b32=4.0), batches=True)
    assert replace(rising, why=()) == DynamicBatching(32, delay_us=500, instances=2, tuned=32)
    rates, knee, last = rising.why
    assert rates == "Measured samples a second by batch: 1: 2000, 8: 4000, 32: 8000."
    assert knee == (
        "32 is the smallest batch that reaches 95% of the best, so no more are put together; a request waits for "
        "others as long at most as a run of 1 takes (0.500 ms)."
    )
    assert last == "Throughput still rises at the largest batch measured, so two runs go side by side."
    full = choose_batching(curve(b2=1.0, b8=2.0, b32=8.0), batches=True)
    assert full.why[2] == (
        "Throughput no longer rises at the largest batch measured: the GPU is full, and one run goes at a time."
    )
    assert (full.most, full.tuned, full.delay_us) == (8, 8, 1000)
    lone = choose_batching(curve(b1=1.0, b8=8.0), batches=True)
    why = ("Measured samples a second by batch: 1: 1000, 8: 1000.",)
    more = "A larger batch gains less than a twentieth, so requests are not put together."
    assert lone == DynamicBatching(1, None, 1, 1, (*why, more))
    assert [DynamicBatching(most).dynamic for most in (0, 1, 2)] == [False, False, True]
    assert choose_batching((), batches=True, limit=3).tuned == 3
    assert choose_batching((), batches=True).why[0].startswith("No batch was measured: up to 8 requests are put")


@pytest.mark.parametrize(
    ("most", "sizes", "said"),
    [(0, [1], "1"), (1, [1], "1"), (2, [1, 2], "1 and one of 2"), (8, [1, 8], "1 and one of 8")],
)
def test_the_smallest_and_the_largest_run_are_warmed_up(tuned_cnn, most, sizes, said):
    samples = {"x": np.arange(2 * 192, dtype=np.float32).reshape(2, 3, 8, 8)}
    warm_ups, sentence = make_warm_ups(open_deployment(tuned_cnn), DynamicBatching(most), samples)
    assert [warm_up.batch for warm_up in warm_ups] == sizes
    assert [warm_up.name for warm_up in warm_ups] == [f"batch {size}" for size in sizes]
    assert sentence == f"Warm-up: the first of the samples given, in a run of {said}."
    (tensor,) = warm_ups[0].tensors
    assert (tensor.name, tensor.file) == ("x", "input0.bin")
    assert tensor.dims == ((3, 8, 8) if most else (1, 3, 8, 8))
    assert tensor.content == samples["x"][0].tobytes()
    _, sentence = make_warm_ups(open_deployment(tuned_cnn), DynamicBatching(most))
    assert sentence.startswith("Warm-up: the first of the calibration's samples")


def test_how_images_become_inputs_is_read_where_it_is_a_text():
    pixels = Preprocessing(scale=2)
    assert _read("scale=2") == _read(pixels) == pixels
    assert _read(None) is None


def test_text_is_not_warmed_up_with():
    deployment = SimpleNamespace(inputs=[Port("x", "FP32", (1,)), Port("s", "BYTES", (1,))])
    assert make_warm_ups(deployment, DynamicBatching(1)) == ((), "No warm-up: an input is text.")


def test_bfloat16_is_sent_as_the_model_takes_it_and_each_input_from_a_file_of_its_own(tmp_path):
    ports = [("x", TensorProto.BFLOAT16, ["N", 2]), ("z", TensorProto.FLOAT, ["N"])]
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in ports]
    outputs = [helper.make_tensor_value_info(f"{name}.y", kind, shape) for name, kind, shape in ports]
    nodes = [helper.make_node("Identity", [name], [f"{name}.y"], name) for name in "xz"]
    deployment = open_deployment(saved(tmp_path, values, outputs, nodes))
    samples = {"x": np.array([[1.5, -2.0], [9, 9]], np.float32), "z": np.array([3.0, 9], np.float32)}
    ((warm_up,), _) = make_warm_ups(deployment, DynamicBatching(1), samples, narrow=True)
    x, z = warm_up.tensors
    assert (x.file, x.dims, x.content) == ("input0.bin", (2,), np.array([0x3FC0, 0xC000], "<u2").tobytes())
    assert (z.file, z.dims, z.content) == ("input1.bin", (1,), np.float32(3.0).tobytes())


def test_64_bit_integers_are_narrowed_where_they_are_sent_so(tmp_path):
    kind = helper.make_tensor_value_info("x", TensorProto.INT64, ["N"])
    out = helper.make_tensor_value_info("y", TensorProto.INT64, ["N"])
    deployment = open_deployment(saved(tmp_path, [kind], [out], [helper.make_node("Abs", ["x"], ["y"], "abs")]))
    for narrow, kind in ((False, np.int64), (True, np.int32)):
        ((warm_up,), _) = make_warm_ups(deployment, DynamicBatching(1), {"x": np.array([7, 8])}, narrow=narrow)
        (tensor,) = warm_up.tensors
        assert (tensor.content, tensor.dims) == (kind(7).tobytes(), (1,))
