"""Optimization profiles: the shapes a dynamic input may take, as given or by a documented default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ProfileInput", "add_profiles", "choose_profiles", "default_range"]

DEFAULT_BATCH = (1, 1, 8)
DEFAULT_CHANNELS = 3
DEFAULT_IMAGE_SIDE = 224
DEFAULT_LENGTH = 128


@dataclass(frozen=True)
class ProfileInput:
    """The shapes an input was built for, and whether they were given or taken by default."""

    name: str
    range: ShapeRange
    stated: bool


def choose_profiles(network: Any, options: BuildOptions) -> list[tuple[ProfileInput, ...]]:
    """Return the optimization profiles: those given, completed by the default for inputs they leave out."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    names = {str(t.name) for t in inputs}
    profiles = options.profiles or ({},)
    for profile in profiles:
        unknown = sorted(set(profile) - names)
        if unknown:
            raise BackendError(
                f"the optimization profile names {', '.join(unknown)}, which is no input",
                fix=f"The inputs are {', '.join(sorted(names))}.",
            )
    dynamic = [t for t in inputs if t.is_shape_tensor or any(n < 0 for n in t.shape)]
    return [_profile(dynamic, profile) for profile in profiles] if dynamic else []


def _profile(dynamic: list[Any], stated: Mapping[str, ShapeRange]) -> tuple[ProfileInput, ...]:
    # An axis that has a name in one input has the same length wherever the name comes again. What was given decides
    # first, then whatever stands on a first axis, which is taken for the batch.
    named: dict[str, tuple[int, int, int]] = {}
    ranges: dict[str, ShapeRange] = {}
    for tensor in sorted(dynamic, key=lambda t: (t.name not in stated, _leading_name(t) is None)):
        name = str(tensor.name)
        if name in stated:
            ranges[name] = _checked(tensor, stated[name])
        elif tensor.is_shape_tensor:
            # A scalar holds one value, as a vector of one does.
            ranges[name] = ShapeRange.fixed((1,) * max((1, *tensor.shape)))
        else:
            ranges[name] = default_range(
                tuple(tensor.shape), [named.get(_name(tensor, i)) for i in range(len(tensor.shape))]
            )
        if not tensor.is_shape_tensor:
            for axis, lengths in enumerate(zip(ranges[name].min, ranges[name].opt, ranges[name].max, strict=True)):
                if _name(tensor, axis):
                    named.setdefault(_name(tensor, axis), lengths)
    return tuple(ProfileInput(str(t.name), ranges[str(t.name)], stated=t.name in stated) for t in dynamic)


def _name(tensor: Any, axis: int) -> str:
    # TensorRT 8.6 knows no names for axes; the empty one is in no table.
    return str(tensor.get_dimension_name(axis) or "") if hasattr(tensor, "get_dimension_name") else ""


def _leading_name(tensor: Any) -> str | None:
    return (_name(tensor, 0) or None) if len(tensor.shape) else None


def _checked(tensor: Any, shapes: ShapeRange) -> ShapeRange:
    if tensor.is_shape_tensor:
        return shapes
    shape = tuple(tensor.shape)
    fits = len(shape) == len(shapes.opt) and all(
        n < 0 or n == low == high for n, low, high in zip(shape, shapes.min, shapes.max, strict=True)
    )
    if not fits:
        raise BackendError(
            f"input {tensor.name!r} has shape {shape}; the profile asks for {shapes.min} to {shapes.max}",
            fix="Keep the rank and the fixed axes; only axes shown as -1 may vary.",
        )
    return shapes


def default_range(
    shape: tuple[int, ...], axis_ranges: Sequence[tuple[int, int, int] | None] | None = None
) -> ShapeRange:
    """Choose shapes for an input with unknown lengths, where the user gave none.

    The first axis is taken for the batch: 1 to 8, tuned for 1. Any other unknown axis gets one length: 224 for height
    and width of a rank-4 tensor, 3 for its channels, 128 elsewhere. Channels come second, or last where a tensor says
    that it has 1, 3 or 4 there and nothing of those before.

    Parameters
    ----------
    shape
        The input's shape, -1 where unknown.
    axis_ranges
        For each axis, the (min, opt, max) that an axis of the same name has in another input.
    """
    image_rank = 4
    if not shape:
        return ShapeRange.fixed(())
    channels_last = shape[-1] in (1, 3, 4) and shape[1:-1] == (-1, -1)

    def lengths(axis: int) -> tuple[int, int, int]:
        if shape[axis] >= 0:
            return (shape[axis],) * 3
        met = None if axis_ranges is None else axis_ranges[axis]
        if met is not None:
            return met
        if axis == 0:
            return DEFAULT_BATCH
        if len(shape) == image_rank:
            return (DEFAULT_CHANNELS,) * 3 if axis == 1 and not channels_last else (DEFAULT_IMAGE_SIDE,) * 3
        return (DEFAULT_LENGTH,) * 3

    low, opt, high = zip(*(lengths(axis) for axis in range(len(shape))), strict=True)
    return ShapeRange(tuple(low), tuple(opt), tuple(high))


def add_profiles(
    builder: Any, network: Any, config: Any, options: BuildOptions, profiles: list[tuple[ProfileInput, ...]]
) -> None:
    """Give the profiles to a builder configuration; the last one also calibrates, where a cache was asked for."""
    tensors = {str(t.name): t for t in (network.get_input(i) for i in range(network.num_inputs))}
    for inputs in profiles:
        profile = builder.create_optimization_profile()
        for entry in inputs:
            place = profile.set_shape_input if tensors[entry.name].is_shape_tensor else profile.set_shape
            place(entry.name, entry.range.min, entry.range.opt, entry.range.max)
        config.add_optimization_profile(profile)
        if options.calibration_cache is not None and hasattr(config, "set_calibration_profile"):
            config.set_calibration_profile(profile)
