"""A graph in stages that run one after the other, for those who look at all that it computes.

In one session everything that is looked at is held until the last node has run: for a ResNet-50 shape 42 MB an image,
which no cache holds. In stages, what one hands out is looked at, and free again, before the next begins. What is cut is
the graph as ONNX Runtime optimized it, which it writes into a file; the stages are not optimized again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx

from workbench.runtime.blocked import read_by, without_reorders
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from workbench.runtime.first_run import FirstRun

__all__ = ["STAGES", "Stage", "cut", "part_of", "run", "stages_of"]

STAGES = 4
"""More of them gain nothing: what one hands out has to be far less than all, and each has its own working memory."""

_WEIGHTS = "session.optimized_model_external_initializers_"
_TYPES = {f"tensor({name.lower()})": number for name, number in onnx.TensorProto.DataType.items()}


class Stage(NamedTuple):
    """A session of some of the nodes.

    Parameters
    ----------
    session
        An `onnxruntime.InferenceSession`.
    reads
        What it is fed: inputs of the model, and what former stages hand on.
    outputs
        What is looked at.
    hands_on
        What later stages read, some of `outputs` among them.
    """

    session: Any
    reads: Sequence[str]
    outputs: Sequence[str]
    hands_on: Sequence[str]


def stages_of(trial: FirstRun, threads: int, any_order: Collection[str]) -> tuple[list[Stage], dict[str, str]]:
    """Return the stages of a graph, none where it cannot be cut, and what they call outputs that they keep in blocks.

    Parameters
    ----------
    trial
        All that a session is made of.
    threads
        How many each may use.
    any_order
        Outputs whose values may come in any order within a sample; see `workbench.runtime.blocked`.
    """
    import onnxruntime

    with scratch_folder() as folder:
        # What is handed out is no part of a pattern; see `Session`.
        options, weights = trial.options(threads, memory_pattern=False)
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        # Beside the graph the weights are written as they are, and mapped into memory rather than read.
        options.add_session_config_entry(f"{_WEIGHTS}file_name", "weights")
        options.add_session_config_entry(f"{_WEIGHTS}min_size_in_bytes", "1024")
        whole, kept = trial.session_with(options, weights)
        model = onnx.load(folder / "optimized.onnx", load_external_data=False)
        asked = [output for output in model.graph.output if output.name in trial.outputs]
        del model.graph.output[:]
        model.graph.output.extend(asked)
        called = without_reorders(model.graph, any_order)
        del whole, kept, options, weights
        stages: list[Stage] = []
        types: dict[str, int] = {}
        for places in cut(model.graph):
            part, outputs, hands_on = part_of(model, places, types)
            path = folder / f"from_{places.start}.onnx"
            onnx.save(part, path)
            options, _ = trial._replace(weights={}).options(threads, memory_pattern=False)
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            session = onnxruntime.InferenceSession(path, options, providers=list(trial.providers))
            types |= {one.name: _TYPES[one.type] for one in session.get_outputs() if one.name in hands_on}
            stages.append(Stage(session, [one.name for one in part.graph.input], outputs, hands_on))
        return stages, called


def run(stages: Sequence[Stage], arrays: Mapping[str, npt.NDArray[Any]]) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Run once; yield what each stage hands out, where ONNX Runtime left it."""
    import onnxruntime

    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}
    for at, stage in enumerate(stages):
        gives = list(dict.fromkeys([*stage.outputs, *stage.hands_on]))
        fed = {name: values[name] for name in stage.reads if name in values}
        values |= zip(gives, stage.session.run_with_ort_values(gives, fed), strict=True)
        del fed
        outputs = {name: values[name].numpy() for name in stage.outputs}
        later = {name for one in stages[at + 1 :] for name in one.reads}
        values = {name: value for name, value in values.items() if name in later}
        yield outputs
        del outputs


def cut(graph: onnx.GraphProto, count: int = STAGES) -> list[range]:
    """Cut a graph, between nodes, into stages that hand out about as much each.

    Parameters
    ----------
    graph
        In the order of its nodes. Axes without a length count as one.
    count
        How many stages there are at most.

    Returns
    -------
    list of range
        The places of each stage's nodes; none where what is handed out is no node's, or inputs may be left out.
    """
    outputs = {output.name for output in graph.output}
    makers, weights = _makers(graph), {weight.name for weight in graph.initializer}
    optional = weights & {value.name for value in graph.input}
    if not outputs or not outputs <= makers.keys() or optional or graph.sparse_initializer:
        return []
    read = _last_read(graph)
    no_tensors = {one.name for one in graph.value_info if one.type.WhichOneof("value") not in (None, "tensor_type")}
    bound = {place for name in no_tensors & makers.keys() for place in range(makers[name] + 1, read.get(name, 0) + 1)}
    handed = [0] * len(graph.node)
    for output in graph.output:
        handed[makers[output.name]] += math.prod(max(axis.dim_value, 1) for axis in output.type.tensor_type.shape.dim)
    starts, before, level = [0], 0, 0
    for place, size in enumerate(handed):
        reached = before * count // sum(handed)
        if level < reached < count and place not in bound:
            starts.append(place)
            level = reached
        before += size
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(handed)], strict=True)]


def part_of(
    model: onnx.ModelProto, places: range, types: Mapping[str, int]
) -> tuple[onnx.ModelProto, list[str], list[str]]:
    """Return a stage's model, which outputs of the whole it makes, and what it makes that later stages read.

    Parameters
    ----------
    model
        The whole; weights may lie in another file.
    places
        Of its nodes, as `cut` returns them.
    types
        Element types of what former stages hand on.
    """
    graph, makers = model.graph, _makers(model.graph)
    read = _last_read(graph)
    nodes = graph.node[places.start : places.stop]
    weights = {weight.name for weight in graph.initializer}
    names_read = dict.fromkeys(name for node in nodes for name in read_by(node))
    outputs = [output for output in graph.output if makers.get(output.name) in places]
    names = [output.name for output in outputs]
    computed = {name: at for name, at in makers.items() if name not in weights}
    from_before = [name for name in names_read if computed.get(name, places.start) < places.start]
    for_later = [name for name, at in computed.items() if at in places and read.get(name, 0) >= places.stop]
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.ClearField("graph")
    part.graph.name = graph.name
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(one for one in graph.initializer if one.name in names_read or one.name in names)
    part.graph.input.extend(value for value in graph.input if value.name in names_read)
    part.graph.input.extend(onnx.helper.make_tensor_value_info(name, types[name], None) for name in from_before)
    part.graph.output.extend(outputs)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in for_later if name not in names)
    return part, names, for_later


def _makers(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the place of the node that makes each tensor; weights that are handed out are there from the start."""
    outputs = {output.name for output in graph.output}
    makers = {weight.name: 0 for weight in graph.initializer if weight.name in outputs}
    return makers | {name: at for at, node in enumerate(graph.node) for name in node.output if name}


def _last_read(graph: onnx.GraphProto) -> dict[str, int]:
    return {name: at for at, node in enumerate(graph.node) for name in read_by(node)}
