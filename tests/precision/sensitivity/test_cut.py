"""What a change of one node reaches, and the part of a model behind it, on a small graph that really runs."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, Executor, Future

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import constant, model, random_feeds, weight
from workbench.calibration import open_samples
from workbench.errors import BackendError, PrecisionError
from workbench.precision.sensitivity import all_quantized, beside, exact
from workbench.precision.sensitivity.cut import Cut, cut, cuts, downstream, extract
from workbench.precision.sensitivity.graft import quantized_alone
from workbench.runtime import Session

NODE = helper.make_node


@pytest.fixture(scope="module")
def network():
    """Two outputs: z = relu(x a) b, which y adds to u = -x and k."""
    nodes = [
        NODE("MatMul", ["x", "a"], ["p"], "first"),
        NODE("Neg", ["x"], ["u"], "apart"),
        NODE("Relu", ["p"], ["r"], "relu"),
        NODE("MatMul", ["r", "b"], ["z"], "second"),
        NODE("Add", ["z", "k"], ["s"], "sum"),
        NODE("Add", ["s", "u"], ["y"], "last"),
        NODE("Clip", ["u", "", "k0"], ["v"], "clip"),
    ]
    weights = [weight("a", 4, 4), weight("b", 4, 4, seed=1), constant("k", [1.0, 2, 3, 4], "float32")]
    weights.append(constant("k0", 0.5, "float32"))
    return model(nodes, {"x": [3, 4]}, {"z": [3, 4], "y": [3, 4], "v": [3, 4]}, weights)


@pytest.fixture(scope="module")
def lowered(network):
    return all_quantized(network, ["first", "second"], {"x": 3.0, "r": 6.0})


@pytest.mark.parametrize(
    ("node", "affected", "boundary", "outputs"),
    [
        ("first", {"first", "relu", "second", "sum", "last"}, ("x", "u"), ("z", "y")),
        ("relu", {"relu", "second", "sum", "last"}, ("p", "u"), ("z", "y")),
        ("second", {"second", "sum", "last"}, ("r", "u"), ("z", "y")),
        ("sum", {"sum", "last"}, ("z", "u"), ("y",)),
        ("apart", {"apart", "last", "clip"}, ("x", "s"), ("y", "v")),
        ("clip", {"clip"}, ("u",), ("v",)),
    ],
)
def test_a_cut_is_what_depends_on_a_node_and_what_that_reads(network, node, affected, boundary, outputs):
    assert cut(network, node) == Cut(node, frozenset(affected), boundary, outputs)


def test_several_cuts_are_each_as_if_it_were_alone(network):
    nodes = ["sum", "first", "clip"]
    assert list(cuts(network, nodes)) == [cut(network, node) for node in nodes]


def test_there_is_no_cut_at_what_is_no_node(network):
    with pytest.raises(PrecisionError, match=r"^none: there is no such node in the main graph"):
        cut(network, "none")
    with pytest.raises(PrecisionError, match=r"^none: there is no such node\. See wb"):
        all_quantized(network, ["first", "none"], {})
    with pytest.raises(PrecisionError, match=r"^relu: it cannot be INT8: TensorRT gains nothing from Q/DQ around Relu"):
        all_quantized(network, ["relu"], {})


@pytest.mark.parametrize("node", ["first", "second"])
def test_the_part_behind_a_cut_computes_what_the_whole_does_with_that_node_alone_in_int8(network, lowered, node):
    feed = random_feeds(network)
    part = cut(network, node)
    kept = Session(network, outputs=[name for name in part.boundary if name != "x"]).run(feed) | feed
    read = {name: kept[name] for name in part.boundary}
    dtypes = {name: array.dtype for name, array in read.items()}
    alone = quantized_alone(network, lowered, node)
    whole = Session(alone).run(feed)
    assert [n for n, each in alone.nodes.items() if each.op_type == "DequantizeLinear"] != []
    assert not np.array_equal(whole["z"], Session(network).run(feed)["z"])
    for piece in (downstream(network, lowered, part, dtypes), extract(alone, part, dtypes)):
        results = Session(piece).run(read)
        assert list(results) == ["z", "y"]
        for name, array in results.items():
            assert np.array_equal(array, whole[name])
        assert [tensor.name for tensor in piece.inputs] == list(part.boundary)
        assert set(part.affected) <= set(piece.nodes)
        assert {"apart", "clip"}.isdisjoint(piece.nodes)
        assert {"k0"}.isdisjoint(piece.initializers)
        assert ("a/quantized" in piece.initializers) == (node == "first")


def test_a_quantized_copy_stands_beside_a_node_and_reads_the_same(network, lowered):
    whole, pairs = beside(network, lowered, ["first", "second"])
    assert [name for name, *_ in pairs] == ["first", "second"]
    assert [(one.name, other.name) for _, one, other in pairs] == [
        ("p", "first/copy/0"),
        ("z", "second/copy/0"),
    ]
    assert list(whole.graph.outputs) == []
    for _, one, other in pairs:
        assert one.producer().op_type == other.producer().op_type == "MatMul"
        assert one.producer().inputs[0].name in ("x", "r")
        assert other.producer().inputs[0].producer().op_type == "DequantizeLinear"


def test_all_of_some_nodes_are_measured_in_their_order(network):
    samples = open_samples([random_feeds(network, seed=seed) for seed in range(3)], network)
    ranges = {"x": 3.0, "r": 6.0}
    here = exact(network, ["second", "first"], ranges, samples)
    assert [(error.node, error.op_type) for error in here.errors] == [("second", "MatMul"), ("first", "MatMul")]
    assert (here.kind, here.samples, here.resumed) == ("exact", 3, 0)
    # Of 96 products a forward pass has, 96 lie behind the first product and 48 behind the second.
    assert here.forwards == pytest.approx(1 + 1.0 + 0.5)
    alone = {}
    for node in ("first", "second"):
        changed = Session(quantized_alone(network, all_quantized(network, [node], ranges), node))
        noise, signal = np.zeros(2), np.zeros(2)
        for sample in samples:
            one, other = Session(network).run(sample), changed.run(sample)
            for at, name in enumerate(("z", "y")):
                noise[at] += ((one[name].astype(float) - other[name]) ** 2).sum()
                signal[at] += (one[name].astype(float) ** 2).sum()
        alone[node] = float((10 * np.log10(signal / noise)).min())
    assert {error.node: error.sqnr_db for error in here.errors} == pytest.approx(alone, abs=1e-3)


class Pool(Executor):
    """Runs tasks at once, the first of them as a test says."""

    def __init__(self, error=None):
        self.error, self.futures = error, []

    def submit(self, fn, /, *arguments, **named):
        future = Future()
        self.futures.append(future)
        if self.error is not None and len(self.futures) == 1:
            future.set_exception(self.error)
        elif self.error is None:
            future.set_result(fn(*arguments, **named))
        return future


def test_a_pool_finds_the_same_and_what_fails_there_is_said_in_one_line(network):
    samples = open_samples([random_feeds(network, seed=seed) for seed in range(2)], network)
    ranges, nodes = {"x": 3.0, "r": 6.0}, ["first", "second"]
    spread = exact(network, nodes, ranges, samples, executor=Pool(), parts=2)
    assert spread.errors == exact(network, nodes, ranges, samples).errors
    assert spread.forwards == pytest.approx(2 + 1.0 + 0.5)
    for error, message in (
        (BrokenExecutor(), r"^g: a worker of the pool died\. Most often memory ran out"),
        (OSError("no space"), r"^g: a worker failed: OSError: no space$"),
        (BackendError("refused"), "^refused$"),
    ):
        pool = Pool(error)
        with pytest.raises(BackendError, match=message):
            exact(network, nodes, ranges, samples, executor=pool, parts=2)
        assert [future.cancelled() for future in pool.futures] == [False, True]
