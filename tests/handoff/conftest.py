"""What the tests of a hand-over share: a small model, tuned once."""

from __future__ import annotations

import pytest

import workbench


@pytest.fixture(scope="session")
def tuned_cnn(small_cnn, small_data, tmp_path_factory):
    """The folder that tuning `small_cnn` writes."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    workbench.tune(small_cnn, small_data, out, runs=0, batch=4)
    return out
