"""What an engine computed over many runs, as one file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.files import write_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from workbench.calibration import Feed

    Array = np.ndarray[Any, Any]

__all__ = ["Outputs"]


class Outputs:
    """The outputs of runs, gathered: a row a sample where an output has one."""

    def __init__(self) -> None:
        self.samples = 0
        self._parts: dict[str, list[Array]] = {}
        self._rows: list[int] = []

    def add(self, feed: Feed, results: Mapping[str, Array]) -> None:
        """Add what one run computed; what padding made is left out where that can be told."""
        self.samples += feed.count
        self._rows.append(feed.rows)
        for name, array in results.items():
            self._parts.setdefault(name, []).append(array[feed.real(array)])

    def arrays(self) -> dict[str, Array]:
        """Return an array an output.

        Where every run made a row for each of its samples, the rows of all runs follow each other. Else the first axis
        counts runs; where the runs' shapes differ, each has an array of its own, named ``OUTPUT.0``, ``OUTPUT.1``, ...
        """
        joined: dict[str, Array] = {}
        for name, parts in self._parts.items():
            shapes = {part.shape for part in parts}
            rows = all(part.ndim and len(part) == rows for part, rows in zip(parts, self._rows, strict=True))
            if rows and len({shape[1:] for shape in shapes}) == 1:
                joined[name] = np.concatenate(parts)
            elif len(shapes) == 1:
                joined[name] = np.stack(parts)
            else:
                joined |= {f"{name}.{at}": part for at, part in enumerate(parts)}
        return joined

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the arrays as an ``.npz``.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        stream = io.BytesIO()
        np.savez(stream, **self.arrays())  # type: ignore[arg-type]  # an output may be called like a parameter
        return write_bytes(path, stream.getvalue())
