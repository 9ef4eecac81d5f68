"""KServe's open inference protocol, version 2, as Triton speaks it: requests read, answers written.

The binary extension puts tensors as bytes behind the JSON; the header ``Inference-Header-Content-Length`` says where
the JSON ends. See https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and Triton's
protocol documents for the extension.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from workbench.handoff.service.request_error import RequestError
from workbench.handoff.service.tensors import from_bytes, from_json, shape_of, to_bytes, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from workbench.handoff.deployment import Port

__all__ = ["InferRequest", "decode", "encode"]

MOST_JSON = 16 << 20
"""Reading JSON holds up everything else in the process; bytes are taken as they are."""
_SHARED = "shared_memory_region"


@dataclass(slots=True)
class InferRequest:
    """A request, read.

    Parameters
    ----------
    feeds
        Input name to array.
    outputs
        What is wanted: output name, and whether as bytes.
    id
        The client's own name for the request; comes back in the answer.
    timeout_s
        The client's deadline; ``None`` where it has none.
    """

    feeds: dict[str, NDArray[Any]]
    outputs: list[tuple[str, bool]]
    id: str | None = None
    timeout_s: float | None = field(default=None)


def decode(
    body: bytes, header_length: int | None, inputs: Mapping[str, Port], outputs: Mapping[str, Port]
) -> InferRequest:
    """Read the body of an inference request.

    Parameters
    ----------
    body
        All of it.
    header_length
        How many bytes of it are JSON; ``None`` for all.
    inputs, outputs
        The model's, by name.

    Raises
    ------
    RequestError
        400: it is not as the protocol says, or not for this model; 413: too much of it is JSON.
    """
    if header_length is not None and not 0 <= header_length <= len(body):
        raise RequestError(
            400,
            f"Inference-Header-Content-Length is {header_length}, and the body has {len(body)} bytes",
            fix="Give the length of the JSON in front of the tensors.",
        )
    end = len(body) if header_length is None else header_length
    if end > MOST_JSON:
        what = f"{end >> 20} MiB of JSON, which others would wait for; {MOST_JSON >> 20} MiB are the most"
        raise RequestError(413, what, fix="Send the tensors in the binary extension, or fewer rows at once.")
    head = _head(memoryview(body)[:end])
    parameters = _parameters(head)
    feeds, place = {}, end
    content = memoryview(body)
    for entry in _entries(head, "inputs"):
        name, array, place = _input(entry, content, place, inputs)
        if name in feeds:
            raise RequestError(400, "it is given twice", where=f"input {name!r}", fix="Give every input once.")
        feeds[name] = array
    if place != len(body):
        raise RequestError(
            400, f"{len(body) - place} bytes belong to no input", fix="State binary_data_size of every input."
        )
    if len(feeds) != len(inputs):
        missing = next(name for name in inputs if name not in feeds)
        raise RequestError(400, "it is missing", where=f"input {missing!r}", fix=f"The inputs are {', '.join(inputs)}.")
    request_id = head.get("id")
    if request_id is not None and type(request_id) is not str:
        raise RequestError(400, "'id' is no text", fix="Give a text, or none.")
    asked = _asked(head, outputs, everything=_flag(parameters, "binary_data_output", default=False))
    return InferRequest(feeds, asked, request_id, _timeout(parameters))


def _head(content: memoryview) -> dict[str, Any]:
    try:
        head = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        fix = "Send one JSON object; where bytes follow it, Inference-Header-Content-Length says its length."
        if error.doc[error.pos : error.pos + 9].lstrip("-").startswith(("NaN", "Infinity")):
            fix = "JSON has no NaN and no infinity: send the tensor in the binary extension."
        raise RequestError(400, f"the request is no JSON: {error}", fix=fix) from None
    if type(head) is not dict:
        raise RequestError(400, "the request is no JSON object", fix="Send an object with 'inputs'.")
    return head


def _entries(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = head.get(key, [])
    if type(entries) is not list or any(type(one) is not dict for one in entries):
        raise RequestError(400, f"{key!r} is no list of objects", fix="See the OpenAPI page at /docs.")
    return entries


def _parameters(entry: Mapping[str, Any]) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise RequestError(400, "'parameters' is no object", fix="See the OpenAPI page at /docs.")
    if _SHARED in parameters:
        raise RequestError(400, "there is no shared memory with this service", fix="Send the tensor in the request.")
    if parameters.get("sequence_id"):
        raise RequestError(400, "this service keeps no sequences", fix="Send the state as an input, and read it back.")
    return parameters


def _input(
    entry: Mapping[str, Any], content: memoryview, place: int, ports: Mapping[str, Port]
) -> tuple[str, NDArray[Any], int]:
    """Read one input; return where the next one's bytes begin."""
    name = entry.get("name")
    port = ports.get(name) if type(name) is str else None
    if port is None or name is None:
        raise RequestError(
            400, "the model has no such input", where=f"input {name!r:.80}", fix=f"The inputs are {', '.join(ports)}."
        )
    if entry.get("datatype") != port.datatype:
        what = f"datatype {entry.get('datatype')!r:.40}, the model takes {port.datatype}"
        raise RequestError(400, what, where=f"input {name!r}", fix="Convert it before it is sent.")
    shape = shape_of(entry.get("shape"), port)
    size = _parameters(entry).get("binary_data_size")
    if ("data" in entry) == (size is not None):
        what = "it has data and binary_data_size" if size is not None else "it has no data and no binary_data_size"
        raise RequestError(400, what, where=f"input {name!r}", fix="Give one of them.")
    if size is None:
        return name, from_json(entry["data"], shape, port), place
    if type(size) is not int or not 0 <= size <= len(content) - place:
        what = f"binary_data_size is {size!r:.40}, and {len(content) - place} bytes are left"
        raise RequestError(
            400, what, where=f"input {name!r}", fix="Send the bytes of all inputs behind the JSON, in order."
        )
    return name, from_bytes(content[place : place + size], shape, port), place + size


def _asked(head: Mapping[str, Any], ports: Mapping[str, Port], *, everything: bool) -> list[tuple[str, bool]]:
    entries = _entries(head, "outputs")
    if not entries:
        return [(name, everything) for name in ports]
    # Whoever asks twice is answered once, as by Triton: a short request must not have a long answer.
    asked: dict[str, bool] = {}
    for entry in entries:
        name, parameters = entry.get("name"), _parameters(entry)
        if type(name) is not str or name not in ports:
            fix = f"The outputs are {', '.join(ports)}."
            raise RequestError(400, "the model has no such output", where=f"output {name!r:.80}", fix=fix)
        if parameters.get("classification"):
            fix = "Ask for the output itself, or post an image to /v2/models/NAME/image."
            raise RequestError(400, "there is no classification extension here", where=f"output {name!r}", fix=fix)
        asked[name] = _flag(parameters, "binary_data", default=everything)
    return list(asked.items())


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise RequestError(400, f"{name!r} is {value!r:.40}", fix="Give true or false.")
    return value


def _timeout(parameters: Mapping[str, Any]) -> float | None:
    """Return Triton's ``timeout``, which is in microseconds, in seconds."""
    timeout = parameters.get("timeout")
    if timeout is None or timeout == 0:
        return None
    if type(timeout) is not int or timeout < 0:
        raise RequestError(400, "'timeout' is no number of microseconds", fix="Give a whole number.")
    return timeout / 1e6


def encode(
    model: str,
    request: InferRequest,
    results: Mapping[str, NDArray[Any]],
    ports: Mapping[str, Port],
) -> tuple[Sequence[bytes], int | None]:
    """Write the answer to a request.

    Returns
    -------
    tuple
        Its parts, JSON first, and the JSON's length where bytes follow it.

    Raises
    ------
    RequestError
        400: a value that JSON cannot say.
    """
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, binary in request.outputs:
        array = results[name]
        entry: dict[str, Any] = {"name": name, "datatype": ports[name].datatype, "shape": array.shape}
        if binary:
            content = to_bytes(array)
            entry["parameters"] = {"binary_data_size": len(content)}
            parts.append(content)
        else:
            entry["data"] = to_json(array, name)
        described.append(entry)
    answer: dict[str, Any] = {"model_name": model, "model_version": "1", "outputs": described}
    if request.id is not None:
        answer["id"] = request.id
    head = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
    return [head, *parts], len(head) if parts else None
