"""What each compiler can have: precisions, and how it is told of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from workbench.errors import PrecisionError
from workbench.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.backends import Capabilities
    from workbench.names import Precision

__all__ = ["TARGETS", "Target", "parse_target", "target_of"]


@dataclass(frozen=True)
class Target:
    """A compiler, and the GPU it compiles for where that is known.

    Parameters
    ----------
    name
        What people call it.
    since
        The precisions it can have, each with the first compute capability (times ten: 89 is sm89) that has it in
        hardware; 0 where any will do.
    strongly_typed
        Whether the types in the graph decide. If not, floating-point types are chosen by the builder, among those that
        its flags allow: nothing but Q/DQ is written into the graph.
    fp8_per_channel
        Whether FP8 weights may have one scale an output channel. Where that is not known to hold they get one scale.
    depthwise
        Whether 8-bit depthwise convolutions are worth having. TensorRT-RTX 1.7.1 takes them, and its engines grow by
        three bytes for every element that they read: measured for 96 to 512 channels, kernels of 3 and 5, batch 1 to 8,
        INT8 and FP8, sm86 and sm120; MobileNetV2 at batch 32 came to 234 MiB instead of 10, or ran out of workspace.
        Groups of four channels and more have none of that, nor has TensorRT 8.6. How fast they are was not measured.
    int8_weights
        Whether weights may be stored as INT8. TensorRT 8.6.0 fails on such constants in matrix products that Myelin
        compiles and in yolox_nano, it seems where it merges convolutions; where it takes them engines are no faster:
        ResNet-50 on an H200 0.803 ms, with the same weights behind Q/DQ pairs 0.792 ms, in one run, which is the same
        within what a loading makes.
        TensorRT 10 and later document weights that were quantized before, and TensorRT-RTX builds them.
    newest_opset
        The newest operator set it reads; ``None`` where every one that is needed here is read.
    parser
        Whose limits of `workbench.precision.operators.limits` it has: those of the parser that TensorRT has had since
        10 and shares with TensorRT-RTX, or its own.
    capability
        The GPU's compute capability, times ten; ``None`` where it is not known.
    """

    name: str
    since: Mapping[Precision, int]
    strongly_typed: bool = True
    fp8_per_channel: bool = False
    depthwise: bool = True
    int8_weights: bool = True
    newest_opset: int | None = None
    parser: Literal["tensorrt", "own"] = "tensorrt"
    capability: int | None = None

    def __str__(self) -> str:
        return self.name if self.capability is None else f"{self.name}@sm{self.capability}"

    def refusal(self, precision: Precision) -> str | None:
        """Say why this target cannot have a precision, ``None`` where it can."""
        if precision not in self.since:
            return f"{self.name} has no {precision}"
        needed = self.since[precision]
        if self.capability is not None and self.capability < needed:
            return f"{precision} needs sm{needed} or newer, and the target is {self}"
        return None


# Sources: TensorRT's support matrix (precisions a compute capability) and release notes: BF16 came with TensorRT 9,
# FP8 in ONNX graphs too; weakly typed networks went with TensorRT 11. ONNX Runtime: its CPU kernels.
_MODERN: Mapping[Precision, int] = {"fp32": 0, "fp16": 0, "bf16": 80, "int8": 0, "fp8": 89}

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            "tensorrt-8.6",
            {"fp32": 0, "fp16": 0, "int8": 0},
            strongly_typed=False,
            int8_weights=False,
            newest_opset=17,
            parser="own",
        ),
        Target("tensorrt-10", _MODERN),
        Target("tensorrt-11", _MODERN),
        Target("rtx", _MODERN, fp8_per_channel=True, depthwise=False),
        Target("onnxruntime", {"fp32": 0, "fp16": 0, "int8": 0, "fp8": 0}, fp8_per_channel=True, parser="own"),
    )
}
"""The targets by name."""


def parse_target(text: str) -> Target:
    """Read a target's text form: a name of `TARGETS`, and the GPU where that matters: ``rtx@sm89``.

    Raises
    ------
    PrecisionError
        There is no such target, or the GPU is not named like ``sm89``.
    """
    name, _, gpu = text.partition("@")
    if name not in TARGETS:
        gpu_alone = name.startswith("sm") and name[2:].isdecimal()
        fix = f"Say whose: rtx@{name} or tensorrt-10@{name}." if gpu_alone else did_you_mean(name, TARGETS)
        raise PrecisionError("there is no such target", where=text, fix=fix)
    if not gpu:
        return TARGETS[name]
    if not gpu.startswith("sm") or not gpu[2:].isdecimal():
        raise PrecisionError("no compute capability", where=text, fix=f"Write it like {name}@sm89.")
    return replace(TARGETS[name], capability=int(gpu[2:]))


def target_of(able: Capabilities) -> Target:
    """Return what graphs are lowered for where a backend builds them: its own release, as far as `TARGETS` has it."""
    if able.backend != "tensorrt":
        return TARGETS["rtx" if able.backend == "tensorrt_rtx" else able.backend]
    if able.typing == "weak":
        return TARGETS["tensorrt-8.6"]
    release = f"tensorrt-{(able.version or '').partition('.')[0]}"
    return TARGETS.get(release, TARGETS["tensorrt-10"])
