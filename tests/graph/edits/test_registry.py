"""Edits by name, for recipes and for the surgery widget."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from workbench.errors import EditError
from workbench.graph.edits.fold_constants import FoldConstants
from workbench.graph.edits.registry import EDITS, AnyEdit, edit_by_name


def test_every_edit_is_told_apart_by_its_name():
    adapter = TypeAdapter(AnyEdit)
    assert all(kind.model_fields["do"].default == name for name, kind in EDITS.items())
    assert adapter.validate_python({"do": "fold_constants"}) == FoldConstants()


def test_which_edits_are_to_keep_what_the_model_computes():
    """A check compares outputs after those alone; of weights without numbers there is nothing to run."""
    assert {name for name, kind in EDITS.items() if not kind.equivalent} == {
        "bypass",
        "correct_bias",
        "delete",
        "insert",
        "remove_qdq",
        "replace_node",
        "replace_pattern",
        "restore_weights",
        "set_input_type",
        "strip_weights",
        "surgeon",
        "symmetric_qdq",
    }
    assert [name for name, kind in EDITS.items() if not kind.runnable] == ["strip_weights"]
    assert {name: kind.oldest for name, kind in EDITS.items() if kind.oldest > 1} == {
        "equalize_channels": 7,
        "expand_gemm": 7,
        "split_bias": 7,
    }


def test_edit_by_name():
    assert edit_by_name("fold_constants") == FoldConstants()


def test_unknown_name_suggests_near_ones():
    with pytest.raises(EditError, match=r"fold_constant: there is no such edit. Did you mean fold_constants"):
        edit_by_name("fold_constant")


def test_unknown_argument_is_named():
    with pytest.raises(EditError, match="argument 'deep'"):
        edit_by_name("fold_constants", deep=True)


def test_what_an_edit_takes_is_told_beside_what_it_does_not():
    with pytest.raises(EditError) as odd:
        edit_by_name("remove_dead", deep=True)
    assert str(odd.value) == "remove_dead: argument 'deep': Extra inputs are not permitted. It takes only."
    with pytest.raises(EditError) as lacking:
        edit_by_name("rename_node", node="a")
    assert str(lacking.value) == "rename_node: argument 'to': Field required. It takes node, to."
    with pytest.raises(EditError) as inner:
        edit_by_name("extract", inputs=["a", 3], outputs=["b"])
    assert str(inner.value) == (
        "extract: argument 'inputs.1': Input should be a valid string. It takes inputs, outputs."
    )


def test_at_most_three_names_are_suggested():
    with pytest.raises(EditError) as refused:
        edit_by_name("remove")
    assert str(refused.value).count(" or ") == 2
    with pytest.raises(EditError, match=r"zzz: there is no such edit\. There are bypass, cast_operands"):
        edit_by_name("zzz")
