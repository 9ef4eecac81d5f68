"""Shapes of what a Loop or Scan hands from one iteration to the next.

ONNX's inference leaves them open, for a body may change them. Here the shape at the start is assumed, and kept where
the body makes the same of it: then it holds for every iteration.
"""

from __future__ import annotations

from collections import ChainMap
from typing import TYPE_CHECKING, NamedTuple

import onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

__all__ = ["with_states"]

Types = ChainMap[str, onnx.TypeProto]
Key = tuple[int | str, ...]


class LoopState(NamedTuple):
    """One value that a loop hands on.

    Attributes
    ----------
    key
        Where it is: the places of the nodes and names of the attributes on the way, and its own number.
    start
        Its type before the first iteration, ``None`` where unknown.
    body_input, body_output
        It as the body gets it and as the body leaves it.
    result
        Its name after the last iteration; empty where it is unused.
    graph
        The graph that the loop is in.
    """

    key: Key
    start: onnx.TypeProto | None
    body_input: onnx.ValueInfoProto
    body_output: onnx.ValueInfoProto
    result: str
    graph: onnx.GraphProto


def with_states(
    proto: onnx.ModelProto, inferred: onnx.ModelProto, infer: Callable[[onnx.ModelProto], onnx.ModelProto | None]
) -> onnx.ModelProto:
    """Return what is known of shapes once those of loops' states are.

    Parameters
    ----------
    proto
        What was inferred from.
    inferred
        What inference made of it.
    infer
        Infers once more; ``None`` where a node is refused. Its argument is left as it is.
    """
    refuted: set[Key] = set()
    while True:
        guesses: dict[Key, onnx.TypeProto] = {}
        current = inferred
        while more := {
            state.key: state.start
            for state in _states(current.graph, ChainMap())
            if state.start is not None and _shaped(state.start) and not _shaped(state.body_input.type)
            if state.key not in refuted and state.key not in guesses
        }:
            guesses |= more
            result = infer(_assuming(proto, guesses))
            if result is None:
                return inferred
            current = result
        # All at once, for one may rest on another.
        wrong = {
            state.key
            for state in _states(current.graph, ChainMap())
            if state.key in guesses and state.body_output.type != guesses[state.key]
        }
        if not wrong:
            return current
        refuted |= wrong


def _assuming(proto: onnx.ModelProto, guesses: Mapping[Key, onnx.TypeProto]) -> onnx.ModelProto:
    """Return a copy in which states have types: in the body, and behind the loop."""
    trial = onnx.ModelProto()
    trial.CopyFrom(proto)
    for state in list(_states(trial.graph, ChainMap())):
        if state.key not in guesses:
            continue
        state.body_input.type.CopyFrom(guesses[state.key])
        stated = next((value for value in state.graph.output if value.name == state.result), None)
        if stated is not None:
            stated.type.CopyFrom(guesses[state.key])
        elif state.result:
            state.graph.value_info.add(name=state.result, type=guesses[state.key])
    return trial


def _shaped(kind: onnx.TypeProto) -> bool:
    return kind.HasField("tensor_type") and kind.tensor_type.HasField("shape")


def _states(graph: onnx.GraphProto, around: Types, way: Key = ()) -> Iterator[LoopState]:
    here: MutableMapping[str, onnx.TypeProto] = {
        value.name: value.type for value in (*graph.value_info, *graph.output, *graph.input)
    }
    for tensor in graph.initializer:
        here[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tuple(tensor.dims))
    types = around.new_child(here)
    for place, node in enumerate(graph.node):
        for attribute in node.attribute:
            for at, body in enumerate(_graphs(attribute)):
                inner = (*way, place, attribute.name, at)
                if node.op_type in ("Loop", "Scan") and attribute.name == "body":
                    yield from _carried(graph, node, body, types, inner)
                yield from _states(body, types, inner)


def _graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)


def _carried(
    graph: onnx.GraphProto, node: onnx.NodeProto, body: onnx.GraphProto, types: Types, way: Key
) -> Iterator[LoopState]:
    # A Loop's iteration number and condition come before its states, and the condition before what its body makes.
    ahead, made_ahead = (2, 1) if node.op_type == "Loop" else (0, 0)
    scanned = next((a.i for a in node.attribute if a.name == "num_scan_inputs"), 0) if node.op_type == "Scan" else 0
    # A damaged body may take or make fewer than it is given.
    states = min(len(body.input) - ahead - scanned, len(body.output) - made_ahead, len(node.input) - ahead)
    for at in range(states):
        body_input, body_output = body.input[at + ahead], body.output[at + made_ahead]
        start = types.get(node.input[at + ahead])
        yield LoopState(
            (*way, at), start, body_input, body_output, node.output[at] if at < len(node.output) else "", graph
        )
