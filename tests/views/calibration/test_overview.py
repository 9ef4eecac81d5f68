from __future__ import annotations

import numpy as np
import pytest

from workbench.calibration.channels import ChannelExtremes
from workbench.calibration.methods import ranges
from workbench.calibration.statistics import Statistics, TensorStatistics
from workbench.calibration.table import calibration_table
from workbench.names import METHODS
from workbench.views.calibration.overview import overview_chart


def statistics(n: int = 6) -> Statistics:
    rng = np.random.default_rng(0)
    result = Statistics()
    for i in range(n):
        x = rng.standard_t(3 + i, (40, 4, 50)).astype(np.float32)
        x[:, 2] = 0
        tensor = TensorStatistics(channels=ChannelExtremes(1) if i == 0 else None)
        tensor.update(x, samples=40)
        result[f"layer{i}/a_rather_long_name/Conv_output_0"] = tensor
    return result


def test_table_has_a_row_a_tensor():
    s = statistics()
    table = calibration_table(s)
    assert list(table.index) == list(s)
    first = table.iloc[0]
    assert first["dead_channels"] == 1
    assert table["dead_channels"].isna().sum() == 5
    assert first["zero_fraction"] == pytest.approx(0.25)
    for method in METHODS:
        assert first[method] == ranges(s, method)[table.index[0]].amax
    assert first["disagreement"] == max(first[m] for m in METHODS) / min(first[m] for m in METHODS)
    assert first["outlier_ratio"] == first["minmax"] / first["percentile"] > 1
    assert first["range"] == first["mse"]
    assert list(calibration_table(s, ranges(s, "minmax"))["range"]) == list(table["minmax"])
    assert table.sort_values("sqnr_db").index[0] == table["sqnr_db"].idxmin()


def test_table_of_nothing_has_the_same_columns():
    assert list(calibration_table(Statistics())) == list(calibration_table(statistics(1)))


def test_small_multiples_show_the_worst_first_and_say_what_is_left_out():
    s = statistics()
    chosen = ranges(s)
    chart = overview_chart(s, chosen, limit=5)
    worst = min(chosen, key=lambda name: chosen[name].sqnr_db)
    assert chart.smalls[0].name == worst
    assert chart.left_out == 1
    svg = chart.svg()
    assert "1 tensors more" in svg
    assert f"{chosen[worst].sqnr_db:.1f} dB" in svg
    assert overview_chart(s, chosen, list(s)[:1]).png("dark").startswith(b"\x89PNG")
    assert overview_chart(Statistics(), {}).png().startswith(b"\x89PNG")
