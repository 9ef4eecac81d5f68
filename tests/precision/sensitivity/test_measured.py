from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy.stats import entropy, spearmanr

from tests.kit.models import constant, model
from tests.kit.places import ROOT
from tests.kit.searching import calibrated, candidates_of, mobilenet, small
from workbench.calibration.samples import feeds
from workbench.calibration.sources import open_samples
from workbench.errors import BackendError, OutputError, PrecisionError, SamplesError
from workbench.graph.load import from_proto
from workbench.graph.select.selectors import nodes
from workbench.precision.lowering.lowering import lower
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.sensitivity.cut import cut, extract
from workbench.precision.sensitivity.errors import ErrorSum, divergence
from workbench.precision.sensitivity.estimated import local_noise, local_noises, quick
from workbench.precision.sensitivity.graft import all_quantized, quantized_alone
from workbench.precision.sensitivity.journal import Journal, open_journal
from workbench.precision.sensitivity.measured import exact
from workbench.precision.sensitivity.store import ActivationStore
from workbench.runtime.session import Session
from workbench.session import history_of, open_model, samples_for


def brute_force(wb, samples, candidates, batch, **options):
    """The whole network once a node: what everybody else does."""
    batches = list(feeds(samples, wb.model, batch=batch))
    reference = Session(wb.model)
    expected = [reference.run(feed.arrays) for feed in batches]
    values = {}
    for node in candidates:
        plan = PrecisionPlan().with_rule(str(nodes(node)), "int8", **options)
        session = Session(lower(wb.model, plan.resolve(wb.model), wb.ranges).model)
        total = ErrorSum()
        for feed, target_value in zip(batches, expected, strict=True):
            total.update(target_value, session.run(feed.arrays))
        values[node] = total.sqnr_db
    return values


def test_a_node_is_quantized_as_the_rules_of_the_plan_say(wb, tmp_path):
    first, second, third = weighted(wb)[:3]
    options = {first: {"per_channel": False}, second: {"weight_only": True}, third: {"amax": 0.5}}
    for node, option in options.items():
        wb.plan.set(str(nodes(node)), "int8", **option)
    resolution, (samples, batch) = wb.plan.resolve(), samples_for(history_of(wb), None)
    about = wb.model, list(options), wb.ranges, samples
    found = exact(*about, batch=batch, resolution=resolution)
    assert quick(*about, batch=batch, budget=100.0, resolution=resolution).errors == found.errors
    here, plain = local_noise(*about, batch=batch, resolution=resolution), local_noise(*about, batch=batch)
    for node, option in options.items():
        full = brute_force(wb, samples, [node], batch, **option)
        assert found[node].sqnr_db == pytest.approx(full[node], abs=1e-3)
        assert here[node] != plain[node]
    assert [wb.sensitivity(how="exact")[node] for node in options] == list(found.errors)
    journal = tmp_path / "journal"
    exact(*about, batch=batch, journal=journal)
    with pytest.raises(PrecisionError, match="another measurement"):
        exact(*about, batch=batch, journal=journal, resolution=resolution)


def weighted(wb):
    """The nodes whose precision hangs on no other node's: they can be INT8 alone."""
    return [node for node in candidates_of(wb.model, BEST_PRACTICE) if wb.model.nodes[node].op_type in ("Conv", "Gemm")]


@pytest.fixture
def wb(tmp_path):
    return calibrated(small(), tmp_path, 12, batch=4)


@pytest.fixture
def measured(wb):
    samples, _ = samples_for(history_of(wb), None)
    candidates = candidates_of(wb.model, BEST_PRACTICE)
    return lambda **options: exact(wb.model, candidates, wb.ranges, samples, batch=4, **options)


def test_a_node_alone_costs_what_a_full_run_says(wb, measured):
    samples, _ = samples_for(history_of(wb), None)
    layers = weighted(wb)
    result = measured()
    assert [error.node for error in result.errors] == candidates_of(wb.model, BEST_PRACTICE)
    assert {error.op_type for error in result.errors} >= {"Conv", "Add", "Gemm"}
    full = brute_force(wb, samples, layers, 4)
    for node in layers:
        assert result[node].sqnr_db == pytest.approx(full[node], abs=1e-3)
    assert result.forwards < 1 + len(result.errors)


@pytest.mark.slow
def test_53_layers_take_30_forwards_and_rank_as_by_brute_force(tmp_path):
    wb = calibrated(mobilenet(64), tmp_path, 16, batch=8)
    samples, _ = samples_for(history_of(wb), None)
    layers = weighted(wb)
    assert len(layers) == 53
    sensitivity = exact(wb.model, layers, wb.ranges, samples, batch=8)
    assert sensitivity.forwards <= 30
    full = brute_force(wb, samples, layers, 8)
    assert sensitivity.ranking() == sorted(layers, key=full.__getitem__)
    estimate = quick(wb.model, layers, wb.ranges, samples, batch=8)
    assert estimate.forwards <= 4
    assert spearmanr([estimate[node].sqnr_db for node in layers], [full[node] for node in layers]).statistic >= 0.9


def test_activations_beyond_the_budget_lie_on_disk_and_results_stay_the_same(measured):
    assert measured(memory=0).errors == measured().errors


def test_the_store_keeps_to_its_budget_and_cleans_up():
    arrays = {name: np.full((10, 25), value, np.float32) for name, value in (("a", 1), ("b", 2), ("c", 3))}
    with ActivationStore(2000) as store:
        store.put(0, arrays)
        assert store.in_memory == 2000
        assert store.on_disk == 1000
        folder = store._folder
        assert len(list(folder.iterdir())) == 1
        for name, array in store.get(0, arrays).items():
            assert np.array_equal(array, arrays[name])
    assert not folder.exists()


def test_goes_on_where_it_was_killed(tmp_path):
    journal = tmp_path / "journal.jsonl"
    program = f"""
import os, signal
from pathlib import Path
from tests.kit.searching import calibrated, candidates_of, mobilenet
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.precision.sensitivity import exact
from workbench.precision.sensitivity.journal import Journal
add = Journal.add
def killed(self, entry):
    add(self, entry)
    if self.path.read_bytes().count(b"\\n") >= 4:
        os.kill(os.getpid(), signal.SIGKILL)
Journal.add = killed
wb = calibrated(mobilenet(32), Path({str(tmp_path)!r}), 2)
candidates = candidates_of(wb.model, BEST_PRACTICE)[:30]
exact(wb.model, candidates, wb.ranges, wb.ranges.samples, journal={str(journal)!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False).returncode == -9

    wb = calibrated(mobilenet(32), tmp_path, 2)
    candidates = candidates_of(wb.model, BEST_PRACTICE)[:30]
    samples, _ = samples_for(history_of(wb), None)
    resumed = exact(wb.model, candidates, wb.ranges, samples, journal=journal)
    assert resumed.resumed == 3
    assert resumed.errors == exact(wb.model, candidates, wb.ranges, samples).errors
    assert exact(wb.model, candidates, wb.ranges, samples, journal=journal).resumed == 30


def test_a_line_that_was_cut_off_is_dropped(tmp_path, measured):
    path = tmp_path / "journal.jsonl"
    whole = measured(journal=path)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    again = measured(journal=path)
    assert again.resumed == len(whole.errors) - 1
    assert again.errors == whole.errors
    assert path.read_bytes() == content


def test_a_journal_of_something_else_is_refused(tmp_path, measured):
    path = tmp_path / "journal.jsonl"
    measured(journal=path)
    with pytest.raises(PrecisionError, match="task differ"):
        measured(journal=path, task=top_score)
    path.write_text("x\n")
    with pytest.raises(PrecisionError, match="no journal"):
        Journal(path, {})


def top_score(outputs):
    return float(np.mean([result["y"].max() for result in outputs]))


def test_the_task_sees_all_outputs_in_order(measured):
    seen = []

    def task(outputs):
        seen.append([len(result["y"]) for result in outputs])
        return 0.25

    actual = measured(task=task)
    assert seen == [[4, 4, 4]] * len(actual.errors)
    assert {error.task for error in actual.errors} == {0.25}
    assert "task" in actual.table()


def test_threads_find_the_same(measured):
    with ThreadPoolExecutor(2) as pool:
        assert measured(executor=pool, parts=3, task=top_score).errors == measured(task=top_score).errors


def test_a_worker_that_dies_is_one_line(measured):
    spawned = multiprocessing.get_context("spawn")  # a fork would have this process's threads, and ONNX Runtime's
    with ProcessPoolExecutor(1, mp_context=spawned) as pool:
        pool.submit(os.kill, pool.submit(os.getpid).result(), signal.SIGKILL)
        with pytest.raises(BackendError, match="a worker of the pool died") as raised:
            measured(executor=pool, parts=2)
    assert "With a journal a new run goes on from here" in str(raised.value)


def test_two_processes_on_one_journal_one_is_refused(tmp_path, measured):
    path = tmp_path / "journal.jsonl"
    with open_journal(path, {"a": 1}), pytest.raises(OutputError, match="another measurement is writing"):
        measured(journal=path)


@pytest.mark.slow
def test_a_dask_cluster_of_two_processes_finds_the_same(measured, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, protocol="tcp"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        pids = set(client.run(os.getpid).values())
        assert len(pids | {os.getpid()}) == 3
        spread = measured(executor=client.get_executor(), parts=2)
    assert spread.errors == measured().errors


def test_divergence_is_that_of_scipy():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 6, 9)).astype(np.float32)
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (a.astype(float), b.astype(float)))
    total = entropy(p, q, axis=1).sum()
    assert divergence(a, b) == (pytest.approx(total), 6)
    assert divergence(p.astype(np.float32), q.astype(np.float32)) == (pytest.approx(total, rel=1e-4), 6)
    narrow = divergence(a.astype(ml_dtypes.bfloat16), b.astype(ml_dtypes.bfloat16))
    assert narrow == (pytest.approx(total, rel=0.02), 6)
    assert divergence(a, b[:5]) == divergence(a[0, 0], b[0, 0]) == (0.0, 0)
    assert divergence(np.ones((3, 1), np.float32), np.zeros((3, 1), np.float32)) == (0.0, 0)
    assert divergence(np.ones((3, 2), np.int64), np.zeros((3, 2), np.int64)) == (0.0, 0)


def test_a_cut_knows_what_a_branch_reads():
    branch = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["inner"], "sum")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    main = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Neg", ["x"], ["b"], "other"),
        helper.make_node("If", ["flag"], ["y"], "choice", then_branch=branch, else_branch=branch),
        helper.make_node("Neg", ["b"], ["z"], "apart"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        main,
        "g",
        [info("x", TensorProto.FLOAT, [2, 4]), info("flag", TensorProto.BOOL, [])],
        [info("y", TensorProto.FLOAT, None), info("z", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32), "w")],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    part = cut(model, "first")
    assert part.affected == {"first", "choice"}
    assert part.boundary == ("x", "flag", "b")
    assert part.outputs == ("y",)
    x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    fed = {"x": x, "flag": np.array(True)}
    lowered = all_quantized(model, ["first"], {"x": 3.0})
    alone = quantized_alone(model, lowered, "first")
    piece = extract(alone, part, {"x": x.dtype, "flag": np.dtype(bool), "b": x.dtype})
    result = Session(piece).run({**fed, "b": -x})
    assert np.array_equal(result["y"], Session(alone).run(fed)["y"])


def test_what_cannot_be_int8_is_named(wb):
    samples, _ = samples_for(history_of(wb), None)
    with pytest.raises(PrecisionError, match="stem/relu"):
        exact(wb.model, ["stem/relu"], wb.ranges, samples)
    with pytest.raises(PrecisionError, match="no such node"):
        exact(wb.model, ["nowhere"], wb.ranges, samples)


def test_local_noise_is_that_of_the_node_on_its_floating_point_input(wb):
    samples, _ = samples_for(history_of(wb), None)
    candidates = candidates_of(wb.model, BEST_PRACTICE)
    local = local_noise(wb.model, candidates, wb.ranges, samples, batch=4)
    lowered = all_quantized(wb.model, candidates, wb.ranges)
    for node in candidates:
        output = wb.model.nodes[node].outputs[0].name
        before, after = (
            Session(model, outputs=[output]) for model in (wb.model, quantized_alone(wb.model, lowered, node))
        )
        noise = signal_power = 0.0
        for feed in feeds(samples, wb.model, batch=4):
            a, b = (session.run(feed.arrays)[output].astype(float) for session in (before, after))
            noise, signal_power = noise + ((a - b) ** 2).sum(), signal_power + (a**2).sum()
        assert local[node] == pytest.approx(noise / signal_power, rel=1e-4)


@pytest.mark.parametrize(("factor", "padded"), [(1, True), (1e25, False)])
def test_local_noise_is_of_the_values_that_are_finite_and_fit(factor, padded):
    """A row of NaN at padding, or squares beyond FP32, make no node look as if it lost nothing."""
    rng = np.random.default_rng(0)
    weights = [constant("w", rng.normal(size=(3, 5)), "float32"), constant("v", rng.normal(size=(5, 5)), "float32")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], "m"), helper.make_node("MatMul", ["a", "v"], ["y"], "n")]
    network = model(nodes, {"x": ["b", 3]}, {"y": ["b", 5]}, weights)
    rows = rng.normal(size=(8, 3)).astype(np.float32) * np.float32(factor)
    amax = float(np.abs(rows).max())
    if padded:
        rows[3] = np.nan
    about = network, ["m", "n"], {"x": amax, "a": 3 * amax}
    local = local_noise(*about, open_samples(rows, network))
    clean = local_noise(
        network,
        ["m", "n"],
        {"x": amax / factor, "a": 3 * amax / factor},
        open_samples(rows[~np.isnan(rows).any(axis=1)] / np.float32(factor), network),
    )
    assert local == pytest.approx(clean, rel=0.02)
    assert local["n"] == pytest.approx(exact(*about, open_samples(rows, network)).errors[1].noise, rel=1e-6)


def test_no_samples_are_no_noise_of_zero():
    class Nothing:
        def __len__(self):
            return 0

    with pytest.raises(SamplesError, match="no samples to measure on"):
        local_noises(None, [], {}, Nothing())


WAYS = {"whole": 1.0, "half": 0.5, "tiny": 1e-5}


def test_choices_of_ranges_that_share_a_graph_give_what_each_gives_alone(wb):
    samples, _ = samples_for(history_of(wb), None)
    candidates = candidates_of(wb.model, BEST_PRACTICE)
    ways = {way: {tensor: amax * factor for tensor, amax in wb.ranges.items()} for way, factor in WAYS.items()}
    together = local_noises(wb.model, candidates, ways, samples, batch=4)
    assert list(together) == list(ways)
    assert len({tuple(noise.values()) for noise in together.values()}) == len(ways)
    for way, ranges in ways.items():
        assert together[way] == local_noise(wb.model, candidates, ranges, samples, batch=4)


def test_choices_of_ranges_for_a_model_in_fp16_have_each_their_own_graph_where_its_scales_do_not_fit():
    """From operator set 19 on a pair is in FP16 itself, unless FP16 cannot hold its scale."""
    weights = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype(np.float16)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 4, 6, 6]) for name in "xz"]
    nodes_ = [
        helper.make_node("Conv", ["x", "w"], ["y"], "first", pads=[1] * 4),
        helper.make_node("Conv", ["y", "w"], ["z"], "second", pads=[1] * 4),
    ]
    graph = helper.make_graph(nodes_, "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    data = np.random.default_rng(1).normal(size=(3, 4, 6, 6)).astype(np.float16)
    samples = open_samples({"x": data}, model)
    ways = {way: {"x": 3.0 * factor, "y": 20.0 * factor} for way, factor in WAYS.items()}
    forms = {len(all_quantized(model, ["first", "second"], ranges).nodes) for ranges in ways.values()}
    assert len(forms) == 2
    together = local_noises(model, ["first", "second"], ways, samples)
    for way, ranges in ways.items():
        assert together[way] == local_noise(model, ["first", "second"], ranges, samples)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_an_estimate_keeps_its_budget_however_few_samples_there_are(tmp_path, count):
    wb = calibrated(small(), tmp_path, count)
    samples, _ = samples_for(history_of(wb), None)
    candidates = candidates_of(wb.model, BEST_PRACTICE)
    for budget in (2.0, 3.0, 4.0):
        estimate = quick(wb.model, candidates, wb.ranges, samples, budget=budget)
        assert estimate.forwards <= max(budget, 2.0)
        assert all(np.isfinite(error.sqnr_db) for error in estimate.errors)


def test_a_ranking_starts_with_what_hurts_most(measured):
    result = measured()
    order = [result[node].sqnr_db for node in result.ranking()]
    assert order == sorted(order)
    assert result.table()["sqnr_db"].tolist() == order
    assert [result[node].kl for node in result.ranking("kl")] == sorted((e.kl for e in result.errors), reverse=True)
    assert json.dumps(vars(replace(result.errors[0], task=0.5)))


@pytest.mark.parametrize(("name", "rank"), [("residual_cnn", 0.85), ("depthwise_cnn", 0.95), ("small_vit", 0.9)])
def test_a_quick_estimate_ranks_the_sample_models(tmp_path, name, rank):
    """64 images. The layers of residual_cnn are alike (2.4 dB standard deviation), so that ranks are uncertain."""
    script = [sys.executable, "glyphs.py", "--split", "calibration", "--count", "64", "--out", str(tmp_path)]
    subprocess.run(script, cwd=ROOT / "sample_models", check=True)
    wb = open_model(ROOT / "sample_models" / f"{name}.onnx")
    wb.prepare()
    wb.calibrate({wb.model.inputs[0].name: np.load(tmp_path / "samples.npz")["image"]}, batch=8)
    nodes = candidates_of(wb.model, BEST_PRACTICE)
    samples, _ = samples_for(history_of(wb), None)
    full = exact(wb.model, nodes, wb.ranges, samples, batch=8)
    estimate = quick(wb.model, nodes, wb.ranges, samples, batch=8)
    assert estimate.forwards <= 4
    assert estimate.samples < len(samples)
    statistic = spearmanr([estimate[node].sqnr_db for node in nodes], [full[node].sqnr_db for node in nodes]).statistic
    assert statistic >= rank


def test_a_residual_add_can_be_asked_about_without_its_convolution(wb, measured):
    samples, _ = samples_for(history_of(wb), None)
    alone = exact(wb.model, ["block/add"], wb.ranges, samples, batch=4)
    assert alone["block/add"].sqnr_db == pytest.approx(measured()["block/add"].sqnr_db)


def test_where_the_work_of_a_node_is_unknown_nodes_are_counted():
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"], "goes"), helper.make_node("Neg", ["s"], ["t"], "neg")],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("s", TensorProto.FLOAT, [4, 4])],
        [info("on", TensorProto.BOOL, []), info("t", TensorProto.FLOAT, [4, 4])],
    )
    main = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Loop", ["times", "", "a"], ["l"], "loop", body=body),
        helper.make_node("MatMul", ["l", "w"], ["y"], "last"),
    ]
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(4, 4)).astype(np.float32), "w")]
    shapes = (
        [info("x", TensorProto.FLOAT, [4, 4]), info("times", TensorProto.INT64, [])],
        [info("y", TensorProto.FLOAT, [4, 4])],
    )
    graph = helper.make_graph(main, "g", *shapes, weights)
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    samples = open_samples(
        [{"x": rng.normal(size=(4, 4)).astype(np.float32), "times": np.array(2)} for _ in range(4)], model
    )
    ranges = dict.fromkeys("xal", 8.0)
    entries = [run(model, ["first", "last"], ranges, samples) for run in (exact, quick)]
    assert [error.sqnr_db for error in entries[0].errors] == [error.sqnr_db for error in entries[1].errors]
    assert entries[1].samples == 4
    assert entries[0].forwards == pytest.approx(1 + 3 / 3 + 1 / 3)
