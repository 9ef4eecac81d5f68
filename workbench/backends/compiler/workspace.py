"""The workspace limit of a build where none was given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.backends.profiles import default_range

if TYPE_CHECKING:
    from workbench.backends.protocol import BuildOptions
    from workbench.graph import Model

__all__ = ["with_workspace"]


def with_workspace(options: BuildOptions, model: Model) -> BuildOptions:
    """Put the suggested workspace limit in the place of ``"suggested"``; None where sizes are not known.

    Symbolic axes have the largest length that a profile allows, or that the default profile has.
    """
    from workbench.graph import suggested_workspace

    if options.workspace_bytes != "suggested":
        return options
    sizes: dict[str, int] = {}
    for tensor in model.inputs:
        if tensor.shape is None:
            continue
        declared = tuple(length if isinstance(length, int) else -1 for length in tensor.shape)
        ranges = [profile[tensor.name] for profile in options.profiles or () if tensor.name in profile]
        for shapes in ranges or [default_range(declared)]:
            # An input that holds a shape has its values in a profile, whose number is not its rank.
            for axis, longest in zip(tensor.shape, shapes.max, strict=False):
                if isinstance(axis, str):
                    sizes[axis] = max(longest, sizes.get(axis, 0))
    return replace(options, workspace_bytes=suggested_workspace(model, sizes))
