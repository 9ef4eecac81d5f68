"""All that is known of small models before anything is done to them, beside this file."""

from __future__ import annotations

import pytest

from tests.kit.networks import BLOCKS, network
from tests.kit.odd_models import ODD
from tests.kit.places import ROOT
from tests.kit.portrait import of_model, of_table, text_of
from workbench.graph import Graph, costs, from_proto, load_model, mac_shares, suggested_workspace, summary, total
from workbench.graph.cost import memory_use
from workbench.graph.domains import QDQ
from workbench.graph.quantization import quantized_source, quantized_type
from workbench.graph.select.shortest import compact

MODELS = {
    "convolutions": lambda: network(*BLOCKS, head="gemm"),
    "attention": lambda: network("conv", head="attention", opset=18),
    **{path.stem: (lambda path=path: load_model(path)) for path in sorted((ROOT / "sample_models").glob("*.onnx"))},
}


@pytest.fixture(params=[*MODELS, *ODD])
def model(request):
    outcome = MODELS.get(request.param)
    return outcome() if outcome else from_proto(ODD[request.param]())


def test_a_model_in_numbers(model, snapshot):
    sizes = {symbol: 3 for tensor in model.inputs for symbol in tensor.shape or () if isinstance(symbol, str)}
    assert summary(model, sizes).text() == snapshot(name="summary")
    table = costs(model, sizes)
    assert "\n".join(f"{address} {text_of(vars(cost))}" for address, cost in table.items()) == snapshot(name="costs")
    shares = dict(list(mac_shares(model, table).items())[:6])
    assert text_of([total(model, table), shares, suggested_workspace(model, sizes)]) == snapshot(name="totals")
    assert text_of(vars(memory_use(model, sizes))) == snapshot(name="memory")


def test_a_model_in_tables(model, snapshot):
    graph = Graph(model)
    for name in ("nodes", "tensors", "initializers", "ops"):
        table = getattr(graph, name)()
        assert of_table(table.head(25)) == snapshot(name=name)
    weights = {address: [str(value.name) for value in values] for address, values in model.weights.items()}
    quantized = {
        address: [str(quantized_type(node)), getattr(quantized_source(node.inputs[0]), "name", None)]
        for address, node in model.nodes.items()
        if node.op_type in QDQ
    }
    assert text_of([list(weights.items())[:20], quantized]) == snapshot(name="weights")
    assert of_model(model).splitlines()[:30] == snapshot(name="model")


def test_nodes_are_named_as_briefly_as_can_be(model, snapshot):
    addresses = list(model.nodes)
    entries = [compact(model, addresses[start : start + length], []) for start in range(6) for length in (1, 2, 5)]
    assert entries == snapshot
