"""What the service counts, for Prometheus and for Triton's statistics: one set of counters for both.

With several workers the counters of all lie in files that the variable PROMETHEUS_MULTIPROC_DIR names the folder of.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.handoff.service.batching import Batcher, Ran

__all__ = ["MULTIPROCESS", "Metrics", "ModelMetrics"]

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_NS = 1e9


class Metrics:
    """The counters of a service.

    Parameters
    ----------
    models
        The names of its models.
    """

    def __init__(self, models: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("serve_requests", "Answers by status", ["model", "status"], **own)
        self.request = Histogram(
            "serve_request_seconds",
            "From the first header to the written answer",
            ["model", "outcome"],
            buckets=_SECONDS,
            **own,
        )
        self.queue = Histogram(
            "serve_queue_seconds", "Time of a request in the queue", ["model"], buckets=_SECONDS, **own
        )
        self.run = Histogram("serve_run_seconds", "Time of a run of the engine", ["model"], buckets=_SECONDS, **own)
        self.rows = Histogram("serve_batch_rows", "Rows of a run of the engine", ["model"], buckets=_ROWS, **own)
        self.phases = Counter("serve_phase_seconds", "Time of requests by phase", ["model", "phase"], **own)
        self.batches = Counter("serve_batches", "Runs by rows", ["model", "rows"], **own)
        self.batch_seconds = Counter("serve_batch_seconds", "Time of runs by rows", ["model", "rows"], **own)
        self.counted = Counter("serve_watched_rows", "Rows that the field's statistics are of", ["model"], **own)
        self.in_flight = Gauge("serve_in_flight", "Inference requests now", multiprocess_mode="livesum", **own)
        self.queued = Gauge("serve_queued", "Requests in the queue", ["model"], multiprocess_mode="livesum", **own)
        self.of = {name: ModelMetrics(self, name) for name in models}

    def _all(self) -> CollectorRegistry:
        if not os.environ.get(MULTIPROCESS):
            return self.registry
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def text(self) -> bytes:
        """Return all counters as Prometheus reads them."""
        return generate_latest(self._all())

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Return what Triton's statistics extension tells of each model, by its name."""
        seen: dict[str, dict[tuple[str, ...], float]] = defaultdict(lambda: defaultdict(float))
        for family in self._all().collect():
            for sample in family.samples:
                labels = dict(sample.labels)
                model = labels.pop("model", "")
                if "le" not in labels:
                    key = (sample.name, *labels.values())
                    seen[model][key] += sample.value
        return {name: _statistics(name, seen[name]) for name in self.of}


class ModelMetrics:
    """The counters of one model, bound once: finding them by labels takes longer than counting."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self._metrics, self._model = metrics, model
        self._ok = metrics.requests.labels(model, "200")
        self._seconds = {outcome: metrics.request.labels(model, outcome) for outcome in ("success", "fail")}
        self._queue, self._run = metrics.queue.labels(model), metrics.run.labels(model)
        self._rows = metrics.rows.labels(model)
        self._input, self._output = (metrics.phases.labels(model, phase) for phase in ("input", "output"))
        self._queued = metrics.queued.labels(model)
        self._counted = metrics.counted.labels(model)
        self._batches: dict[int, tuple[Counter, Counter]] = {}

    def answered(self, waited_s: float, *, seconds: float, input_s: float, output_s: float) -> None:
        """Count a request that was answered with a result."""
        self._ok.inc()
        self._seconds["success"].observe(seconds)
        self._queue.observe(waited_s)
        self._input.inc(input_s)
        self._output.inc(output_s)

    def refused(self, status: int, seconds: float) -> None:
        """Count a request that was not."""
        self._metrics.requests.labels(self._model, str(status)).inc()
        self._seconds["fail"].observe(seconds)

    def ran(self, run: Ran) -> None:
        """Count a run of the engine."""
        self._run.observe(run.seconds)
        self._rows.observe(run.rows)
        if run.rows not in self._batches:
            labels = self._model, str(run.rows)
            self._batches[run.rows] = self._metrics.batches.labels(*labels), self._metrics.batch_seconds.labels(*labels)
        count, seconds = self._batches[run.rows]
        count.inc()
        seconds.inc(run.seconds)

    def counted(self, rows: int) -> None:
        """Count rows that went into the statistics of the field."""
        self._counted.inc(rows)

    def waiting(self, batcher: Batcher) -> None:
        """Note how many requests wait now."""
        self._queued.set(batcher.queued)


def _statistics(model: str, seen: dict[tuple[str, ...], float]) -> dict[str, Any]:
    def took(count: float, seconds: float) -> dict[str, int]:
        return {"count": int(count), "ns": int(seconds * _NS)}

    done = seen["serve_request_seconds_count", "success"]
    sizes = sorted(int(key[1]) for key in seen if key[0] == "serve_batches_total")
    runs = {
        rows: (seen["serve_batches_total", str(rows)], seen["serve_batch_seconds_total", str(rows)]) for rows in sizes
    }
    none = took(0, 0.0)
    return {
        "name": model,
        "version": "1",
        "inference_count": int(sum(rows * count for rows, (count, _) in runs.items())),
        "execution_count": int(sum(count for count, _ in runs.values())),
        "inference_stats": {
            "success": took(done, seen["serve_request_seconds_sum", "success"]),
            "fail": took(seen["serve_request_seconds_count", "fail"], seen["serve_request_seconds_sum", "fail"]),
            "queue": took(seen[("serve_queue_seconds_count",)], seen[("serve_queue_seconds_sum",)]),
            "compute_input": took(done, seen["serve_phase_seconds_total", "input"]),
            "compute_infer": took(done, seen[("serve_run_seconds_sum",)]),
            "compute_output": took(done, seen["serve_phase_seconds_total", "output"]),
        },
        "batch_stats": [
            {"batch_size": rows, "compute_input": none, "compute_infer": took(*run), "compute_output": none}
            for rows, run in runs.items()
        ],
    }
