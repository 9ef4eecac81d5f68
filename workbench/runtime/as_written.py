"""What ONNX Runtime may not do to a graph, for which of its versions, and why.

Numerics mode computes a graph as it is written; optimizations that keep to that stay on, for they make it several times
as fast. Whether a version does is tried by `workbench doctor --numerics`, on small graphs of every operator that a plan
touches, against ONNX's reference evaluator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SWITCHED_OFF", "Switch", "optimizers_off", "options"]

Where = Literal["always", "numerics", "narrow", "bodies"]
WHERE = {
    "always": "always",
    "numerics": "for numbers",
    "narrow": "with FP16 or BF16",
    "bodies": "where a body dequantizes a weight from around it",
}


@dataclass(frozen=True)
class Switch:
    """One thing that is switched off.

    Parameters
    ----------
    name
        As ONNX Runtime calls it: a session option with a dot, else an optimizer.
    where
        ``always``; ``numerics``: wherever a graph is to be computed as written; ``narrow``: in graphs with FP16 or
        BF16, however they are run; ``bodies``: in graphs of which a body dequantizes a weight of the graph around it.
    seen
        Versions in which it was seen to do harm.
    why
        What it does.
    """

    name: str
    where: Where
    seen: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({WHERE[self.where]}; seen in {self.seen}): {self.why}"

    @property
    def is_option(self) -> bool:
        """Whether it is a session option rather than an optimizer."""
        return "." in self.name


SWITCHED_OFF = (
    Switch(
        "session.disable_quant_qdq",
        "numerics",
        "all",
        "fuses Q/DQ pairs and what is between them into integer kernels, which saturate on processors without VNNI",
    ),
    Switch(
        "session.disable_double_qdq_remover",
        "numerics",
        "1.23 to 1.32",
        "makes one Q/DQ pair of two that follow each other, and rounds and clips once where the graph does twice",
    ),
    Switch(
        "ReluQuantRewrite",
        "always",
        "1.23 to 1.32",
        "drops a Relu before a QuantizeLinear whose zero point is the byte 0, which for FP8 and INT4 is no lower bound",
    ),
    Switch(
        "ClipQuantRewrite",
        "always",
        "1.23 to 1.32",
        "refuses a graph with a Clip before a QuantizeLinear to FP8 or to 4 bits",
    ),
    Switch(
        "LayerNormFusion",
        "narrow",
        "1.32",
        "makes an invalid graph of a normalization in FP32 behind a Cast from FP16",
    ),
    Switch("LayerNormFusionL1", "narrow", "1.32", "the same, by its newer name"),
    Switch("LayerNormFusionL2", "narrow", "1.32", "the same, by its newer name"),
    Switch(
        "NchwcTransformer",
        "narrow",
        "1.32",
        "dies with a segmentation fault on some graphs with Casts between FP16 and FP32, with convolutions and without",
    ),
    Switch(
        "QDQSelectorActionTransformer",
        "bodies",
        "1.32",
        "refuses the graph where a MatMul or a Gemm reads that weight: it looks for it in the body alone",
    ),
)
"""Everything that is switched off."""


def options() -> Iterator[tuple[str, str]]:
    """Yield the session options of numerics mode, name and value."""
    for switch in SWITCHED_OFF:
        if switch.is_option:
            yield switch.name, "1"


def optimizers_off(*, numerics: bool, narrow: bool, bodies: bool = False) -> list[str]:
    """Return the names of the optimizers that a session must not run."""
    applies = {"always": True, "numerics": numerics, "narrow": narrow, "bodies": bodies}
    return [switch.name for switch in SWITCHED_OFF if not switch.is_option and applies[switch.where]]
