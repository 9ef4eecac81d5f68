"""Plans to start from, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.errors import PrecisionError
from workbench.graph import onnx_op
from workbench.graph.select import select
from workbench.names import QUANTIZED, did_you_mean
from workbench.precision.plan.existing import literal, plan_of
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.plan.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Floating
    from workbench.precision.plan.resolution import Resolution

__all__ = ["ORIGINAL", "PRESETS", "all_int8", "patch_embeddings", "preset"]

ORIGINAL = "original"
"""The preset that a quantized model brings itself."""

MULTIPLIES = BEST_PRACTICE.rules[0].select


def _all(floating: Floating) -> PrecisionPlan:
    return PrecisionPlan(rules=(Rule(select="*", precision=floating),))


PRESETS: Mapping[str, PrecisionPlan] = {
    "fp32": _all("fp32"),
    "fp16": _all("fp16"),
    "bf16": _all("bf16"),
    "int8": BEST_PRACTICE,
    "int8+fp16": _all("fp16").with_rules(*BEST_PRACTICE.rules),
    "fp8+fp16": _all("fp16").with_rule(MULTIPLIES, "fp8"),
}
"""The presets by name. ``int8+fp16`` is the best practice for strongly typed TensorRT: INT8 for what multiplies and for
residual Adds, FP16 for the rest, FP32 where range or precision demand it."""


def preset(name: str, model: Model) -> PrecisionPlan:
    """Return a preset's rules, those that select something in a model.

    Parameters
    ----------
    name
        One of `PRESETS`, or ``original``: what the model itself has quantized.
    model
        The model it is for.

    Raises
    ------
    PrecisionError
        There is no such preset, or the model has no quantization of its own.
    """
    if name == ORIGINAL:
        plan = plan_of(model)
        if not plan.rules:
            raise PrecisionError(
                "the model has no quantization of its own", where=model.name, fix="Choose another preset."
            )
        return plan
    if name not in PRESETS:
        fix = did_you_mean(name, [*PRESETS, ORIGINAL], cutoff=0.3)
        raise PrecisionError("there is no such preset", where=name, fix=fix)
    rules = [rule for rule in PRESETS[name].rules if select(model, rule.select, required=False)]
    if any(rule.precision in QUANTIZED for rule in rules):
        floating = rules[0].precision if rules[0].precision not in QUANTIZED else "fp32"
        rules += [Rule(select=f"name:{literal(node)}", precision=floating) for node in patch_embeddings(model)]
    return PrecisionPlan(rules=tuple(rules))


def patch_embeddings(model: Model) -> list[str]:
    """Find the convolutions that cut a picture into patches: few channels in, kernels that do not overlap.

    INT8 kernels pad channels to a multiple of 32. On an H200 (TensorRT 8.6.0, ViT-S/16, batch 32) the three channels of
    a picture made the patch embedding take 0.27 ms with its reformats in INT8 and 0.09 ms in FP16, of 1.8 ms in all.
    """
    return [address for address, node in model.top_nodes.items() if onnx_op(node) == "Conv" and _cuts_patches(node)]


def _cuts_patches(node: ir.Node) -> bool:
    weight = node.inputs[1]
    if weight is None or weight.shape is None or not all(isinstance(size, int) for size in weight.shape):
        return False
    _, channels, *kernel = (int(size) for size in weight.shape if isinstance(size, int))
    strides = node.attributes.get_ints("strides", [1] * len(kernel))
    return channels <= 4 <= min(kernel) and list(strides) == kernel and node.attributes.get_int("group", 1) == 1


def all_int8(model: Model) -> Resolution:
    """Resolve a plan by which everything is INT8 that can be: what a calibration should look at, whatever comes."""
    return PrecisionPlan().with_rule("*", "int8").resolve(model)
