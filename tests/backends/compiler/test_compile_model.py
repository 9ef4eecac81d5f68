"""From a file to a compilation: what is asked of a package in which order, and what is made of its answers.

The package only remembers (tests/kit/pretended_builder.py), but for one build by the real TensorRT-RTX.
"""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from onnx import helper

from tests.kit.models import model, weight
from tests.kit.pretended_builder import Config, Library, NetworkLayer, parsed
from workbench.backends.compiler import nvinfer
from workbench.backends.compiler.nvinfer import Compilation, LogLine, ParserIssue, compile_model
from workbench.backends.profiles import ProfileInput
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.errors import BackendError
from workbench.graph import save_model

NO_LIMIT = BuildOptions(workspace_bytes=None)


@pytest.fixture
def compiled(monkeypatch):
    """Return a function that compiles with a package, by a clock on which parsing takes 1 s and building 3 s."""

    def compiles(library, options=NO_LIMIT, **more):
        ticks = iter([10.0, 11.0, 20.0, 23.0])
        monkeypatch.setattr(nvinfer, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
        monkeypatch.setitem(sys.modules, "pretended_tensorrt", library)
        return compile_model("pretended_tensorrt", "m.onnx", options, **more)

    return compiles


def complaint(**more):
    """An error as a parser gives it: of TensorRT 8.6 without what `more` holds."""
    words = {"node": 3, "code": SimpleNamespace(name="UNSUPPORTED"), "desc": "no", "func": "importConv"}
    return SimpleNamespace(**{name: lambda value=value: value for name, value in {**words, **more}.items()})


def test_a_network_that_is_taken_becomes_an_engine(compiled):
    library = Library(parsed(), says={"parser": [("INFO", "read"), ("VERBOSE", "more")], "builder": [("WARNING", "w")]})
    log = (LogLine("INFO", "read"), LogLine("WARNING", "w"))
    expected = Compilation("10.3.0", True, True, b"plan", 4, (), (), (), log, 1.0, 3.0)
    assert compiled(library) == expected
    assert [str(line) for line in log] == ["[INFO] read", "[WARNING] w"]
    assert (library.read, library.flags) == ("m.onnx", 1 << 2)  # strongly typed
    without = compiled(library, keep_engine=False)
    assert (without.engine, without.engine_bytes, without.built) == (None, 4, True)


def test_a_builder_that_knows_no_strong_types_gets_a_network_with_a_batch_axis(compiled, tmp_path, monkeypatch):
    save_model(model([helper.make_node("Relu", ["x"], ["y"], "r")], {"x": [2]}, {"y": [2]}), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    library = Library(parsed(), weak=True)
    assert compiled(library).built
    assert library.flags == 1 << 0


def test_what_the_parser_does_not_take_is_told_and_not_built(compiled):
    more = {"node_name": "c1", "node_operator": "Conv", "local_function_stack": ["f", "g"]}
    layer = NetworkLayer("l", "CONVOLUTION", ["x:HALF"], ["y:HALF"])
    made = compiled(Library(parsed(layer), errors=[complaint(), complaint(node=-1, **more)]))
    assert (made.parsed, made.built, made.engine, made.engine_bytes) == (False, False, None, None)
    assert (made.profile, made.parse_s, made.build_s) == ((), 1.0, 0.0)
    assert made.issues == (
        ParserIssue(3, "", "", "UNSUPPORTED", "no", "importConv"),
        ParserIssue(-1, "c1", "Conv", "UNSUPPORTED", "no", "importConv", ("f", "g")),
    )
    assert [one.name for one in made.layers] == ["l"]


def test_dynamic_inputs_get_their_profiles_and_the_first_is_told(compiled):
    class Profile:
        def __init__(self):
            self.shapes = []

        def set_shape(self, *arguments):
            self.shapes.append(arguments)

    x = SimpleNamespace(name="x", shape=(-1, 4), is_shape_tensor=False)
    library = Library(parsed(inputs=(x,)))
    builder = library.Builder
    library.Builder = lambda logger: SimpleNamespace(**vars(builder(logger)), create_optimization_profile=Profile)
    one, two = ShapeRange((1, 4), (2, 4), (3, 4)), ShapeRange((5, 4), (6, 4), (7, 4))
    options = BuildOptions(workspace_bytes=None, profiles=({"x": one}, {"x": two}))
    assert compiled(library, options).profile == (ProfileInput("x", one, stated=True),)
    assert library.config.told == [
        ("profile", [("x", (1, 4), (2, 4), (3, 4))]),
        ("profile", [("x", (5, 4), (6, 4), (7, 4))]),
    ]


def test_an_option_that_the_library_says_it_ignores_is_an_error(compiled):
    library = Library(parsed(), says={"config": [("WARNING", "a is unsupported in this"), ("WARNING", "b")]})
    with pytest.raises(BackendError) as caught:
        compiled(library)
    assert caught.value.what == "an option that pretended_tensorrt would ignore: a is unsupported in this"


def test_a_timing_cache_is_written_where_an_engine_was_built_and_told_where_it_cannot_be_read(compiled, tmp_path):
    path = tmp_path / "t.cache"
    options = BuildOptions(workspace_bytes=None, timing_cache=str(path))
    stored = SimpleNamespace(serialize=lambda: b"learnt")
    for engine, written in ((None, False), (b"plan", True)):
        library = Library(parsed(), engine=engine)
        library.config.stored = stored
        assert compiled(library, options).built == written
        assert path.exists() == written
    assert path.read_bytes() == b"learnt"

    class Unread(Config):
        def create_timing_cache(self, data):
            library.logger.log(SimpleNamespace(name="ERROR"), "Failed to deserialize timing cache")
            return data

    library = Library(parsed(), config=Unread())
    with pytest.raises(BackendError) as caught:
        compiled(library, options)
    assert caught.value.what == "pretended_tensorrt 10.3.0 cannot read this timing cache"
    assert caught.value.where == str(path)


def test_why_an_option_failed_a_build_is_read_out_of_all_that_was_printed(compiled):
    says = {"builder": [("ERROR", "no libnvinfer_lean.so"), ("ERROR", "and so no engine")]}
    options = BuildOptions(workspace_bytes=None, version_compatible=True)
    with pytest.raises(BackendError, match="does not bring the lean runtime"):
        compiled(Library(parsed(), engine=None, says=says), options)
    assert compiled(Library(parsed(), says=says), options).built
    failed = compiled(Library(parsed(), engine=None, says=says))
    assert (failed.parsed, failed.built, failed.build_s) == (True, False, 3.0)


def test_messages_are_printed_when_they_come_but_those_for_developers(monkeypatch):
    """The child's output is the live log, and a pipe is not emptied with every line by itself."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    logger, lines = nvinfer.make_logger(Library(parsed()))
    for severity in ("INFO", "VERBOSE", "WARNING"):
        logger.log(SimpleNamespace(name=severity), "text")
    assert written.getvalue().split() == [b"[INFO]", b"text", b"[WARNING]", b"text"]
    assert lines == [LogLine("INFO", "text"), LogLine("WARNING", "text")]


# Layers


def layers_of(compiled, *layers):
    return compiled(Library(parsed(*layers), errors=[complaint()])).layers


def test_a_layer_has_its_nodes_and_the_types_of_the_tensors_that_are_there(compiled):
    nodes = "[ONNX Layer: a]\x1e[ONNX Layer: b]"
    first, second = layers_of(
        compiled,
        NetworkLayer("l", "SCALE", ["x:HALF", None, "i:INT32"], [None, "y:BF16", "z:INT64"], nodes),
        NetworkLayer("none", "CONSTANT", [], ["k"]),
    )
    assert first == nvinfer.NetworkLayer("l", "SCALE", ("a", "b"), ("HALF", "INT32"), ("BF16", "INT64"), "HALF")
    assert second == nvinfer.NetworkLayer("none", "CONSTANT", (), (), ("FLOAT",), None)


DEQUANTIZED = [
    NetworkLayer("dq", "DEQUANTIZE", ["q:INT8", "s"], ["d"]),
    NetworkLayer("dq8", "DEQUANTIZE", ["r:FP8", "s"], ["e"]),
    NetworkLayer("dq4", "DEQUANTIZE", ["t:INT4", "s"], ["f"]),
    NetworkLayer("empty", "DEQUANTIZE", [], ["nothing"]),
    NetworkLayer("move", "SHUFFLE", ["d"], ["moved"]),
    NetworkLayer("again", "UNSQUEEZE", ["moved"], ["twice"]),
    NetworkLayer("plain", "SQUEEZE", ["x"], ["squeezed"]),
    NetworkLayer("none", "SHUFFLE", [], ["shuffled"]),
    NetworkLayer("relu", "ACTIVATION", ["d"], ["computed"]),
]


@pytest.mark.parametrize(
    ("kind", "inputs", "arithmetic"),
    [
        ("CONVOLUTION", ["d", "moved"], "INT8"),
        ("DECONVOLUTION", ["twice", "d", "bias"], "INT8"),  # a bias is added in the accumulator's type
        ("MATRIX_MULTIPLY", ["e", "e"], "FP8"),
        ("MATRIX_MULTIPLY", ["d", "e"], "FLOAT"),
        ("MATRIX_MULTIPLY", ["d", "x:HALF"], "FLOAT"),
        ("MATRIX_MULTIPLY", ["x:HALF", "d"], "HALF"),
        ("MATRIX_MULTIPLY", ["f", "f"], "FLOAT"),
        ("CONVOLUTION", ["d"], "FLOAT"),  # its kernel is a constant that it keeps in floating point
        ("CONVOLUTION", ["computed", "computed"], "FLOAT"),
        ("CONVOLUTION", ["squeezed:HALF", "squeezed:HALF"], "HALF"),
        ("SELECT", ["d", "d", "moved"], "INT8"),
        ("SELECT", ["d", "d", "x"], "FLOAT"),
        ("POOLING", ["d"], "INT8"),
        ("POOLING", ["e"], "FLOAT"),
        ("POOLING", ["x:HALF"], "HALF"),
        ("POOLING", [], None),
        ("SOFTMAX", ["d"], "FLOAT"),
        ("CONVOLUTION", [], None),
    ],
)
def test_a_layer_may_compute_in_what_all_its_operands_were_dequantized_from(compiled, kind, inputs, arithmetic):
    layers = layers_of(compiled, *DEQUANTIZED, NetworkLayer("it", kind, inputs, ["y"]))
    assert layers[-1].arithmetic == arithmetic


def test_the_real_parser_and_builder_are_called_like_that(tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed: pip install trt-workbench[rtx]")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    network = model(nodes, {"x": ["N", 16]}, {"y": ["N", 8]}, [weight("w", 16, 8)])
    path = str(save_model(network, tmp_path / "m.onnx")[0])
    made = compile_model("tensorrt_rtx", path, BuildOptions(optimization_level=0), target="sm86", keep_engine=False)
    assert (made.parsed, made.built, made.engine) == (True, True, None)
    assert made.engine_bytes > 1000
    assert made.profile == (ProfileInput("x", ShapeRange((1, 16), (1, 16), (8, 16)), stated=False),)
    (product,) = (layer for layer in made.layers if layer.kind == "MATRIX_MULTIPLY")
    assert (product.nodes, product.arithmetic) == (("product",), "FLOAT")
