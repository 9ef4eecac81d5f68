"""Other ways to build a plan: build options that may change its speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from workbench.backends import BuildOptions
    from workbench.graph import Model

__all__ = ["Way", "ways_of"]

ARITHMETIC = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class Way(NamedTuple):
    """A name, what it is, and what is set in `BuildOptions`."""

    name: str
    move: str
    options: dict[str, int]


LEVEL_5 = Way("level-5", "builder optimization level 5", {"optimization_level": 5, "timing_iterations": 4})
ONE_STREAM = Way("one-stream", "without auxiliary streams", {"aux_streams": 0})
FOUR_STREAMS = Way("four-streams", "with up to four auxiliary streams", {"aux_streams": 4})


def ways_of(model: Model, build: BuildOptions, streams: int) -> list[Way]:
    """Return the ways that are worth a build.

    Parameters
    ----------
    model, build
        What was built, and how.
    streams
        How many auxiliary streams the builder chose by itself.
    """
    ways = [LEVEL_5]
    if streams:
        ways.append(ONE_STREAM)
    elif _side_by_side(model):
        ways.append(FOUR_STREAMS)
    return [way for way in ways if any(getattr(build, name) != value for name, value in way.options.items())]


def _side_by_side(model: Model) -> bool:
    """Say whether some nodes with arithmetic do not wait for each other."""
    before: dict[str, frozenset[int]] = {}
    count = 0
    for node in model.top_nodes.values():
        waits = frozenset().union(
            *(before.get(value.name or "", frozenset()) for value in node.inputs if value is not None)
        )
        if node.op_type in ARITHMETIC:
            if len(waits) < count:
                return True
            waits |= {count}
            count += 1
        before.update((value.name or "", waits) for value in node.outputs)
    return False
