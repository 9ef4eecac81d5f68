"""FP16 and BF16 on a processor: FP32 arithmetic, every result rounded to the type that the graph says.

ONNX Runtime has next to no kernels for either type on a processor. BF16 it refuses; FP16 it computes in FP32 from one
end of a network to the other, so that nothing is rounded and nothing overflows, which is not what a GPU gives. Here
each node reads FP32 and its result goes through a Cast to its own type and back. That is what a GPU's tensor cores do,
which multiply such numbers exactly and sum in FP32; the order of the sums differs.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from workbench.graph import graphs_of, share_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from workbench.graph import Model

__all__ = ["BF16", "NARROW", "has_narrow", "in_float32"]

FP32 = ir.DataType.FLOAT
BF16 = ir.DataType.BFLOAT16
NARROW = frozenset({ir.DataType.FLOAT16, BF16})

EXACT = frozenset(
    """
    Abs Clip Compress Concat Constant ConstantOfShape DepthToSpace Dropout Expand Flatten Gather GatherElements GatherND
    GlobalMaxPool Identity Max MaxPool Min Neg ReduceMax ReduceMin Relu Reshape ReverseSequence Sign Slice SpaceToDepth
    Split Squeeze Tile TopK Transpose Trilu Unsqueeze Where
    """.split()
)
"""Operators whose results are among the numbers that they read, up to the sign: there is nothing to round."""

AS_THEY_ARE = frozenset({"Cast", "ConcatFromSequence", "If", "Loop", "Scan", "SplitToSequence"})
"""Operators that take each type as the graph has it, and those of sequences and optionals. What is inside of them is
rewritten by itself."""

DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Whose operators take FP32 wherever they take a narrower type."""

WIDENED = 1 << 16
"""Bytes up to which a weight is widened beforehand where larger ones stay."""

TYPE_ATTRIBUTES = ("dtype", "output_datatype", "output_dtype")


def has_narrow(model: Model, types: Collection[ir.DataType] = NARROW) -> bool:
    """Say whether a tensor anywhere in a model has one of some types, as far as the model itself says it."""
    for _, part in model.graphs:
        values = itertools.chain(part.inputs, part.initializers.values(), *(node.outputs for node in part))
        if any(value.dtype in types for value in values):
            return True
        if any(node.op_type == "Cast" and node.attributes.get_int("to") in types for node in part):
            return True
    return False


def in_float32(
    model: Model,
    types: Collection[ir.DataType] = NARROW,
    *,
    keep: Collection[str] = (),
    weights_stay: bool = False,
) -> Model:
    """Return a model that computes in FP32 what another computes in narrower types, each result rounded by two Casts.

    Inputs and outputs keep their types; those of BF16 hold the same numbers in FP32, for NumPy has no such type.

    Parameters
    ----------
    model
        The model. Its local functions are written out.
    types
        Which types are computed so.
    keep
        Tensors inside of the main graph that are to stay, as outputs do.
    weights_stay
        Whether weights of over 64 KiB stay narrow, each behind a Cast right before its first reader, where memory
        counts for more than time. The numbers are the same.
    """
    graph = model.thaw()
    if graph.functions:
        from onnx_ir.passes.common import InlinePass

        InlinePass()(graph)
        model = model.replaced(graph.clone())
    _Rewriting(model, graph, types, frozenset(keep), WIDENED if weights_stay else None).do()
    return model.replaced(graph)


class _Rewriting:
    """Changes a graph; what is narrow is known of the model that it is a copy of."""

    def __init__(
        self,
        model: Model,
        graph: ir.Model,
        types: Collection[ir.DataType],
        keep: frozenset[str],
        most_widened: int | None,
    ) -> None:
        self._most_widened = most_widened
        self._main = graph.graph
        self._parts = list(graphs_of(graph))
        self._keep = keep
        self._fresh = share_names(graph)
        dtypes: dict[ir.Value | None, ir.DataType] = {}
        for prefix, part in self._parts:
            for value in (*part.inputs, *part.initializers.values(), *(v for node in part for v in node.outputs)):
                dtype = _dtype(model, prefix, value)
                if dtype is None and (node := value.producer()) is not None:
                    dtype = _by_schema(node, value, model.opset, dtypes)
                if dtype is not None:
                    dtypes[value] = dtype
        self._narrow = {value: dtype for value, dtype in dtypes.items() if value is not None and dtype in types}

    def do(self) -> None:
        for _, part in self._parts:
            nodes = list(part)
            for value in list(part.initializers.values()):
                if value in self._narrow:
                    self._widen_weight(part, value, nodes)
            for value in part.inputs:
                if value in self._narrow:
                    self._take(part, value)
            for node in nodes:
                narrow = [value for value in node.outputs if value in self._narrow]
                if narrow and not _as_it_is(node):
                    _widen_attributes(node)
                for value in narrow:
                    self._round(part, node, value)

    def _take(self, part: ir.Graph, value: ir.Value) -> None:
        """Give those who compute with an input its FP32 form."""
        add = partial(part.insert_before, part[0]) if len(part) else part.append  # some hand out what they get
        if part is not self._main or self._narrow[value] != BF16:
            self._widen(value, add)
            return
        value.type = ir.TensorType(FP32)
        _, as_it_is = _uses(value)
        if as_it_is:
            _redirect(as_it_is, self._cast(value, BF16, self._fresh.tensor(f"{value.name}/narrowed"), add))

    def _round(self, part: ir.Graph, node: ir.Node, value: ir.Value) -> None:
        """Make what a node gives FP32, and narrow for those who want it so."""
        last = node

        def add(cast: ir.Node) -> None:
            nonlocal last
            part.insert_after(last, cast)
            last = cast

        name, output = str(value.name), value.is_graph_output()
        kept = output or (name in self._keep and part is self._main)
        # NumPy has no BF16: callers get the rounded number in FP32.
        bordering = kept and self._narrow[value] == BF16 and part is self._main
        wide_uses, narrow_uses = _uses(value)
        narrow = value
        if not _as_it_is(node):
            exact = node.op_type in EXACT
            value.name, value.type = self._fresh.tensor(f"{name}/unrounded"), ir.TensorType(FP32)
            if not (kept or narrow_uses or (wide_uses and not exact)):
                return
            rounded = self._fresh.tensor(f"{name}/rounded") if bordering else name
            narrow = self._cast(value, self._narrow[value], rounded, add)
            _redirect((*narrow_uses, *(() if exact else wide_uses)), narrow)
        elif bordering:
            value.name = self._fresh.tensor(f"{name}/rounded")
        if bordering:
            wide = self._cast(narrow, FP32, name, add)
            _redirect(_uses(narrow)[0], wide)
            narrow = wide
        else:
            self._widen(narrow, add)
        if output:
            for position, one in enumerate(part.outputs):
                if one is value:
                    part.outputs[position] = narrow

    def _widen(self, value: ir.Value, add: Callable[[ir.Node], None]) -> None:
        """Give those who compute with a narrow value its FP32 form."""
        uses, _ = _uses(value)
        if not uses:
            return
        _redirect(uses, self._cast(value, FP32, self._fresh.tensor(f"{value.name}/widened"), add))

    def _widen_weight(self, part: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
        uses, others = _uses(value)
        if not uses or value.const_value is None:
            return
        readers = {reader for reader, _ in uses}
        first = next((node for node in nodes if node in readers), None)
        stays = self._most_widened is not None and value.const_value.nbytes > self._most_widened
        if stays and first is not None and all(reader.graph is part for reader in readers):
            self._widen(value, partial(part.insert_before, first))
            return
        name = self._fresh.tensor(f"{value.name}/widened")
        tensor = ir.Tensor(value.const_value.numpy().astype("float32"), name=name)
        wide = ir.Value(name=name, type=ir.TensorType(FP32), shape=value.shape, const_value=tensor)
        part.register_initializer(wide)
        _redirect(uses, wide)
        if not others and not value.is_graph_output():
            del part.initializers[str(value.name)]

    def _cast(self, value: ir.Value, dtype: ir.DataType, name: str, add: Callable[[ir.Node], None]) -> ir.Value:
        cast = ir.node("Cast", [value], {"to": dtype}, name=self._fresh.node(f"{name}/Cast"))
        (output,) = cast.outputs
        output.name, output.type, output.shape = name, ir.TensorType(dtype), value.shape
        add(cast)
        return output


def _dtype(model: Model, prefix: str, value: ir.Value) -> ir.DataType | None:
    if value.type is not None:
        return value.dtype if isinstance(value.type, ir.TensorType) else None
    dtype = model.tensor(f"{prefix}{value.name}").dtype
    return None if dtype is None else ir.DataType[dtype]


def _by_schema(
    node: ir.Node, value: ir.Value, opset: int, dtypes: Mapping[ir.Value | None, ir.DataType]
) -> ir.DataType | None:
    """Return the type of a result that shape inference leaves open: that of an input which is to have the same."""
    if node.op_type == "DequantizeLinear":
        return dtypes.get(node.inputs[1])
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return None
    type_of_result = schema.outputs[min(value.index() or 0, len(schema.outputs) - 1)].type_str
    for position, operand in enumerate(node.inputs):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if formal.type_str == type_of_result and operand in dtypes:
            return dtypes[operand]
    return None


def _as_it_is(node: ir.Node) -> bool:
    special = node.op_type in AS_THEY_ARE or node.op_type.startswith(("Optional", "Sequence"))
    return special or node.domain not in DOMAINS


def _uses(value: ir.Value) -> tuple[list[tuple[ir.Node, int]], list[tuple[ir.Node, int]]]:
    """Return who computes with a value, and who takes it as it is: (node, input position)."""
    wide: list[tuple[ir.Node, int]] = []
    narrow: list[tuple[ir.Node, int]] = []
    for use in value.uses():
        (narrow if _as_it_is(use.node) else wide).append((use.node, use.idx))
    return wide, narrow


def _redirect(uses: Iterable[tuple[ir.Node, int]], value: ir.Value) -> None:
    for reader, position in uses:
        reader.replace_input_with(position, value)


def _widen_attributes(node: ir.Node) -> None:
    """Let attributes that say the result's type, or are the result, say FP32."""
    for name in TYPE_ATTRIBUTES:
        if node.attributes.get_int(name) in NARROW:
            node.attributes[name] = ir.AttrInt64(name, int(FP32))
    if node.op_type in ("Constant", "ConstantOfShape") and "value" in node.attributes:
        content = node.attributes["value"].as_tensor().numpy().astype("float32")
        node.attributes["value"] = ir.AttrTensor("value", ir.Tensor(content))
