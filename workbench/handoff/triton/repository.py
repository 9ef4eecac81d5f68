"""Write a model into a model repository of Triton: a new one, or one more version of a model that is there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import OutputError
from workbench.files import write_bytes, write_error, write_text
from workbench.handoff.triton.config import FILES, make_config, read_config, to_text
from workbench.handoff.triton.words import compose_text, model_page, repository_page
from workbench.results import held_folder
from workbench.scratch import scratch_folder

if TYPE_CHECKING:
    import os

    from workbench.handoff.triton.config import ServedModel

__all__ = ["WrittenRepository", "write_repository"]

CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class WrittenRepository:
    """What was written, and what was left as it was.

    Parameters
    ----------
    files
        Every file.
    kept
        Files that were there and are not what would have been written.
    """

    files: tuple[Path, ...]
    kept: tuple[Path, ...] = ()


def write_repository(
    served: ServedModel,
    out: str | os.PathLike[str],
    *,
    version: int,
    engine: Path | None = None,
    labels: str | None = None,
    warmed: str = "",
    release: str,
) -> WrittenRepository:
    """Write a version of a model.

    A new model appears as a whole. A new version of one that is there appears before the configuration that is its own
    takes the place of the old one.

    Parameters
    ----------
    served
        What is served, and how.
    out
        The repository; made where it does not exist.
    version
        Its number.
    engine
        The engine's file, for the platform ``plan``.
    labels
        What ``labels.txt`` holds.
    warmed
        What the page says of the warm-up.
    release
        The release of Triton's containers.

    Raises
    ------
    OutputError
        The version is there already; the folder of that name holds something else; nothing can be written.
    ModelError
        A version that is there has other inputs or outputs.
    """
    home = Path(out) / served.deployment.name
    config = make_config(served)
    try:
        with held_folder(out) as root:
            _check_room(home, version, config)
            with scratch_folder(root) as staging:
                staged = staging / home.name
                _stage(served, staged, version=version, engine=engine)
                if labels is not None:
                    write_text(staged / "labels.txt", labels)
                write_text(staged / "README.md", model_page(served, version, warmed, release))
                write_text(staged / CONFIG, to_text(config))
                files = sorted(file.relative_to(staging) for file in staged.rglob("*") if file.is_file())
                _land(staged, home)
            kept, beside = [], {"compose.yaml": compose_text(release), "README.md": repository_page(release)}
            for file, text in beside.items():
                path = root / file
                if path.exists() and path.read_text("utf-8", errors="replace") != text:
                    kept.append(path)
                else:
                    write_text(path, text)
                    files.append(Path(file))
            return WrittenRepository(tuple(root / file for file in files), tuple(kept))
    except OSError as error:
        raise write_error(error, home) from error


def _stage(served: ServedModel, staged: Path, *, version: int, engine: Path | None) -> None:
    """Write what Triton loads, and what it warms up with."""
    content = staged / str(version)
    content.mkdir(parents=True)
    sources = served.deployment.files if engine is None else (engine,)
    for source in sources:
        target = FILES[served.platform] if source == sources[0] else source.name
        shutil.copyfile(source, content / target)
    for warm_up in served.warm_ups[:1]:
        (staged / "warmup").mkdir()
        for tensor in warm_up.tensors:
            write_bytes(staged / "warmup" / tensor.file, tensor.content)


def _check_room(home: Path, version: int, config: Any) -> None:
    if (home / str(version)).exists():
        taken = [int(entry.name) for entry in home.iterdir() if entry.name.isdecimal()]
        raise OutputError(
            f"there is a version {version} of {home.name} already",
            where=home,
            fix=f"Write it as another one (--version {max(taken) + 1}), or under another name (--name).",
        )
    if not (home / CONFIG).is_file():
        if home.exists() and (not home.is_dir() or any(home.iterdir())):
            raise OutputError("this is no model of Triton", where=home, fix="Choose another --name or --out.")
        return
    there = read_config((home / CONFIG).read_text("utf-8", errors="replace"), home / CONFIG)
    for what in ("platform", "input", "output", "max_batch_size"):
        old, new = getattr(there, what), getattr(config, what)
        if what == "max_batch_size":
            old, new = bool(old), bool(new)
        elif what in ("input", "output"):
            old, new = _ports(old), _ports(new)
        if old != new:
            raise OutputError(
                f"the versions of it that are there have another {what.replace('_', ' ')}, and all share {CONFIG}",
                where=home,
                fix="Write it under another name (--name).",
            )


def _ports(entries: Any) -> list[tuple[str, int, tuple[int, ...]]]:
    return sorted((entry.name, entry.data_type, tuple(entry.dims)) for entry in entries)


def _land(staged: Path, home: Path) -> None:
    """Put a staged model in its place; the configuration comes last."""
    if not home.exists() or not any(home.iterdir()):
        staged.rename(home)
        return
    for entry in sorted(staged.iterdir(), key=lambda entry: entry.name == CONFIG):
        if not entry.is_dir():
            entry.replace(home / entry.name)
        elif entry.name.isdecimal():
            entry.rename(home / entry.name)
        else:
            (home / entry.name).mkdir(exist_ok=True)
            for file in entry.iterdir():
                file.replace(home / entry.name / file.name)
