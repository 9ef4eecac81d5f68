"""What calibration saw and what it came to, one row a tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.calibration.methods import Range, no_range, ranges
from workbench.calibration.statistics import Statistics
from workbench.names import METHODS, Quantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from workbench.calibration.statistics import TensorStatistics

__all__ = ["calibration_table"]


def calibration_table(
    statistics: Statistics,
    chosen: Mapping[str, Range] | None = None,
    *,
    target: Quantized = "int8",
) -> pd.DataFrame:
    """Return one row a tensor, to be sorted and filtered.

    Parameters
    ----------
    statistics
        What calibration saw.
    chosen
        The ranges in force; those of least mean squared error where left out.
    target
        As for `workbench.calibration.methods.ranges`.

    Returns
    -------
    DataFrame
        Indexed by tensor, in the order of the statistics:

        ``range``, ``sqnr_db``, ``clipped``
            The threshold in force, its predicted SQNR in dB and the fraction of values it clips.
        ``minmax``, ``percentile``, ``entropy``, ``mse``
            The threshold of each method.
        ``disagreement``
            The largest of these four divided by the smallest: near 1 where the choice does not matter.
        ``outlier_ratio``
            The largest magnitude divided by the one that 99.99 percent do not exceed.
        ``minimum``, ``maximum``, ``mean``
            Of the finite values.
        ``zero_fraction``
            Fraction of the values that are 0.
        ``dead_channels``
            Channels in which nothing but one value was ever seen; missing where channels were not observed.
        ``values``
            How many were seen.
    """
    import pandas as pd

    statistics = Statistics({name: tensor for name, tensor in statistics.items() if no_range(tensor) is None})
    ranges_by_method = {m: ranges(statistics, m, target=target) for m in METHODS}
    chosen = chosen or ranges_by_method["mse"]
    rows = []
    for name, tensor in statistics.items():
        by_method = {str(m): ranges_by_method[m][name].amax for m in METHODS}
        thresholds = list(by_method.values())
        rows.append(
            {
                "tensor": name,
                "range": chosen[name].amax,
                "sqnr_db": chosen[name].sqnr_db,
                "clipped": chosen[name].clipped,
                **by_method,
                "disagreement": max(thresholds) / min(thresholds),
                "outlier_ratio": by_method["minmax"] / by_method["percentile"],
                "minimum": tensor.minimum,
                "maximum": tensor.maximum,
                "mean": tensor.mean,
                "zero_fraction": tensor.zeros / tensor.values,  # noqa: PD011 - not a DataFrame
                "dead_channels": _dead(tensor),
                "values": tensor.values,  # noqa: PD011
            }
        )
    columns = ["tensor", "range", "sqnr_db", "clipped", *METHODS, "disagreement", "outlier_ratio", "minimum", "maximum"]
    columns += ["mean", "zero_fraction", "dead_channels", "values"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns).set_index("tensor").astype({"dead_channels": "Int64"})
    return table


def _dead(tensor: TensorStatistics) -> int | None:
    if tensor.channels is None:
        return None
    return int((tensor.channels.minimum == tensor.channels.maximum).sum())
