"""What a job says in lines, where it has nothing else to show."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.display import ShownText

__all__ = ["Lines"]


@dataclass(frozen=True)
class Lines(ShownText):
    """Lines for a person.

    Parameters
    ----------
    lines
        What there is to say.
    exit_code
        What the command line ends with.
    """

    lines: tuple[str, ...]
    exit_code: int = 0

    def text(self) -> str:
        """Return them as one text."""
        return "\n".join(self.lines)
