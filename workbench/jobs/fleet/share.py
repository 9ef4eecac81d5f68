"""A worker's share of the processor: as many threads a worker as there are cores would be too many."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from distributed import WorkerPlugin

if TYPE_CHECKING:
    from distributed import Worker

__all__ = ["CoreShare"]


class CoreShare(WorkerPlugin):
    """Binds each worker of this machine to its cores, and one that takes the place of a dead one, too.

    Parameters
    ----------
    shares
        How many parts the cores are dealt into, whatever the number of workers: what is timed at a site does not depend
        on how many others there are.
    """

    name = "share"

    def __init__(self, shares: int) -> None:
        self.shares = shares

    def setup(self, worker: Worker) -> None:
        """Take the cores that belong to the worker's number."""
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, cores[int(worker.name) % self.shares :: self.shares])
