"""One site, in a worker: its result in a folder of its own, and beside it what happened to it."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.files import write_text
from workbench.recipe import Gate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.jobs.fleet.plan import Site
    from workbench.recipe import GateResult

__all__ = ["SiteOutcome", "known_outcome", "run_site"]


@dataclass(frozen=True)
class SiteOutcome:
    """The outcome of a site.

    Parameters
    ----------
    site
        Its name.
    key
        `Site.key` when it was done: another key means that it has to be done again.
    state
        ``passed``, ``failed`` (a gate) or ``broken`` (no result).
    worst
        The gate with the least room, or how far beyond its bound; what is wrong where it is broken.
    gates
        The outcome of each gate: the text, whether it passed.
    files
        Its results, relative to the fleet's folder.
    seconds, worker
        How long it took, and where.
    """

    site: str
    key: str
    state: str
    worst: str
    gates: tuple[tuple[str, bool], ...] = ()
    files: tuple[str, ...] = ()
    seconds: float = 0.0
    worker: str = ""

    @property
    def passed(self) -> bool:
        """Whether it has a result, and every gate was met."""
        return self.state == "passed"


def known_outcome(out: Path, name: str, site: Site) -> SiteOutcome | None:
    """Return what happened to a site earlier; ``None`` where it has to be done: never, broken, or with other inputs."""
    try:
        content = json.loads((out / "sites" / f"{name}.json").read_text())
        gates = tuple((str(text), bool(passed)) for text, passed in content.pop("gates"))
        outcome = SiteOutcome(**{**content, "gates": gates, "files": tuple(content["files"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = all((out / file).is_file() for file in outcome.files)
    return outcome if outcome.key == site.key() and outcome.state != "broken" and whole else None


def run_site(name: str, site: Site, out: str, key: str) -> SiteOutcome:
    """Do one site; whatever goes wrong is its own outcome."""
    import os
    import platform

    folder, start = Path(out), time.perf_counter()
    worker = f"{platform.node()}:{os.getpid()}"
    try:
        files, verdicts, figure = _done(site, folder / "sites" / name)
    except WorkbenchError as error:
        outcome = SiteOutcome(name, key, "broken", str(error), seconds=time.perf_counter() - start, worker=worker)
    except Exception as error:  # noqa: BLE001 - a site that fails in a way that nobody foresaw stops no other
        reason = f"{type(error).__name__}: {error}"
        outcome = SiteOutcome(name, key, "broken", reason, seconds=time.perf_counter() - start, worker=worker)
    else:
        outcome = SiteOutcome(
            name,
            key,
            "passed" if all(verdict.passed for verdict in verdicts) else "failed",
            _worst(verdicts) or figure,
            tuple((str(verdict), verdict.passed) for verdict in verdicts),
            tuple(str(file.relative_to(folder)) for file in files),
            time.perf_counter() - start,
            worker,
        )
    write_text(folder / "sites" / f"{name}.json", json.dumps(asdict(outcome), indent=1))
    return outcome


def _done(site: Site, folder: Path) -> tuple[Sequence[Path], Sequence[GateResult], str]:
    """Replay or tune; return files, gates, and the figure that matters where there are no gates."""
    if site.recipe is None:
        from workbench.jobs.tuning import tune

        own: dict[str, Any] = {"evaluation": site.eval_samples, "labels": site.labels, "target": site.target}
        own |= {"preset": site.preset, "method": site.method, "batch": site.batch}
        options = {name: value for name, value in own.items() if value is not None}
        result = tune(site.model, site.samples, folder, gates=site.gates, runs=site.runs, **options)
        sqnr = result.comparison.worst_sqnr_db
        figure = "no floating-point output" if math.isnan(sqnr) else f"SQNR {sqnr:.1f} dB at the worst output"
        return result.files, result.verdicts, figure
    from workbench.jobs.replaying import replay

    settings = tuple(
        f"{name}={value}"
        for name in ("model", "samples", "eval_samples", "labels", "target")
        if (value := getattr(site, name)) is not None
    )
    again = replay(
        site.recipe,
        folder,
        settings=settings,
        gates=site.gates,
        backend=site.backend,
        runs=site.runs,
        allow_scripts=site.allow_scripts,
    )
    return again.files, again.verdicts, again.text().splitlines()[0]


def _worst(verdicts: Sequence[GateResult]) -> str:
    """Return the gate with the least room, as a share of its bound; one that was not measured is worse than all."""

    def room(verdict: GateResult) -> float:
        if verdict.value is None or (not verdict.passed and verdict.missed_by is None):
            return -math.inf
        gate = Gate.parse(verdict.gate)
        bound = abs(gate.at_most if gate.at_most is not None else gate.at_least or 0.0)
        if not bound and verdict.passed:  # nothing was allowed and nothing is there: no matter of more or less
            return math.inf
        return -gate.missed_by(verdict.value) / (bound or 1.0)

    return str(min(verdicts, key=room)) if verdicts else ""
