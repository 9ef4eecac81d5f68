"""What the kernel is told and tells, and how it is cut to a device, without a kernel."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from workbench.calibration.channels import ChannelExtremes
from workbench.calibration.counting import COUNTERS, grid_of
from workbench.calibration.cuda import machine
from workbench.calibration.cuda.layout import SEEN, Grids, KernelTuning, definitions, take
from workbench.calibration.cuda.passing import _Pinned
from workbench.calibration.samples import Feed
from workbench.calibration.statistics import TensorStatistics


def test_a_block_counts_four_values_a_load_and_the_last_tile_need_not_be_full():
    tuning = KernelTuning()
    assert (vars(tuning), tuning.tile) == ({"threads": 768, "blocks": 2, "unroll": 2, "shared": True}, 6144)
    assert [tuning.tiles(size) for size in (0, 1, 6144, 6145, 12289)] == [0, 1, 1, 2, 3]
    assert KernelTuning(32, 1, 3, shared=False).tile == 384
    defined = definitions(KernelTuning(32, 1, 3, shared=False))
    assert {name: defined[name] for name in ("THREADS", "BLOCKS", "UNROLL", "SHARED")} == {
        "THREADS": 32,
        "BLOCKS": 1,
        "UNROLL": 3,
        "SHARED": 0,
    }
    assert definitions(tuning)["SHARED"] == 1


SHARED = COUNTERS * 4


@pytest.mark.parametrize(
    ("block", "whole", "shared", "blocks", "threads"),
    [
        (SHARED - 1, 9 * SHARED, False, 2, 768),
        (SHARED, SHARED, True, 1, 512),
        (SHARED, 2 * (SHARED + 1024) - 1, True, 1, 512),
        (SHARED, 2 * (SHARED + 1024), True, 2, 768),
        (SHARED + 1, 9 * SHARED, True, 2, 768),
    ],
)
def test_two_blocks_share_a_multiprocessor_where_its_memory_holds_them(
    monkeypatch, block, whole, shared, blocks, threads
):
    attributes = {"MaxSharedMemoryPerBlockOptin": block, "MaxSharedMemoryPerMultiprocessor": whole}
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(Device=lambda: types.SimpleNamespace(attributes=attributes))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    tuning = machine.tuned.__wrapped__()
    assert (tuning.shared, tuning.blocks, tuning.threads, tuning.unroll) == (shared, blocks, threads, 2)


def ordered(value):
    """Return the key that the kernel makes of a number, so that keys are in the order of the numbers."""
    bits = int(np.float32(value).view(np.uint32))
    return np.uint32(bits ^ 0x80000000 if bits < 0x80000000 else bits ^ 0xFFFFFFFF)


def seen(low, high, **more):
    row = np.zeros(1, SEEN)
    row["low"], row["high"] = ~ordered(low), ordered(high)
    for name, value in more.items():
        row[name] = value
    return row[0]


def test_what_a_launch_saw_is_added():
    tensor = TensorStatistics(zeros=1, tiny=2, nans=3, infs=4, minimum=-1.0, maximum=0.5, total=10.0, squares=20.0)
    take(tensor, seen(-2.5, 0.25, zeros=10, below=17, nans=5, infs=6, sum=8.0, squares=32.0), 4.0)
    assert (tensor.zeros, tensor.tiny, tensor.nans, tensor.infs) == (11, 9, 8, 10)
    assert (tensor.minimum, tensor.maximum, tensor.total, tensor.squares) == (-2.5, 0.5, 12.0, 22.0)
    take(tensor, seen(1.5, 3e38), 0.0)
    assert (tensor.minimum, tensor.maximum) == (-2.5, float(np.float32(3e38)))
    assert (tensor.total, tensor.squares) == (12.0, 22.0)  # without bins there were only zeros


def test_extremes_are_those_of_all_numbers_and_of_none_where_none_was_seen():
    for low, high in ((-3.0, -1.0), (1.0, 3.0), (-0.0, 0.0), (-3e-45, 3e38)):
        tensor = TensorStatistics()
        take(tensor, seen(low, high), 1.0)
        assert (tensor.minimum, tensor.maximum) == (float(np.float32(low)), float(np.float32(high)))
        assert str(tensor.minimum) != "-0.0"
    nothing = TensorStatistics()
    take(nothing, np.zeros(1, SEEN)[0], 1.0)
    assert (nothing.minimum, nothing.maximum) == (float("inf"), float("-inf"))


def test_a_tensor_without_a_magnitude_has_no_bins_and_one_with_some_those_of_its_statistics():
    grids = Grids(3)
    before = grids.rows
    assert (before["lowest"].tolist(), before["span"].tolist(), before["fine"].tolist()) == ([1] * 3, [0] * 3, [0] * 3)
    tensor = TensorStatistics()
    grids.fit(1, tensor)
    assert np.array_equal(grids.rows, before)
    tensor.update(np.array([0.0, -3.0], np.float32))
    grids.fit(1, tensor)
    grid = grid_of(tensor.top, tensor.reach)
    row = grids.rows[1]
    expected = [grid.scalars[0], grid.scalars[1], grid.scalars[2], grid.scalars[3], grid.limit, 0]
    assert [row[name] for name in ("fine", "start", "lowest", "per_value", "span", "least")] == expected
    assert row["approximate"] == np.float32(grid.scalars[3])
    assert np.array_equal(grids.rows[[0, 2]], before[[0, 2]])
    grids.rows["lowest"] = 7
    assert grids.rows["lowest"][0] == 1  # it was a copy


def test_counters_are_added_with_the_bins_that_they_were_filled_with():
    grids, tensor = Grids(2), TensorStatistics(channels=ChannelExtremes(1))
    counters = np.zeros(COUNTERS, np.uint64)
    grids.empty(0, counters, tensor)
    assert tensor.first == 0.0
    tensor.update(np.array([[1.0, -1.5]], np.float32))
    grids.fit(0, tensor)
    before = tensor.counts.sum()
    tensor.hold(12.0)  # meanwhile its own bins have grown
    place = 1 + int(grid_of(127, 1.5).bins[0]) + int(grid_of(127, 1.5).lines[0])
    counters[place] = 5
    grids.empty(0, counters, tensor)
    assert (tensor.counts.sum() + tensor.tiny - before, tensor.top) == (5, 130)


def test_pinned_memory_is_used_again_for_whatever_is_as_large(monkeypatch):
    cupyx = types.ModuleType("cupyx")
    asked = []
    cupyx.empty_pinned = lambda size, dtype: asked.append(size) or np.empty(size, dtype)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    pinned = _Pinned()
    first, other = pinned.empty((2, 3), np.dtype(np.float32)), pinned.empty((2, 3), np.dtype(np.float32))
    assert (first.shape, first.dtype, asked) == ((2, 3), np.float32, [24, 24])
    pinned.give_back(Feed({"x": first, "own": np.zeros(6, np.float32)}, 0, 2))
    again = pinned.empty((3, 4), np.dtype(np.int16))
    assert (again.ctypes.data, again.shape, asked) == (first.ctypes.data, (3, 4), [24, 24])
    assert pinned.empty((6,), np.dtype(np.float32)).ctypes.data not in (first.ctypes.data, other.ctypes.data)
    assert (pinned.empty((0, 3), np.dtype(np.float32)).shape, asked) == ((0, 3), [24, 24, 24, 1])
