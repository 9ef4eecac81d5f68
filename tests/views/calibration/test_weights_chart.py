from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import SelectorError
from workbench.graph.load import load_model
from workbench.views.calibration.weights_chart import weights_chart, weights_of


def test_one_scale_a_channel_is_worth_what_quantizing_gives():
    rng = np.random.default_rng(0)
    w = (rng.normal(size=(24, 8, 3, 3)) * np.geomspace(0.01, 1, 24)[:, None, None, None]).astype(np.float32)
    chart = weights_of("w", w, 0)

    def sqnr(scale):
        return 10 * np.log10((w.astype(float) ** 2).sum() / ((w - np.rint(w / scale) * scale) ** 2).sum())

    assert chart.per_tensor_db == pytest.approx(sqnr(np.abs(w).max() / 127), abs=0.01)
    assert chart.per_channel_db == pytest.approx(sqnr(np.abs(w).max((1, 2, 3), keepdims=True) / 127), abs=0.01)
    assert (np.diff(chart.amax) >= 0).all()
    assert chart.density.shape == (81, 24)
    assert f"{chart.per_channel_db:.1f} dB with one a channel" in chart.svg()
    assert chart.png("dark").startswith(b"\x89PNG")


def test_many_channels_share_columns_and_zeros_do_no_harm():
    chart = weights_of("w", np.zeros((1500, 4), np.float32), 0)
    assert chart.density.shape == (81, 512)
    assert chart.per_channel_db == float("inf")


def test_a_node_of_a_real_model(shared):
    model = load_model(shared / "models" / "ultraface_rfb320" / "model.onnx")
    node = next(name for name, n in model.top_nodes.items() if n.op_type == "Conv")
    chart = weights_chart(model, node)
    assert len(chart.amax) == 16
    assert chart.per_channel_db > chart.per_tensor_db
    relu = next(name for name, n in model.top_nodes.items() if n.op_type == "Relu")
    with pytest.raises(SelectorError, match="no constant weights"):
        weights_chart(model, relu)
    with pytest.raises(SelectorError, match="no such node"):
        weights_chart(model, "nowhere")
