from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.cuda import one_thread
from workbench.calibration.cuda import counter
from workbench.calibration.cuda.counter import Counter
from workbench.calibration.statistics import TensorStatistics

pytestmark = pytest.mark.skipif(one_thread.COMPILER is None, reason="no C++ compiler here for the kernel's source")
EXACT = ("values", "zeros", "nans", "infs", "tiny", "minimum", "maximum", "first", "top", "reach")


KERNELS = {
    "counters in shared memory": {"shared": True},
    "counters in global memory": {"shared": False},
    "subnormals flushed": {"shared": True, "flushed": True},
}


@pytest.fixture(scope="module", params=KERNELS.values(), ids=KERNELS)
def kernel(request, tmp_path_factory):
    return one_thread.compiled(tmp_path_factory.mktemp("kernel"), **request.param)


def counted(kernel, *batches: list, ahead: int = 0):
    """Count batches of one array a tensor, some launched before those in front of them are taken."""
    tensors = [TensorStatistics() for _ in batches[0]]
    counts = Counter(tensors, one_thread.OneThread(kernel, len(tensors)))
    under_way, odd = [], []
    for batch in batches:
        under_way.append(counts.launch(batch))
        if len(under_way) > ahead:
            odd.append(counts.take(under_way.pop(0)))
    odd += [counts.take(launch) for launch in under_way]
    counts.empty()
    return tensors, odd


def on_a_processor(*batches: list):
    tensors = [TensorStatistics() for _ in batches[0]]
    for batch in batches:
        for tensor, array in zip(tensors, batch, strict=True):
            if array is not None:
                tensor.update(array)
    return tensors


def same(result: TensorStatistics, expected: TensorStatistics) -> None:
    assert {name: getattr(result, name) for name in EXACT} == {name: getattr(expected, name) for name in EXACT}
    assert np.array_equal(result.counts, expected.counts)
    assert np.array_equal(result.lines, expected.lines)
    # A thread sums a few values in float32 before it adds them in float64.
    assert result.squares == pytest.approx(expected.squares, rel=1e-6)
    size = np.sqrt(expected.squares * max(expected.finite, 1))
    assert abs(result.total - expected.total) <= 1e-6 * size


def activations(seed: int, scale: float = 1.0):
    """Values as networks have them: rectified, signed, heavy-tailed, clipped, constant, tiny, huge, few, none."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(4, 40_000)).astype(np.float32) * np.float32(scale)
    return [
        np.maximum(normal[0], 0),
        normal[1],
        (rng.standard_t(2, 30_011) * scale).astype(np.float32),
        np.clip(3 * normal[2], 0, 6),
        np.full(5000, scale, np.float32),
        np.ldexp(normal[3], -140).astype(np.float32),
        np.ldexp(normal[3], 100).astype(np.float32),
        normal[0, :3].copy(),
        np.zeros(100, np.float32),
    ]


@pytest.mark.parametrize(
    "values",
    [[-3.0, -0.5, -2.0], [-0.0], [0.0], [0.25, 7.0], [-1e-42, -2.0], [1e-42], [-1.0, 0.0], [-0.0, 5.0], [-0.0, -1.0]],
)
def test_the_smallest_and_the_largest_value_of_one_sign_and_of_two(kernel, values):
    array = np.array(values * 5, np.float32)
    (result,), _ = counted(kernel, [array])
    assert (result.minimum, result.maximum) == (float(array.min()), float(array.max()))


@pytest.mark.parametrize("ahead", [0, 2])
def test_every_bin_is_that_of_a_processor(kernel, ahead):
    scales = (1.0, 1.3, 0.1, 40.0, 2.0)  # 40 times the values are more than the list holds: they are counted again
    batches = [activations(seed, scale) for seed, scale in enumerate(scales)]
    actual, odd = counted(kernel, *batches, ahead=ahead)
    for one, expected in zip(actual, on_a_processor(*batches), strict=True):
        same(one, expected)
    assert odd == [[], [], [], [], []]


def test_values_on_and_beside_every_edge(kernel):
    edges = TensorStatistics()
    edges.update(np.array([0.7234567], np.float32))
    near = np.concatenate([edges.edges, np.arange(2049) * (edges.reach / 2048)]).astype(np.float32)
    near = near[(near >= np.float32(2**-126)) & (near <= edges.reach)]
    values = np.concatenate([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(9))])
    values = np.minimum(values, np.float32(edges.reach))
    batches = [[np.array([0.7234567], np.float32)], [values], [-values]]
    actual, _ = counted(kernel, *batches)
    same(actual[0], on_a_processor(*batches)[0])


def test_what_is_not_finite_is_counted_and_told(kernel):
    values = np.array([0, -0.0, 1, np.nan, -np.inf, np.inf, -3e38, 1e-45], np.float32)
    batches = [[values, values[:3]], [values[:3], values], [np.array([], np.float32), None]]
    actual, odd = counted(kernel, *batches)
    for one, expected in zip(actual, on_a_processor(*batches), strict=True):
        same(one, expected)
    assert odd == [[0], [1], []]


def test_a_list_that_is_too_short_costs_a_second_count(kernel, monkeypatch):
    monkeypatch.setattr(one_thread, "LISTED", 4)
    monkeypatch.setattr(counter, "LISTED", 4)
    batches = [activations(seed, 2.0**seed) for seed in range(3)]
    actual, _ = counted(kernel, *batches, ahead=1)
    for one, expected in zip(actual, on_a_processor(*batches), strict=True):
        same(one, expected)


BITS = st.lists(st.integers(0, 2**32 - 1), max_size=40).map(lambda bits: np.array(bits, np.uint32).view(np.float32))


@given(st.lists(BITS, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_bits_at_all(kernel, arrays):
    batches = [[array.copy()] for array in arrays]
    actual, _ = counted(kernel, *batches)
    value = on_a_processor(*batches)[0]
    for name in EXACT:
        assert getattr(actual[0], name) == getattr(value, name), name
    assert np.array_equal(actual[0].counts, value.counts)
    assert np.array_equal(actual[0].lines, value.lines)
