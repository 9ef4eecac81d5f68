"""Several releases of TensorRT-RTX side by side: what one takes and another refuses is told, node by node."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from workbench.backends.verdict import Cell, Matrix
from workbench.environments import packages_folder
from workbench.errors import BackendError
from workbench.jobs import check
from workbench.jobs.matrix import PACKAGES, RELEASES, _folder, matrix_cases

NODE = {"op": "Gemm", "status": "accepted", "reason": None, "types": ["FLOAT"], "arithmetic": "FLOAT"}
GOOD = Cell("1.6", "sm75", "accepted", {"fc": NODE, "conv": NODE | {"op": "Conv"}})
BAD = Cell(
    "1.7",
    "sm75",
    "refused",
    {"fc": NODE | {"status": "refused", "reason": "no FP32"}, "conv": NODE | {"op": "Conv", "types": ["HALF"]}},
    "fc (Gemm): no FP32",
)
NEWER = [replace(one, target="sm86") for one in (GOOD, BAD)]
MATRIX = Matrix("m", (GOOD, NEWER[0], BAD, NEWER[1]))


def test_what_changed_for_every_gpu_is_said_once():
    assert MATRIX.changes("1.6", "1.7") == (
        "accepted -> refused (fc (Gemm): no FP32)",
        "status accepted -> refused of fc (Gemm)",
        "types FLOAT -> HALF of conv (Conv)",
        "reason none -> no FP32 of fc (Gemm)",
    )
    only = Matrix("m", (GOOD, NEWER[0], BAD, replace(NEWER[0], release="1.7")))
    assert all(sentence.startswith("sm75: ") for sentence in only.changes("1.6", "1.7"))
    assert not MATRIX.accepted


def test_a_release_that_could_not_be_asked_is_no_refusal():
    cases = matrix_cases(Matrix("m", (GOOD, BAD, Cell("1.4", "sm75", "unknown", {}, "no network"))))
    assert [case.passed for case in cases] == [True, False, None]
    assert cases[1].details == "fc (Gemm): no FP32"
    assert cases[2].message == "unknown: no network"


def test_the_table_has_a_row_a_release_and_why_it_refuses():
    lines = MATRIX.text().splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["TensorRT-RTX", "sm75", "sm86"],
        ["1.6", "accepted", "accepted"],
        ["1.7", "refused", "refused"],
    ]
    assert "1.7 sm75, 1.7 sm86: fc (Gemm): no FP32" in lines


def test_two_real_releases_are_asked(small_cnn, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    releases = ("1.6", "1.7")
    try:
        _had("1.6")
    except BackendError as error:
        pytest.skip(f"TensorRT-RTX 1.6 could not be had: {error}")
    result = check(
        small_cnn,
        matrix=True,
        releases=releases,
        target=("sm75", "sm86"),
        shape=("x:1x3x8x8",),
        junit=tmp_path / "j.xml",
        summary=tmp_path / "s.md",
    )
    matrix = result.matrix
    assert [cell.outcome for cell in matrix.cells] == ["accepted", "accepted", "refused", "accepted"]
    # Release 1.7 gave up FP32 matrix products on Turing.
    assert matrix.cell("1.7", "sm75").nodes["head/fc"]["status"] == "refused"
    assert any("sm75: accepted -> refused" in sentence for sentence in matrix.changes(*releases))
    assert not any(sentence.startswith("sm86: accepted ->") for sentence in matrix.changes(*releases))
    assert result.exit_code == 13
    assert ET.parse(tmp_path / "j.xml").getroot().get("failures") == "1"  # noqa: S314 - our own
    assert "changed from 1.6 to 1.7" in (tmp_path / "s.md").read_text()
    assert json.loads(result.to_json())["changes"][0]["what"] == list(matrix.changes(*releases))


def _had(release):
    """Install a release for at most two minutes, where it is not in the cache."""
    import sys

    version = RELEASES[release]
    name = f"tensorrt-rtx-{version}-{sys.implementation.cache_tag}"
    packages_folder(name, [f"{one}=={version}" for one in PACKAGES], timeout_s=120)
    assert _folder(release) is not None
