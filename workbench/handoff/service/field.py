"""Statistics of what a service sees, counted as calibration counts: constant memory, no values kept.

Every so many runs the rows of one are handed to a thread, which runs them once more with the tensors inside made
outputs. Few runs wait for it; while those do, others pass by uncounted, so that it can never hold up an answer.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from workbench.calibration import Statistics, TensorStatistics
from workbench.errors import OptionError
from workbench.runtime import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from workbench.graph import Model
    from workbench.handoff.service.batching import Ran

__all__ = ["FieldStatistics"]

SAVE_S = 60.0
WAITING = 8
"""Runs that may wait to be counted, with their inputs in memory."""


class FieldStatistics:
    """Counts what comes in the field, and writes it to a file once a minute and at the end.

    Parameters
    ----------
    model
        The model that is served; tensors inside are computed as written, on the processor.
    tensors
        Floating-point tensors of its main graph: inputs, and others.
    file
        Where the statistics go; where it exists, counting goes on from it.
    every
        Of so many runs one is counted.
    on_counted
        Is told of each number of rows that were counted.

    Raises
    ------
    OptionError
        The file holds statistics of other tensors.
    OutputError
        It cannot be written.
    ReportError
        It holds no statistics.
    """

    def __init__(
        self,
        model: Model,
        tensors: Sequence[str],
        file: Path,
        *,
        every: int = 1,
        on_counted: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._file = file
        self._every = every
        self._on_counted = on_counted
        self._runs = 0
        self.statistics = Statistics({name: TensorStatistics() for name in tensors})
        if file.exists():
            before = Statistics.load(file)
            if before.keys() != self.statistics.keys():
                raise OptionError(f"`watch`: {file} holds statistics of other tensors; name another file")
            self.statistics = before
        inputs = {tensor.name for tensor in model.inputs}
        self._inside = [name for name in tensors if name not in inputs]
        self._session = Session(model, outputs=self._inside, observing=True) if self._inside else None
        self._waiting: queue.Queue[Ran | None] = queue.Queue(maxsize=WAITING + 1)  # and the end
        self._broken = False
        self._save()  # where that cannot be, it is said now and not at the end
        # The loop that counts is compiled, or read, before a request waits for it.
        TensorStatistics().update(np.zeros(1, np.float32))
        self._thread = threading.Thread(target=self._work, name="field statistics", daemon=True)
        self._thread.start()

    def __call__(self, run: Ran) -> None:
        """Take in a run, or let it pass; never waits."""
        self._runs += 1
        if (self._runs - 1) % self._every == 0 and self._waiting.qsize() < WAITING:
            self._waiting.put(run)

    def close(self) -> None:
        """Count what waits, and write the file."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (run := self._waiting.get()) is not None:
            self._unless_broken(self._count, run.feeds, run.rows)
            if time.monotonic() - self._saved > SAVE_S:
                self._unless_broken(self._save)
        self._unless_broken(self._save)

    def _unless_broken(self, do: Callable[..., None], *arguments: Any) -> None:
        if self._broken:
            return
        try:
            do(*arguments)
        except Exception:
            self._broken = True
            logging.getLogger(__name__).exception("the statistics of the field end here; the service goes on")

    def _count(self, feeds: Mapping[str, NDArray[Any]], rows: int) -> None:
        inside = self._session.run(feeds) if self._session is not None else {}
        for name, tensor in self.statistics.items():
            tensor.update(inside[name] if name in inside else feeds[name], samples=rows)
        self._on_counted(rows)

    def _save(self) -> None:
        self._saved = time.monotonic()
        self.statistics.save(self._file)
