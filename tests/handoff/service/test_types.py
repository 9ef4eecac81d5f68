"""Every element type that the protocol has, through the real client; and requests of random bytes."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import tritonclient.http as httpclient
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from tests.kit.serving import loaded, running, saved
from workbench.errors import BackendError
from workbench.handoff import Port
from workbench.handoff.service import tensors
from workbench.handoff.service.protocol import InferRequest, decode, encode
from workbench.handoff.service.request_error import RequestError

VALUES = {
    "BOOL": ("BOOL", np.array([[True, False], [False, True]])),
    "UINT8": ("UINT8", np.array([[0, 255], [7, 1]], np.uint8)),
    "UINT16": ("UINT16", np.array([[0, 65535], [7, 1]], np.uint16)),
    "UINT32": ("UINT32", np.array([[0, 2**32 - 1], [7, 1]], np.uint32)),
    "UINT64": ("UINT64", np.array([[0, 2**64 - 1], [7, 1]], np.uint64)),
    "INT8": ("INT8", np.array([[-128, 127], [7, 1]], np.int8)),
    "INT16": ("INT16", np.array([[-(2**15), 2**15 - 1], [7, 1]], np.int16)),
    "INT32": ("INT32", np.array([[-(2**31), 2**31 - 1], [7, 1]], np.int32)),
    "INT64": ("INT64", np.array([[-(2**63), 2**63 - 1], [7, 1]], np.int64)),
    "FLOAT16": ("FP16", np.array([[0.1, -6.5], [7, 1]], np.float16)),
    "FLOAT": ("FP32", np.array([[0.1, -6.5e30], [7, 1]], np.float32)),
    "DOUBLE": ("FP64", np.array([[0.1, -6.5e300], [7, 1]], np.float64)),
    "STRING": ("BYTES", np.array([["", "a"], ["zwei Wörter", "漢字"]], object)),
}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """A model that returns what it is given, in every type."""
    values = [
        [helper.make_tensor_value_info(f"{side}_{name}", getattr(onnx.TensorProto, name), ["N", 2]) for name in VALUES]
        for side in ("in", "out")
    ]
    nodes = [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"], name) for name in VALUES]
    folder = saved(tmp_path_factory.mktemp("types"), *values, nodes)
    with running([loaded(folder, most=1)]) as service:
        yield service


@pytest.mark.parametrize("binary", [True, False])
def test_every_type_comes_back_as_it_went(every, binary):
    inputs, outputs = [], []
    for name, (datatype, array) in VALUES.items():
        tensor = httpclient.InferInput(f"in_{name}", [2, 2], datatype)
        # The client writes FP16 as bytes only.
        tensor.set_data_from_numpy(array, binary_data=binary or datatype == "FP16")
        inputs.append(tensor)
        outputs.append(httpclient.InferRequestedOutput(f"out_{name}", binary_data=binary))
    with httpclient.InferenceServerClient(every.address) as client:
        answer = client.infer("source", inputs, outputs=outputs)
    for name, (datatype, array) in VALUES.items():
        returned = answer.as_numpy(f"out_{name}")
        if datatype == "BYTES" and binary:
            returned = np.vectorize(bytes.decode, otypes=[object])(returned)
        assert returned.shape == (2, 2)
        assert (returned == array).all(), name


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("UINT8", [256]),
        ("UINT8", [-1]),
        ("UINT8", [1.5]),
        ("UINT8", [True]),
        ("UINT8", [True, 1]),
        ("FP32", [1.5, False]),
        ("FP64", [[1, 2], [3, True]]),
        ("INT64", [2**63]),
        ("INT64", [1, 0.5]),
        ("UINT64", [2**64]),
        ("UINT64", [-1, 2**63]),
        ("BOOL", [1]),
        ("FP16", [65520]),
        ("FP64", ["1"]),
        ("BYTES", [1]),
    ],
)
def test_values_of_another_kind_are_refused(datatype, data):
    entry = {"name": "a", "datatype": datatype, "shape": [int(np.size(data))], "data": data}
    with pytest.raises(RequestError, match=f"its data are no {datatype} values"):
        decode(json.dumps({"inputs": [entry]}).encode(), None, {"a": Port("a", datatype, (-1,))}, {})


def test_what_json_cannot_say_is_refused(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Log", ["x"], ["y"], "log")]
    folder = saved(tmp_path, [value("x", 1, ["N", 1])], [value("y", 1, ["N", 1])], nodes)
    with running([loaded(folder)]) as service, httpclient.InferenceServerClient(service.address) as client:
        tensor = httpclient.InferInput("x", [1, 1], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 1), np.float32))
        answer = client.infer("source", [tensor])
        assert answer.as_numpy("y").tolist() == [[-np.inf]]
        with pytest.raises(httpclient.InferenceServerException, match="NaN or infinity, which JSON cannot say"):
            client.infer("source", [tensor], outputs=[httpclient.InferRequestedOutput("y", binary_data=False)])


def test_bfloat16_that_onnx_runtime_takes_no_arrays_of_is_one_line(tmp_path):
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Cast", ["x"], ["y"], "cast", to=1)]
    folder = saved(tmp_path, [value("x", 16, ["N", 1])], [value("y", 1, ["N", 1])], nodes)
    with pytest.raises(BackendError, match=r"input 'x': ONNX Runtime takes no BF16 from Python"):
        loaded(folder)


PORTS = {"a": Port("a", "FP32", (-1, 2)), "b": Port("b", "BYTES", (-1,))}
WHOLE = {
    "inputs": [
        {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        {"name": "b", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 9}},
    ],
    "outputs": [{"name": "a", "parameters": {"binary_data": True}}],
    "parameters": {"timeout": 5},
}
HEAD = json.dumps(WHOLE).encode()
BODY = HEAD + np.array([1, 2], np.float32).tobytes() + b"\x01\0\0\0x\0\0\0\0"


def test_the_whole_request_is_read():
    request = decode(BODY, len(HEAD), PORTS, PORTS)
    assert request.feeds["a"].tolist() == [[1, 2]]
    assert request.feeds["b"].tolist() == ["x", ""]
    assert (request.outputs, request.timeout_s) == ([("a", True)], 5e-6)
    parts, length = encode("m", request, request.feeds, PORTS)
    assert (len(parts), length) == (2, len(parts[0]))


def refused(**changed):
    """Return what is said of a request for `a` with some entries changed."""
    entry = {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]} | changed.pop("input", {})
    with pytest.raises(RequestError) as caught:
        decode(json.dumps({"inputs": [entry], **changed}).encode(), None, {"a": PORTS["a"]}, PORTS)
    assert caught.value.status == 400
    return str(caught.value)


def test_data_come_in_one_way():
    both = {"parameters": {"binary_data_size": 8}}
    assert "has data and binary_data_size. Give one of them" in refused(input=both)
    with pytest.raises(RequestError, match="has no data and no binary_data_size"):
        decode(b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2]}]}', None, {"a": PORTS["a"]}, {})


@pytest.mark.parametrize("value", ["true", 1, None, []])
def test_a_flag_is_true_or_false(value):
    assert "Give true or false" in refused(parameters={"binary_data_output": value})
    assert "Give true or false" in refused(outputs=[{"name": "a", "parameters": {"binary_data": value}}])


@pytest.mark.parametrize("value", [[], 0, "", False])
def test_parameters_are_an_object(value):
    assert "'parameters' is no object" in refused(parameters=value)
    assert "'parameters' is no object" in refused(input={"parameters": value})


def test_who_asks_for_an_output_often_is_answered_once():
    head = WHOLE | {"outputs": [{"name": "a"}] * 1000 + [{"name": "b"}]}
    content = json.dumps(head).encode()
    assert decode(content + BODY[len(HEAD) :], len(content), PORTS, PORTS).outputs == [("a", False), ("b", False)]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "Infinity"])
def test_a_client_that_writes_nan_is_told_of_the_binary_extension(value):
    content = b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [1, %b]}]}' % value.encode()
    with pytest.raises(RequestError, match="JSON has no NaN and no infinity: send the tensor in the binary"):
        decode(content, None, {"a": PORTS["a"]}, {})


def test_an_answer_too_long_for_json_is_asked_for_as_bytes(monkeypatch):
    request = decode(BODY, len(HEAD), PORTS, PORTS)
    results = {"a": np.arange(8, dtype=np.float32).reshape(4, 2)}
    request.outputs = [("a", False)]
    assert json.loads(encode("m", request, results, PORTS)[0][0])["outputs"][0]["data"] == list(range(8))
    monkeypatch.setattr(tensors, "MOST_VALUES", 7)
    with pytest.raises(RequestError, match=r"output 'a': 8 values are too many for JSON\. Ask for binary_data"):
        encode("m", request, results, PORTS)
    request.outputs = [("a", True)]
    assert encode("m", request, results, PORTS)[0][1] == results["a"].tobytes()


@pytest.mark.parametrize("kind", ["?", "u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])
def test_json_says_every_value_of_a_type_exactly(kind):
    dtype = np.dtype(kind)
    finite = [0, 1]
    if dtype.kind in "iu":
        finite += [np.iinfo(dtype).min, np.iinfo(dtype).max]
    if dtype.kind == "f":
        finite += [np.finfo(dtype).max, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal, -1 / 3, 0.1]
    # Every second one, as a slice of a larger batch may be.
    array = np.repeat(np.array(finite, dtype), 2)[::2]
    request = InferRequest({}, [("a", False)])
    answer = json.loads(encode("m", request, {"a": array}, PORTS)[0][0])["outputs"][0]["data"]
    assert [dtype.type(value) for value in answer] == list(array)


def read(body, length):
    """Read a request; ``None`` where it is refused in one line, and nothing else may happen."""
    try:
        return decode(body, length, PORTS, PORTS)
    except RequestError as error:
        if error.status not in (400, 413) or "\n" in str(error):
            raise
        return None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BODY) - 1), st.binary(max_size=4), st.integers(-3, 3))
def test_a_request_that_is_damaged_is_refused_or_read_and_nothing_else(place, put, shift):
    body = BODY[:place] + put + BODY[place + len(put) :]
    request = read(body, len(HEAD) + shift)
    if request is not None:
        assert {name: array.shape[1:] for name, array in request.feeds.items()} == {"a": (2,), "b": ()}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "inputs",
                    "outputs",
                    "name",
                    "shape",
                    "datatype",
                    "data",
                    "parameters",
                    "binary_data_size",
                    "id",
                    "timeout",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_any_json_is_refused_or_read(content):
    read(json.dumps(content).encode(), None)
