"""One file a family of lints; each is a function from a `EngineScene` to findings, and stands in `LINTS`."""

from workbench.engine.finding import EVERYWHERE, GPU, Lint
from workbench.engine.lints import batch, compute, moves

__all__ = ["LINTS"]

LINTS = (
    Lint(compute.silent_fp32, GPU),
    Lint(compute.wide_myelin, GPU),
    Lint(compute.wider_than_asked, EVERYWHERE),
    Lint(compute.no_tensor_cores, GPU),
    Lint(compute.alignment, GPU),
    Lint(compute.unfused, EVERYWHERE),
    Lint(compute.float_output, GPU),
    Lint(moves.reformats, EVERYWHERE),
    Lint(moves.lone_qdq, EVERYWHERE),
    Lint(moves.casts, EVERYWHERE),
    Lint(moves.converting_slices, GPU),
    Lint(batch.small_batch, GPU),
)
"""Every lint, with the backends whose reports it is for."""
