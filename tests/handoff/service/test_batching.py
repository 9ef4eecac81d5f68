"""Requests that are run together: every answer is that of a single run, and who must run alone does."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.http as httpclient
from onnx import TensorProto, helper

from tests.kit.awaited import PATIENCE_S
from tests.kit.serving import loaded, running
from workbench.graph import from_proto
from workbench.handoff import Port
from workbench.handoff.service.batching import Batcher, Batching
from workbench.handoff.service.request_error import RequestError
from workbench.handoff.service.rows import rows_of

TOLERANCE = 1e-5
"""Of the largest value of an output: what the order of additions in a batch may change; quantized steps besides."""


def infer(client, x):
    arguments = httpclient.InferInput("x", list(x.shape), "FP32")
    arguments.set_data_from_numpy(x)
    return client.infer("small_cnn", [arguments]).as_numpy("y")


def storm(service, requests, clients=16):
    """Send requests from many threads at once; return the answers in order."""

    def ask(x):
        with httpclient.InferenceServerClient(service.address, network_timeout=PATIENCE_S) as client:
            return infer(client, x)

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(ask, requests))


@pytest.fixture(scope="module")
def requests():
    rng = np.random.default_rng(3)
    return [rng.normal(size=(int(count), 3, 8, 8)).astype(np.float32) for count in rng.integers(1, 4, 300)]


def test_every_answer_under_load_is_that_of_a_single_run(served, single, requests):
    before = served.service.metrics.statistics()["small_cnn"]
    answers = storm(served, requests)
    after = served.service.metrics.statistics()["small_cnn"]
    runs = after["execution_count"] - before["execution_count"]
    assert after["inference_count"] - before["inference_count"] == sum(len(x) for x in requests)
    assert runs < len(requests), "nothing was run together"
    for x, answer in zip(requests, answers, strict=True):
        expected = single(x)
        assert answer.shape == expected.shape
        # Rounding may move a value to the next step of a quantizer: that shows in a few rows, not as another answer.
        assert np.abs(answer - expected).max() <= 0.02 * np.abs(expected).max()
    off = [np.abs(a - single(x)).max() > TOLERANCE * np.abs(a).max() for a, x in zip(answers, requests, strict=True)]
    assert np.mean(off) < 0.05


def test_exact_answers_have_the_bits_of_single_runs(tuned_cnn, single, requests):
    with running([loaded(tuned_cnn, exact=True)]) as service:
        answers = storm(service, requests[:100])
        rows = service.service.models["small_cnn"].loaded.rows
    assert (rows.most == 1) == (rows.difference != 0 or "one by one" in rows.why)
    for x, answer in zip(requests, answers, strict=False):
        assert np.array_equal(answer, single(x))


def model_of(nodes, x, y, **constants):
    values = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def rows_found(proto, batches, most=8, **options):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    def port(value):
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim]
        return Port(value.name, "FP32", tuple(shape))

    deployment = SimpleNamespace(
        name="m",
        model=from_proto(proto),
        inputs=[port(value) for value in proto.graph.input],
        outputs=[port(value) for value in proto.graph.output],
        batches=batches,
    )
    return rows_of(lambda feeds: {"y": session.run(None, dict(feeds))[0]}, deployment, most, **options)


def test_rows_that_are_independent_run_together():
    rows = rows_found(model_of([helper.make_node("Relu", ["x"], ["y"])], ["N", 4], ["N", 4]), batches=True)
    assert (rows.most, rows.sizes, rows.difference) == (8, None, 0.0)
    assert "bit for bit" in rows.why


def test_rows_that_mix_run_alone():
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1)
    nodes = [mean, helper.make_node("Sub", ["x", "m"], ["y"])]
    rows = rows_found(model_of(nodes, ["N", 4], ["N", 4], axes=np.array([0])), batches=True)
    assert rows.most == 1
    assert "changes the result of its neighbours" in rows.why


def test_a_first_axis_that_is_time_is_no_batch():
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    rows = rows_found(model_of(nodes, ["T", 1, 4], ["T", 1, 4], axis=np.array(0)), batches=True)
    assert rows.most == 1


def test_a_batch_that_is_fixed_is_filled_up():
    rows = rows_found(model_of([helper.make_node("Relu", ["x"], ["y"])], [4, 3], [4, 3]), batches=False)
    assert (rows.most, rows.sizes) == (4, (4,))


def test_a_fixed_first_axis_that_mixes_is_left_alone():
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    assert rows_found(model_of(nodes, [4, 3], [4, 3]), batches=False).most == 1


def test_engines_of_a_gpu_run_few_sizes():
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], ["N", 4], ["N", 4])
    assert rows_found(proto, batches=True, most=12, steps=True).sizes == (1, 2, 4, 8, 12)


class Recorder:
    """An engine that doubles, remembers what it ran, and waits where it is told to."""

    def __init__(self):
        self.shapes, self.gate = [], threading.Event()
        self.gate.set()

    def __call__(self, feeds):
        self.gate.wait(PATIENCE_S)
        self.shapes.append(feeds["x"].shape)
        if (feeds["x"] == 13).any():
            raise RuntimeError("unlucky")
        return {"y": feeds["x"] * 2}


async def asked(batcher, arrays, *, deadline=PATIENCE_S):
    loop = asyncio.get_running_loop()
    jobs = [batcher.submit({"x": a}, time.monotonic() + deadline, loop, rows=len(a)) for a in arrays]
    return await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)


def through(batching, arrays, **options):
    """Run arrays that all wait when the engine becomes free."""
    engine = Recorder()
    engine.gate.clear()
    batcher = Batcher(engine, batching)

    async def main():
        first = asyncio.create_task(asked(batcher, [np.zeros((1, 99))]))
        while not batcher._engine.locked():  # noqa: ASYNC110 - another thread takes it
            await asyncio.sleep(0.001)
        rest = asyncio.create_task(asked(batcher, arrays, **options))
        await asyncio.sleep(0.05)  # longer than the deadline of who is late
        engine.gate.set()
        await first
        return await rest

    results = asyncio.run(main())
    batcher.close()
    return results, engine.shapes[1:]


def array(rows, width=2, value=1.0):
    return np.full((rows, width), float(value))


def test_what_waits_is_run_together_up_to_the_most():
    results, shapes = through(Batching(rows=4), [array(2, value=i) for i in range(5)])
    assert shapes == [(4, 2), (4, 2), (2, 2)]
    assert [result["y"].tolist() for result in results] == [(array(2, value=i) * 2).tolist() for i in range(5)]


def test_only_one_shape_is_run_together_and_the_oldest_goes_first():
    _, shapes = through(Batching(rows=8), [array(1, 2), array(1, 3), array(1, 2), array(1, 3)])
    assert shapes == [(2, 2), (2, 3)]


def test_a_large_request_is_run_in_pieces():
    results, shapes = through(Batching(rows=4), [array(10)])
    assert shapes == [(4, 2), (4, 2), (2, 2)]
    assert results[0]["y"].shape == (10, 2)


def test_batches_are_filled_up_to_the_sizes_of_the_engine():
    results, shapes = through(Batching(rows=8, sizes=(4, 8)), [array(3, value=5)])
    assert shapes == [(4, 2)]
    assert results[0]["y"].tolist() == [[10, 10]] * 3


def test_one_that_fails_takes_nobody_with_it():
    results, shapes = through(Batching(rows=8), [array(1), array(1, value=13), array(1)])
    assert shapes == [(3, 2), (1, 2), (1, 2), (1, 2)]
    assert isinstance(results[1], RuntimeError)
    assert results[0]["y"].tolist() == results[2]["y"].tolist() == [[2, 2]]


def test_who_is_late_is_not_run():
    results, shapes = through(Batching(rows=8), [array(1)], deadline=0.01)
    assert isinstance(results[0], RequestError)
    assert results[0].status == 504
    assert shapes == []


def test_the_first_waits_for_others_as_long_as_it_is_told():
    engine = Recorder()
    batcher = Batcher(engine, Batching(rows=3, wait_s=PATIENCE_S))

    async def main():
        one = asyncio.create_task(asked(batcher, [array(1)]))
        while batcher._arriving.qsize() or not batcher._count:  # noqa: ASYNC110 - the engine's thread takes it
            await asyncio.sleep(0.001)
        await asyncio.gather(one, asked(batcher, [array(2)]))

    asyncio.run(main())
    batcher.close()
    assert engine.shapes == [(3, 2)]


def test_the_end_answers_what_waits_and_takes_nothing_more():
    engine = Recorder()
    batcher = Batcher(engine, Batching(rows=1))

    async def main():
        asking = asyncio.create_task(asked(batcher, [array(1)] * 20))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, batcher.close)
        return await asking

    assert [result["y"].tolist() for result in asyncio.run(main())] == [[[2, 2]]] * 20
    with pytest.raises(RequestError, match="the service ends"):
        batcher.submit({}, 0.0, None)


@pytest.fixture
def quick():
    """A batcher whose engine ran two rows in no time, and its engine."""
    engine = Recorder()
    batcher = Batcher(engine, Batching(rows=2, quick_s=10.0))
    assert batcher.run_at_once({"x": array(2)}, rows=2) is None, "nobody knows how long it takes"
    asyncio.run(asked(batcher, [array(2)]))
    yield batcher, engine
    batcher.close()


def test_a_lone_request_is_run_by_whoever_asks(quick):
    batcher, engine = quick
    assert batcher.run_at_once({"x": array(1, value=3)}, rows=1)["y"].tolist() == [[6, 6]]
    assert engine.shapes == [(2, 2), (1, 2)]


@pytest.mark.parametrize("x", [array(3), array(1, width=1), array(1).astype("float32")], ids=["more", "other", "type"])
def test_what_may_take_longer_than_the_last_run_goes_to_the_thread(quick, x):
    assert quick[0].run_at_once({"x": x}, rows=len(x)) is None


@pytest.mark.parametrize("change", [{"quick_s": 0.0}, {"wait_s": 1.0}])
def test_a_slow_engine_and_one_that_waits_for_more_keep_to_the_thread(quick, change):
    batcher, _ = quick
    batcher.batching = replace(batcher.batching, **change)
    assert batcher.run_at_once({"x": array(1)}, rows=1) is None


def test_nobody_runs_an_engine_that_runs_or_has_ended(quick):
    batcher, engine = quick

    async def main():
        engine.gate.clear()
        running = asyncio.create_task(asked(batcher, [array(1)]))
        while not batcher._engine.locked():  # noqa: ASYNC110 - another thread takes it
            await asyncio.sleep(0.001)
        alone = batcher.run_at_once({"x": array(1)}, rows=1)
        engine.gate.set()
        await running
        return alone

    assert asyncio.run(main()) is None
    batcher.close()
    assert batcher.run_at_once({"x": array(1)}, rows=1) is None


def test_a_lone_request_that_fails_leaves_the_engine_to_the_next(quick):
    batcher, _ = quick
    with pytest.raises(RuntimeError, match="unlucky"):
        batcher.run_at_once({"x": array(1, value=13)}, rows=1)
    assert batcher.run_at_once({"x": array(1)}, rows=1) is not None
