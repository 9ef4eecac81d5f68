"""What is known of every tensor before anything runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from onnx.shape_inference import InferenceError

from workbench.graph.message import described, restored, written
from workbench.graph.shapes.inference import infer_shapes
from workbench.graph.shapes.states import with_states
from workbench.graph.tensor import Tensor
from workbench.graph.weights import is_stripped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workbench.graph.structure import Structure

__all__ = ["Inferred", "bind", "infer", "skeleton_proto"]

# Shape inference needs the values of small integer tensors (shapes, axes), never those of real weights.
SMALL = 1024

# Operators without a shape rule in ONNX whose first result is shaped like the first input: experimental ones of
# 2017 (onnx/onnx at v1.2, docs/Operators.md), ONNX Runtime's and QONNX's own, and GroupNormalization of set 18.
SAME_SHAPE = frozenset(
    """
    Affine BiasGelu FastGelu Gelu GroupNormalization ImageScaler ParametricSoftplus Quant QuickGelu RMSNorm Scale
    ScaledTanh SimplifiedLayerNormalization
    """.split()
)

DATA_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")

NOWHERE = "workbench.no.shape.rule"
MOST_REFUSED = 50


class Inferred:
    """The result of shape inference.

    Parameters
    ----------
    model
        The model.
    stated
        What inference says, by name.
    refusals
        Why ONNX refused nodes, if it did.

    Attributes
    ----------
    tensors
        `Tensor` by name; one of a subgraph by its subgraph's address and its name (``If_12/then/x``).
    """

    def __init__(self, model: Structure, stated: dict[str, onnx.ValueInfoProto | None], refusals: list[str]) -> None:
        self._model = model
        self._refusals = refusals
        self.tensors: Mapping[str, Tensor] = _Tensors(model, stated)

    @cached_property
    def problem(self) -> str | None:
        """Why some shapes are unknown, in one sentence; ``None`` where all are known."""
        return _problem(self._model, self.tensors, self._refusals)


class _Tensors(Mapping[str, Tensor]):
    """Makes a `Tensor` when it is asked for: of ten thousand, few are."""

    def __init__(self, model: Structure, stated: dict[str, onnx.ValueInfoProto | None]) -> None:
        self._weights = model.initializers
        self._stated = stated
        self._read: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        tensor = self._read.get(name)
        if tensor is None:
            stated = self._stated[name]
            weight = self._weights.get(name)
            content = None if weight is None else weight.const_value
            if content is not None:
                tensor = Tensor(name, tuple(content.shape.numpy()), content.dtype.name)
            else:
                tensor = Tensor(name, None, None) if stated is None else _tensor(name, stated)
            self._read[name] = tensor
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._stated)

    def __len__(self) -> int:
        return len(self._stated)


def skeleton_proto(model: Structure) -> onnx.ModelProto:
    """Return the model as a message whose large weights are graph inputs without content.

    Weights are not read, so this is cheap however large the model is.
    """
    if model.flat is not None:
        return _skeleton_of(model.flat.proto)
    with written(model.name):
        return _skeleton_by_parts(model.ir_model)


def _skeleton_by_parts(source: ir.Model) -> onnx.ModelProto:
    proto = onnx.ModelProto(ir_version=source.ir_version)
    proto.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in sorted(source.opset_imports.items()))
    graph = proto.graph
    graph.name = source.graph.name or "graph"
    for value in source.graph.inputs:
        ir.serde.serialize_value_into(graph.input.add(), value)
    for value in source.graph.outputs:
        ir.serde.serialize_value_into(graph.output.add(), value)
    _add_weights(graph, source.graph)
    for node in source.graph:
        ir.serde.serialize_node_into(graph.node.add(), node)
        for value in node.outputs:
            if value.name and value.type is not None and not value.is_graph_output():
                ir.serde.serialize_value_into(graph.value_info.add(), value)
    for function in source.functions.values():
        ir.serde.serialize_function_into(proto.functions.add(), function)
    return restored(proto)


def _skeleton_of(source: onnx.ModelProto) -> onnx.ModelProto:
    proto = onnx.ModelProto(ir_version=source.ir_version, opset_import=source.opset_import)
    graph = proto.graph
    graph.name = source.graph.name or "graph"
    graph.input.extend(source.graph.input)
    graph.output.extend(source.graph.output)
    graph.value_info.extend(source.graph.value_info)
    graph.node.MergeFrom(source.graph.node)
    small = []
    for tensor in source.graph.initializer:
        shape = tuple(tensor.dims)
        stored = math.prod(shape) <= SMALL and not tensor.external_data
        if stored and (tensor.raw_data or any(len(getattr(tensor, name)) for name in DATA_FIELDS)):
            small.append(tensor)
        else:
            graph.input.add(name=tensor.name, type=_type(tensor.data_type, shape))
    graph.initializer.extend(small)
    return restored(proto, nested=False)


@lru_cache(maxsize=4096)
def _type(dtype: int, shape: tuple[int, ...]) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(dtype, shape)


def _add_weights(graph: onnx.GraphProto, source: ir.Graph) -> None:
    listed = {value.name for value in graph.input}
    for name, value in source.initializers.items():
        content = value.const_value
        if content is None:
            continue
        shape = content.shape.numpy()
        if math.prod(shape) <= SMALL and not isinstance(content, ir.ExternalTensor) and not is_stripped(content):
            ir.serde.serialize_tensor_into(graph.initializer.add(), content)
            graph.initializer[-1].name = name
        elif name not in listed:
            graph.input.add(name=name, type=_type(content.dtype.value, tuple(shape)))


def infer(model: Structure, sizes: Mapping[str, int] | None = None) -> Inferred:
    """Infer shape and dtype of every tensor, subgraphs included.

    Runs `onnx.shape_inference` with data propagation. What it refuses (an operator it does not know, a node that
    contradicts the file) is set aside and the rest inferred without it. What a loop hands from one iteration to the
    next keeps its shape where the body is seen to keep it (see `workbench.graph.shapes.states`). Tensors inside local
    functions stay unknown, for they may differ from call to call.

    Parameters
    ----------
    model
        The model.
    sizes
        Lengths for symbolic axes of the model's inputs, by name.
    """
    proto = skeleton_proto(model)
    if sizes:
        bind(proto, sizes)
    _stand_in(proto, _kinds(proto.graph) if model.flat is None else model.flat.kinds)
    inferred, refusals = _infer(proto)
    if model.flat is None:
        inferred = with_states(proto, inferred, _infer_or_none)
    stated: dict[str, onnx.ValueInfoProto | None] = dict(_collect(inferred.graph, "", nested=len(model.graphs) > 1))
    stated.update(dict.fromkeys(name for name in _names(model) if name not in stated))
    return Inferred(model, stated, refusals)


def _names(model: Structure) -> Iterable[str]:
    """Return the names of all tensors, as `Model.tensors` spells them, but for inputs of subgraphs."""
    results = (
        f"{prefix}{output.name}"
        for prefix, graph in model.graphs
        for node in graph
        for output in node.outputs
        if output.name
    )
    return itertools.chain(model.initializers, results)


def bind(proto: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
    """Give symbolic axes of a skeleton's inputs lengths, and forget what the file says of all other shapes."""
    for value in proto.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
    # What the file says of other tensors may hold the old symbols; inference finds them again.
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")


def _kinds(graph: onnx.GraphProto) -> set[tuple[str, str]]:
    return {(node.domain, node.op_type) for node in _all_nodes(graph)}


def _stand_in(proto: onnx.ModelProto, kinds: Iterable[tuple[str, str]]) -> None:
    """Replace operators without a shape rule by ones with the same shapes, for inference only."""
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    functions = {(function.domain, function.name) for function in proto.functions}
    lacking = {kind for kind in kinds if kind not in functions and not _has_rule(*kind, opsets)}
    for node in _all_nodes(proto.graph) if lacking else ():
        if (node.domain, node.op_type) not in lacking:
            continue
        if node.op_type == "Crop" and opsets.get("", 0) < 10:
            _crop_as_slice(node)
        elif node.op_type in SAME_SHAPE and len(node.output) == 1:
            del node.attribute[:], node.input[1:]
            node.op_type, node.domain = "Identity", ""
        else:
            node.domain = NOWHERE
    if not opsets:
        # Without a version the newest is the best guess for shapes.
        proto.opset_import.append(onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version()))
    proto.opset_import.append(onnx.helper.make_opsetid(NOWHERE, 1))


def _has_rule(domain: str, op: str, opsets: Mapping[str, int]) -> bool:
    domain = "" if domain == "ai.onnx" else domain
    version = opsets.get(domain, 0 if opsets or domain else onnx.defs.onnx_opset_version())
    try:
        schema = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_type_and_shape_inference_function or schema.function_body.node)


def _crop_as_slice(node: onnx.NodeProto) -> None:
    """Crop cuts `border` = (left, top, right, bottom) off an NCHW image, or takes `scale` = (height, width) of it."""
    attributes = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    left, top, right, bottom = (attributes.get("border") or [0, 0, 0, 0])[:4]
    if scale := attributes.get("scale"):
        ends = [top + scale[0], left + scale[1]]
    else:
        ends = [-bottom or 2**31, -right or 2**31]
    del node.attribute[:]
    node.op_type = "Slice"
    for name, value in (("axes", [2, 3]), ("starts", [top, left]), ("ends", ends)):
        node.attribute.append(onnx.helper.make_attribute(name, value))


def _infer(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """Infer, setting aside one node after the other that ONNX refuses; return why it refused them."""
    refusals: list[str] = []
    while True:
        try:
            return infer_shapes(proto), refusals
        except (InferenceError, RuntimeError, ValueError) as error:  # noqa: PERF203 - it rarely repeats
            lines = str(error).strip().splitlines()
            refusals.append(lines[0] if lines else type(error).__name__)
            culprit = _first_refused(proto)
            if culprit is None or len(refusals) > MOST_REFUSED:
                return proto, refusals
            culprit.domain = NOWHERE


def _infer_or_none(proto: onnx.ModelProto) -> onnx.ModelProto | None:
    try:
        return infer_shapes(proto)
    except (InferenceError, RuntimeError, ValueError):
        return None


def _first_refused(proto: onnx.ModelProto) -> onnx.NodeProto | None:
    """Find the first node of the main graph at which inference fails, by halving."""
    good, bad = 0, len(proto.graph.node)
    trial = onnx.ModelProto()
    while bad - good > 1:
        middle = (good + bad) // 2
        trial.CopyFrom(proto)
        del trial.graph.node[middle:], trial.graph.output[:]
        try:
            infer_shapes(trial)
            good = middle
        except (InferenceError, RuntimeError, ValueError):
            bad = middle
    culprit = proto.graph.node[good] if proto.graph.node else None
    return None if culprit is None or culprit.domain == NOWHERE else culprit


def _problem(model: Structure, tensors: Mapping[str, Tensor], refusals: list[str]) -> str | None:
    unknown = [name for name, tensor in tensors.items() if tensor.shape is None and not tensor.form]
    if not unknown:
        return refusals[0] if refusals else None
    missing = f"{len(unknown)} of {len(tensors)} tensors have no known shape"
    if refusals:
        return f"{missing}; ONNX's inference says: {refusals[0]}"
    name = model.index.tensor
    lost = set(unknown)
    for value in model.ir_model.graph.inputs:
        if value.name in lost:
            return f"{missing}; the file gives input {value.name!r} none"
    for address, node in model.nodes.items():
        results = [name(value) for value in node.outputs if value.name]
        if lost.isdisjoint(results) or any(v is not None and name(v) in lost for v in node.inputs):
            continue
        inside = address.startswith("function(")
        why = "shapes in a function may differ from call to call" if inside else _reason(node, tensors, model)
        return f"{missing}, the first behind {address!r}: {why}"
    return missing


def _reason(node: ir.Node, tensors: Mapping[str, Tensor], model: Structure) -> str:
    """Say why the shapes of a node's results are unknown, though those of its inputs are known."""
    proto = ir.serde.serialize_node(node)
    if not _has_rule(node.domain, node.op_type, model.ir_model.opset_imports):
        return f"{node.op_type} has no shape rule in ONNX"
    schema = onnx.defs.get_schema(node.op_type, model.ir_model.opset_imports.get(node.domain, 1), node.domain)
    types: dict[str, onnx.TypeProto] = {}
    for value in node.inputs:
        if value is None:
            continue
        tensor = tensors.get(model.index.tensor(value))
        if tensor is None or tensor.dtype is None:
            kind = f"a {tensor.form}" if tensor is not None and tensor.form else "of an unknown type"
            return f"{node.op_type} reads {value.name!r}, {kind}"
        types[str(value.name)] = onnx.helper.make_tensor_type_proto(ir.DataType[tensor.dtype].value, tensor.shape)
    try:
        onnx.shape_inference.infer_node_outputs(schema, proto, types)
    except (InferenceError, RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"what {node.op_type} makes depends on values"


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs) if attribute.type in (5, 10) else ():
                yield from _all_nodes(subgraph)


def _collect(graph: onnx.GraphProto, prefix: str, *, nested: bool) -> Iterator[tuple[str, onnx.ValueInfoProto]]:
    """Yield what a graph and its subgraphs say of their tensors, under the addresses `graphs_of` gives."""
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield f"{prefix}{value.name}", value
    for node in graph.node if nested else ():
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inner = f"{prefix}{node.name}/{attribute.name.removesuffix('_branch')}/"
                yield from _collect(attribute.g, inner, nested=True)
            for place, subgraph in enumerate(attribute.graphs):
                yield from _collect(subgraph, f"{prefix}{node.name}/{attribute.name}[{place}]/", nested=True)


def _tensor(name: str, value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Tensor(name, None, None, described(value.type))
    dtype = ir.DataType(kind.elem_type).name if kind.elem_type else None
    if not kind.HasField("shape"):
        return Tensor(name, None, dtype)
    return Tensor(name, tuple(_dim(dim) for dim in kind.shape.dim), dtype)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return str(dim.dim_param) or None
