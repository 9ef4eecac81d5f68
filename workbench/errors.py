"""The errors a user can meet: each says what is wrong, where, and what to do."""

from __future__ import annotations

import os
from typing import Any

__all__ = [
    "BackendError",
    "EditError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PlanWarning",
    "PrecisionError",
    "RecipeError",
    "ReportError",
    "SamplesError",
    "SamplesWarning",
    "SelectorError",
    "WorkbenchError",
]


class WorkbenchError(Exception):
    """Something the user can mend.

    Parameters
    ----------
    what
        What is wrong, in one sentence without a final full stop.
    where
        The file, node, tensor or line it is about.
    fix
        What to do about it, in one sentence.

    Attributes
    ----------
    exit_code
        The status the command line ends with; documented in docs/reference/exit-codes.md.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, fix: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.fix = fix
        line = what if self.where is None else f"{self.where}: {what}"
        # A sentence of a library may have brought its own end.
        end = "" if line.endswith((".", "?", "!")) else "."
        super().__init__(_one_line(line if fix is None else f"{line}{end} {fix}"))

    def _render_traceback_(self) -> list[str]:
        # IPython shows this instead of a traceback; WORKBENCH_DEBUG=1 brings it back.
        import traceback

        if os.environ.get("WORKBENCH_DEBUG"):
            return traceback.format_exception(type(self), self, self.__traceback__)
        return [f"{type(self).__name__}: {self}"]

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is made again of its message alone, which fails for those that need more.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[WorkbenchError], args: tuple[str, ...], state: dict[str, Any]) -> WorkbenchError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


def _one_line(text: str) -> str:
    """Return a text on one line that any terminal shows: names in a file may hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split("\n")))


class OptionError(WorkbenchError):
    """Options that do not exist, do not fit each other or hold no usable value."""

    exit_code = 2


class ModelError(WorkbenchError):
    """A model that cannot be loaded, or is not a valid ONNX model."""

    exit_code = 3


class SamplesError(WorkbenchError):
    """Samples or labels that do not fit the model, or are no usable numbers."""

    exit_code = 4


class RecipeError(WorkbenchError):
    """A recipe that cannot be read, or does not belong to this model."""

    exit_code = 5


class OutputError(WorkbenchError):
    """A result that cannot be written."""

    exit_code = 6


class BackendError(WorkbenchError):
    """A backend that is missing, cannot do what was asked, or failed doing it."""

    exit_code = 7


class SelectorError(WorkbenchError):
    """A selector that cannot be read, or matches nothing."""

    exit_code = 8


class EditError(WorkbenchError):
    """An edit that does not apply here, or would leave an invalid graph."""

    exit_code = 9


class PrecisionError(WorkbenchError):
    """A precision that a node or target cannot have."""

    exit_code = 10


class ReportError(WorkbenchError):
    """An engine report, profile or calibration cache that cannot be read or does not fit the model."""

    exit_code = 11


class SamplesWarning(UserWarning):
    """Samples that fit, and may have been meant otherwise."""


class PlanWarning(UserWarning):
    """A plan that does less than it says; what there is can still be made."""
