"""Format strings and bytes."""

from __future__ import annotations

import re

import pytest

from workbench.engine.formats import BITS, MOST_ELEMENTS, TensorFormat, parse_dtype, parse_format, tensor_bytes

KNOWN = [
    ("Row major linear FP32", "fp32", "linear", 1),
    ("Row major linear FP16 format", "fp16", "linear", 1),
    ("Row major Int8 format", "int8", "linear", 1),
    ("Row major linear BF16 format", "bf16", "linear", 1),
    ("Row major linear INT4 format", "int4", "linear", 1),
    ("Row major linear UInt8 format", "uint8", "linear", 1),
    ("Row major linear INT64 format", "int64", "linear", 1),
    ("Row major linear BOOL format", "bool", "linear", 1),
    ("Row major linear FP8 E4M3 format", "fp8", "linear", 1),
    ("Channel major FP32 format", "fp32", "channels-last", 1),
    ("Channel major FP16 format where channel % 8 == 0", "fp16", "channels-last", 8),
    ("Two wide channel vectorized row major FP16 format", "fp16", "vectorized", 2),
    ("Thirty-two wide channel vectorized row major Int8 format", "int8", "vectorized", 32),
    ("Row major linear FP32 format (kLINEAR)", "fp32", "linear", 1),
    ("kCHW32", None, "vectorized", 32),
    ("kHWC8", None, "channels-last", 8),
    ("Half", "fp16", "unstated", 1),
    ("BFloat16", "bf16", "unstated", 1),
    ("FP4E2M1", "fp4", "unstated", 1),
    ("Float8E4M3", "fp8", "unstated", 1),
    ("N/A due to dynamic shapes", None, None, 1),
    ("Spiral FP17 format", None, None, 1),
    ("Spiral FP16 format", "fp16", None, 1),
    (None, None, None, 1),
]


@pytest.mark.parametrize(("text", "dtype", "layout", "channels"), KNOWN)
def test_every_part_that_is_not_told_is_none(text, dtype, layout, channels):
    form = parse_format(text)
    assert (form.dtype, form.layout, form.channels) == (dtype, layout, channels)


@pytest.mark.parametrize(
    ("text", "spatial"),
    [
        ("kCDHW32", 3),
        ("kDHWC8", 3),
        ("kDHWC", 3),
        ("Channel major FP16 format where channel % 8 == 0 with 3 spatial dimensions", 3),
        ("Thirty-two wide channel vectorized row major Int8 format with 3 spatial dimensions", 3),
        ("kCHW32", 2),
        ("Thirty-two wide channel vectorized row major Int8 format", 2),
    ],
)
def test_volumes_have_three_spatial_axes(text, spatial):
    assert parse_format(text).spatial == spatial


def test_a_data_type_of_its_own_decides():
    form = parse_format("Thirty-two wide channel vectorized row major format", "Int8")
    assert (form.dtype, form.layout, form.channels) == ("int8", "vectorized", 32)
    assert parse_format("kLINEAR", "FP99").dtype is None
    assert parse_dtype("kFLOAT") == "fp32"


@pytest.mark.parametrize(
    ("dims", "form", "expected"),
    [
        ((32, 3, 224, 224), TensorFormat("", "fp32", "linear"), 32 * 3 * 224 * 224 * 4),
        ((32, 3, 224, 224), TensorFormat("", "int8", "vectorized", 32), 32 * 32 * 224 * 224),
        ((1, 3, 10, 10), TensorFormat("", "fp16", "channels-last", 4), 4 * 100 * 2),
        ((2, 3, 4, 5, 5), TensorFormat("", "int8", "vectorized", 32, 3), 2 * 32 * 4 * 25),
        ((2, 3, 4, 5, 5), TensorFormat("", "fp16", "channels-last", 8, 3), 2 * 8 * 4 * 25 * 2),
        ((3, 4, 5), TensorFormat("", "fp16", "channels-last", 8, 3), 3 * 4 * 8 * 2),
        ((32, 1000), TensorFormat("", "fp16", "channels-last", 16), 32 * 1008 * 2),
        ((3,), TensorFormat("", "int4", "linear"), 2),
        ((), TensorFormat("", "int64", "unstated"), 8),
        ((0, 4), TensorFormat("", "fp32", "linear"), 0),
        ((-1, 4), TensorFormat("", "fp32", "linear"), None),
        (None, TensorFormat("", "fp32", "linear"), None),
        ((1, 4), TensorFormat("", None, "linear"), None),
        ((1, 4), TensorFormat("", "fp32", None), None),
    ],
)
def test_bytes_are_padded_and_unknown_is_none(dims, form, expected):
    assert tensor_bytes(dims, form) == expected


def test_recorded_formats_are_all_understood(engines):
    texts = {
        text
        for path in engines.rglob("*.graph.json")
        for text in re.findall(r'"Format/Datatype": ?"([^"]*)"', path.read_text(errors="replace"))
    }
    unknown = {text for text in texts if parse_format(text).dtype is None or parse_format(text).layout is None}
    assert len(texts) > 12
    assert unknown == {"N/A due to dynamic shapes"}


def test_every_type_has_its_bits():
    # Eight elements take as many bytes as one has bits.
    assert {name: tensor_bytes((8,), TensorFormat("", name, "linear")) for name in BITS} == {
        "fp32": 32,
        "fp16": 16,
        "bf16": 16,
        "fp8": 8,
        "fp4": 4,
        "int64": 64,
        "int32": 32,
        "int8": 8,
        "uint8": 8,
        "int4": 4,
        "bool": 8,
    }


@pytest.mark.parametrize(
    ("word", "channels"),
    [("Two", 2), ("Four", 4), ("Eight", 8), ("Sixteen", 16), ("Thirty-two", 32), ("Sixty-four", 64)],
)
def test_channels_are_as_many_as_the_word_says(word, channels):
    form = parse_format(f"{word} wide channel vectorized row major Int8 format")
    assert (form.dtype, form.layout, form.channels, form.short) == (
        "int8",
        "vectorized",
        channels,
        f"int8 CHW{channels}",
    )


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("Row major linear FP32", "fp32 linear"),
        ("Channel major FP32 format", "fp32 HWC"),
        ("Channel major FP16 format where channel % 8 == 0", "fp16 HWC8"),
        ("kCHW32", "unknown CHW32"),
        ("Half", "fp16"),
        ("Spiral FP16 format", "fp16"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_a_format_in_a_few_letters(text, short):
    assert parse_format(text).short == short


def test_the_text_of_a_format_is_kept_with_that_of_its_data_type():
    assert parse_format(" Half ").text == "Half"
    assert parse_format("kLINEAR", "FP8").text == "kLINEAR FP8"
    assert parse_format(None, "FP8").text == "FP8"


def test_two_channels_are_padded_and_what_no_machine_holds_is_unknown():
    assert tensor_bytes((1, 3, 2, 2), TensorFormat("", "int8", "vectorized", 2)) == 16
    whole = TensorFormat("", "int64", "linear")
    assert tensor_bytes((MOST_ELEMENTS,), whole) == 8 * MOST_ELEMENTS
    assert tensor_bytes((MOST_ELEMENTS + 1,), whole) is None
