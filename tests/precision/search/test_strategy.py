from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.kit.searching import calibrated, candidates_of, images, mobilenet, small
from workbench.cli import main
from workbench.errors import PrecisionError, RecipeError
from workbench.evaluate.comparison import compare
from workbench.graph.select.language import select
from workbench.graph.select.shortest import compact
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.precision.search.cost import NodeCosts, measured_costs, modelled_costs
from workbench.precision.search.goal import Goal, Score
from workbench.precision.search.result import pareto_front
from workbench.precision.search.strategy import search
from workbench.session import history_of, open_recipe, samples_for


@pytest.fixture
def broken(tmp_path):
    """A network of which one channel makes plain INT8 useless in one convolution."""
    return calibrated(small(broken=True), tmp_path, 16, batch=4)


def sqnr(wb):
    return compare(wb.source, wb.tuned, wb.ranges.samples, batch=4, runs=0).worst_sqnr_db


def test_finds_the_one_node_that_breaks_and_the_rest_stays_int8(broken):
    broken.tune()
    before = sqnr(broken)
    broken.undo()
    broken.undo()
    assert before < 15
    result = broken.plan.search("sqnr_db", at_least=28)
    assert result.chosen.passed
    assert sqnr(broken) == pytest.approx(result.chosen.measured.sqnr_db, abs=1e-3)
    assert sqnr(broken) >= 28
    assert "block/conv1" in result.chosen.demoted
    assert len(result.chosen.demoted) <= 2
    assert result.trials[0].measured.figure == pytest.approx(before, abs=1e-3)
    # What was evaluated is what is reported: no cheaper trial passed.
    assert all(t.cost_ms >= result.chosen.cost_ms for t in result.trials if t.passed)


def test_what_was_found_is_in_the_recipe_and_replays_to_the_same_bytes(broken, tmp_path):
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(broken.source.to_bytes())
    result = broken.plan.search("sqnr_db", at_least=28)
    content = broken.tune().model.to_bytes()
    assert broken.plan.rules == result.chosen.plan
    assert [str(gate) for gate in broken.recipe.gates] == ["sqnr_db >= 28"]
    path = broken.recipe.save(tmp_path / "recipe.yaml")
    assert open_recipe(path, model=onnx).tune().model.to_bytes() == content


def test_all_int8_is_kept_where_it_is_good_enough(tmp_path):
    wb = calibrated(small(), tmp_path, 8)
    result = wb.plan.search("sqnr_db", at_least=20)
    assert (len(result.trials), result.chosen.demoted, result.sensitivity) == (1, frozenset(), None)
    assert result.chosen.plan == BEST_PRACTICE
    assert result.chosen.share == 1.0


def test_a_goal_out_of_reach_says_so_and_leaves_the_recipe(broken):
    steps = broken.recipe.steps
    with pytest.raises(PrecisionError, match="not even floating point reaches never >= 1"):
        broken.plan.search(never, at_least=1)
    assert broken.recipe.steps == steps


def never(_outputs):
    return 0.0


def test_a_task_metric_decides(broken):
    samples, _ = samples_for(history_of(broken), None)
    model = broken.model
    reference = []

    def agreement(outputs):
        choices = np.concatenate([result["y"].argmax(1) for result in outputs])
        reference.append(choices)
        return float((choices == truth).mean())

    from workbench.runtime.session import Session

    truth = Session(model).run(images(model, 16))["y"].argmax(1)
    result = search(
        model,
        samples,
        Goal(agreement, at_least=1.0),
        ranges=broken.ranges,
        costs=modelled_costs(model, {"N": 1}),
    )
    assert result.chosen.measured.figure == 1.0
    assert len(reference) == len(result.trials)
    assert "agreement >= 1" in result.text()


def test_exact_sensitivity_and_the_trial_limit(broken):
    samples, batch = samples_for(history_of(broken), None)
    result = search(
        broken.model,
        samples,
        Goal("sqnr_db", at_least=28),
        ranges=broken.ranges,
        costs=modelled_costs(broken.model, {"N": 1}),
        sensitivity="exact",
        batch=batch,
        most_trials=3,
    )
    assert result.sensitivity.kind == "exact"
    assert len(result.trials) == 3
    assert result.chosen.passed


def test_measured_latencies_decide_what_is_cheapest(broken):
    samples, batch = samples_for(history_of(broken), None)
    nodes = candidates_of(broken.model, BEST_PRACTICE)
    cheap = {node: {"fp32": 1.0, "int8": 0.9} for node in nodes} | {"block/conv1": {"fp32": 9.0, "int8": 1.0}}
    costs = measured_costs(broken.model, cheap)
    result = search(broken.model, samples, Goal("sqnr_db", at_least=28), ranges=broken.ranges, costs=costs, batch=batch)
    assert result.costs.measured == cheap
    others = sum(costs.of(node, "fp32") for node in costs.milliseconds if node not in nodes)
    assert result.chosen.cost_ms == pytest.approx(
        others + sum(cheap[node]["fp32" if node in result.chosen.demoted else "int8"] for node in nodes)
    )
    assert "by measured latencies" in result.text()
    with pytest.raises(PrecisionError, match="no latency in int8"):
        NodeCosts({"a": {"fp32": 1.0}}, {}).of("a", "int8")
    with pytest.raises(PrecisionError, match="no node of this model"):
        measured_costs(broken.model, {"nowhere": {"fp32": 1.0}})
    with pytest.raises(PrecisionError, match="nan ms in int8 is no latency"):
        measured_costs(broken.model, {"stem/conv": {"int8": math.nan}})


def test_what_was_not_measured_is_scaled_by_the_model_and_said():
    model = small()
    roofline = modelled_costs(model, {"N": 1})
    costs = measured_costs(model, {"stem/conv": {"fp16": 2.0, "int8": 3.0}, "head/fc": {"fp16": 1.0}}, {"N": 1})
    assert (costs.of("stem/conv", "fp16"), costs.of("stem/conv", "int8")) == (2.0, 3.0)
    # FP32 is nearer to FP16 than to INT8; of the classifier only FP16 is known.
    ratio = roofline.of("stem/conv", "fp32") / roofline.of("stem/conv", "fp16")
    assert costs.of("stem/conv", "fp32") == pytest.approx(2.0 * ratio)
    ratio = roofline.of("head/fc", "int8") / roofline.of("head/fc", "fp16")
    assert costs.of("head/fc", "int8") == pytest.approx(ratio)
    measured = roofline.of("stem/conv", "fp16") + roofline.of("stem/conv", "int8") + roofline.of("head/fc", "fp16")
    assert costs.of("block/conv1", "int8") == pytest.approx(roofline.of("block/conv1", "int8") * 6.0 / measured)
    assert costs.about[0] == "2 of 9 nodes measured"
    assert "fp32 of 2 nodes" in costs.about[1]
    assert "int8 of 1 nodes" in costs.about[1]
    assert costs.about[2].startswith("7 nodes measured in no precision: modelled by bytes and MACs")


def test_what_int8_makes_slower_is_not_int8_however_good_it_is(tmp_path):
    wb = calibrated(small(), tmp_path, 8)
    nodes = candidates_of(wb.model, BEST_PRACTICE)
    slow = {node: {"fp32": 1.0, "int8": 0.5} for node in nodes}
    slow |= {node: {"fp32": 1.0, "int8": 1.2} for node in ("block/conv1", "block/conv2")}
    result = wb.plan.search("sqnr_db", at_least=20, cost=slow)
    assert result.trials[0].passed
    # Without conv2 the Add behind it would leave INT8 as well, and lose more than conv2 wins.
    assert result.chosen.demoted == {"block/conv1"}
    assert wb.plan.resolve()["block/conv1"].precision == "fp32"
    hard = wb.plan.search("sqnr_db", at_least=wb.compare(runs=0).worst_sqnr_db + 2, cost=slow)
    assert all("block/conv1" in trial.demoted for trial in hard.trials[1:])


def test_the_model_of_costs_is_the_roofline():
    costs = modelled_costs(small(), {"N": 1})
    # block/conv2: 12 x 12 x 8 x 8 MACs; 64 weights and two tensors of 8 x 12 x 12 floats. Bytes take longer.
    assert costs.macs["block/conv2"] == 9216
    assert costs.of("block/conv2", "fp32") == pytest.approx(1e3 * 4 * (64 + 2 * 1152) / 1.555e12)
    assert costs.of("block/conv2", "int8") == pytest.approx(costs.of("block/conv2", "fp32") / 4)


def test_the_front_holds_what_nothing_beats(broken):
    result = broken.plan.search("sqnr_db", at_least=28)
    for trial in result.front:
        better = [t for t in result.trials if t.cost_ms <= trial.cost_ms and t is not trial]
        assert all(t.measured.sqnr_db < trial.measured.sqnr_db or t.cost_ms == trial.cost_ms for t in better)
    costs = [trial.cost_ms for trial in result.front]
    figures = [trial.measured.figure for trial in result.front]
    assert costs == sorted(costs)
    assert figures == sorted(figures)
    assert result.front[-1].measured.sqnr_db == math.inf
    worse = replace(result.front[0], measured=Score(-99.0, 0.0, -99.0))
    assert pareto_front([*result.trials, worse], result.goal.merit) == result.front
    assert result.table()["front"].sum() == len(result.front)


def test_rules_name_groups_where_that_is_exact():
    model = small()
    everything = candidates_of(model, BEST_PRACTICE)

    def rules(*expected):
        others = [node for node in everything if node not in expected]
        selectors = compact(model, expected, others)
        chosen = {node for rule in selectors for node in select(model, rule)}
        assert chosen >= set(expected)
        assert not chosen & set(others)
        return selectors

    assert rules("stem/conv", "block/conv1", "block/conv2") == ["op:Conv"]
    assert rules("block/conv1", "block/conv2", "block/add") == ["scope:block"]
    assert rules("block/conv1", "block/conv2") == ["name:block/conv*"]
    assert rules("stem/conv", "head/fc") == ["name:stem/conv|head/fc"]
    assert rules() == []


def test_rules_name_few_exceptions():
    model = mobilenet(32)
    everything = candidates_of(model, BEST_PRACTICE)
    entries = [node for node in everything if node.endswith("project") and node != "blocks.3/project"]
    assert compact(model, entries, [node for node in everything if node not in entries]) == [
        "name:blocks.*/project & !name:blocks.3/project"
    ]
    # Half of them are no exceptions.
    few = [node for node in everything if node.endswith("project")][::2]
    selectors = compact(model, few, [node for node in everything if node not in few])
    assert {node for rule in selectors for node in select(model, rule)} == set(few)
    assert len(selectors) == 1
    assert "!" not in selectors[0]


def test_a_goal_has_one_bound_and_its_labels():
    with pytest.raises(PrecisionError, match=r"no metric 'sqnr'.* sqnr_db, top1_drop or a function"):
        Goal("sqnr", at_least=20)
    with pytest.raises(PrecisionError, match="one bound"):
        Goal("sqnr_db")
    with pytest.raises(PrecisionError, match="labels"):
        Goal("top1_drop", at_most=1)
    assert Goal("sqnr_db", at_least=20).holds(20)
    assert not Goal("sqnr_db", at_least=20).holds(math.nan)


def test_a_search_needs_a_calibration():
    from workbench.session import Workbench

    with pytest.raises(RecipeError, match=r"wb.plan.search on small: .*was calibrated.*wb.calibrate\(samples\)"):
        Workbench(small()).plan.search("sqnr_db", at_least=20)


def test_the_command_line_writes_every_plan_tried(broken, tmp_path, capsys):
    onnx, out = tmp_path / "model.onnx", tmp_path / "out"
    onnx.write_bytes(broken.source.to_bytes())
    arguments = ["search", str(onnx), "--samples", str(tmp_path / "samples.npz"), "--runs", "0", "--out", str(out)]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--min-sqnr", "28", "--batch", "4"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "-> fp32" in printed
    assert "gate sqnr_db >= 28" in printed
    content = json.loads((out / "search.json").read_text())
    assert content["trials"][content["chosen"]]["passed"]
    assert {path.name for path in out.iterdir()} >= {"tuned.onnx", "recipe.yaml", "report.html", "search.json"}
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
