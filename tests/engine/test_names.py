"""Layer names taken apart."""

from __future__ import annotations

import pytest

from workbench.engine.names import (
    foreign_range,
    is_view_of,
    metadata_nodes,
    myelin_group,
    name_parts,
    original_of,
    profile_of,
    reformat_target,
    without_profile,
)


@pytest.mark.parametrize("separator", ["\x1e", "\x1f", ""])
def test_metadata_entries(separator):
    text = separator.join(f"[ONNX Layer: {name}]" for name in ("a/b", "odd [1] name", "a/b"))
    assert metadata_nodes(text) == ("a/b", "odd [1] name")
    assert metadata_nodes("") == ()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a + b", ("a", "b")),
        ("a + b || c + d", ("a", "b", "c", "d")),
        ("PWN(PWN(463 + (Unnamed Layer* 221) [Shuffle], n_464), PWN(n_466))", ("463", "n_464", "n_466")),
        ("w + Conv_12 + PWN(Clip_16)", ("w", "Conv_12", "Clip_16")),
        ("Reformatting CopyNode for Input Tensor 0 to a + b", ()),
        ("(Unnamed Layer* 216) [Shuffle]", ()),
        ("__myl_MaxrSubExpSum_myl5_4", ()),
        ("node_linear [profile 1]_myl11_2", ("node_linear",)),
        ("{ForeignNode[/a/MatMul.../b/Add]}", ("{ForeignNode[/a/MatMul.../b/Add]}",)),
        ("odd(1, 2) + b", ("odd(1, 2)", "b")),
        ("odd(1 + 2) + b", ("odd(1 + 2)", "b")),
        ("(a + b) + c", ("(a + b)", "c")),
        ("unbalanced) + b", ("unbalanced)", "b")),
        ("", ()),
    ],
)
def test_name_parts(name, parts):
    assert name_parts(name) == parts


def test_other_meanings():
    assert foreign_range("{ForeignNode[/a/x.../b/y]}") == ("/a/x", "/b/y")
    assert foreign_range("a + b") is None
    assert reformat_target("Reformatting CopyNode for Output Tensor 2 to a + b") == "a + b"
    assert reformat_target("Reformatting CopyNode for Network Input images") == "images"
    assert original_of("931/QuantizeLinear_clone_1") == "931/QuantizeLinear"
    assert original_of("conv_clone") is None
    assert is_view_of("reshape_after_fc") == "fc"
    assert is_view_of("fc") is None
    assert profile_of("x [profile 12]") == 12
    assert profile_of("x") is None
    assert without_profile("a [profile 1]_myl11_2") == "a_myl11_2"
    assert myelin_group("__myl_Cast_myl5_7") == "5"
