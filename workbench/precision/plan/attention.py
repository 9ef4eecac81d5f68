"""Attention whose heads TensorRT has no kernel for: it is built where nothing stands between it and its products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.graph import MOVES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Floating

__all__ = ["kept_whole"]

SMALLEST_HEAD = 9
LARGEST_HEAD = 256
"""Lengths of a head for which TensorRT-RTX 1.7.1 has kernels of FP16 and BF16 attention; 8 and 512 were refused."""

WHOLE = (
    "TensorRT-RTX 1.7 has {} attention for heads of 9 to 256 numbers; {!r} has {}, and behind 8-bit products it is "
    "built in fp32 alone"
)


def kept_whole(model: Model, types: Mapping[str, Floating], quantized: AbstractSet[tuple[str, int]]) -> dict[str, str]:
    """Find nodes that are to stay in FP32 so that an Attention is built, with the reason.

    Seen of 3-D and 4-D Attention with heads of 8 numbers, sm86: in FP32 throughout, in FP16 throughout and in
    FP32 behind INT8 products it is built; in FP16 behind INT8 products, or where a Cast stands between, it is not.

    Parameters
    ----------
    model
        The model.
    types
        The floating-point type of every node so far.
    quantized
        Inputs (address, position) that read through a Q/DQ pair.
    """
    products = {address for address, _ in quantized}
    reasons: dict[str, str] = {}
    for address, node in model.top_nodes.items():
        length = _head(model, node) if node.op_type == "Attention" and types[address] != "fp32" else None
        if length is None or SMALLEST_HEAD <= length <= LARGEST_HEAD:
            continue
        before = [model.index.address[each] for each in _feeders(node)]
        if not products.isdisjoint(before):
            reasons.update(dict.fromkeys([*before, address], WHOLE.format(types[address], address, length)))
    return reasons


def _feeders(attention: ir.Node) -> Iterator[ir.Node]:
    """Yield what makes query, key and value, and the moves in between."""
    for value in attention.inputs[:3]:
        maker = None if value is None else value.producer()
        while maker is not None:
            yield maker
            moved = maker.inputs[0] if maker.op_type in MOVES and maker.inputs else None
            maker = None if moved is None else moved.producer()


def _head(model: Model, node: ir.Node) -> int | None:
    """Return the length of an Attention's heads, ``None`` where it is not known."""
    value = node.inputs[0]
    shape = None if value is None else model.tensor(str(value.name)).shape
    if not shape or not isinstance(shape[-1], int):
        return None
    return shape[-1] // node.attributes["q_num_heads"].as_int() if len(shape) == 3 else shape[-1]
