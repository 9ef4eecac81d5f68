"""The verbs: which job each does, and what it prints of what came."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from workbench.cli.command import command
from workbench.cli.doctor import doctor
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from workbench.graph import Summary
    from workbench.jobs import BenchResult, CheckResult, EngineResult, Migration, ReplayResult, TuneResult

__all__ = ["EXIT_GATE", "EXIT_REFUSED", "VERBS"]

EXIT_GATE = 12
EXIT_REFUSED = 13


def _tuned(result: TuneResult) -> int:
    if result.search is not None:
        click.echo(f"{result.search.text()}\n")
    click.echo(f"{result.table()}\n")
    for verdict in result.verdicts:
        click.echo(f"gate {verdict}")
    for sentence in (*result.remarks, *result.workbench.advice):
        click.echo(f"note: {sentence}")
    _wrote(result.files)
    return 0 if result.passed else EXIT_GATE


def _done(result: ReplayResult | Migration) -> None:
    click.echo(result.text())
    _wrote(result.files)


def _benched(result: BenchResult) -> int:
    click.echo(result.text())
    return 0 if result.whole else BackendError.exit_code


def _inspected(summary: Summary, *, as_json: bool) -> None:
    click.echo(summary.to_json() if as_json else summary.text())


def _read(result: EngineResult, *, as_json: bool) -> None:
    if as_json and result.comparison is not None:
        raise click.UsageError("--json is about one engine; the comparison is text, or in --html.")
    click.echo(result.summary.json() if as_json else result.text())
    _wrote(result.files, err=as_json)


def _checked(result: CheckResult, *, as_json: bool) -> int:
    for note in result.notes:
        click.echo(note, err=as_json)
    click.echo(json.dumps(result.to_dict(), indent=1) if as_json else result.text())
    _wrote(result.files, err=as_json)
    return 0 if result.accepted else EXIT_REFUSED


def _wrote(files: Iterable[Path], *, err: bool = False) -> None:
    for path in files:
        click.echo(f"wrote {path}", err=err)


def _verb(name: str, job: str, options: str, show: Callable[..., int | None], *, as_json: bool = False) -> Any:
    def make() -> click.Command:
        # Options are only loaded with their verb: a command that is typed should answer at once.
        from workbench.jobs import options as known

        extra = [click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")] if as_json else []
        return command(name, f"workbench.jobs:{job}", getattr(known, options), show, extra)

    return make


VERBS: Mapping[str, Callable[[], click.Command]] = {
    "tune": _verb("tune", "tune", "TuneOptions", _tuned),
    "search": _verb("search", "search", "SearchOptions", _tuned),
    "replay": _verb("replay", "replay", "ReplayOptions", _done),
    "migrate": _verb("migrate", "migrate", "MigrateOptions", _done),
    "inspect": _verb("inspect", "inspect", "InspectOptions", _inspected, as_json=True),
    "check": _verb("check", "check", "CheckOptions", _checked, as_json=True),
    "engine": _verb("engine", "read_engine", "EngineOptions", _read, as_json=True),
    "bench": _verb("bench", "bench.bench", "BenchOptions", _benched),
    "doctor": lambda: doctor,
}
"""Name to what makes the command. A new verb is a job, its options, and a line here."""
