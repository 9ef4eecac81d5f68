"""What the two TensorRT packages share, as far as it needs neither."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from workbench.backends.compiler import nvinfer
from workbench.backends.compiler.nvinfer import node_names
from workbench.backends.compiler.weak_typing import _types_in_graph
from workbench.backends.protocol import BuildOptions
from workbench.errors import BackendError


@pytest.mark.parametrize(("logged", "reason"), [(("old", "no driver"), "no driver"), ((), "nothing returned")])
def test_a_library_that_does_not_start_says_why(monkeypatch, logged, reason):
    def refuse(_):
        raise TypeError("nothing returned")

    library = SimpleNamespace(Builder=refuse, __version__="8.6")
    monkeypatch.setitem(sys.modules, "pretended_tensorrt", library)
    monkeypatch.setattr(nvinfer, "make_logger", lambda _: (None, [SimpleNamespace(text=text) for text in logged]))
    with pytest.raises(BackendError, match=f"pretended_tensorrt 8.6 could not start: {reason}. It needs a GPU"):
        nvinfer.compile_model("pretended_tensorrt", "m.onnx", BuildOptions())


@pytest.mark.parametrize(
    ("metadata", "names"),
    [
        ("", ()),
        ("[ONNX Layer: Conv_1]", ("Conv_1",)),
        ("[ONNX Layer: a]\x1e[ONNX Layer: b]", ("a", "b")),
        ("[ONNX Layer: a]\x1f[ONNX Layer: b]\x1e[ONNX Layer: a]", ("a", "b")),
        ("[ONNX Layer: a][ONNX Layer: b]", ("a", "b")),
        ("[ONNX Layer: model/x[0]/Conv]", ("model/x[0]/Conv",)),
        ("[ONNX Layer: with blanks [1] *]", ("with blanks [1] *",)),
    ],
)
def test_metadata(metadata, names):
    assert node_names(metadata) == names


@pytest.mark.parametrize(
    ("node", "kind", "types"),
    [
        (("Relu", {}), TensorProto.FLOAT, set()),
        (("Relu", {}), TensorProto.FLOAT16, {"fp16"}),
        (("Cast", {"to": TensorProto.FLOAT16}), TensorProto.FLOAT, {"fp16"}),
        (("Cast", {"to": TensorProto.BFLOAT16}), TensorProto.FLOAT, {"bf16"}),
        (("QuantizeLinear", {}), TensorProto.FLOAT, {"int8"}),
    ],
)
def test_weak_typing_flags_follow_from_the_graph(tmp_path, node, kind, types):
    op, attributes = node
    inputs = ["x"] if op != "QuantizeLinear" else ["x", "s"]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", kind, [2]), helper.make_tensor_value_info("s", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("y", kind, [2])],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path)
    assert _types_in_graph(str(path)) == types
