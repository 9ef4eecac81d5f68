"""What was built and measured so far, in a folder: engines, their reports, and a journal that a new search reads."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.backends import Measured, Timing, read_engine, write_engine
from workbench.engine import LayerTime
from workbench.errors import BackendError, PrecisionError, WorkbenchError
from workbench.files import write_text
from workbench.precision.measuring.work import Done
from workbench.precision.sensitivity import open_journal
from workbench.results import held_folder
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from workbench.backends import Capabilities
    from workbench.precision.measuring.work import TimingTask

__all__ = ["Store", "open_store"]

JOURNAL = "journal.jsonl"
ABOUT = {"measurement": "engines", "version": 1}
KEY_LENGTH = 16


@contextlib.contextmanager
def open_store(folder: str | os.PathLike[str] | None, able: Capabilities | None = None) -> Iterator[Store]:
    """Open a folder of measured engines, made where it does not exist; a temporary one where none is named.

    Parameters
    ----------
    folder
        Where files lie.
    able
        What measures: what another version or device did is not taken for its own.

    Raises
    ------
    OutputError
        It cannot be written to, or another process does so.
    PrecisionError
        Its journal is none.
    """
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(scratch_folder() if folder is None else held_folder(folder))
        journal = stack.enter_context(open_journal(place / JOURNAL, ABOUT))
        yield Store(place, journal, () if able is None else (str(able.version), *able.targets, str(able.device)))


class Store:
    """Finished tasks by their key: what goes into one decides what comes out, but for the noise of a measurement.

    Parameters
    ----------
    folder
        Where files lie. Each task that was measured gets ``NUMBER-NAME.graph.json``, ``.profile.json`` and
        ``.timing.json``, as `workbench engine` reads them, and ``.engine`` with its manifest.
    journal
        Lines about them.
    measured_by
        What else decides: the version that measures, and on which device.
    """

    def __init__(self, folder: Path, journal: Any, measured_by: tuple[str, ...] = ()) -> None:
        self.folder, self._journal, self._measured_by = folder, journal, measured_by
        try:
            self._entries: dict[str, dict[str, Any]] = {entry["key"]: entry for entry in journal.entries}
            self._last = max((int(entry["stem"].partition("-")[0]) for entry in journal.entries), default=0)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PrecisionError(
                "a line of this journal tells of no engine",
                where=folder / JOURNAL,
                fix="Name another folder, or delete this one to start again.",
            ) from error
        self.resumed = 0

    def timing_cache(self, *about: object) -> Path:
        """Return where the timing cache lies of builds that have these settings in common."""
        digest = hashlib.sha256(repr(about).encode()).hexdigest()[:8] if any(a is not None for a in about) else ""
        return self.folder / f"timing{'-' if digest else ''}{digest}.cache"

    @staticmethod
    def content(path: str | None) -> bytes | None:
        """Return what a timing cache holds; None where there is none."""
        return Path(path).read_bytes() if path is not None and Path(path).exists() else None

    def done_before(self, task: TimingTask) -> Done | None:
        """Return what came of a task before; None where it is to be done again.

        That is where it was not done, its files are gone, its engine was built and could not be timed, or its build was
        given up sooner than it would be now.
        """
        entry = self._entries.get(key_of(task, self._measured_by))
        if entry is None:
            return None
        stem = self.folder / entry["stem"]
        try:
            engine = read_engine(f"{stem}.engine") if entry["engine"] else None
            measured = {name: self._read(name, one) for name, one in entry["measured"].items()}
            done = Done(engine=engine, measured=measured, **entry["done"])
            limit_s = entry.get("limit_s") or 0.0
        except (WorkbenchError, OSError, AttributeError, ValueError, KeyError, TypeError):
            return None
        untimed = done.status == "built" and task.loadings > 0
        if untimed or (done.status == "too slow" and limit_s < (task.limit_s or math.inf)):
            return None
        self.resumed += 1
        return done

    def add(self, task: TimingTask, done: Done) -> None:
        """Keep what came of a task; it is on the disk before the next is begun."""
        self._last += 1
        stem = f"{self._last:02d}-{''.join(c if c.isalnum() else '-' for c in task.name)}"
        if done.engine is not None:
            write_engine(done.engine, self.folder / f"{stem}.engine")
        content = {}
        for name, measured in done.measured.items():
            own = stem if name == task.name else f"{stem}.beside-{''.join(c if c.isalnum() else '-' for c in name)}"
            self._write(own, measured)
            figures = {"timing": _plain(measured.timing), "layers": len(measured.layers), "error": measured.error}
            content[name] = {"stem": own, **figures}
        kept = {name: value for name, value in vars(done).items() if name not in {"engine", "measured", "cache"}}
        entry: dict[str, Any] = {
            "key": key_of(task, self._measured_by),
            "name": task.name,
            "stem": stem,
            "limit_s": task.limit_s,
            "engine": done.engine is not None,
            "measured": content,
            "done": kept,
        }
        self._entries[entry["key"]] = entry
        self._journal.add(entry)

    def _write(self, stem: str, measured: Measured) -> None:
        if measured.timing is None or measured.inspector is None:
            return
        for ending, text in measured.exports().items():
            write_text(self.folder / f"{stem}.{ending}", text)

    def _read(self, name: str, entry: dict[str, Any]) -> Measured:
        if entry["timing"] is None:
            return Measured(error=entry["error"])
        stem = self.folder / entry["stem"]
        # An engine on several streams has no profile.
        rows = json.loads(Path(f"{stem}.profile.json").read_text())[1:] if entry.get("layers", True) else []
        times = json.loads(Path(f"{stem}.timing.json").read_text())
        layers = tuple(LayerTime(one["name"], one["averageMs"], one["medianMs"]) for one in rows)
        inspector = Path(f"{stem}.graph.json").read_text()
        if not inspector:
            raise BackendError("nothing of this engine is left", where=name)
        return Measured(Timing(**entry["timing"]), tuple(one["computeMs"] for one in times), layers, inspector)


def key_of(task: TimingTask, measured_by: tuple[str, ...] = ()) -> str:
    """Return what a task is known by: all that decides what comes of it, what does it too."""
    build = None if task.build is None else asdict(replace(task.build, timing_cache=None))
    entry = {
        "name": task.name,
        "backend": task.backend,
        "model": None if task.model is None else hashlib.sha256(task.model).hexdigest(),
        "build": build,
        "beside": {name: engine.manifest.get("engine_sha256") for name, engine in sorted(task.beside.items())},
        "timing": asdict(task.timing),
        "loadings": task.loadings,
        "kept": task.kept,
        "measured by": measured_by,
    }
    return hashlib.sha256(json.dumps(entry, sort_keys=True, default=str).encode()).hexdigest()[:KEY_LENGTH]


def _plain(timing: Timing | None) -> dict[str, Any] | None:
    return None if timing is None else json.loads(json.dumps(timing.to_dict()))
