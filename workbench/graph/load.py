"""Load an ONNX model safely: whatever is wrong is said in one line, before anything runs."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from workbench.errors import ModelError
from workbench.graph.check import CARRIERS, bring_in_order, broken_edge, custom_ops
from workbench.graph.collector import collector_off
from workbench.graph.damage import check_functions, check_parts, check_tensors
from workbench.graph.flat import FREE_WEIGHTS, flat_of, kinds_of
from workbench.graph.message import readable
from workbench.graph.model import Model
from workbench.graph.naming import repair_names
from workbench.graph.quirk import Quirk
from workbench.graph.stored import LARGE_FILE, put_back, put_in, read_apart, watch_weights
from workbench.graph.structure import graphs_of
from workbench.graph.tensor import packed_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["from_proto", "load_model"]


def load_model(path: str | os.PathLike[str]) -> Model:
    """Read an ONNX file.

    External weights are read when they are needed, and only from the model's own folder.

    Parameters
    ----------
    path
        The ``.onnx`` file.

    Returns
    -------
    Model
        With unique node names; ``model.quirks`` says what was repaired.

    Raises
    ------
    ModelError
        Not a file, not ONNX, truncated, over 2 GB without external data, external data missing or outside the model's
        folder, an unknown operator set version, or a graph that contradicts itself.
    """
    path = Path(path)
    try:
        path.stat()
    except (OSError, ValueError) as error:  # a name that no file can have
        if not isinstance(error, FileNotFoundError):
            raise ModelError(f"cannot be read: {error}", where=repr(str(path))[:200], fix="Check the path.") from error
    if path.is_dir():
        raise ModelError("this is a folder", where=path, fix="Name the .onnx file in it.")
    if not path.is_file():
        raise ModelError("no such file", where=path, fix="Check the path.")
    size = path.stat().st_size
    if size == 0:
        raise ModelError("the file is empty", where=path, fix="Export or copy it again.")
    if size > onnx.checker.MAXIMUM_PROTOBUF:
        raise ModelError(
            f"{size / 2**30:.1f} GiB in one file; protobuf reads 2 GiB at most",
            where=path,
            fix="Save it with external data: onnx.save(model, path, save_as_external_data=True).",
        )
    weights: dict[int, NDArray[np.uint8]] = {}
    try:
        proto, weights = _read(path, size)
    except DecodeError as error:
        raise ModelError(
            "not an ONNX file, or a truncated one", where=path, fix="Export or copy it again, and compare the sizes."
        ) from error
    with collector_off():
        model = _model_of(proto, path, put_back(proto, weights))
        with contextlib.suppress(OSError):  # weights whose file is gone already
            model.read_bytes = size + sum(file.stat().st_size for file in _weight_files(model.ir_model))
        return model


def _weight_files(graph: ir.Model) -> set[Path]:
    """Return the files that hold weights beside a model's own."""
    values = (value for _, part in graphs_of(graph) for value in part.initializers.values())
    return {Path(v.const_value.path) for v in values if isinstance(v.const_value, ir.ExternalTensor)}


def _read(path: Path, size: int) -> tuple[onnx.ModelProto, dict[int, NDArray[np.uint8]]]:
    """Return a file's message, and what of its weights was left out of it."""
    if size >= LARGE_FILE:
        with contextlib.suppress(ValueError, DecodeError):  # read as a whole, it is told what is wrong
            return read_apart(path)
    proto = onnx.ModelProto()
    proto.ParseFromString(path.read_bytes())
    return proto, {}


def from_proto(proto: onnx.ModelProto) -> Model:
    """Make a `Model` of a protobuf message.

    Parameters
    ----------
    proto
        The message; it is not changed.

    Raises
    ------
    ModelError
        As in `load_model`.
    """
    return _model_of(proto, None, {})


def _model_of(proto: onnx.ModelProto, path: Path | None, apart: Mapping[str, NDArray[np.uint8]]) -> Model:
    """Make a model of a message, and of the weights that lie apart from it."""
    where = path if path is not None else (proto.graph.name or "model")
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError("no graph in it", where=where, fix="This is not an ONNX model; export it again.")
    _check_opsets(proto, where)
    kinds = kinds_of(proto.graph)
    nested = bool(proto.functions) or any(op in CARRIERS or domain not in ("", "ai.onnx") for domain, op in kinds)
    original, (proto, mended) = proto, readable(proto, where, nested=nested)
    kinds = kinds if proto is original else kinds_of(proto.graph)
    check_functions(proto, where)
    check_tensors(_stored_tensors(proto, nested=nested), where)
    external = _check_external(_stored_tensors(proto, nested=nested), None if path is None else path.parent, where)
    quirks = [*mended, *_repeated_value_info(proto)]
    try:
        graph = ir.from_proto(proto)
    except Exception as error:  # onnx_ir raises many kinds; each means that the message contradicts itself
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = str(cause).strip().splitlines()
        raise ModelError(
            f"the graph contradicts itself: {reason[0] if reason else type(error).__name__}",
            where=where,
            fix="Export it again, or repair the named part.",
        ) from error
    check_parts(graph, where)
    put_in(graph.graph, apart)
    if path is not None and external:
        watch_weights(graph, path.parent)
    misstated = list(_misstated_weights(graph))
    quirks.extend(misstated)
    if not misstated and (flat := flat_of(proto, graph.graph, kinds)) is not None:
        return Model(graph, path=path, quirks=tuple(quirks), flat=flat)
    quirks.extend(_repair(graph, where))
    return Model(graph, path=path, quirks=tuple(quirks))


def _repair(graph: ir.Model, where: object) -> Iterator[Quirk]:
    """Bring a model into the state everything else relies on, and say what was done."""
    if (broken := broken_edge(graph)) is not None:
        reader, tensor = broken
        raise ModelError(
            f"node {reader!r} reads tensor {tensor!r}, which nothing makes"
            if reader
            else f"nothing makes the output {tensor!r}",
            where=where,
            fix="Export it again; a node or an initializer is missing.",
        )
    yield from _weights_leave_inputs(graph)
    try:
        unsorted = bring_in_order(graph)
    except ValueError as error:
        raise ModelError("the graph has a cycle", where=where, fix="Export it again.") from error
    for name in unsorted:
        yield Quirk("unsorted", name, "the nodes were not in an order in which they can run; they were sorted")
    yield from repair_names(graph)
    yield from _custom_ops(graph)


def _check_opsets(proto: onnx.ModelProto, where: object) -> None:
    newest = onnx.defs.onnx_opset_version()
    stated = [*proto.opset_import, *(entry for function in proto.functions for entry in function.opset_import)]
    if odd := next((entry for entry in stated if not 0 <= entry.version < 2**31), None):
        raise ModelError(
            f"operator set version {odd.version} of the domain {odd.domain!r} is none",
            where=where,
            fix="Export or copy it again.",
        )
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    for domain in ("", "ai.onnx"):
        version = versions.get(domain)
        if version is not None and not 1 <= version <= newest:
            raise ModelError(
                f"operator set version {version} is not known; this onnx package knows 1 to {newest}",
                where=where,
                fix="Upgrade the onnx package, or export with an older opset.",
            )


def _check_external(tensors: Iterable[onnx.TensorProto], folder: Path | None, where: object) -> int:
    """Check every weight that lies in an external file; return how many do."""
    external = 0
    for tensor in tensors:
        if not onnx.external_data_helper.uses_external_data(tensor):
            continue
        external += 1
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        if folder is None:
            raise ModelError(
                f"weight {tensor.name!r} lies in the external file {location!r}, and the model has no folder",
                where=where,
                fix="Load it from its file, not from bytes.",
            )
        try:
            target = (folder / location).resolve()
            outside, exists = not location or not target.is_relative_to(folder.resolve()), target.is_file()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"weight {tensor.name!r} lies in {location[:80]!r}, and no file can be called so",
                where=where,
                fix="Export or copy it again.",
            ) from error
        if outside:
            raise ModelError(
                f"weight {tensor.name!r} points outside the model's folder: {location!r}",
                where=where,
                fix="Refused for safety; put the data file beside the model.",
            )
        if not exists:
            raise ModelError(
                f"the external data file {location!r} of weight {tensor.name!r} is missing",
                where=where,
                fix="Copy it beside the model.",
            )
        end = _end_of(tensor, where)
        if end > target.stat().st_size:
            raise ModelError(
                f"the external data file {location!r} is too short for weight {tensor.name!r}",
                where=where,
                fix="Copy it again; it is truncated.",
            )
    return external


def _stored_tensors(proto: onnx.ModelProto, *, nested: bool) -> Iterable[onnx.TensorProto]:
    if nested:
        tensors: Iterable[onnx.TensorProto] = onnx.external_data_helper._get_all_tensors(proto)  # noqa: SLF001 - no public one
        return tensors
    return proto.graph.initializer


def _end_of(tensor: onnx.TensorProto, where: object) -> int:
    """Return where a weight ends in its external file, in bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    size = packed_bytes(tensor.dims, ir.DataType(tensor.data_type))
    try:
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or size)
    except ValueError:
        offset = length = -1
    if offset < 0 or length != size:
        raise ModelError(
            f"weight {tensor.name!r} has {size} bytes, and its external data is said to be at offset "
            f"{entries.get('offset')} with length {entries.get('length')}",
            where=where,
            fix="Export it again.",
        )
    return offset + length


def _repeated_value_info(proto: onnx.ModelProto) -> Iterator[Quirk]:
    names = [value.name for value in (*proto.graph.value_info, *proto.graph.output, *proto.graph.input)]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        yield Quirk(
            "repeated-value-info",
            repeated[0],
            "the file states its shape more than once"
            + (f", and that of {len(repeated) - 1} more" * (len(repeated) > 1)),
        )


def _misstated_weights(model: ir.Model) -> Iterator[Quirk]:
    """Let weights be of the type and the shape that they have, whatever the file states beside them."""
    for prefix, part in graphs_of(model):
        for name, value in part.initializers.items():
            held = value.const_value
            if held is None or (value.dtype == held.dtype and value.shape == held.shape):
                continue
            stated = (
                f"{value.dtype.name.lower() if value.dtype else '?'}{value.shape if value.shape is not None else ''}"
            )
            unknown = value.dtype is None or (value.shape is not None and not value.shape.is_static())
            value.type, value.shape = ir.TensorType(held.dtype), ir.Shape(held.shape.numpy())
            if not unknown and not value.is_graph_input():
                text = f"stated as {stated}, and it is {held.dtype.name.lower()}{value.shape}; what it is counts"
                yield Quirk("misstated-weight", f"{prefix}{name}", text)


def _weights_leave_inputs(model: ir.Model) -> Iterator[Quirk]:
    """Weights that are also inputs could be fed; compilers treat them as constant, and so does everything here."""
    listed = [value for value in model.graph.inputs if value.is_initializer()]
    for value in listed:
        model.graph.inputs.remove(value)
    if model.ir_version < FREE_WEIGHTS:
        model.ir_version = FREE_WEIGHTS
        if not listed:
            text = f"IR version {FREE_WEIGHTS} is written from here on: older ones want every weight among the inputs"
            yield Quirk("old-ir", str(model.graph.name or "model"), text)
    if listed:
        yield Quirk(
            "weights-as-inputs",
            str(listed[0].name),
            f"{len(listed)} weights were also listed as graph inputs; they are treated as constant",
        )


def _custom_ops(model: ir.Model) -> Iterator[Quirk]:
    for operator, addresses in custom_ops(model).items():
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        yield Quirk("custom-op", addresses[0], f"custom operator {operator}{more}: a backend needs its implementation")
