"""Files that must stay what they are while they are used: what was measured on one is never said of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Unchanged"]

Stamp = tuple[int, int, int, int]


class Unchanged:
    """What some files looked like when they were opened.

    Parameters
    ----------
    paths
        The files.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._stamps = {path: _stamp(path) for path in paths}

    def __getstate__(self) -> dict[str, Any]:
        return {"_stamps": {path.absolute(): stamp for path, stamp in self._stamps.items()}}

    def check(self) -> None:
        """Compare the files with what they were.

        Raises
        ------
        SamplesError
            One was written anew, replaced or removed.
        """
        for path, stamp in self._stamps.items():
            if _stamp(path) != stamp:
                raise SamplesError(
                    "it was changed while it was in use", where=path, fix="Open it again once nothing writes to it."
                )


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
