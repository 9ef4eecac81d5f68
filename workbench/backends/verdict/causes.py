"""Why TensorRT refuses a node, or quietly changes it, and what helps: one small function a cause.

Each function looks at one node, and at what the compiler said of it, and names the cause or says None. They are tried
in order; the first answer counts. A cause marked `quiet` is no refusal: TensorRT takes the node and makes something
else of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.backends.verdict.operators import OPERATORS, UNSUPPORTED, custom_domain, turing_matrix_product
from workbench.backends.verdict.quantization import QUANTIZATION
from workbench.backends.verdict.tensor_types import OPERAND_TYPES, TYPES, behind_range, double, range_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.backends.verdict.cause import Cause, CauseSite

__all__ = ["CAUSES", "find_cause"]

CAUSES: tuple[Callable[[CauseSite], Cause | None], ...] = (
    *QUANTIZATION,
    turing_matrix_product,
    custom_domain,
    *TYPES,
    *OPERATORS,
    *OPERAND_TYPES,
    *UNSUPPORTED,
    double,
    range_length,
    behind_range,
)


def find_cause(site: CauseSite) -> Cause | None:
    """Return the first known cause that explains this node, or None."""
    return next((cause for function in CAUSES if (cause := function(site)) is not None), None)
