"""What no exporter writes and a damaged file holds: said when it is loaded, or when something fails for it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import onnx
import onnx_ir as ir

from workbench.errors import ModelError, WorkbenchError
from workbench.graph.check import node_reason
from workbench.graph.domains import STANDARD_DOMAINS
from workbench.graph.native import FRAGILE, check_model
from workbench.graph.structure import graphs_of
from workbench.graph.tensor import packed_bytes
from workbench.limits import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workbench.graph.model import Model

__all__ = ["blamed_on", "blaming", "check_functions", "check_parts", "check_tensors"]

P = ParamSpec("P")
T = TypeVar("T")

FIX = "Export or copy it again, or repair the named part."
FIELDS = {
    "FLOAT": "float_data",
    "COMPLEX64": "float_data",
    "INT64": "int64_data",
    "DOUBLE": "double_data",
    "COMPLEX128": "double_data",
    "UINT32": "uint64_data",
    "UINT64": "uint64_data",
    "STRING": "string_data",
}
"""Where numbers stand if not in the raw data; ``int32_data`` for all other types (TensorProto in onnx.proto)."""
DATA_FIELDS = ("int32_data", *dict.fromkeys(FIELDS.values()))

CONSTANT = {
    "value": "TENSOR",
    "value_float": "FLOAT",
    "value_int": "INT",
    "value_floats": "FLOATS",
    "value_ints": "INTS",
}
"""What kind of attribute holds the numbers of a Constant."""

BODIES = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",), "SequenceMap": ("body",)}
"""The graphs that ONNX's own operators cannot be without."""


def check_tensors(tensors: Iterable[onnx.TensorProto], where: object) -> None:
    """Check that every stored tensor has a type, lengths, and as many numbers as those say.

    Raises
    ------
    ModelError
        One has not.
    """
    for tensor in tensors:
        if reason := _wrong_with(tensor):
            raise ModelError(f"the stored tensor {tensor.name!r} {reason}", where=where, fix=FIX)


def _wrong_with(tensor: onnx.TensorProto) -> str | None:
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        return f"has the type {tensor.data_type}, which ONNX does not know"
    texts: tuple[Any, ...] = tensor.name, tensor.doc_string  # bytes where they are damaged
    if not all(isinstance(text, str) for text in texts):
        return "has a name or a description that is no UTF-8 text"
    if dtype == ir.DataType.UNDEFINED:
        return "has no type"
    if any(length < 0 for length in tensor.dims):
        return f"has the lengths {list(tensor.dims)}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return "is text, which ONNX keeps in no file of its own" if dtype == ir.DataType.STRING else None
    size = math.prod(tensor.dims)
    field = FIELDS.get(dtype.name, "int32_data")
    elsewhere = [name for name in DATA_FIELDS if name != field and len(getattr(tensor, name))]
    if elsewhere or (tensor.HasField("raw_data") and len(getattr(tensor, field))):
        there = ", ".join(elsewhere) or f"raw_data and {field}"
        return f"has numbers in {there}, and those of its type stand in raw_data or {field} alone"
    if tensor.HasField("raw_data"):
        expected = packed_bytes(tensor.dims, dtype) if dtype != ir.DataType.STRING else -1
        actual = len(tensor.raw_data)
        return (
            None if actual in (0, expected) else f"has {actual} bytes of data, and its lengths and type want {expected}"
        )
    packed = {4: 2, 2: 4}.get(dtype.bitwidth, 1) if dtype != ir.DataType.STRING else 1
    expected = -(-size // packed) * (2 if dtype.name.startswith("COMPLEX") else 1)
    actual = len(getattr(tensor, field))
    # A tensor without any number is one whose weights were taken out.
    return None if actual in (0, expected) else f"has {actual} numbers, and its lengths want {expected}"


def check_parts(model: ir.Model, where: object) -> None:
    """Check that names are text, that outputs have one, that attributes hold something, and that loops can run.

    Raises
    ------
    ModelError
        One does not.
    """
    _check_text(model.producer_name or "", "the producer", where)
    _check_text(model.producer_version or "", "the producer's version", where)
    for text in itertools.chain.from_iterable(model.functions):
        _check_text(text, "a function", where)
    inside = {graph for function in model.functions.values() for graph in _graphs_in(function.graph)}
    for prefix, graph in graphs_of(model):
        _check_names(prefix, graph, where)
        for node in graph:
            for attribute in node.attributes.values():
                if (reason := _odd_attribute(node, attribute, in_function=graph in inside)) is not None:
                    raise ModelError(
                        f"attribute {attribute.name!r} of node {node.name or node.op_type!r} {reason}",
                        where=where,
                        fix=FIX,
                    )
            op = node.op_type if node.domain in STANDARD_DOMAINS else ""
            if op in BODIES and (reason := _odd_body(node, op)) is not None:
                raise ModelError(f"node {node.name or op!r} ({op}) {reason}", where=where, fix=FIX)


def _odd_body(node: ir.Node, op: str) -> str | None:
    """Return what a node lacks that runs the graphs inside of it."""
    for name in BODIES[op]:
        if name not in node.attributes or node.attributes[name].type != ir.AttributeType.GRAPH:
            return f"has no graph {name!r}"
    if op == "Loop":
        body = node.attributes["body"].as_graph()
        if len(body.inputs) < 2 or not body.outputs:
            return (
                f"has a body of {len(body.inputs)} inputs and {len(body.outputs)} outputs; it is handed the iteration "
                "and the condition, and returns a condition"
            )
    if op == "Scan":
        scanned = node.attributes.get("num_scan_inputs")
        if scanned is None or scanned.type != ir.AttributeType.INT:
            return "does not say how many inputs it scans (num_scan_inputs)"
        if not scanned.is_ref() and not 1 <= scanned.as_int() <= len(node.inputs):
            return f"scans {scanned.as_int()} of its {len(node.inputs)} inputs"
    return None


def _check_names(prefix: str, graph: ir.Graph, where: object) -> None:
    _check_text(graph.name or "", "a graph", where)
    for value in (*graph.inputs, *graph.initializers.values()):
        _check_text(value.name, "a tensor", where)
    for at, value in enumerate(graph.outputs):
        if not value.name:
            raise ModelError(f"output {at} of {prefix.rstrip('/') or 'the graph'} has no name", where=where, fix=FIX)
    for node in graph:
        _check_text(node.name or "", "a node", where)
        _check_text(node.op_type, "an operator", where)
        _check_text(node.domain, "an operator's domain", where)
        for value in node.outputs:
            _check_text(value.name or "", "a tensor", where)


def _odd_attribute(node: ir.Node, attribute: ir.Attr, *, in_function: bool) -> str | None:
    if attribute.type == ir.AttributeType.UNDEFINED:
        return "has no type"
    if attribute.is_ref():
        if not in_function:
            return f"is to be {attribute.ref_attr_name!r} of a function, and is in none"
        return "is a graph that a call is to give" if attribute.type.name.startswith("GRAPH") else None
    if _no_tensor(attribute):
        return "holds a tensor without a type"
    kind = CONSTANT.get(attribute.name) if node.op_type == "Constant" and node.domain in ("", "ai.onnx") else None
    if kind is not None and attribute.type.name != kind:
        return f"is of the kind {attribute.type.name}, and that of a Constant is {kind}"
    return None


def _no_tensor(attribute: ir.Attr) -> bool:
    """Return whether a tensor is missing; as a message it is there, and has no type."""
    tensors = {"TENSOR": [attribute.value], "TENSORS": attribute.value}.get(attribute.type.name, [])
    return any(tensor.dtype == ir.DataType.UNDEFINED for tensor in tensors)


def _graphs_in(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    for node in graph:
        for attribute in node.attributes.values():
            if attribute.is_ref() or not attribute.type.name.startswith("GRAPH"):
                continue
            for inner in [attribute.as_graph()] if attribute.type.name == "GRAPH" else attribute.as_graphs():
                yield from _graphs_in(inner)


def _check_text(text: Any, what: str, where: object) -> None:
    if not isinstance(text, str):
        raise ModelError(f"the name of {what} is no UTF-8 text: {text!r}", where=where, fix=FIX)


def check_functions(proto: onnx.ModelProto, where: object) -> None:
    """Check that no local function calls itself, and that all of them in place of their calls are no endless model.

    Raises
    ------
    ModelError
        One does, or they would be over the limit ``function_nodes``.
    """
    functions = {(function.domain, function.name): function for function in proto.functions}
    sizes: dict[tuple[str, str], int | None] = {}

    def size(nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        total = 0
        for node in nodes:
            inner = [*(attribute.g for attribute in node.attribute if attribute.HasField("g"))]
            inner += [graph for attribute in node.attribute for graph in attribute.graphs]
            total += 1 + sum(size(graph.node, depth) for graph in inner)
            key = node.domain, node.op_type
            if key not in functions:
                continue
            if sizes.get(key, 0) is None or depth > len(functions):
                raise ModelError(f"function {node.op_type!r} calls itself", where=where, fix=FIX)
            if key not in sizes:
                sizes[key] = None
                sizes[key] = size(functions[key].node, depth + 1)
            total += sizes[key] or 0
        return total

    if functions:
        for function in functions.values():
            size(function.node, 0)
        check("function_nodes", size(proto.graph.node, 0), ModelError, where=where)


def blaming(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function of a model, or a method of an object that has one, ask `blamed_on` where it fails."""

    @functools.wraps(function)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        with blamed_on(_model_of(args[0])):
            return function(*args, **kwargs)

    return asked


def _model_of(thing: Any) -> Model:
    """Return a model, that of a state or a workbench, or that of what has a state."""
    while not hasattr(thing, "ir_model"):
        thing = thing.state if hasattr(thing, "state") else thing.model
    model: Model = thing
    return model


@contextlib.contextmanager
def blamed_on(model: Model) -> Iterator[None]:
    """Where anything but an error of ours is raised, ask ONNX's checker, and say what it says against the model.

    Raises
    ------
    ModelError
        The model is not valid.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except MemoryError as error:
        raise ModelError(
            "it needs more memory than there is", where=model.path or model.name, fix="Use a machine with more memory."
        ) from error
    except Exception as error:
        reason = _said_against(model) or _unwritable(error)
        if reason is None:
            raise
        raise ModelError(f"not valid ONNX: {reason}", where=model.path or model.name, fix=FIX) from error


def _said_against(model: Model) -> str | None:
    try:
        there = model.path is not None and model.path.is_file()
        if any(node.op_type in FRAGILE for node in model.nodes.values()):
            check_model(str(model.path) if there else model.proto.SerializeToString())
        elif there:
            onnx.checker.check_model(str(model.path), full_check=True)
        else:
            onnx.checker.check_model(model.proto, full_check=True)
    except Exception as error:  # noqa: BLE001 - whatever the checker raises is its answer
        if "Field 'shape' of 'type' is required" not in str(error):
            return _first_line(error)
        # Outputs of any rank are valid, and the stricter check wants a shape before it looks at anything else.
        return next((reason for node in model.nodes.values() if (reason := node_reason(node, model.ir_model))), None)
    return None


def _unwritable(error: BaseException) -> str | None:
    """Return why a part of a model cannot be written as a message, where that is what went wrong."""
    if not isinstance(error, ir.serde.SerdeError):
        return None
    while error.__cause__ is not None:
        error = error.__cause__
    return f"a part of it cannot be written: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:300]
