"""Rules, what they decide, and what they say."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.networks import network
from workbench.errors import PrecisionError, SelectorError
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan


def test_later_rules_win():
    model = network("conv", "depthwise")
    plan = PrecisionPlan().with_rule("op:Conv", "int8").with_rule("name:Conv_0", "fp32")
    resolution = plan.resolve(model)
    assert resolution.nodes("int8") == ["Conv_1"]
    assert resolution["Conv_0"].rule == 1
    assert resolution["Conv_1"].rule == 0


def test_a_node_that_no_rule_selects_stays_as_it_is():
    resolution = PrecisionPlan().with_rule("op:Conv", "int8").resolve(network("conv", "sigmoid"))
    assert resolution["Sigmoid_1"].rule is None
    assert "no rule selects it" in resolution.explain("Sigmoid_1")


def test_explaining_names_the_rule_and_the_constraint():
    resolution = PrecisionPlan().with_rule("*", "int8").resolve(network("conv", "sigmoid"))
    assert resolution.explain("Conv_0") == "Conv_0 (Conv): rule 0 (* -> int8) asks for int8."
    text = resolution.explain("Sigmoid_1")
    assert "rule 0 (* -> int8) asks for int8; it gets fp32, because TensorRT gains nothing" in text


def test_an_unknown_node_and_a_selector_that_cannot_be_read_are_refused():
    model = network("conv")
    with pytest.raises(PrecisionError, match="there is no such node"):
        BEST_PRACTICE.resolve(model).explain("nobody")
    with pytest.raises(SelectorError):
        PrecisionPlan().with_rule("op:(", "int8").resolve(model)


def test_the_best_practice_is_int8_where_it_multiplies_and_where_it_would_be_left_for_nothing():
    resolution = BEST_PRACTICE.resolve(network("conv_bn_relu", "residual", "pool", head="gemm"))
    kinds = {resolution[node].op_type for node in resolution.nodes("int8")}
    assert kinds == {"Conv", "Add", "Gemm", "GlobalAveragePool"}


def test_the_best_practice_applies_to_a_network_without_residuals():
    from workbench.session import Workbench

    wb = Workbench(network("conv_bn_relu"))
    wb.calibrate([{"x": np.ones((4, 8, 8), np.float32)}], method="minmax")
    assert wb.tune().activations == ("x",)
    assert [step.select for step in wb.recipe.steps if step.do == "set_precision"] == [BEST_PRACTICE.rules[0].select]
