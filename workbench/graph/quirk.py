"""Something odd about a model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Quirk"]


@dataclass(frozen=True)
class Quirk:
    """Something odd about a model that loading repaired or that is worth knowing.

    Parameters
    ----------
    kind
        A stable word for programs, for example ``"duplicate-name"``.
    where
        The node, tensor or file it is about.
    text
        One sentence for people, which says what was done about it.
    """

    kind: str
    where: str
    text: str
