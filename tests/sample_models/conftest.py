"""The sample models' scripts, imported as they import each other."""

from __future__ import annotations

import json

import pytest

from tests.kit.places import ROOT

FOLDER = ROOT / "sample_models"
LISTING = json.loads((FOLDER / "models.json").read_text())


def pytest_generate_tests(metafunc):
    """A test that takes `entry` runs once for each model listed."""
    if "entry" in metafunc.fixturenames:
        metafunc.parametrize("entry", LISTING["models"], ids=[entry["name"] for entry in LISTING["models"]])


@pytest.fixture(scope="session")
def folder():
    return FOLDER


@pytest.fixture(scope="session")
def listing():
    return LISTING


@pytest.fixture(scope="session")
def test_split():
    """Images and labels the expected figures were measured on."""
    import glyphs

    return glyphs.glyphs(LISTING["test"]["count"], glyphs.SPLITS["test"])
