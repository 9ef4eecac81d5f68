"""Every edit by its name: what a recipe can hold, and what applies to the nodes somebody picked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import Field, ValidationError

from workbench.errors import EditError
from workbench.graph.edits.bias import MergeBias, SplitBias
from workbench.graph.edits.cast_operands import CastOperands
from workbench.graph.edits.convert_opset import ConvertOpset
from workbench.graph.edits.correct_bias import CorrectBias
from workbench.graph.edits.dequantize_constants import DequantizeConstants
from workbench.graph.edits.equalize_channels import EqualizeChannels
from workbench.graph.edits.expand_gemm import ExpandGemm
from workbench.graph.edits.extract import Extract
from workbench.graph.edits.fold_batch_norm import FoldBatchNorm
from workbench.graph.edits.fold_constants import FoldConstants
from workbench.graph.edits.graph_surgeon import Surgeon
from workbench.graph.edits.inputs import SetBatch, SetInputLayout, SetInputType
from workbench.graph.edits.node_edits import Bypass, Delete, Insert, RenameNode, RenameTensor, ReplaceNode
from workbench.graph.edits.outputs import DropOutput, MarkOutput
from workbench.graph.edits.remove_dead import RemoveDead
from workbench.graph.edits.remove_noops import RemoveNoops
from workbench.graph.edits.remove_qdq import RemoveQDQ
from workbench.graph.edits.rewrite import Expand, Fuse, ReplacePattern
from workbench.graph.edits.share_weights import ShareWeights
from workbench.graph.edits.state_kernel_shape import StateKernelShape
from workbench.graph.edits.strip_weights import RestoreWeights, StripWeights
from workbench.graph.edits.symmetric_qdq import SymmetricQDQ
from workbench.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workbench.graph.edits.base import Edit
    from workbench.graph.model import Model

__all__ = ["EDITS", "AnyEdit", "applicable", "edit_by_name"]

AnyEdit = Annotated[
    FoldConstants
    | FoldBatchNorm
    | EqualizeChannels
    | CorrectBias
    | MergeBias
    | SplitBias
    | Fuse
    | Expand
    | ReplacePattern
    | RemoveNoops
    | RemoveDead
    | ShareWeights
    | Insert
    | Bypass
    | Delete
    | ReplaceNode
    | RenameNode
    | RenameTensor
    | Extract
    | MarkOutput
    | DropOutput
    | SetBatch
    | SetInputType
    | SetInputLayout
    | ConvertOpset
    | CastOperands
    | DequantizeConstants
    | ExpandGemm
    | RemoveQDQ
    | SymmetricQDQ
    | StateKernelShape
    | StripWeights
    | RestoreWeights
    | Surgeon,
    Field(discriminator="do"),
]
"""Any edit, told apart by its field ``do``; for pydantic models such as the recipe."""

EDITS: dict[str, type[Edit]] = {kind.model_fields["do"].default: kind for kind in get_args(get_args(AnyEdit)[0])}
"""The edits' classes by the name that a recipe knows them by."""


def edit_by_name(name: str, /, **arguments: Any) -> Edit:
    """Make an edit from its name and arguments, as they stand in a recipe.

    Parameters
    ----------
    name
        For example ``"fold_constants"``; the keys of `EDITS`.
    **arguments
        The edit's fields.

    Raises
    ------
    EditError
        There is no such edit, or it does not take these arguments.
    """
    kind = EDITS.get(name)
    if kind is None:
        raise EditError("there is no such edit", where=name, fix=did_you_mean(name, sorted(EDITS), most=3, cutoff=0.5))
    try:
        return kind(**arguments)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        takes = ", ".join(field for field in kind.model_fields if field != "do") or "no arguments"
        raise EditError(f"argument {field!r}: {first['msg']}", where=name, fix=f"It takes {takes}.") from error


def applicable(model: Model, addresses: Sequence[str]) -> list[Edit]:
    """Return the edits that apply to some nodes, each ready to be called on the model.

    Parameters
    ----------
    model
        The model the nodes belong to.
    addresses
        Nodes as `Model.nodes` names them; none asks for the edits of the whole model.
    """
    fitting = [kind for kind in EDITS.values() if not 0 < model.opset < kind.oldest]
    return [edit for kind in fitting for edit in kind.offers(model, addresses)]
