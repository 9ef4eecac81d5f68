from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from workbench.calibration.drift import drift_table, drifts
from workbench.calibration.methods import ranges
from workbench.calibration.statistics import Statistics, TensorStatistics
from workbench.views.calibration.drift_picture import drift_chart


def gathered(**arrays) -> Statistics:
    result = Statistics()
    for name, x in arrays.items():
        result[name] = TensorStatistics()
        result[name].update(x.astype(np.float32))
    return result


@pytest.fixture(scope="module")
def sets():
    rng = np.random.default_rng(0)
    day = {"same": rng.normal(size=20_000), "wider": rng.normal(size=20_000), "relu": rng.normal(size=20_000).clip(0)}
    night = {
        "same": rng.normal(size=20_000),
        "wider": rng.normal(0, 3, 20_000),
        "relu": rng.normal(1, 1, 20_000).clip(0),
    }
    return day, night


def test_score_is_scipys(sets):
    day, night = sets
    a, b = gathered(**day), gathered(**night)
    by_name = {d.name: d for d in drifts(a, b, ranges(a))}
    for name in day:
        expected = ks_2samp(day[name].astype(np.float32), night[name].astype(np.float32)).statistic
        assert by_name[name].score == pytest.approx(expected, abs=0.01)
    assert list(by_name) == sorted(by_name, key=lambda n: -by_name[n].score)
    amax = ranges(a)["wider"].amax
    assert by_name["wider"].outside == pytest.approx((np.abs(night["wider"]) > amax).mean(), abs=1e-3)
    assert by_name["wider"].amax_ratio == pytest.approx(
        np.abs(night["wider"]).max() / np.abs(day["wider"]).max(), rel=1e-5
    )


def test_only_what_leaves_its_range_is_warned_of(sets):
    a, b = (gathered(**s) for s in sets)
    chart = drift_chart(a, b, ranges(a), labels=("day", "night"))
    warned = {w.split(":")[0] for w in chart.warnings}
    assert "wider" in warned
    assert "same" not in warned
    assert drift_chart(a, a, ranges(a)).warnings == []
    svg = chart.svg()
    assert "night" in svg
    assert "calibrated range" in svg
    assert chart.png("dark").startswith(b"\x89PNG")
    table = drift_table(list(chart.drifts))
    assert table.index[0] == chart.drifts[0].name
    assert table["warning"].isna()["same"]


def test_no_tensor_in_common():
    chart = drift_chart(Statistics(), Statistics(), {})
    assert chart.png().startswith(b"\x89PNG")


def test_tensors_of_different_magnitude_have_score_one():
    a, b = gathered(x=np.full(100, 1e-6)), gathered(x=np.full(100, 1e6))
    assert drifts(a, b, ranges(a))[0].score == pytest.approx(1)
