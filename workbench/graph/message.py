"""What an ONNX file may say and `onnx_ir` cannot hold: mended in the message on the way in, put back on the way out."""

from __future__ import annotations

import base64
import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from workbench.errors import ModelError
from workbench.graph.quirk import Quirk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["attribute_message", "described", "readable", "restored", "to_message", "written"]

TENSORS = frozenset({"tensor_type", "sparse_tensor_type", None})
SPARSE = frozenset({onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS})
SPELLED = "ai.onnx"
"""Another name of the default domain, which ONNX Runtime reads as the empty one."""

KEY = "workbench.type"
"""Metadata of a tensor whose type is kept there meanwhile."""

DEVICES_IR = 11
"""The first IR version whose nodes may say on which devices they run."""

LARGEST_DENSE = 2**28
"""Bytes that a sparse weight may have once it is dense: a file of few bytes can ask for any number."""


def readable(
    proto: onnx.ModelProto, where: object, *, nested: bool = True
) -> tuple[onnx.ModelProto, tuple[Quirk, ...]]:
    """Return a message that says the same in words that `onnx_ir` can hold.

    The default domain is the empty one, also where the file spells it ``ai.onnx``; two imports of it agree. Maps and
    opaque types wait in the metadata of their tensors until `restored` puts them back; sparse weights become
    dense; an axis of negative length becomes one of unknown length, as ONNX Runtime and TensorRT read it.

    Parameters
    ----------
    proto
        The message; it is not changed, and returned as it is where there is nothing to do.
    where
        What to call it in errors.
    nested
        Whether to look into attributes, which takes its time: for subgraphs, local functions and constants.

    Raises
    ------
    ModelError
        A sparse tensor contradicts itself, is too large, or is the attribute of anything but a Constant.
    """
    quirks = tuple(_training(proto))
    if not _is_odd(proto, nested=nested):
        return proto, quirks
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    _unspell(copy)
    negative: list[str] = []
    foreign: list[tuple[str, str]] = []
    for value in _values(_graphs(copy), copy.functions):
        if _is_foreign(value.type):
            foreign.append((value.name, described(value.type)))
            text = base64.b64encode(value.type.SerializeToString(deterministic=True)).decode()
            value.metadata_props.add(key=KEY, value=text)
            value.ClearField("type")
        elif _is_negative(value.type):
            negative.append(value.name)
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")
    sparse = list(_make_dense(copy, where))
    return copy, (*quirks, *_quirks(negative, foreign, sparse), *_without_devices(copy))


def _without_devices(proto: onnx.ModelProto) -> Iterator[Quirk]:
    """Leave out on which devices nodes run where the file contradicts itself there. Changes `proto`."""
    odd = [node for node in _nodes(proto) if _has_odd_devices(node, proto.ir_version)]
    for node in odd:
        node.ClearField("device_configurations")
    if odd:
        text = f"on which devices {len(odd)} nodes run is not said in a way that ONNX knows; it is left out"
        yield Quirk("devices", odd[0].name or odd[0].op_type, text)


def _has_odd_devices(node: onnx.NodeProto, ir_version: int) -> bool:
    """Say whether a node names devices before the IR version that came with them, or names none."""
    stated = getattr(node, "device_configurations", ())  # onnx knows them from 1.18 on
    return bool(stated) and (ir_version < DEVICES_IR or not all(entry.configuration_id for entry in stated))


def _quirks(negative: list[str], foreign: list[tuple[str, str]], sparse: list[str]) -> Iterator[Quirk]:
    if negative:
        more = f", and {len(negative) - 1} tensors more" if len(negative) > 1 else ""
        text = f"tensor {negative[0]!r} has an axis of negative length{more}; it is read as one of unknown length"
        yield Quirk("negative-axis", negative[0], text)
    if foreign:
        name, kind = foreign[0]
        text = f"{name!r} is a {kind}, which TensorRT does not have; cut the model before the node that makes it"
        yield Quirk("not-a-tensor", name, text)
    if sparse:
        text = f"{len(sparse)} weights were stored as sparse tensors; they are dense here, as TensorRT wants them"
        yield Quirk("sparse-weights", sparse[0], text)


def _training(proto: onnx.ModelProto) -> Iterator[Quirk]:
    if proto.training_info:
        text = "the file also says how to train it (training_info); that is left out, inference is all that is kept"
        yield Quirk("training-info", proto.graph.name or "model", text)


def restored(proto: onnx.ModelProto, *, nested: bool = True) -> onnx.ModelProto:
    """Put the types back that `readable` set aside. Changes `proto`."""
    for value in _values(_graphs(proto) if nested else [proto.graph], proto.functions):
        if len(value.metadata_props):
            _put_back(value)
    return proto


@contextlib.contextmanager
def written(where: object) -> Iterator[None]:
    """Make one line of what `onnx_ir` says of a part that it cannot write.

    Raises
    ------
    ModelError
        A part cannot be written.
    """
    try:
        yield
    except (ir.serde.SerdeError, TypeError) as error:  # onnx_ir 1.1 fails over the message of some of its errors
        cause: BaseException = error
        while (deeper := cause.__cause__ or cause.__context__) is not None:
            cause = deeper
        sentence = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        raise ModelError(
            f"a part of it cannot be written: {sentence}", where=where, fix="Repair the model that it came from."
        ) from error


def attribute_message(attribute: ir.Attr) -> onnx.AttributeProto:
    """Return an attribute as a message.

    `onnx_ir.to_proto` first asks of anything which of ten protocols it follows, which takes ten times as long.
    """
    if attribute.is_ref():
        return ir.serde.serialize_reference_attribute(attribute)
    return ir.serde.serialize_attribute(attribute)


def to_message(model: ir.Model) -> onnx.ModelProto:
    """Return a model as the message that its file holds.

    `onnx_ir` 1.1 writes the metadata of a stored tensor twice, and leaves out the last results of a node where nobody
    reads them: ONNX Runtime refuses a call of a local function that names fewer results than the function has.
    """
    with written(model.graph.name):
        proto = restored(ir.serde.serialize_model(model))
    for graph in _graphs(proto):
        for tensor in graph.initializer:
            _once(tensor)
    results = {
        (function.domain, function.name, function.overload): len(function.output) for function in proto.functions
    }
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _once(attribute.t)
        if results:
            count = results.get((node.domain, node.op_type, node.overload), 0)
            node.output.extend([""] * (count - len(node.output)))
    return proto


def _put_back(value: onnx.ValueInfoProto) -> None:
    for place, entry in enumerate(value.metadata_props):
        if entry.key == KEY:
            value.type.ParseFromString(base64.b64decode(entry.value))
            del value.metadata_props[place]
            return


def _once(tensor: onnx.TensorProto) -> None:
    if len(tensor.metadata_props) > 1:
        entries = {entry.key: entry.value for entry in tensor.metadata_props}
        del tensor.metadata_props[:]
        for key, value in entries.items():
            tensor.metadata_props.add(key=key, value=value)


def described(kind: onnx.TypeProto) -> str:
    """Return a type in words: ``sequence of maps of INT64 to FLOAT``; empty where the file does not say."""
    form = kind.WhichOneof("value")
    if form == "map_type":
        return f"map of {_element(kind.map_type.key_type)} to {described(kind.map_type.value_type) or '?'}"
    if form in ("sequence_type", "optional_type"):
        inner = described(getattr(kind, form).elem_type) or "?"
        return f"sequence of {inner}" if form == "sequence_type" else f"optional {inner}"
    if form in ("tensor_type", "sparse_tensor_type"):
        name = _element(getattr(kind, form).elem_type)
        return f"sparse {name}" if form == "sparse_tensor_type" else name
    return "value of an opaque type" if form == "opaque_type" else ""


def _element(kind: int) -> str:
    return onnx.TensorProto.DataType.Name(kind) if kind in onnx.TensorProto.DataType.values() else "?"


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    yield proto.graph
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                yield from attribute.graphs


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    waiting = [proto.graph.node, *(function.node for function in proto.functions)]
    while waiting:
        for node in waiting.pop():
            yield node
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    waiting.append(attribute.g.node)
                elif attribute.type == onnx.AttributeProto.GRAPHS:
                    waiting.extend(graph.node for graph in attribute.graphs)


def _values(
    graphs: Iterable[onnx.GraphProto], functions: Iterable[onnx.FunctionProto]
) -> Iterator[onnx.ValueInfoProto]:
    for graph in graphs:
        yield from graph.input
        yield from graph.output
        yield from graph.value_info
    for function in functions:
        yield from function.value_info


def _imports(proto: onnx.ModelProto) -> list[Any]:
    return [proto.opset_import, *(function.opset_import for function in proto.functions)]


def _is_spelled(proto: onnx.ModelProto, *, nested: bool) -> bool:
    imports = (entry for stated in _imports(proto) for entry in stated)
    nodes = _nodes(proto) if nested else proto.graph.node
    return any(entry.domain == SPELLED for entry in imports) or any(node.domain == SPELLED for node in nodes)


def _unspell(proto: onnx.ModelProto) -> None:
    """Write the default domain as the empty one. Changes `proto`."""
    for stated in _imports(proto):
        versions = {("" if entry.domain == SPELLED else entry.domain): entry.version for entry in stated}
        del stated[:]
        stated.extend(onnx.helper.make_opsetid(*entry) for entry in versions.items())
    for node in _nodes(proto):
        if node.domain == SPELLED:
            node.domain = ""


def _is_odd(proto: onnx.ModelProto, *, nested: bool) -> bool:
    if _is_spelled(proto, nested=nested):
        return True
    if any(_has_odd_devices(node, proto.ir_version) for node in (_nodes(proto) if nested else proto.graph.node)):
        return True
    if nested and any(attribute.type in SPARSE for node in _nodes(proto) for attribute in node.attribute):
        return True
    graphs = list(_graphs(proto)) if nested else [proto.graph]
    values = _values(graphs, proto.functions)
    return any(graph.sparse_initializer for graph in graphs) or any(
        _is_foreign(value.type) or _is_negative(value.type) for value in values
    )


def _is_foreign(kind: onnx.TypeProto) -> bool:
    form = kind.WhichOneof("value")
    while form in ("sequence_type", "optional_type"):
        kind = getattr(kind, form).elem_type
        form = kind.WhichOneof("value")
    return form not in TENSORS


def _is_negative(kind: onnx.TypeProto) -> bool:
    return any(dim.dim_value < 0 for dim in kind.tensor_type.shape.dim)


def _make_dense(proto: onnx.ModelProto, where: object) -> Iterator[str]:
    """Store sparse weights as dense ones. Changes `proto`."""
    for graph in _graphs(proto):
        for tensor in graph.sparse_initializer:
            graph.initializer.append(_dense(tensor, tensor.values.name, where))
            yield tensor.values.name
        del graph.sparse_initializer[:]
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.type not in SPARSE:
                continue
            name = node.output[0] if node.output else node.name
            if node.op_type != "Constant" or attribute.type != onnx.AttributeProto.SPARSE_TENSOR:
                raise ModelError(
                    f"attribute {attribute.name!r} of node {node.name or name!r} is a sparse tensor",
                    where=where,
                    fix="The workbench reads those of Constant alone; store it as a dense tensor.",
                )
            attribute.CopyFrom(onnx.helper.make_attribute("value", _dense(attribute.sparse_tensor, name, where)))
            yield name


def _dense(sparse: onnx.SparseTensorProto, name: str, where: object) -> onnx.TensorProto:
    """Return a sparse tensor as a dense one.

    The indices are places in the flattened tensor, or one coordinate an axis: SparseTensorProto in onnx.proto.
    """
    shape = tuple(sparse.dims)
    try:
        values = onnx.numpy_helper.to_array(sparse.values).reshape(-1)
        indices = onnx.numpy_helper.to_array(sparse.indices)
        if min(shape, default=0) < 0 or math.prod(shape) * values.dtype.itemsize > LARGEST_DENSE:
            reason = f"it would have the shape {shape}, and at most {LARGEST_DENSE >> 20} MiB are made dense"
        else:
            # Coordinates as well as places raise a ValueError where they lie outside.
            places = np.ravel_multi_index(
                np.unravel_index(indices, shape) if indices.ndim == 1 else tuple(indices.T), shape
            )
            dense = np.zeros(math.prod(shape), values.dtype)
            dense[places] = values
            tensor_proto, reason = onnx.numpy_helper.from_array(dense.reshape(shape), name), ""
    except (ValueError, IndexError, TypeError, KeyError) as error:
        reason = str(error)
    if reason:
        raise ModelError(f"the sparse weight {name!r} cannot be read: {reason}", where=where, fix="Store it dense.")
    tensor_proto.doc_string = sparse.values.doc_string
    tensor_proto.metadata_props.extend(sparse.values.metadata_props)
    return tensor_proto
