"""Floating-point types of whole networks: regions of FP16 or BF16 with islands of FP32, and few casts between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.graph import WEIGHTED
from workbench.precision.operators import FIXED, Slots, slots
from workbench.precision.plan.attention import kept_whole
from workbench.precision.plan.islands import NarrowNode, island, not_built
from workbench.precision.plan.patterns import written_out_normalizations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    import onnx_ir as ir

    from workbench.graph import Model
    from workbench.names import Floating

__all__ = ["Wish", "settle"]

HEAVY = frozenset({*WEIGHTED, "Attention", "Einsum"})
"""What multiplies gains more than a cast costs."""

NOT_TENSORRT = ("onnxruntime",)

LONGEST_CHAIN = 4
"""Up to so many nodes between two FP32 neighbours are taken into FP32 where that saves casts."""

ABSORBED = "its neighbours are fp32, and casting to {} and back would cost more than it gains"


@dataclass(frozen=True)
class Wish:
    """What the rules ask for one node.

    Parameters
    ----------
    floating
        The type.
    literal
        Whether it is meant literally: no FP32 island.
    """

    floating: Floating
    literal: bool = False


def settle(
    model: Model,
    wishes: Mapping[str, Wish],
    quantized: AbstractSet[tuple[str, int]],
    overflow: Mapping[str, float],
    compiler: str | None = None,
) -> dict[str, tuple[Floating, str | None]]:
    """Decide on the floating-point type of every node.

    Parameters
    ----------
    model
        A float32 graph.
    wishes
        What is asked for, by address, for every node.
    quantized
        Inputs (address, position) that read through a Q/DQ pair: the pair converts between types by itself.
    overflow, compiler
        See `workbench.precision.plan.islands.NarrowNode`.

    Returns
    -------
    dict
        Address to the type, and why it is not the one asked for (``None`` where it is).
    """
    settled: dict[str, tuple[Floating, str | None]] = {}
    normalizations = written_out_normalizations(model)
    for address, node in model.nodes.items():
        wish = wishes[address]
        reason = (
            None
            if wish.floating == "fp32"
            else _obstacle(NarrowNode(model, node, wish.floating, overflow, normalizations, compiler), address, wish)
        )
        settled[address] = ("fp32" if reason else wish.floating, reason)
    if compiler not in NOT_TENSORRT:
        types = {address: floating for address, (floating, _) in settled.items()}
        settled.update({address: ("fp32", why) for address, why in kept_whole(model, types, quantized).items()})
    network = _Casts(model, {address: floating for address, (floating, _) in settled.items()}, quantized)
    light = [
        address
        for address, node in model.top_nodes.items()
        if settled[address][0] != "fp32" and node.op_type not in HEAVY and not wishes[address].literal
    ]
    for address in network.absorb(light):
        settled[address] = ("fp32", ABSORBED.format(wishes[address].floating))
    return settled


def _obstacle(site: NarrowNode, address: str, wish: Wish) -> str | None:
    places = slots(site.model, address, site.node, wish.floating)
    if isinstance(places, str):
        return places
    if not places.inputs and not places.outputs:
        return "it computes no floating-point numbers"
    return not_built(site) or (None if wish.literal else island(site))


class _Casts:
    """Counts casts, and takes light nodes into FP32 where that saves some."""

    def __init__(self, model: Model, types: dict[str, Floating], quantized: AbstractSet[tuple[str, int]]) -> None:
        self._types = types
        self._maker: dict[ir.Value, str] = {}
        self._readers: dict[ir.Value, list[str]] = {}
        self._touched: dict[str, list[ir.Value]] = {address: [] for address in model.top_nodes}
        self._after: dict[str, list[str]] = {address: [] for address in model.top_nodes}
        self._outputs = set(model.ir_model.graph.outputs)
        for address, node in model.top_nodes.items():
            places = slots(model, address, node, "fp16")
            where = places if isinstance(places, Slots) else FIXED
            for position in sorted(where.outputs):
                self._maker[node.outputs[position]] = address
                self._touched[address].append(node.outputs[position])
            for position, value in enumerate(node.inputs):
                if value is None or value.is_initializer() or (address, position) in quantized:
                    continue
                if position in where.any_type or model.tensor(str(value.name)).dtype != "FLOAT":
                    continue
                self._readers.setdefault(value, []).append(address)
                self._touched[address].append(value)
        for value, maker in self._maker.items():
            self._after[maker].extend(self._readers.get(value, ()))

    def absorb(self, light: list[str]) -> list[str]:
        """Turn light nodes into FP32, alone or in short chains, as long as that saves casts; return which."""
        remaining = dict.fromkeys(light)
        absorbed: list[str] = []
        changed = True
        while changed:
            changed = False
            for address in light:
                chain = self._saving_chain(address, remaining) if address in remaining else []
                for member in chain:
                    del remaining[member]
                absorbed += chain
                changed = changed or bool(chain)
        return absorbed

    def _saving_chain(self, start: str, light: Mapping[str, None]) -> list[str]:
        chain = [start]
        while True:
            if self._saved(chain) > 0:
                for member in chain:
                    self._types[member] = "fp32"
                return chain
            after = [name for name in self._after[chain[-1]] if name in light and name not in chain]
            if len(chain) == LONGEST_CHAIN or len(after) != 1:
                return []
            chain.append(after[0])

    def _saved(self, chain: list[str]) -> int:
        touched = list(dict.fromkeys(value for member in chain for value in self._touched[member]))
        before = self._casts(touched)
        kept = {member: self._types[member] for member in chain}
        self._types.update(dict.fromkeys(chain, "fp32"))
        after = self._casts(touched)
        self._types.update(kept)
        return before - after

    def _casts(self, values: list[ir.Value]) -> int:
        count = 0
        for value in values:
            maker = self._maker.get(value)
            source: Floating = "fp32" if maker is None else self._types[maker]
            read = {self._types[reader] for reader in self._readers.get(value, ())}
            if value in self._outputs:
                read.add("fp32")
            count += len(read - {source})
        return count
