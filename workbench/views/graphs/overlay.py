"""Colours with a meaning: any column over the nodes, gathered on scopes that stand for many."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workbench.errors import WorkbenchError
from workbench.views.kit import OKABE_ITO, ramp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from workbench.views.graphs.network import Network
    from workbench.views.graphs.panel import Item

__all__ = ["FAMILIES", "Gather", "Key", "Overlay", "Paint", "family_of", "paint"]

Gather = Literal["sum", "mean", "min", "max", "mode", "any"]
Value = float | int | str | None

_CATEGORIES = 7
_LOG_FROM = 100.0

FAMILIES: dict[str, tuple[str, frozenset[str]]] = {
    "matrix product": (
        OKABE_ITO["blue"],
        frozenset("Conv ConvTranspose Gemm MatMul Einsum ConvInteger MatMulInteger QLinearConv QLinearMatMul".split()),
    ),
    "activation": (
        OKABE_ITO["orange"],
        frozenset(
            "Relu LeakyRelu PRelu Sigmoid HardSigmoid HardSwish Tanh Gelu Elu Selu Softmax LogSoftmax Erf Clip Swish "
            "Softplus Mish Softsign".split()
        ),
    ),
    "normalization": (
        OKABE_ITO["green"],
        frozenset(
            "BatchNormalization LayerNormalization InstanceNormalization GroupNormalization RMSNormalization LRN "
            "LpNormalization".split()
        ),
    ),
    "arithmetic": (
        OKABE_ITO["sky"],
        frozenset(
            "Add Sub Mul Div Pow Sqrt Exp Log Neg Abs Reciprocal Min Max Sum Mean Where Equal Not And Or Less Greater "
            "ReduceMean ReduceSum ReduceMax ReduceMin ReduceL2 ReduceProd ArgMax TopK CumSum Mod Floor Ceil Round Sin "
            "Cos".split()
        ),
    ),
    "pooling, resizing": (
        OKABE_ITO["purple"],
        frozenset("MaxPool AveragePool GlobalAveragePool GlobalMaxPool Resize Upsample GridSample Pad".split()),
    ),
    "precision": (
        OKABE_ITO["vermillion"],
        frozenset("QuantizeLinear DequantizeLinear DynamicQuantizeLinear Cast CastLike Quant".split()),
    ),
    "recurrence, control": (OKABE_ITO["yellow"], frozenset("LSTM GRU RNN If Loop Scan".split())),
    "shape, data movement": (
        OKABE_ITO["grey"],
        frozenset(
            "Reshape Transpose Concat Slice Split Gather GatherND GatherElements ScatterND Squeeze Unsqueeze Flatten "
            "Expand Tile Shape Size ConstantOfShape Constant Identity Range DepthToSpace SpaceToDepth Dropout".split()
        ),
    ),
}
OTHER = "other"
_FAMILY = {kind: family for family, (_, kinds) in FAMILIES.items() for kind in kinds}


def family_of(op_type: str) -> str:
    """Return the family of an operator type, "other" for those that ONNX does not define."""
    return _FAMILY.get(op_type, OTHER)


@dataclass(frozen=True)
class Overlay:
    """A column over the nodes.

    Parameters
    ----------
    title
        What it is, as the legend says it.
    values
        Node name to number or word; a node that is missing, None or NaN is unknown.
    gather
        What a scope shows of its nodes: "sum" is the default for numbers and "mode", the most frequent, for words.
        "any" is the first word in `order` that occurs at all.
    unit
        For the legend.
    order
        Words in the order of the legend.
    colours
        Word to colour, where it matters; the others take the palette's.

    Raises
    ------
    WorkbenchError
        Numbers and words are mixed, or are gathered in a way that only suits the other.
    """

    title: str
    values: Mapping[str, Value]
    gather: Gather | None = None
    unit: str = ""
    order: Sequence[str] = ()
    colours: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = {isinstance(value, str) for value in self.values.values() if not _unknown(value)}
        if len(kinds) > 1:
            raise WorkbenchError("a column mixes numbers and words", where=self.title, fix="Give one kind.")
        if kinds and self.gather and (self.gather in {"mode", "any"}) != kinds.pop():
            raise WorkbenchError(
                f'"{self.gather}" does not gather such values',
                where=self.title,
                fix='Use "sum", "mean", "min" or "max" for numbers, "mode" or "any" for words.',
            )

    @property
    def words(self) -> bool:
        """Whether the values are words, not numbers."""
        return any(isinstance(value, str) for value in self.values.values())

    def of(self, names: Iterable[str]) -> Value:
        """Return what some nodes show together; unknown nodes are left out, and only unknown ones give None."""
        values = [value for name in names if not _unknown(value := self.values.get(name))]
        if not values:
            return None
        if self.words:
            words = [str(value) for value in values]
            if self.gather == "any":
                return next((word for word in self.order if word in words), words[0])
            return Counter(words).most_common(1)[0][0]
        numbers = [float(value) for value in values if value is not None]
        if self.gather == "mean":
            return math.fsum(numbers) / len(numbers)
        return {"min": min, "max": max}.get(self.gather or "sum", math.fsum)(numbers)


def _unknown(value: Value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend; colour None is the colour of what is unknown."""

    colour: str | None
    text: str


@dataclass(slots=True)
class Paint:
    """Colours and what they mean.

    Attributes
    ----------
    fill
        Item to colour; None is unknown, and an item that is missing has no colour.
    strip
        Item to the shares of the colours in it, for items that stand for many nodes.
    text
        Item to its value in words.
    weight
        Item to its value in 0 to 1; numbers only.
    solid
        Whether the colours are a ramp, to be painted in full; else they tint.
    """

    title: str
    fill: dict[str, str | None] = field(default_factory=dict)
    strip: dict[str, list[tuple[str | None, float]]] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    weight: dict[str, float] = field(default_factory=dict)
    legend: list[Key] = field(default_factory=list)
    solid: bool = False


def paint(items: Sequence[Item], network: Network, overlay: Overlay | None = None) -> Paint:
    """Return the colours of the items of a picture; without an overlay they are those of the operators' families."""
    drawn = [item for item in items if item.ops and item.kind not in {"stub", "port"}]
    if overlay is None:
        return _families(drawn, network)
    return _words(drawn, network, overlay) if overlay.words else _numbers(drawn, network, overlay)


def _families(items: Sequence[Item], network: Network) -> Paint:
    colours: dict[str, str | None] = {name: colour for name, (colour, _) in FAMILIES.items()}
    colours[OTHER] = None
    result = Paint("operators")
    seen: set[str] = set()
    for item in items:
        counts = Counter(family_of(network.ops[at].op_type) for at in item.ops)
        seen |= set(counts)
        if item.kind == "op":
            result.fill[item.id] = colours[next(iter(counts))]
        else:
            result.strip[item.id] = [(colours[n], counts[n] / len(item.ops)) for n in colours if n in counts]
    result.legend = [Key(colour, name) for name, colour in colours.items() if name in seen]
    return result


def _words(items: Sequence[Item], network: Network, overlay: Overlay) -> Paint:
    total = Counter(str(value) for value in overlay.values.values() if not _unknown(value))
    words = [word for word in overlay.order if word in total]
    words += [word for word, _ in sorted(total.items(), key=lambda pair: (-pair[1], pair[0])) if word not in words]
    free = [c for c in OKABE_ITO.values() if c not in overlay.colours.values()]
    named = words[:_CATEGORIES]
    colours: dict[str | None, str | None] = {
        word: overlay.colours.get(word) or free[at % len(free)] for at, word in enumerate(named)
    }
    result = Paint(overlay.title)
    others = unknown = False
    for item in items:
        counts = Counter(overlay.of([network.ops[at].name]) for at in item.ops)
        value = overlay.of(network.ops[at].name for at in item.ops)
        result.fill[item.id] = colours.get(None if value is None else str(value))
        result.text[item.id] = "unknown" if value is None else str(value)
        unknown |= None in counts
        others |= any(word is not None and word not in colours for word in counts)
        if item.kind != "op":
            shares: dict[str | None, float] = {}
            for word, count in counts.items():
                colour = colours.get(None if word is None else str(word))
                shares[colour] = shares.get(colour, 0.0) + count / len(item.ops)
            order = [*colours.values(), None]
            result.strip[item.id] = sorted(shares.items(), key=lambda pair: order.index(pair[0]))
    result.legend = [Key(colours[word], word) for word in named]
    if others or unknown:
        result.legend.append(Key(None, " or ".join(["other"] * others + ["unknown"] * unknown)))
    return result


def _numbers(items: Sequence[Item], network: Network, overlay: Overlay) -> Paint:
    values, partial = _gathered(items, network, overlay)
    numbers = {name: float(value) for name, value in values.items() if value is not None}
    low, high = min(numbers.values(), default=0.0), max(numbers.values(), default=0.0)
    # Work and size are spread over decades: on a straight scale all but one node would look the same.
    logarithmic = low >= 0 and high > _LOG_FROM * max(min((v for v in numbers.values() if v > 0), default=high), 1e-300)
    floor = min((v for v in numbers.values() if v > 0), default=1.0) if logarithmic else low

    def share(value: float) -> float:
        if high <= floor:
            return 0.0 if high <= 0 else 1.0
        if logarithmic:
            return math.log(max(value, floor) / floor) / math.log(high / floor)
        return (value - low) / (high - low)

    title = f"{overlay.title} ({overlay.unit})" if overlay.unit else overlay.title
    result = Paint(title + (", log scale" if logarithmic else ""), solid=True)
    for name, value in values.items():
        if value is None:
            result.fill[name], result.text[name] = None, "unknown"
        else:
            result.weight[name] = share(float(value))
            result.fill[name] = ramp(result.weight[name])
            least = "at least " if name in partial else ""
            result.text[name] = f"{least}{short(float(value))} {overlay.unit}".strip()
    for at in range(5) if high > floor else range(min(1, len(numbers))):
        number = floor * (high / floor) ** (at / 4) if logarithmic else low + (high - low) * at / 4
        least = "≤ " if logarithmic and low < floor and at == 0 else ""
        result.legend.append(Key(ramp(share(number)), least + short(number)))
    if len(numbers) < len(values):
        result.legend.append(Key(None, "unknown"))
    return result


def _gathered(items: Sequence[Item], network: Network, overlay: Overlay) -> tuple[dict[str, Value], set[str]]:
    """Return every closed item's value, and the items whose sum lacks a node that is unknown."""
    values: dict[str, Value] = {}
    partial: set[str] = set()
    for item in items:
        if item.panel is not None:
            continue
        names = [network.ops[at].name for at in item.ops]
        value = overlay.of(names)
        if overlay.gather in {None, "sum"} and any(_unknown(overlay.values.get(name)) for name in names):
            partial.add(item.id)
            # Nothing plus something unknown is unknown, never zero.
            value = value or None
        values[item.id] = value
    return values, partial


def short(value: float) -> str:
    """Return a number in at most five characters and a suffix of its thousands: 1234567 is "1.23M"."""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:.3g}"
