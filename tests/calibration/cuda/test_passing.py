from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T

from tests.calibration.cuda import numpy_gpu, one_thread
from tests.calibration.cuda.test_kernel import same
from tests.calibration.test_observer import model, rows, small
from workbench.calibration.checkpoint import Checkpoint
from workbench.calibration.cuda import passing
from workbench.calibration.observer import observe
from workbench.calibration.sources import open_samples
from workbench.calibration.statistics import Statistics
from workbench.errors import SamplesError
from workbench.runtime import DeviceWarning

pytestmark = pytest.mark.skipif(one_thread.COMPILER is None, reason="no C++ compiler here for the kernel's source")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    return one_thread.compiled(tmp_path_factory.mktemp("kernel"), shared=True)


@pytest.fixture(autouse=True)
def _gpu(monkeypatch, kernel):
    numpy_gpu.installed(monkeypatch, kernel)


def alike(m, tensors, values, **options) -> Statistics:
    """Observe on both devices, compare everything, and return what the GPU saw."""
    samples = open_samples(values, m)
    actual, expected = (observe(m, tensors, samples, **options, device=device) for device in ("cuda", None))
    assert list(actual) == list(expected)
    for name, one in actual.items():
        same(one, expected[name])
        assert one.samples == expected[name].samples
        if one.channels is not None:
            assert np.array_equal(one.channels.minimum, expected[name].channels.minimum)
            assert np.array_equal(one.channels.maximum, expected[name].channels.maximum)
    return actual


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_pass_sees_what_a_processor_sees(batch):
    m, x = small(), rows(10) * np.arange(10, dtype=np.float32)[:, None, None]  # the first image is black
    actual = alike(m, ["m", "x", "r"], {"x": x}, batch=batch, channels={"r": 1})
    assert actual.device.startswith("cuda:0 (NumPy, ONNX Runtime")
    assert "TF32 off" in actual.device


def test_padding_counts_nowhere():
    alike(small(batch=4), ["r", "x"], {"x": rows(10)})


def test_samples_of_many_sizes_whole_inputs_and_other_types():
    m = small()
    alike(m, ["r"], [{"x": rows(1, w)[0]} for w in (5, 5, 9, 2, 5)], batch=3)
    alike(m, ["r"], [{"x": rows(4)}, {"x": rows(3)}])
    alike(small(T.FLOAT16), ["m", "x"], {"x": rows(dtype=np.float16)}, batch=4)
    with np.errstate(over="ignore"):
        alike(small(T.DOUBLE), ["m", "x"], {"x": rows(dtype=np.float64) * 1e300}, batch=4)


def test_a_damaged_sample_is_named_and_what_came_before_it_stays():
    m, x = small(), rows(10)
    x[7] = np.nan
    into = Statistics()
    with pytest.raises(SamplesError, match="sample 7: nan at") as caught:
        observe(m, ["r"], open_samples({"x": x}, m), device="cuda", into=into)
    assert caught.value.where == "tensor 'x', sample 7"
    assert into["r"].values >= 7 * 15
    assert into["r"].counts.sum() + into["r"].zeros == into["r"].finite


def test_a_pass_goes_on_where_it_was_kept(tmp_path, monkeypatch):
    from workbench.calibration.cuda import passing

    monkeypatch.setattr(passing, "_SAVE_S", 0.0)
    m, x = small(), rows(10)
    samples = open_samples({"x": x}, m)
    kept = tmp_path / "kept.npz"
    remove = Checkpoint.remove
    monkeypatch.setattr(Checkpoint, "remove", lambda _: None)
    part = open_samples({"x": x[:6]}, m)
    monkeypatch.setattr(type(part), "fingerprint", "the same")
    observe(m, ["r"], part, device="cuda", checkpoint=kept)
    assert kept.exists()
    monkeypatch.setattr(Checkpoint, "remove", remove)
    statistics = observe(m, ["r"], samples, device="cuda", checkpoint=kept)
    assert not kept.exists()
    same(statistics["r"], observe(m, ["r"], samples)["r"])


def test_text_inputs_stay_on_the_processor():
    m = model(
        onnx.helper.make_node("StringNormalizer", ["t"], ["u"]),
        onnx.helper.make_node("Relu", ["x"], ["y"]),
        inputs={"t": (T.STRING, [2]), "x": (T.FLOAT, [3])},
        outputs={"u": (T.STRING, [2]), "y": (T.FLOAT, [3])},
    )
    records = [{"t": np.array(["a", "b"], object), "x": np.ones(3, np.float32)}]
    with pytest.warns(DeviceWarning, match="input 't' holds no numbers"):
        statistics = observe(m, ["y"], open_samples(records, m), device="cuda")
    assert statistics["y"].values == 3


@pytest.mark.parametrize(("batches", "under_way"), [(0.5, 1), (1, 2), (1.9, 2), (2, 3), (50, 3)])
def test_as_many_batches_are_under_way_as_free_memory_holds_beside_one_and_three_at_most(
    monkeypatch, batches, under_way
):
    import cupy

    free = int(batches * 1000 / passing._MEMORY + 1)
    monkeypatch.setattr(cupy.cuda.runtime, "memGetInfo", lambda: (free, 1 << 40))
    tensors = {name: np.zeros(125, np.float32) for name in "ab"}
    assert passing.Pass._room(None, tensors) == under_way
