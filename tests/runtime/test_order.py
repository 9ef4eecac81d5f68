"""Large models are run in the order of their file, so that one dequantized weight at a time is held."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from tests.kit.searching import calibrated, images, small
from workbench.runtime.session import Session


@pytest.fixture(scope="module")
def lowered(tmp_path_factory):
    wb = calibrated(small(), tmp_path_factory.mktemp("small"), 4)
    return wb.tune().model


def test_a_weight_is_dequantized_right_before_what_reads_it(lowered):
    nodes = list(lowered.top_nodes.values())
    stored = {value.name for value in lowered.initializers.values()}
    weights = [at for at, node in enumerate(nodes) if node.op_type[:3] == "Deq" and node.inputs[0].name in stored]
    assert len(weights) == 4
    for at in weights:
        reader = next(node for node in nodes[at:] if nodes[at].outputs[0] in node.inputs)
        assert nodes.index(reader) - at <= 2  # but for the pair of what else it reads


def test_a_huge_model_runs_in_that_order_and_computes_the_same(lowered, monkeypatch):
    usual = Session(lowered)
    monkeypatch.setattr("workbench.runtime.session.HUGE_BYTES", 1)
    thrifty = Session(lowered)
    x = images(lowered, 2)
    np.testing.assert_allclose(thrifty.run(x)["y"], usual.run(x)["y"], rtol=1e-5)
    orders = [one._session.get_session_options().execution_order for one in (usual, thrifty)]
    assert orders == [onnxruntime.ExecutionOrder.DEFAULT, onnxruntime.ExecutionOrder.PRIORITY_BASED]
    assert thrifty.thrifty
