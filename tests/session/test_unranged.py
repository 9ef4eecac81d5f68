"""What no scale covers and a model may well see: masks of -inf, NaN at padded positions, tensors without elements."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.kit.models import constant, model, weight
from workbench.errors import SamplesError
from workbench.recipe.replay import replay
from workbench.session import Workbench, history_of

RNG = np.random.default_rng(1)
WORDS, WIDTH = 6, 8


def attention(*, padded=False):
    """Two projections, a masked softmax and its product; rows that are masked throughout become NaN."""
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["q"], "query"),
        helper.make_node("Transpose", ["x"], ["k"], "keys", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "k"], ["s"], "scores"),
        helper.make_node("Add", ["s", "mask"], ["m"], "masked"),
        helper.make_node("Softmax", ["m"], ["p"], "softmax", axis=-1),
        helper.make_node("MatMul", ["p", "x"], ["o"], "mixed"),
        helper.make_node("IsNaN", ["o"], ["n"], "nan"),
        helper.make_node("Where", ["n", "zero", "o"], ["c"], "clean"),
        helper.make_node("MatMul", ["o" if padded else "c", "b"], ["y"], "out"),
    ]
    weights = [weight("a", WIDTH, WIDTH), weight("b", WIDTH, WIDTH, seed=3), constant("zero", 0, "float32")]
    shape = [1, WORDS, WIDTH]
    return model(nodes, {"x": shape, "mask": [1, WORDS, WORDS]}, {"y": shape}, weights)


def samples(rows_masked=0):
    records = []
    for seed in range(4):
        mask = np.zeros((1, WORDS, WORDS), np.float32)
        mask[..., 4:] = -np.inf
        mask[:, WORDS - rows_masked :] = -np.inf
        x = np.random.default_rng(seed).normal(size=(1, WORDS, WIDTH)).astype(np.float32)
        records.append({"x": x, "mask": mask})
    return records


def test_a_mask_of_minus_infinity_is_no_reason_to_stop():
    wb = Workbench(attention())
    wb.calibrate(samples())
    assert history_of(wb).state.unranged == {}
    wb.plan.use("int8")
    assert wb.plan.resolve().nodes("int8") == ["query", "scores", "mixed", "out"]
    assert wb.compare(samples(), runs=0).worst_sqnr_db > 20


@pytest.mark.parametrize("padded", [False, True])
def test_what_reads_nan_at_padded_positions_stays_floating_and_the_rest_goes_on(padded, tmp_path):
    wb = Workbench(attention(padded=padded))
    wb.calibrate(samples(rows_masked=2))
    bad = ["mixed", "out"] if padded else ["mixed"]
    assert list(history_of(wb).state.unranged) == (["p", "o"] if padded else ["p"])
    wb.plan.use("int8")
    resolution = wb.plan.resolve()
    assert resolution.nodes("int8") == [node for node in ("query", "scores", "mixed", "out") if node not in bad]
    assert [error.node for error in wb.sensitivity(how="exact").errors] == resolution.nodes("int8")
    assert "its input 'p' has no range: 48 NaN and 0 infinite values were seen" in resolution.explain("mixed")
    note = next(note for note in wb.advice if "has no range" in note)
    assert "'mixed'" in note
    assert "wb.plan.set('name:mixed', 'fp32')" in note
    # The same bytes, without a forward pass.
    path = wb.recipe.save(tmp_path / "recipe.yaml")
    again = replay(type(wb.recipe).load(path), wb.source)[1]
    assert again.model.to_bytes() == wb.tuned.to_bytes()


def test_a_threshold_by_hand_is_a_range():
    wb = Workbench(attention())
    wb.calibrate(samples(rows_masked=2))
    wb.plan.set("name:mixed", "int8", amax=1.0)
    assert wb.plan.resolve()["mixed"].precision == "int8"
    assert [error.node for error in wb.sensitivity(how="exact").errors] == ["mixed"]
    wb = Workbench(attention())
    wb.calibrate(samples(rows_masked=2))
    wb.set_range("p", 1.0)
    wb.plan.set("name:mixed", "int8")
    assert wb.plan.resolve()["mixed"].precision == "int8"
    wb.ranges.choose("minmax", overrides={"p": 2.0})
    assert wb.ranges["p"] == 2.0
    assert wb.plan.resolve()["mixed"].precision == "int8"
    wb.ranges.choose("minmax")
    assert "p" not in wb.ranges
    assert wb.plan.resolve()["mixed"].precision == "fp32"


def test_a_search_goes_on_without_it():
    wb = Workbench(attention())
    wb.calibrate(samples(rows_masked=2))
    result = wb.plan.search("sqnr_db", at_least=15.0)
    assert result.chosen.passed
    assert "mixed" not in wb.plan.resolve().nodes("int8")


def test_a_sample_that_makes_everything_nan_is_named():
    wb, broken = Workbench(attention(padded=True)), samples()
    broken[2]["x"][:] = np.nan
    with pytest.raises(SamplesError, match=r"tensor 'x', sample 2: nan at .* no finite number"):
        wb.calibrate(broken)


@pytest.mark.parametrize("length", [0, 3])
def test_a_tensor_without_elements_leaves_its_own_reader_floating_alone(length):
    nodes = [
        helper.make_node("MatMul", ["past", "a"], ["p"], "past_keys"),
        helper.make_node("MatMul", ["x", "a"], ["k"], "keys"),
        helper.make_node("Concat", ["p", "k"], ["y"], "cache", axis=1),
    ]
    shapes = {"x": [1, WORDS, WIDTH], "past": [1, "past", WIDTH]}
    wb = Workbench(model(nodes, shapes, {"y": [1, None, WIDTH]}, [weight("a", WIDTH, WIDTH)]))
    fed = [{"x": s["x"], "past": s["x"][:, :length]} for s in samples()]
    wb.calibrate(fed)
    wb.plan.use("int8")
    assert wb.plan.resolve().nodes("int8") == (["past_keys", "keys"] if length else ["keys"])
    assert length or "no value was seen" in wb.plan.explain("past_keys")
    assert wb.compare(fed, runs=0).worst_sqnr_db > 25
