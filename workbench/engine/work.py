"""What a layer has to do: operations and bytes, counted from its shapes, and what a GPU can do at most."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.engine.traits import kind_of_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.engine.report import EngineReport, Layer

__all__ = ["GPU_LIMITS", "ActivationMemory", "GpuLimits", "layer_bytes", "layer_ops", "memory_timeline"]


@dataclass(frozen=True)
class GpuLimits:
    """Peak rates of a GPU.

    Attributes
    ----------
    bandwidth
        Device memory, in bytes a second.
    peak
        Precision to operations a second (a multiply-add is two), dense, at the boost clock.
    source
        Where the figures are from.
    """

    name: str
    bandwidth: float
    peak: Mapping[str, float]
    source: str


def _limits(name: str, gigabytes: float, tera: Mapping[str, float], source: str) -> GpuLimits:
    return GpuLimits(name, gigabytes * 1e9, {key: value * 1e12 for key, value in tera.items()}, source)


_A100 = {"fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0, "int8": 624.0, "int4": 1248.0}
_HOPPER = {"fp32": 67.0, "tf32": 494.7, "fp16": 989.4, "bf16": 989.4, "fp8": 1978.9, "int8": 1978.9}
_L4 = {"fp32": 30.3, "tf32": 60.0, "fp16": 121.0, "bf16": 121.0, "fp8": 242.5, "int8": 242.5}
_T4 = {"fp32": 8.1, "fp16": 65.0, "int8": 130.0, "int4": 260.0}
GPU_LIMITS = {
    limits.name: limits
    for limits in (
        _limits("T4", 320, _T4, "NVIDIA Turing architecture whitepaper"),
        _limits("A100 PCIe 80GB", 1935, _A100, "NVIDIA A100 data sheet"),
        _limits("A100 SXM 80GB", 2039, _A100, "NVIDIA A100 data sheet"),
        _limits("L4", 300, _L4, "NVIDIA L4 data sheet, half of its figures with sparsity"),
        _limits("H100 SXM", 3350, _HOPPER, "NVIDIA H100 data sheet, half of its figures with sparsity"),
        _limits("H200 SXM", 4800, _HOPPER, "NVIDIA H200 data sheet, half of its figures with sparsity"),
    )
}
"""Published peaks of some GPUs. A card that is clocked lower, or is not listed, needs `GpuLimits` of its own."""


_MOST_OPS = 2**62


def layer_ops(layer: Layer) -> int | None:
    """Return the operations of a convolution or matrix product, a multiply-add counted as two; None for others.

    Convolution: 2 x batch x output pixels x output channels x (input channels / groups) x kernel size; a
    depthwise-separable pair is the sum of its two. Matrix product (Myelin's `gemm`): 2 x output elements x inner
    dimension, the last of the first input. None where a shape is dynamic or not told.
    """
    kind = kind_of_layer(layer)
    dims = layer.inputs[0].dims if layer.inputs else None
    if dims is None or any(size < 0 for size in dims) or "deconv" in (layer.type or "").lower():
        return None
    if kind == "matmul":
        out = layer.outputs[0].dims if layer.outputs else None
        if out is None or not dims or any(size < 0 for size in out):
            return None
        ops = 2 * math.prod(out) * dims[-1]
        return ops if ops < _MOST_OPS else None
    if kind != "conv":
        return None
    total, shape = 0, list(dims)
    prefixes = [
        p
        for p in ("", "Conv", "DepthWiseConv", "PointWiseConv")
        if isinstance(layer.attributes.get(p + "Kernel"), list)
    ]
    for prefix in prefixes:
        counted = _conv(layer.attributes, prefix, shape)
        if counted is None:
            return None
        total += counted[0]
        shape = counted[1]
    return total if 0 < total < _MOST_OPS else None


def _conv(attributes: Mapping[str, Any], prefix: str, shape: list[int]) -> tuple[int, list[int]] | None:
    kernel = attributes[prefix + "Kernel"]
    maps, groups = attributes.get(prefix + "OutMaps"), attributes.get(prefix + "Groups", 1)
    spatial = shape[2:]
    if not isinstance(maps, int) or not isinstance(groups, int) or len(spatial) != len(kernel) or groups < 1:
        return None

    def each(key: str, least: int) -> list[int]:
        value = attributes.get(prefix + key)
        if isinstance(value, list) and len(value) == len(kernel):
            sizes = [size for size in value if isinstance(size, int) and size >= least]
            if len(sizes) == len(kernel):
                return sizes
        return [least] * len(kernel)

    if len(shape) < 2 or not all(isinstance(size, int) and size > 0 for size in kernel):
        return None

    sizes = [
        (size + before + after - step * (k - 1) - 1) // stride + 1
        for size, k, before, after, step, stride in zip(
            spatial, kernel, each("PrePadding", 0), each("PostPadding", 0), each("Dilation", 1), each("Stride", 1),
            strict=True,
        )
    ]  # fmt: skip
    ops = 2 * shape[0] * math.prod(sizes) * maps * (shape[1] // groups) * math.prod(kernel)
    return ops, [shape[0], maps, *sizes]


def layer_bytes(layer: Layer) -> int | None:
    """Return the bytes a layer moves at least: inputs, outputs and weights once each; None where one is unknown."""
    sizes = [tensor.nbytes for tensor in (*layer.inputs, *layer.outputs)]
    if None in sizes or layer.weight_bytes is None or not sizes:
        return None
    return sum(size for size in sizes if size is not None) + layer.weight_bytes


class ActivationMemory(NamedTuple):
    """Activation memory over the layers of one optimization profile, in execution order.

    Attributes
    ----------
    layers
        Layer names.
    live, ends
        Bytes of tensors between layers, and of the engine's own inputs and outputs, alive while each layer runs.
    unknown
        Tensors whose size is not told, so that the truth is higher.
    """

    layers: tuple[str, ...]
    live: tuple[int, ...]
    ends: tuple[int, ...]
    unknown: tuple[str, ...]

    @property
    def peak(self) -> int:
        """The most bytes of tensors between layers that are alive at once."""
        return max(self.live, default=0)


def memory_timeline(report: EngineReport, profile: int = 0) -> ActivationMemory:
    """Count the bytes that are alive while each layer runs.

    A tensor lives from the layer that writes it to the last one that reads it; the engine's inputs from the start, its
    outputs to the end. A NoOp's output is its input under another name and takes nothing. This is what the shapes say:
    TensorRT's own allocator adds workspace and alignment, and may place tensors over one another.
    """
    layers = [layer for layer in report.layers if layer.profile == profile]
    alias: dict[str, str] = {}
    for layer in layers:
        if kind_of_layer(layer) == "noop" and layer.inputs:
            for tensor in layer.outputs:
                alias[tensor.name] = alias.get(layer.inputs[0].name, layer.inputs[0].name)
    born: dict[str, int] = {}
    dies: dict[str, int] = {}
    sizes: dict[str, int | None] = {}
    outputs = {binding.name for binding in report.bindings if binding.mode == "output"}
    inputs = {binding.name for binding in report.bindings if binding.mode == "input"}
    ends = inputs | outputs
    for at, layer in enumerate(layers):
        for tensor in (*layer.inputs, *layer.outputs):
            name = alias.get(tensor.name, tensor.name)
            born.setdefault(name, 0 if name in inputs else at)
            dies[name] = len(layers) - 1 if tensor.name in outputs else at
            lengths = [size for size in (sizes.get(name), tensor.nbytes) if size is not None]
            sizes[name] = max(lengths, default=None)
            if tensor.name in outputs:
                ends.add(name)
    rows = {True: [0] * len(layers), False: [0] * len(layers)}
    for name, size in sizes.items():
        for at in range(born[name], dies[name] + 1):
            rows[name in ends][at] += size or 0
    unknown = tuple(name for name, size in sizes.items() if size is None)
    return ActivationMemory(tuple(layer.name for layer in layers), tuple(rows[False]), tuple(rows[True]), unknown)
