"""Whether an engine is faster than floating point, beyond the error of the measurement."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.backends.protocol import BuildOptions, Timing
from workbench.precision.placement import Pays


def timing(medians, **conditions):
    values = {"backend": "tensorrt", "version": "8.6.0", "device": "NVIDIA H200", "shapes": {"x": [1, 3, 8, 8]}}
    values |= {**conditions, "placement_medians_ms": medians}
    return Timing.of(np.array(medians), span_s=1.0, warm_up_runs=1, conditions=values)


FP16 = timing([1.0, 1.01, 0.99, 1.0])


@pytest.mark.parametrize(
    ("medians", "verdict"),
    [
        ([0.90, 0.91, 0.89, 0.90], "pays"),
        ([1.06, 1.07, 1.05, 1.06], "does not pay"),
        ([0.98, 1.05, 0.97, 1.01], "within the error"),
        ([0.5], "within the error"),  # one loading has no error
    ],
)
def test_the_verdict_is_beyond_the_error(medians, verdict):
    actual = Pays.of(timing(medians), {"fp16": FP16})
    assert actual.verdict == verdict
    assert actual.ratio == pytest.approx(np.mean(np.divide(medians, [1.0, 1.01, 0.99, 1.0][: len(medians)])))
    assert actual.speedup == pytest.approx(1 / actual.ratio)


def test_the_fastest_in_floating_point_is_what_counts():
    actual = Pays.of(timing([0.9] * 4), {"fp32": timing([2.0] * 4), "fp16": FP16, "tf32": timing([1.5] * 4)})
    assert actual.against == "fp16"
    assert str(actual).startswith("pays: 0.900 ± 0.004 of the time of fp16 (tensorrt 8.6.0, NVIDIA H200, 1x3x8x8")


def test_what_was_not_measured_says_so():
    assert str(Pays()) == "not measured: no engine was built, so whether INT8 is faster is not known"
    assert Pays().speedup is None


def test_what_stays_in_floating_point_is_as_fast_as_that_whatever_was_not_taken():
    missed = Pays(verdict="within the error", ratio=0.9, error=0.2, reason="int8: stay in FP16: it takes 0.900 ± 0.200")
    assert (missed.speedup, missed.model_copy(update={"reason": None}).speedup) == (1.0, pytest.approx(1 / 0.9))


def test_the_build_options_that_a_plan_was_measured_with_go_into_its_builds_on_a_gpu():
    from workbench.recipe.document import Recipe
    from workbench.recipe.parts import ModelReference, ranges_hash
    from workbench.recipe.steps import PlanStep

    pays = Pays(
        verdict="pays", ratio=0.9, error=0.01, against="fp16", build={"optimization_level": 5, "aux_streams": 0}
    )
    step = PlanStep(rules=(), sha256=ranges_hash({}), pays=pays)
    recipe = Recipe(model=ModelReference(file="m.onnx", sha256=""), steps=(step,))
    outcome = recipe.built_by("tensorrt", BuildOptions(aux_streams=2))
    assert (outcome.optimization_level, outcome.aux_streams) == (5, 2)  # what a person says counts
    assert recipe.built_by("onnxruntime", BuildOptions()) == BuildOptions()
