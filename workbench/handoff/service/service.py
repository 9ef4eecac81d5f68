"""The models of a service, who is let in, and how an inference request becomes its answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from workbench.graph import graphs_of
from workbench.handoff.service.batching import Batcher, Batching
from workbench.handoff.service.bodies import Gone, receive_body
from workbench.handoff.service.metrics import Metrics
from workbench.handoff.service.protocol import decode, encode
from workbench.handoff.service.request_error import RequestError, fault, send_error
from workbench.handoff.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence

    from numpy.typing import NDArray

    from workbench.handoff.service.batching import Ran
    from workbench.handoff.service.engine import LoadedModel
    from workbench.handoff.service.images import Images
    from workbench.handoff.service.metrics import ModelMetrics

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

__all__ = ["Served", "Service"]

_HEADER = b"inference-header-content-length"
CLIENT_GONE = 499
"""How a request is counted whose client went away; nobody is sent it."""
_BUFFERED = 64 << 10
"""What a server takes of an answer without waiting for its client."""


class Served:
    """A model with its queue and its counters.

    Parameters
    ----------
    loaded
        The model.
    metrics
        Its counters.
    wait_s, queued
        As of `Batching`.
    """

    def __init__(self, loaded: LoadedModel, metrics: ModelMetrics, *, wait_s: float, queued: int) -> None:
        self.loaded = loaded
        self.metrics = metrics
        self.images: Images | None = None
        self.watchers: list[Callable[[Ran], None]] = [metrics.ran]
        batching = Batching(loaded.rows.most, wait_s, queued, loaded.rows.sizes)
        if sum(1 for _ in graphs_of(loaded.deployment.model.ir_model)) > 1:
            # With loops and branches the time of the last run says nothing of the next one's.
            batching = replace(batching, quick_s=0.0)
        self.batcher = Batcher(loaded.run, batching, self._ran)

    def _ran(self, run: Ran) -> None:
        for watcher in self.watchers:
            watcher(run)

    async def run(
        self, feeds: Mapping[str, NDArray[Any]], timeout_s: float, *, alone: bool
    ) -> tuple[dict[str, NDArray[Any]], float]:
        """Run a request; return its results, and how many seconds it waited in the queue.

        Parameters
        ----------
        feeds
            Input name to array.
        timeout_s
            How long it may wait.
        alone
            There is no other request, so that it need not be queued.

        Raises
        ------
        RequestError
            400: inputs of different numbers of rows, or of none, or the model cannot run them; 503: the queue is full;
            504: it waited too long.
        """
        rows = self._rows(feeds)
        results = self.batcher.run_at_once(feeds, rows=rows) if alone else None
        if results is not None:
            return results, 0.0
        job = self.batcher.submit(feeds, time.monotonic() + timeout_s, asyncio.get_running_loop(), rows=rows)
        results = await job.future
        return results, job.waited_s

    def _rows(self, feeds: Mapping[str, NDArray[Any]]) -> int | None:
        rows = None
        if self.loaded.rows.most > 1:
            lengths = {array.shape[0] for array in feeds.values()}
            rows = next(iter(lengths))
            if len(lengths) > 1 or rows == 0:
                what = f"first axes of {sorted(lengths)} rows"
                raise RequestError(400, what, fix="Give every input the same number of rows, at least one.")
            if rows > self.loaded.rows.most and not all(array.size for array in feeds.values()):
                # Rows of nothing cost nothing to send, and each takes its part of a run.
                raise RequestError(400, f"{rows} rows without values", fix="Send rows that hold some.")
        return rows


class Service:
    """Models that are served, and what is allowed with them.

    Parameters
    ----------
    models
        What is served; names differ.
    settings
        What is allowed.
    wait_s, queued
        As of `Batching`, for each model.
    """

    def __init__(
        self, models: Iterable[LoadedModel], settings: Settings | None = None, *, wait_s: float = 0.0, queued: int = 256
    ) -> None:
        models = list(models)
        self.settings = settings or Settings()
        self.metrics = Metrics(model.name for model in models)
        self.models = {
            model.name: Served(model, self.metrics.of[model.name], wait_s=wait_s, queued=queued) for model in models
        }
        self.ending = False
        self._in_flight = 0

    async def infer(
        self, name: str, version: str | None, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Answer an inference request, whatever is wrong with it."""
        started = time.perf_counter()
        served: Served | None = None
        try:
            served = self.model(name, version)
            answer = await self._result(served, headers, receive, started)
        except Gone:
            if served is not None:
                served.metrics.refused(CLIENT_GONE, time.perf_counter() - started)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            refusal = error if isinstance(error, RequestError) else fault(error)
            if served is not None:
                served.metrics.refused(refusal.status, time.perf_counter() - started)
            await send_error(send, refusal)
        else:
            await self._send(send, *answer)

    def model(self, name: str, version: str | None = None) -> Served:
        """Return a model by name and version.

        Raises
        ------
        RequestError
            404: there is none.
        """
        served = self.models.get(name)
        if served is None:
            raise RequestError(
                404, "there is no such model", where=f"{name:.80}", fix=f"There are {', '.join(self.models)}."
            )
        if version not in (None, "1"):
            raise RequestError(404, f"there is no version {version:.20}", where=name, fix="There is version 1.")
        return served

    def admit(self) -> None:
        """Take a place among the requests in flight; `leave` gives it back.

        Raises
        ------
        RequestError
            429: there are as many as may be; 503: the service ends.
        """
        if self.ending:
            raise RequestError(
                503, "the service ends", fix="Ask another one, or try again.", retry_after=1, closing=True
            )
        if self._in_flight >= self.settings.concurrency:
            raise RequestError(
                429,
                f"{self._in_flight} requests are in flight already",
                fix="Try again later, send several rows in one request, or raise --concurrency.",
                retry_after=1,
            )
        self._in_flight += 1
        self.metrics.in_flight.inc()

    def leave(self) -> None:
        """Give a place back."""
        self._in_flight -= 1
        self.metrics.in_flight.dec()

    async def _alone(self) -> bool:
        """Say whether no other request is in flight, once those that have arrived are let in."""
        if self._in_flight == 1:
            await asyncio.sleep(0)
        return self._in_flight == 1

    async def _result(
        self, served: Served, headers: Mapping[bytes, bytes], receive: Receive, started: float
    ) -> tuple[Sequence[bytes], int | None]:
        self.admit()
        try:
            body = await receive_body(receive, headers, self.settings)
            arrived = time.perf_counter()
            loaded = served.loaded
            request = decode(body, _header_length(headers), loaded.inputs, loaded.outputs)
            timeout = self.settings.timeout_s
            input_s = time.perf_counter() - arrived
            timeout = min(timeout, request.timeout_s or timeout)
            results, waited_s = await served.run(request.feeds, timeout, alone=await self._alone())
            written = time.perf_counter()
            parts, length = encode(loaded.name, request, results, loaded.outputs)
            now = time.perf_counter()
            served.metrics.answered(waited_s, seconds=now - started, input_s=input_s, output_s=now - written)
        finally:
            self.leave()
        return parts, length

    async def look(
        self, name: str, version: str | None, headers: Mapping[bytes, bytes], receive: Receive
    ) -> dict[str, Any]:
        """Return what the model sees in an image.

        Raises
        ------
        RequestError
            As for inference; 404 where the model takes no images.
        """
        started = time.perf_counter()
        served = self.model(name, version)
        if served.images is None:
            fix = "Start the service with --postprocess, or send tensors to /infer."
            raise RequestError(404, "it takes no images", where=name, fix=fix)
        try:
            self.admit()
            try:
                body = await receive_body(receive, headers, self.settings)
                arrived = time.perf_counter()
                feeds, size = await served.images.read(body)
                input_s = time.perf_counter() - arrived
                results, waited_s = await served.run(feeds, self.settings.timeout_s, alone=False)
            finally:
                self.leave()
            written = time.perf_counter()
            model_size = served.images.preprocessing.size or size
            answer = served.images.postprocessing(results, image=size, size=model_size)
        except Exception as error:
            served.metrics.refused(getattr(error, "status", CLIENT_GONE), time.perf_counter() - started)
            if isinstance(error, (RequestError, Gone)):
                raise
            raise fault(error) from error
        now = time.perf_counter()
        served.metrics.answered(waited_s, seconds=now - started, input_s=input_s, output_s=now - written)
        return {"model_name": name, **answer}

    async def _send(self, send: Send, parts: Sequence[bytes], length: int | None) -> None:
        content = b"".join(parts)
        headers = [(b"content-length", b"%d" % len(content))]
        if length is None:
            headers.append((b"content-type", b"application/json"))
        else:
            headers += [(b"content-type", b"application/octet-stream"), (_HEADER, b"%d" % length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if len(content) <= _BUFFERED:
            await send({"type": "http.response.body", "body": content})
            return
        # Whoever does not read is not waited for; what is left of the answer ends with the connection.
        with anyio.move_on_after(self.settings.transfer_s):
            await send({"type": "http.response.body", "body": content})

    def close(self) -> None:
        """Answer what waits, and give back what was taken."""
        self.ending = True
        for served in self.models.values():
            served.batcher.close()
            served.loaded.closing.close()


def _header_length(headers: Mapping[bytes, bytes]) -> int | None:
    stated = headers.get(_HEADER)
    if stated is None:
        return None
    stated = stated.strip()
    if not stated.isdigit() or len(stated) > 18:
        raise RequestError(
            400, "Inference-Header-Content-Length is no number", fix="Give the length of the JSON in bytes."
        )
    return int(stated)
