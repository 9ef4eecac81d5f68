"""Which operator sets ONNX Runtime runs, and what becomes of a model of a newer one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.kit.models import proto, weight
from workbench.runtime import Session, newest_opset
from workbench.session import open_model


def test_the_newest_set_is_found_by_asking():
    newest = newest_opset()
    assert 21 <= newest <= onnx.defs.onnx_opset_version()


@pytest.mark.parametrize("preset", ["int8", "int8+fp16"])
def test_a_model_of_onnxs_own_newest_set_is_tuned(tmp_path, preset):
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)
    newest = onnx.defs.onnx_opset_version()
    ir_version = helper.OP_SET_ID_VERSION_MAP["ai.onnx", newest]
    onnx_model = proto([node], {"x": [1, 3, 8, 8]}, {"y": [1, 8, 8, 8]}, [weight("w", 8, 3, 3, 3)], opset=newest)
    onnx_model.ir_version = ir_version
    onnx.save(onnx_model, tmp_path / "m.onnx")
    wb = open_model(tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(4, 1, 3, 8, 8)).astype(np.float32)
    wb.prepare()
    assert wb.model.opset == min(newest, newest_opset())
    wb.calibrate([{"x": one} for one in x])
    wb.plan.use(preset)
    first = Session(wb.source).run({"x": x[0]})["y"]
    np.testing.assert_allclose(Session(wb.tune().model).run({"x": x[0]})["y"], first, atol=0.05 * np.abs(first).max())


def test_what_cannot_be_brought_down_is_left_as_it_is(tmp_path):
    newest = onnx.defs.onnx_opset_version()
    if newest <= newest_opset():
        pytest.skip("ONNX Runtime runs every operator set that this onnx package knows")
    nodes = [helper.make_node("SwiGLU", ["x", "x"], ["y"], "it")]
    onnx_model = proto(nodes, {"x": [2, 8]}, {"y": [2, 8]}, opset=newest)
    onnx_model.ir_version = helper.OP_SET_ID_VERSION_MAP["ai.onnx", newest]
    onnx.save(onnx_model, tmp_path / "m.onnx")
    wb = open_model(tmp_path / "m.onnx")
    wb.prepare()
    assert wb.model.opset == newest
