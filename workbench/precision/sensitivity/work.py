"""The work of an exact sensitivity: run the model once, then each node and what lies downstream of it again."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx

from workbench.calibration import Feed, feeds
from workbench.errors import BackendError, WorkbenchError
from workbench.graph import from_proto
from workbench.precision.sensitivity.cut import downstream
from workbench.precision.sensitivity.errors import ErrorSum
from workbench.precision.sensitivity.result import NodeError
from workbench.precision.sensitivity.store import ActivationStore
from workbench.progress import stoppable
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor, Future

    from workbench.calibration import Samples
    from workbench.graph import Model
    from workbench.precision.sensitivity.cut import Cut
    from workbench.precision.sensitivity.errors import Outputs, TaskMetric

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """What a worker has to know besides the model and the nodes; see `workbench.precision.sensitivity.measured.exact`.

    Parameters
    ----------
    cuts
        Where the model is cut for any node, be it this worker's or not: which tensors the floating-point run hands out
        decides what ONNX Runtime fuses in it, and so the last bits of its numbers.
    samples, batch, task, memory
        As there.
    """

    cuts: Mapping[str, Cut]
    samples: Samples
    batch: int
    task: TaskMetric | None
    memory: int

    def here(self, model: Model, lowered: Model, candidates: Sequence[str]) -> Iterator[NodeError]:
        """Yield the error of each node as soon as it is measured, in the order given."""
        if not candidates:
            return
        cuts = [self.cuts[node] for node in candidates]
        with ActivationStore(self.memory) as store:
            reference = _Reference(self, model, lowered, cuts, store)
            for part in cuts:
                yield reference.error(part)

    def spread(
        self, model: Model, lowered: Model, groups: Sequence[Sequence[str]], executor: Executor
    ) -> Iterator[NodeError]:
        """Yield the errors of groups of nodes as the executor finishes them."""
        contents = model.to_bytes(), lowered.to_bytes()
        futures: list[Future[list[NodeError]]] = []
        try:
            futures += [executor.submit(_remote, self, *contents, list(group)) for group in groups]
            for future in as_completed(futures):
                yield from future.result()
        except WorkbenchError:
            raise
        except BrokenExecutor as error:
            raise BackendError(
                "a worker of the pool died",
                where=model.name,
                fix="Most often memory ran out: take fewer workers. With a journal a new run goes on from here.",
            ) from error
        except Exception as error:  # whatever a pool of any kind makes of a worker that failed
            raise BackendError(f"a worker failed: {type(error).__name__}: {error}", where=model.name) from error
        finally:
            for future in futures:
                future.cancel()


def _remote(work: Work, original: bytes, quantized: bytes, candidates: list[str]) -> list[NodeError]:
    model, lowered = (from_proto(onnx.load_from_string(content)) for content in (original, quantized))
    return list(work.here(model, lowered, candidates))


class _Reference:
    """The floating-point run: what it computed at the cuts and at the end is in the store."""

    def __init__(self, work: Work, model: Model, lowered: Model, cuts: Sequence[Cut], store: ActivationStore) -> None:
        self._work, self._model, self._lowered, self._store = work, model, lowered, store
        self._outputs = [tensor.name for tensor in model.outputs]
        self._runs: list[Feed] = []  # without what was fed, which is in the store
        fed = {tensor.name for tensor in model.inputs}
        kept = dict.fromkeys([*(name for part in cuts for name in part.boundary), *self._outputs])
        watched = dict.fromkeys([*(name for part in work.cuts.values() for name in part.boundary), *self._outputs])
        session = Session(model, outputs=[name for name in watched if name not in fed])
        self._dtypes = {}
        for feed in stoppable(feeds(work.samples, model, batch=work.batch)):
            arrays = {**feed.arrays, **session.run(feed.arrays)}
            self._dtypes = {name: array.dtype for name, array in arrays.items()}
            store.put(len(self._runs), {name: arrays[name] for name in kept})
            self._runs.append(replace(feed, arrays={}))

    def error(self, part: Cut) -> NodeError:
        """Run what lies downstream of a node with the node in INT8."""
        session = None
        if part.outputs:
            changed = downstream(self._model, self._lowered, part, self._dtypes)
            session = Session(changed, apart=len(self._runs))
        total = ErrorSum()
        outcomes: list[Outputs] = []
        runs = range(len(self._runs))
        results: Iterator[Outputs] = iter([{} for _ in runs])
        if session is not None:
            results = session.run_each(self._store.get(run, part.boundary) for run in runs)
        for run, result in zip(runs, results, strict=True):
            feed, reference = self._runs[run], self._store.get(run, self._outputs)
            real = {name: feed.real(array) for name, array in reference.items()}
            before = {name: reference[name][rows] for name, rows in real.items()}
            after = {**before, **{name: array[real[name]] for name, array in result.items()}}
            total.update(before, after)
            if self._work.task is not None:
                outcomes.append(after)
        task = None if self._work.task is None else float(self._work.task(outcomes))
        op_type = self._model.top_nodes[part.node].op_type
        return NodeError(part.node, op_type, total.sqnr_db, total.mean_kl, task, total.differing)
