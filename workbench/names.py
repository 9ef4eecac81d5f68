"""The field's words, each said once, in the order in which people read them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DEFAULT_METHOD",
    "DEFAULT_PERCENTILE",
    "METHODS",
    "PRECISIONS",
    "QUANTIZED",
    "BackendName",
    "Floating",
    "Method",
    "Precision",
    "Quantized",
    "did_you_mean",
    "near",
    "percent",
]

Precision = Literal["int8", "fp8", "fp16", "bf16", "fp32"]
"""What a node computes in: 8 bits through Q/DQ pairs, or a floating-point type."""

Quantized = Literal["int8", "fp8"]
"""The precisions that are written as Q/DQ pairs; the others are types that tensors have."""

Floating = Literal["fp16", "bf16", "fp32"]
"""The element types of tensors that are not quantized."""

Method = Literal["minmax", "percentile", "entropy", "mse"]
"""How a clipping threshold is picked from what calibration saw of a tensor."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTIZED: tuple[Quantized, ...] = get_args(Quantized)
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT_METHOD: Method = "mse"
DEFAULT_PERCENTILE = 99.99
"""For the method of that name."""

BackendName = Literal["onnxruntime", "tensorrt", "tensorrt_rtx"]
"""What compiles, runs and times a model."""


def percent(share: float | None) -> str:
    """Return a share, 0 to 1, as people read it; what is not known is not 0."""
    return "unknown" if share is None else f"{share:.1%}"


def did_you_mean(
    word: str, words: Iterable[str], *, most: int = 1, cutoff: float = 0.6, otherwise: str | None = None
) -> str:
    """Ask which name a misspelt one may have been; where none is near, say `otherwise`, or which there are."""
    names = list(words)
    matches = difflib.get_close_matches(word, names, most, cutoff)
    return f"Did you mean {' or '.join(matches)}?" if matches else otherwise or f"There are {', '.join(names)}."


def near(word: str, words: Iterable[str]) -> str:
    """Return `did_you_mean` as the end of a sentence."""
    question = did_you_mean(word, words)
    return question[0].lower() + question[1:].removesuffix(".")
