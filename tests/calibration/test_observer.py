from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

from tests.kit.places import ROOT
from workbench.calibration import observer
from workbench.calibration.checkpoint import Checkpoint
from workbench.calibration.observer import observe
from workbench.calibration.samples import Samples
from workbench.calibration.sources import open_samples
from workbench.calibration.statistics import Statistics
from workbench.errors import SamplesError
from workbench.graph.load import from_proto, load_model


def model(*nodes: onnx.NodeProto, inputs: dict, outputs: dict, weights: dict | None = None):
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(w, n) for n, w in (weights or {}).items()],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def small(dtype: int = T.FLOAT, batch: int | str = "N"):
    return model(
        helper.make_node("Mul", ["x", "two"], ["m"]),
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Neg", ["r"], ["y"]),
        inputs={"x": (dtype, [batch, 3, "W"])},
        outputs={"y": (dtype, [batch, 3, "W"])},
        weights={"two": np.array(2, helper.tensor_dtype_to_np_dtype(dtype))},
    )


def rows(n: int = 10, width: int = 5, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(n, 3, width)).astype(dtype)


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_statistics_are_those_of_the_values(batch):
    m, x = small(), rows()
    s = observe(m, ["m", "x", "r"], open_samples({"x": x}, m), batch=batch, channels={"r": 1})
    assert list(s) == ["m", "x", "r"]
    assert s["x"].amax == np.abs(x).max()
    assert s["m"].minimum == (x * 2).min()
    assert s["r"].zeros == (x <= 0).sum()
    assert (s["r"].values, s["r"].samples) == (x.size, 10)
    assert np.array_equal(s["r"].channels.maximum, np.maximum(x * 2, 0).max((0, 2)))
    whole = observe(m, ["m", "x", "r"], open_samples({"x": x}, m), batch=10)
    assert np.array_equal(s["m"].counts, whole["m"].counts)
    assert s["m"].mean == whole["m"].mean


def test_a_fixed_batch_filled_up_counts_each_sample_once():
    m, x = small(batch=4), rows(10)
    s = observe(m, ["r"], open_samples({"x": x}, m))
    assert (s["r"].values, s["r"].samples, s["r"].zeros) == (x.size, 10, (x <= 0).sum())


def test_samples_of_varying_size():
    m = small()
    parts = [{"x": rows(1, w)[0]} for w in (5, 5, 9, 2)]
    s = observe(m, ["r"], open_samples(parts, m), batch=3)
    assert s["r"].values == 3 * (5 + 5 + 9 + 2)
    assert s["r"].samples == 4


def test_float16_models():
    m, x = small(T.FLOAT16), rows(dtype=np.float16)
    s = observe(m, ["x", "m"], open_samples({"x": x}, m))
    assert s["m"].amax == np.abs(x * np.float16(2)).max()


def with_integers_and_branches():
    def branch(op: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node(op, ["e"], [f"{op}_out"])],
            op,
            [],
            [helper.make_tensor_value_info(f"{op}_out", T.FLOAT, None)],
        )

    return model(
        helper.make_node("Gather", ["table", "ids"], ["e"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=branch("Relu"), else_branch=branch("Neg"), name="choice"),
        inputs={"ids": (T.INT64, ["N", 4]), "flag": (T.BOOL, [])},
        outputs={"y": (T.FLOAT, ["N", 4, 2])},
        weights={"table": np.arange(20, dtype=np.float32).reshape(10, 2)},
    )


def test_integer_inputs_and_branches():
    m = with_integers_and_branches()
    samples = [{"ids": np.full((1, 4), i), "flag": np.array(i % 2 == 0)} for i in range(4)]
    s = observe(m, ["e", "y"], open_samples(samples, m))
    assert s["e"].amax == 7
    assert (s["y"].minimum, s["y"].maximum) == (-7, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ids", "int64 values are not quantized"),
        ("nowhere", "no such tensor"),
        ("choice/then/Relu_out", "inside a subgraph"),
    ],
)
def test_what_cannot_be_observed_says_why(name, message):
    m = with_integers_and_branches()
    with pytest.raises(SamplesError, match=f"{name}.*{message}"):
        observe(m, [name], open_samples([{"ids": np.zeros((1, 4), int), "flag": np.array(True)}], m))


def overflowing():
    return model(
        helper.make_node("Exp", ["x"], ["e"]),
        helper.make_node("Relu", ["e"], ["y"]),
        inputs={"x": (T.FLOAT, ["N", 2])},
        outputs={"y": (T.FLOAT, ["N", 2])},
    )


@pytest.mark.parametrize("batch", [1, 4])
def test_infinity_names_tensor_and_sample_and_leaves_what_was_gathered(batch):
    m, gathered = overflowing(), Statistics()
    x = np.zeros((12, 2), np.float32)
    x[6] = 1000
    with pytest.raises(SamplesError, match=r"tensor '[ey]', sample 6: inf at \[\d, 0\], and its output 'y'"):
        observe(m, ["e", "y"], open_samples({"x": x}, m), batch=batch, into=gathered)
    assert gathered["e"].samples >= 4
    assert gathered["e"].maximum == 1


def convolutions(batch: int | str = "N"):
    tenth = np.zeros((16, 1, 1, 1), np.float32)
    tenth[9] = 10
    return model(
        helper.make_node("Conv", ["x", "w"], ["e"]),
        helper.make_node("Conv", ["e", "v"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["y"]),
        inputs={"x": (T.FLOAT, [batch, 1, 2, 2])},
        outputs={"y": (T.FLOAT, [batch, 16, 1, 1])},
        weights={"w": tenth, "v": np.eye(16, dtype=np.float32)[:, :, None, None] + 1},
    )


@pytest.mark.parametrize("stated", ["N", 5])
def test_many_samples_are_counted_like_few(stated, monkeypatch):
    m, x = convolutions(stated), np.random.default_rng(3).normal(size=(observer.FEW, 1, 2, 2)).astype(np.float32)
    tensors, samples = ["x", "e", "c", "y"], open_samples({"x": x}, m)
    many = observe(m, tensors, samples, batch=5, channels={"c": 1})
    monkeypatch.setattr(observer, "FEW", observer.FEW + 1)
    few = observe(m, tensors, samples, batch=5, channels={"c": 1})
    for name in tensors:
        # What is added up is added up in another order.
        totals = [(t.total, t.squares) for t in (many[name], few[name])]
        np.testing.assert_allclose(*totals, rtol=1e-12, atol=1e-9)
        many[name].total, many[name].squares = totals[1]
    one, other = many.arrays(), few.arrays()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_infinity_is_placed_where_it_is_however_tensors_are_kept():
    m, x = convolutions(), np.zeros((observer.FEW, 1, 2, 2), np.float32)
    x[6, 0, 1, 0] = 3e38
    with pytest.raises(SamplesError, match=r"tensor 'e', sample 6: inf at \[2, 9, 1, 0\], and its output 'y'"):
        observe(m, ["e"], open_samples({"x": x}, m), batch=4)


@pytest.mark.parametrize("batch", [1, 4])
def test_nan_names_tensor_and_sample(batch):
    m = model(
        helper.make_node("Sqrt", ["x"], ["e"]),
        helper.make_node("Relu", ["e"], ["y"]),
        inputs={"x": (T.FLOAT, ["N", 2])},
        outputs={"y": (T.FLOAT, ["N", 2])},
    )
    x, gathered = np.ones((12, 2), np.float32), Statistics()
    x[9] = -1
    with pytest.raises(SamplesError, match=r"tensor '[ey]', sample 9: nan at \[\d, 0\]"):
        observe(m, ["e", "y"], open_samples({"x": x}, m), batch=batch, into=gathered)
    assert gathered["e"].samples >= 8
    # Where the rest of the output holds numbers it is padding, perhaps: counted, and no reason to stop.
    x[9] = (-1, 4)
    seen = observe(m, ["e", "y"], open_samples({"x": x}, m), batch=batch)
    assert (seen["e"].nans, seen["e"].maximum, seen["e"].samples) == (1, 2, 12)


def test_models_with_a_loop():
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "state"], ["doubled"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", T.INT64, []),
            helper.make_tensor_value_info("go", T.BOOL, []),
            helper.make_tensor_value_info("state", T.FLOAT, ["N", 2]),
        ],
        [
            helper.make_tensor_value_info("go_on", T.BOOL, []),
            helper.make_tensor_value_info("doubled", T.FLOAT, ["N", 2]),
        ],
    )
    m = model(
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Loop", ["times", "", "r"], ["looped"], body=body, name="loop"),
        helper.make_node("Neg", ["looped"], ["y"]),
        inputs={"x": (T.FLOAT, ["N", 2]), "times": (T.INT64, [])},
        outputs={"y": (T.FLOAT, ["N", 2])},
    )
    samples = [{"x": np.full((1, 2), i - 1, np.float32), "times": np.array(i)} for i in range(4)]
    s = observe(m, ["r", "looped", "y"], open_samples(samples, m))
    assert s["r"].maximum == 2
    assert (s["looped"].maximum, s["y"].minimum) == (16, -16)
    assert s["looped"].samples == 4


class Torn(Samples):
    def __iter__(self):
        yield {"x": np.ones(2, np.float32)}
        yield {"x": np.ones(2, np.float32)}
        raise SamplesError("torn", where="third.npy")

    def __len__(self):
        return 3

    fingerprint = "torn"

    def describe(self):
        return {}


def test_samples_that_fail_leave_what_was_gathered(tmp_path):
    gathered = Statistics()
    with pytest.raises(SamplesError, match="torn"):
        observe(overflowing(), ["y"], Torn(), into=gathered, checkpoint=tmp_path / "c")
    assert gathered["y"].samples == 2
    assert (tmp_path / "c").exists()


def test_a_checkpoint_of_other_samples_is_refused(tmp_path):
    m = small()
    with pytest.raises(SamplesError, match="torn"):
        observe(overflowing(), ["y"], Torn(), checkpoint=tmp_path / "c")
    with pytest.raises(SamplesError, match="another calibration"):
        observe(m, ["r"], open_samples({"x": rows()}, m), checkpoint=tmp_path / "c")


def test_a_torn_checkpoint_starts_anew(tmp_path):
    m = small()
    (tmp_path / "c").write_bytes(b"PK torn")
    s = observe(m, ["r"], open_samples({"x": rows()}, m), checkpoint=tmp_path / "c")
    assert s["r"].samples == 10
    assert not (tmp_path / "c").exists()


SCRIPT = """
import os, signal, sys
from pathlib import Path
import numpy as np
from workbench.calibration.observer import observe
from workbench.calibration.sources import open_samples
from workbench.calibration.statistics import TensorStatistics
from workbench.graph.load import load_model

folder = Path(sys.argv[1])
runs = (folder / "runs").open("a")
take, left = TensorStatistics.update, int(sys.argv[2])

def mortal(self, array, **options):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    print(options, flush=True, file=runs)
    take(self, array, **options)

TensorStatistics.update = mortal
m = load_model(folder / "m.onnx")
x = np.random.default_rng(5).normal(size=(24, 3, 50)).astype(np.float32)
observe(m, ["x", "m", "r"], open_samples({"x": x}, m), batch=2, checkpoint=folder / "c").save(folder / "result")
"""


def test_killed_at_any_moment_it_resumes_to_the_same_result(tmp_path):
    m = small()
    (tmp_path / "m.onnx").write_bytes(m.to_bytes())
    x = np.random.default_rng(5).normal(size=(24, 3, 50)).astype(np.float32)
    loaded = load_model(tmp_path / "m.onnx")
    observe(loaded, ["x", "m", "r"], open_samples({"x": x}, loaded), batch=2).save(tmp_path / "uninterrupted")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    batches, positions = 12, []
    for updates in (1, 7, 8):
        killed = subprocess.run([*command, str(updates)], env=environment, check=False)
        assert killed.returncode == -signal.SIGKILL
        belongs_to = (loaded.digest, open_samples({"x": x}, loaded).fingerprint, "2", "[]", "x", "m", "r")
        actual = Checkpoint(tmp_path / "c", belongs_to).load()
        positions.append(0 if actual is None else actual[1])
    assert positions == sorted(positions)
    assert positions[-1] > 0
    subprocess.run([*command, "-1"], env=environment, check=True)
    assert (tmp_path / "result").read_bytes() == (tmp_path / "uninterrupted").read_bytes()
    assert not (tmp_path / "c").exists()
    updates = len((tmp_path / "runs").read_text().splitlines())
    # Three tensors a batch; each of three kills may repeat one batch.
    assert 3 * batches <= updates <= 3 * (batches + 3)


@pytest.mark.parametrize("name", ["silero_vad_16k_op15", "dtln_1", "vit_mnist_selftrained"])
def test_real_models_with_branches_recurrence_and_attention(shared, name):
    m = load_model(shared / "models" / name / "model.onnx")
    rng = np.random.default_rng(0)

    def sample():
        result = {}
        for tensor in m.inputs:
            shape = [
                n if isinstance(n, int) else (512 if i and tensor.name == "input" else 1)
                for i, n in enumerate(tensor.shape)
            ]
            kind = tensor.numpy_dtype
            values = rng.normal(size=shape) if kind.kind == "f" else np.full(shape, 16000)
            result[tensor.name] = values.astype(kind)
        return result

    floats = {t for t in m.tensors if m.tensor(t).dtype == "FLOAT"}
    outer = [str(v.name) for n in m.top_nodes.values() for v in n.outputs if v.name in floats]
    s = observe(m, outer, open_samples([sample() for _ in range(3)], m))
    assert len(s) == len(outer) > 0
    assert all(t.samples == 3 for t in s.values())
