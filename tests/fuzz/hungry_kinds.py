"""Models of few bytes that ask for much: shapes that are stated or computed, repetitions, borders."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import workbench
from tests.fuzz import bases
from tests.fuzz.registry import kind, tolerated
from workbench.graph import load_model, summary

LENGTHS = (0, 1, 3, 2**10, 2**20, 2**31 - 1, 2**31, 10**9, 10**12, 2**62, 2**63 - 1, -1, -(2**40))
N = helper.make_node


def _constant(name, *values):
    return numpy_helper.from_array(np.array(values, np.int64), name)


def _filled(rng):
    shape = _constant("n", *(rng.choice(LENGTHS) for _ in range(rng.randint(1, 3))))
    return [N("ConstantOfShape", ["n"], ["c"], "make"), N("Add", ["x", "c"], ["y"])], [shape]


def _expanded(rng):
    shape = _constant("n", *(rng.choice(LENGTHS) for _ in range(3)))
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    return [N("Expand", ["one", "n"], ["c"], "make"), N("Add", ["x", "c"], ["y"])], [shape, one]


def _tiled(rng):
    times = _constant("n", rng.choice(LENGTHS), rng.choice(LENGTHS))
    data = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    return [N("Tile", ["w", "n"], ["c"], "make"), N("Add", ["x", "c"], ["y"])], [times, data]


def _ranged(rng):
    ends = [numpy_helper.from_array(np.int64(rng.choice(LENGTHS)), name) for name in ("a", "b", "d")]
    return [
        N("Range", ["a", "b", "d"], ["r"], "make"),
        N("Cast", ["r"], ["c"], to=1),
        N("Add", ["x", "c"], ["y"]),
    ], ends


def _padded(rng):
    pads = _constant("n", *(rng.choice(LENGTHS) for _ in range(4)))
    data = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    return [N("Pad", ["w", "n"], ["c"], "make"), N("Add", ["x", "c"], ["y"])], [pads, data]


def _one_hot(rng):
    depth = numpy_helper.from_array(np.int64(rng.choice(LENGTHS)), "n")
    index = _constant("i", 0, 1)
    values = numpy_helper.from_array(np.array([0, 1], np.float32), "v")
    return [N("OneHot", ["i", "n", "v"], ["c"], "make"), N("Add", ["x", "c"], ["y"])], [depth, index, values]


def _repeated(rng):
    # Each node doubles what the one before made.
    names = ["w", *(f"t{level}" for level in range(rng.choice((4, 30, 50))))]
    nodes = [N("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]
    data = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    return [*nodes, N("Add", ["x", names[-1]], ["y"])], [data]


@kind
def model_hungry(rng, folder, _base):
    """Constants that unfold, and shapes of inputs and results that nobody could hold."""
    values = (_filled, _expanded, _tiled, _ranged, _padded, _one_hot, _repeated)
    nodes, weights = rng.choice(values)(rng)
    shape = (
        [rng.choice((*LENGTHS[:10], "N", None)) for _ in range(rng.randint(1, 3))] if rng.random() < 0.5 else ["N", 4]
    )
    stated = [helper.make_tensor_value_info("c", TensorProto.FLOAT, [rng.choice(LENGTHS[:10]), 4])]
    proto = bases.model(nodes, [bases.info("x", shape)], [bases.info("y", None)], weights)
    if rng.random() < 0.3:
        proto.graph.value_info.extend(stated)
    path = bases.save(proto, folder / "m.onnx")
    model = tolerated(load_model, path)
    if model is None:
        return
    verdict = tolerated(summary, model)
    if verdict is not None:
        verdict.text()
    wb = tolerated(workbench.open_model, path)
    if wb is not None and tolerated(wb.prepare) is not None:
        tolerated(wb.calibrate, {"x": np.ones((2, 4), np.float32)})
