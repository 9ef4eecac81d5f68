"""Tensors as convolutions keep them, for those who look at values and not at places.

ONNX Runtime computes convolutions on blocks of channels (NCHWc), and orders anew each tensor that is handed out: for a
ResNet-50 shape a seventh of a run that looks at all that INT8 needs. The graph as ONNX Runtime optimized it, which it
writes into a file, says where it does that. Without those nodes, and not optimized again, it hands out the blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx

from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from workbench.runtime.first_run import FirstRun

__all__ = ["BLOCKS", "FULL", "blocked_session", "without_reorders"]

BLOCKS = "NchwcTransformer"
"""The optimizer that brings them about."""
FULL = 16
"""Channels of the largest block. A number of channels that fills no whole blocks is padded, which would count."""

_DOMAIN = "com.microsoft.nchwc"
_WEIGHTS = "session.optimized_model_external_initializers_"


def blocked_session(trial: FirstRun, threads: int, any_order: Collection[str]) -> tuple[Any, object, dict[str, str]]:
    """Return a session that hands out some tensors in blocks, where ONNX Runtime keeps them so.

    Parameters
    ----------
    trial
        All that the session is made of.
    threads
        How many it may use.
    any_order
        Outputs whose values may come in any order within a sample.

    Returns
    -------
    tuple
        An `onnxruntime.InferenceSession`; what has to live as long as that; and what it calls the outputs that it hands
        out in blocks.
    """
    import onnxruntime

    with scratch_folder() as folder:
        # What is handed out is no part of a pattern; see `Session`.
        options, weights = trial.options(threads, memory_pattern=False)
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        # Beside the graph the weights are written as they are, and mapped into memory rather than read.
        options.add_session_config_entry(f"{_WEIGHTS}file_name", "weights")
        options.add_session_config_entry(f"{_WEIGHTS}min_size_in_bytes", "1024")
        plain = trial.session_with(options, weights)
        graph = onnx.load(folder / "optimized.onnx", load_external_data=False)
        called = without_reorders(graph.graph, any_order)
        if not called:
            return *plain, {}
        onnx.save(graph, folder / "blocked.onnx")
        del plain, options, weights
        options, _ = trial._replace(weights={}).options(threads, memory_pattern=False)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(folder / "blocked.onnx", options, providers=list(trial.providers))
        return session, None, called


def without_reorders(graph: onnx.GraphProto, any_order: Collection[str]) -> dict[str, str]:
    """Take out the nodes that only order anew what is handed out; return what is handed out in place of each output."""
    read = set(_read(graph))
    called: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if _only_orders(node) and node.output[0] in any_order and node.output[0] not in read:
            called[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    for output in graph.output:
        output.name = called.get(output.name, output.name)
    return called


def _only_orders(node: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return (
        (node.domain, node.op_type) == (_DOMAIN, "ReorderOutput")
        and attributes["channels"] % FULL == 0
        and not attributes.get("channels_last", 0)
    )


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield what nodes read, those in bodies too."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _read(body)
                yield from (output.name for output in body.output)
