"""Something in a chart that can be pointed at and selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.artist import Artist

__all__ = ["Spot"]


@dataclass(frozen=True)
class Spot:
    """Something in a chart that tells more: what pointing at it says, and the nodes that it stands for.

    Parameters
    ----------
    key
        Another one for each spot of a chart, of letters, digits and hyphens.
    text
        One line.
    nodes
        Addresses; selecting the spot selects them everywhere.
    """

    key: str
    text: str
    nodes: tuple[str, ...] = ()

    def mark(self, artist: Artist) -> None:
        """Give something that is drawn this name, which matplotlib writes into the SVG."""
        artist.set_gid(f"spot-{self.key}")
