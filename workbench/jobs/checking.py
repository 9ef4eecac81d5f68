"""The job: ask a real TensorRT compiler what it makes of a model, and mend what is known to help."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.display import Card, Shown
from workbench.errors import OptionError
from workbench.interpreter import booted_ahead
from workbench.jobs.options import CheckOptions, job
from workbench.jobs.verbs import EXIT_REFUSED
from workbench.results import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from workbench.backends.verdict import Matrix, Verdict
    from workbench.graph import Model

__all__ = ["CheckResult", "check"]


@dataclass(frozen=True)
class CheckResult(Shown):
    """What a compiler said of a model, for each target.

    Parameters
    ----------
    verdicts
        One a target, in the order asked.
    remarks
        What was done to help, a sentence each.
    files
        What was written.
    matrix
        What several releases said, where they were asked; there are no verdicts then.
    """

    verdicts: tuple[Verdict, ...]
    remarks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    matrix: Matrix | None = None

    @property
    def accepted(self) -> bool:
        """Whether every target takes the model."""
        return all(verdict.accepted for verdict in self.verdicts) and (self.matrix is None or self.matrix.accepted)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return 0 if self.accepted else EXIT_REFUSED

    def text(self) -> str:
        """Return what was said, node by node."""
        return self.matrix.text() if self.matrix is not None else "\n".join(str(verdict) for verdict in self.verdicts)

    def to_dict(self) -> list[dict[str, Any]] | dict[str, Any]:
        """Return it as plain values, without the compiler's log."""
        if self.matrix is not None:
            return self.matrix.to_dict()
        verdicts = [asdict(verdict) for verdict in self.verdicts]
        return [{key: value for key, value in one.items() if key not in ("layers", "log")} for one in verdicts]

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def _card(self) -> Card:
        return Card.of_text(self.text()) if self.matrix is None else self.matrix.card()


@job(CheckOptions)
def check(options: CheckOptions) -> CheckResult:
    """See `CheckOptions`."""
    if options.matrix:
        return _asked(options)
    # The compiler's library loads while this process imports what it needs, and reads the model.
    with booted_ahead("workbench.backends.compiler.nvinfer", "tensorrt_rtx"):
        return _judged(options)


def _judged(options: CheckOptions) -> CheckResult:
    from workbench.backends.verdict import check as judge
    from workbench.graph import load_model
    from workbench.handoff.ci import Case
    from workbench.jobs.telling import tell_ci

    targets = options.target or ("sm86",)
    shapes = dict(_shape(text) for text in options.shape)
    model = load_model(options.model)
    remarks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    if options.out is not None:
        model, remarks, files = _mended(model, options.out, targets, shapes)
    verdicts = tuple(judge(model, target, shapes=shapes) for target in targets)
    cases = [
        Case(verdict.compiler, f"{verdict.model} for {verdict.target}", verdict.accepted, str(verdict).splitlines()[0])
        for verdict in verdicts
    ]
    files += tell_ci(f"check of {options.model.name}", cases, junit_file=options.junit, summary=options.summary)
    return CheckResult(verdicts, remarks, files)


def _mended(
    model: Model, out: Path, targets: Iterable[str], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Model, tuple[str, ...], tuple[Path, ...]]:
    """Return the model with what is known to help, what was done, and the files that were written."""
    from workbench.backends.verdict import mend
    from workbench.session import Workbench

    wb, remarks = Workbench(model), []
    for target in targets:
        mended = mend(wb.model, target, shapes=shapes)
        for edit in mended.edits:
            wb.edit(edit)
        remarks += [f"{target}: {note}" for note in mended.notes]
    with together(out.parent):
        files = (*wb.model.save(out), wb.recipe.save(out.with_suffix(".recipe.yaml")))
    return wb.model, tuple(remarks), files


def _asked(options: CheckOptions) -> CheckResult:
    from workbench.backends.compiler import GPUS
    from workbench.graph import load_model
    from workbench.jobs.matrix import ask_releases, matrix_cases
    from workbench.jobs.telling import tell_ci

    load_model(options.model)  # what is no model is said once, not by every release
    for text in options.shape:
        _shape(text)
    matrix = ask_releases(options.model, options.releases, options.target or GPUS, options.shape)
    notes = [
        f"changed from {before} to {after}: {sentence}"
        for before, after in zip(matrix.releases, matrix.releases[1:], strict=False)
        for sentence in matrix.changes(before, after)
    ]
    title = f"check of {options.model.name} by {len(matrix.releases)} releases of TensorRT-RTX"
    cases = matrix_cases(matrix)
    files = tell_ci(title, cases, junit_file=options.junit, summary=options.summary, notes=notes)
    return CheckResult((), files=files, matrix=matrix)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, lengths = text.rpartition(":")
    sizes = lengths.split("x")
    if not name or not all(size.isdecimal() for size in sizes):
        raise OptionError(f"`shape`: {text!r} is not like INPUT:1x3x224x224")
    return name, tuple(int(size) for size in sizes)
