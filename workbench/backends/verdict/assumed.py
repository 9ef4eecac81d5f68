"""Shapes of dynamic inputs that nobody gave: which were assumed, and what else a model may be made for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.backends.profiles import DEFAULT_BATCH, DEFAULT_IMAGE_SIDE, DEFAULT_LENGTH, ProfileInput
from workbench.backends.protocol import ShapeRange

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from workbench.graph import Tensor

__all__ = ["Profile", "alternatives", "as_assumed", "assumed", "assumed_text", "written"]

Profile = tuple[ProfileInput, ...]

OTHERS = ((DEFAULT_IMAGE_SIDE, DEFAULT_LENGTH), (256, 256), (64, 16), (640, 512), (32, 1))
"""Sides of images, and lengths of other axes, that are tried with a batch of one where the default is refused."""


def assumed(profile: Profile) -> Profile:
    """Return the inputs whose shapes nobody gave."""
    return tuple(entry for entry in profile if not entry.stated)


def alternatives(profile: Profile, inputs: Iterable[Tensor]) -> Iterator[dict[str, ShapeRange]]:
    """Yield other shapes for the inputs whose shapes were assumed, and the given ones as they are.

    An axis counts as assumed where the model states no length and it has one of
    `workbench.backends.profiles.default_range`.
    """
    stated = {tensor.name: tensor.shape or () for tensor in inputs}
    seen = {tuple(entry.range for entry in profile)}
    for side, length in OTHERS:
        trial = {
            entry.name: entry.range if entry.stated else _with(entry.range, stated.get(entry.name, ()), side, length)
            for entry in profile
        }
        if tuple(trial.values()) not in seen:
            seen.add(tuple(trial.values()))
            yield trial


def _with(shapes: ShapeRange, stated: tuple[int | str | None, ...], side: int, length: int) -> ShapeRange:
    others = {
        (DEFAULT_IMAGE_SIDE,) * 3: (side,) * 3,
        (DEFAULT_LENGTH,) * 3: (length,) * 3,
        DEFAULT_BATCH: (1, 1, 1),
    }
    if len(stated) != len(shapes.opt):
        return shapes
    ranges = zip(shapes.min, shapes.opt, shapes.max, strict=True)
    axes = [
        axis if isinstance(known_length, int) else others.get(axis, axis)
        for axis, known_length in zip(ranges, stated, strict=True)
    ]
    low, opt, high = zip(*axes, strict=True) if axes else ((), (), ())
    return ShapeRange(tuple(low), tuple(opt), tuple(high))


def as_assumed(profile: Profile, first: Profile) -> Profile:
    """Return the profile of a trial, in which the inputs count as given that were given at `first`."""
    names = {entry.name for entry in first if entry.stated}
    return tuple(replace(entry, stated=entry.name in names) for entry in profile)


def written(profile: Profile) -> str:
    """Return assumed shapes as ``check`` takes them: ``--shape x:1x3x224x224``."""
    return " ".join(f"--shape {entry.name}:{_shape(entry.range.opt)}" for entry in assumed(profile))


def assumed_text(profile: Profile) -> str:
    """Return assumed shapes in words: ``x 1x3x224x224 to 8x3x224x224``."""
    return ", ".join(
        f"{entry.name} {_shape(entry.range.min)}"
        + (f" to {_shape(entry.range.max)}" if entry.range.min != entry.range.max else "")
        for entry in assumed(profile)
    )


def _shape(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))
