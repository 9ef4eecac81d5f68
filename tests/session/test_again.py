"""Steps done again: as they were, and on other data where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.searching import calibrated, images, small
from tests.session.test_verbs import again, steps
from workbench.recipe import FileReference, ranges_hash
from workbench.recipe.steps import CacheStep
from workbench.session import Workbench, history_of


@pytest.fixture
def broken(tmp_path):
    """A network whose channels can be equalized, with four samples in a file."""
    return calibrated(small(broken=True), tmp_path, 4)


def test_a_calibration_is_done_again_by_its_method_and_looks_for_what_it_looked_for(broken, tmp_path):
    file = tmp_path / "samples.npz"
    broken.calibrate(file, method="percentile", percentile=97.0, batch=3, overflow=True)
    broken.ranges.choose("percentile", percentile=98.0)
    broken.calibrate(file, method="minmax", overflow=False)
    other, notes = again(broken)
    assert (other.recipe.steps, notes) == (broken.recipe.steps, [])


def test_channels_are_equalized_as_they_were_or_on_other_data(broken):
    broken.ranges.equalize()
    same, notes = again(broken)
    assert (same.recipe.steps, notes) == (broken.recipe.steps, [])
    louder = {name: array * np.array([1, 9, 1]).reshape(3, 1, 1) for name, array in images(broken.source, 3).items()}
    other, notes = again(broken, samples={name: array.astype(np.float32) for name, array in louder.items()}, anew=True)
    assert (steps(other), notes) == (steps(broken), [])
    assert other.tuned.digest != broken.tuned.digest


def test_ranges_out_of_a_cache_stay_where_nothing_is_to_be_measured(tmp_path):
    (tmp_path / "a.cache").write_text("")
    ranges = {"b": 1.0}
    session = Workbench(small())
    history_of(session).do(
        CacheStep(cache=FileReference.of(tmp_path / "a.cache"), ranges=ranges, sha256=ranges_hash(ranges))
    )
    session.set_range("x", 2.0)
    other, notes = again(session)
    assert (other.recipe.steps, notes) == (session.recipe.steps, [])
