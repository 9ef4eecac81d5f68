"""The job: ask a real TensorRT compiler what it makes of a model, and mend what is known to help."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.backends.verdict import check as judge
from workbench.backends.verdict import mend
from workbench.display import Card, Shown
from workbench.errors import OptionError
from workbench.jobs.options import CheckOptions, job
from workbench.jobs.verbs import EXIT_REFUSED
from workbench.results import together
from workbench.session import open_model

if TYPE_CHECKING:
    from pathlib import Path

    from workbench.backends.verdict import Verdict

__all__ = ["CheckResult", "check"]


@dataclass(frozen=True, repr=False)
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
    """

    verdicts: tuple[Verdict, ...]
    remarks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether every target takes the model."""
        return all(verdict.accepted for verdict in self.verdicts)

    @property
    def exit_code(self) -> int:
        """What the command line ends with."""
        return 0 if self.accepted else EXIT_REFUSED

    def text(self) -> str:
        """Return what was said, node by node."""
        return "\n".join(str(verdict) for verdict in self.verdicts)

    def to_dict(self) -> list[dict[str, Any]]:
        """Return it as plain values, without the compiler's log."""
        verdicts = [asdict(verdict) for verdict in self.verdicts]
        return [{key: value for key, value in one.items() if key not in ("layers", "log")} for one in verdicts]

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def _card(self) -> Card:
        return Card.of_text(self.text())


@job(CheckOptions)
def check(options: CheckOptions) -> CheckResult:
    """See `CheckOptions`."""
    wb = open_model(options.model)
    shapes = dict(_shape(text) for text in options.shape)
    remarks = []
    for target in options.target if options.fix else ():
        mended = mend(wb.model, target, shapes=shapes)
        for edit in mended.edits:
            wb.edit(edit)
        remarks += [f"{target}: {note}" for note in mended.notes]
    verdicts = tuple(judge(wb.model, target, shapes=shapes) for target in options.target)
    files: tuple[Path, ...] = ()
    if options.out is not None:
        with together(options.out.parent):
            recipe = options.out.with_suffix(".recipe.yaml")
            files = (*wb.model.save(options.out), wb.recipe.save(recipe))
    return CheckResult(verdicts, tuple(remarks), files)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, lengths = text.rpartition(":")
    sizes = lengths.split("x")
    if not name or not all(size.isdecimal() for size in sizes):
        raise OptionError(f"`shape`: {text!r} is not like INPUT:1x3x224x224")
    return name, tuple(int(size) for size in sizes)
