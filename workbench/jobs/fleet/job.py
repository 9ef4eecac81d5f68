"""The job: every site of a fleet over Dask, taken up again where an earlier run was stopped."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.display import Card, Shown
from workbench.errors import BackendError
from workbench.files import write_text
from workbench.handoff import fleet_page
from workbench.handoff.ci import Case, cases_table
from workbench.jobs.fleet.plan import load_plan
from workbench.jobs.fleet.site import SiteOutcome, known_outcome, run_site
from workbench.jobs.options import FleetOptions, job
from workbench.jobs.telling import tell_ci
from workbench.jobs.verbs import EXIT_GATE
from workbench.precision.measuring import NO_WORKER_S, WorkerWatch, scheduler_client
from workbench.progress import progress
from workbench.results import held_folder
from workbench.runtime import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from workbench.jobs.fleet.plan import Site

__all__ = ["FleetResult", "fleet"]

DEATHS = 1
"""Workers that may die with a site before it is given up: a crash in native code comes back."""

POLL_S = 0.1
AGAIN = ", and run the same command again: it goes on with the sites that are not done."


@dataclass(frozen=True)
class FleetResult(Shown):
    """The outcome of a fleet.

    Parameters
    ----------
    outcomes
        One a site, in the order of the document.
    taken_up
        Names of sites that an earlier run had done.
    files
        The page, the table, and what CI systems read.
    """

    outcomes: tuple[SiteOutcome, ...]
    taken_up: tuple[str, ...]
    files: tuple[Path, ...]

    @property
    def exit_code(self) -> int:
        """What the command line ends with: a gate's code where a site failed, an error's where one has no result."""
        states = {outcome.state for outcome in self.outcomes}
        return BackendError.exit_code if "broken" in states else EXIT_GATE if "failed" in states else 0

    def text(self) -> str:
        """Return a line a site."""
        width = max(len(outcome.site) for outcome in self.outcomes)
        lines = [f"{one.site:<{width}}  {one.state:<7} {one.worst}" for one in self.outcomes]
        if self.taken_up:
            lines.append(f"{len(self.taken_up)} of {len(self.outcomes)} were done by an earlier run")
        return "\n".join(lines)

    def _card(self) -> Card:
        passed = sum(outcome.passed for outcome in self.outcomes)
        rows = tuple((one.site, one.state, one.worst) for one in self.outcomes)
        return Card(f"{passed} of {len(self.outcomes)} sites passed", ("site", "", "worst figure"), rows)


@job(FleetOptions)
def fleet(options: FleetOptions) -> FleetResult:
    """See `FleetOptions`."""
    sites = load_plan(options.fleet)
    out = options.out.resolve()
    with held_folder(out):
        (out / "sites").mkdir(exist_ok=True)
        done: dict[str, SiteOutcome] = {}
        todo: dict[str, Site] = {}
        for name, site in sites.items():
            earlier = known_outcome(out, name, site)
            problem = site.problem()
            if earlier is not None:
                done[name] = earlier
            elif problem is not None:
                done[name] = SiteOutcome(name, site.key(), "broken", problem)
            else:
                todo[name] = site
        taken_up = tuple(name for name, outcome in done.items() if outcome.state != "broken")
        for outcome in progress(_run(todo, out, options), total=len(todo), doing="sites"):
            done[outcome.site] = outcome
        outcomes = tuple(done[name] for name in sites)
        page = write_text(out / "index.html", fleet_page(options.fleet.stem, [asdict(one) for one in outcomes]))
        table = write_text(out / "fleet.json", json.dumps([asdict(one) for one in outcomes], indent=1))
        cases = [Case("fleet", one.site, one.passed, one.worst, _details(one), one.seconds) for one in outcomes]
        comment = write_text(out / "summary.md", cases_table(f"fleet {options.fleet.stem}", cases))
    reports = tell_ci(f"fleet {options.fleet.stem}", cases, junit_file=options.junit, summary=options.summary)
    return FleetResult(outcomes, taken_up, (page, table, comment, *reports))


def _details(outcome: SiteOutcome) -> str:
    return "\n".join(text for text, _ in outcome.gates) or outcome.worst


def _run(todo: Mapping[str, Site], out: Path, options: FleetOptions) -> Iterator[SiteOutcome]:
    """Do sites as workers are free, and yield what happened to each as it comes."""
    if not todo:
        return
    try:
        from distributed import as_completed
    except ImportError as error:
        raise BackendError("a fleet needs Dask distributed", fix='pip install "trt-workbench[cluster]"') from error
    with _client(options, len(todo)) as client:
        keys = {name: site.key() for name, site in todo.items()}
        # The longest first: a long one that begins last is waited for by all other workers.
        longest = sorted(todo.items(), key=lambda item: item[1].size(), reverse=True)
        names = [name for name, _ in longest]
        # Keys of one group, and all at once: so the scheduler deals out nothing that no worker is free for.
        submitted = client.map(
            run_site,
            names,
            [site for _, site in longest],
            [str(out)] * len(names),
            [keys[name] for name in names],
            key=[("site", f"{name}-{keys[name]}") for name in names],
            pure=False,
        )
        futures = dict(zip(submitted, names, strict=True))
        done = as_completed(futures, loop=client.loop)
        watch, where = WorkerWatch(client), options.scheduler or client.scheduler.address
        while not done.is_empty():
            try:
                while not done.has_ready():
                    if watch.missing_s() >= NO_WORKER_S:
                        raise BackendError(
                            "the Dask scheduler has no worker left", where=where, fix=f"Start one{AGAIN}"
                        )
                    time.sleep(POLL_S)
                future = next(done)
                name, failure = futures[future], future.exception()
                outcome = future.result() if failure is None else _given_up(name, keys[name], failure)
            except (OSError, CancelledError) as error:
                raise BackendError("the Dask scheduler answers no more", where=where, fix=f"Start it{AGAIN}") from error
            if failure is not None:
                write_text(out / "sites" / f"{name}.json", json.dumps(asdict(outcome), indent=1))
            yield outcome


def _given_up(name: str, key: str, failure: BaseException) -> SiteOutcome:
    """Return the outcome of a site that its worker brought no outcome of."""
    reason = "the process that did it died" if type(failure).__name__ == "KilledWorker" else str(failure)
    return SiteOutcome(name, key, "broken", f"{type(failure).__name__}: {reason}")


@contextlib.contextmanager
def _client(options: FleetOptions, count: int) -> Iterator[Any]:
    if options.scheduler is not None:
        with scheduler_client(options.scheduler) as client:
            yield client
        return
    import dask
    from distributed import Client, LocalCluster

    from workbench.jobs.fleet.share import CoreShare

    workers = min(options.workers or usable_cores(), count)
    settings = {
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.worker.daemon": False,
        # One site a worker, and none that waits behind it.
        "distributed.scheduler.worker-saturation": 1.0,
        # Nobody looks at it, and it stops a worker a hundred times a second.
        "distributed.worker.profile.enabled": False,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(CoreShare(min(usable_cores(), count)))
        yield client
