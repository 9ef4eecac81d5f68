"""A file that remembers what was measured: whole lines only, of one measurement only."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from tests.kit.networks import network
from workbench.calibration import open_samples
from workbench.errors import OutputError, PrecisionError, SamplesError
from workbench.graph.load import from_proto
from workbench.precision.sensitivity import journal as module
from workbench.precision.sensitivity.journal import Journal, open_journal
from workbench.precision.sensitivity.measured import _about, axis_lengths, work_of


def test_what_was_added_is_there_again_and_every_line_is_forced_to_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    path = tmp_path / "j"
    with open_journal(path, {"a": 1, "b": (1, 2)}) as made:
        assert made.entries == []
        made.add({"node": "x", "sqnr_db": math.inf})
        made.add({"node": "y"})
    lines = ['{"a": 1, "b": [1, 2]}', '{"node": "x", "sqnr_db": Infinity}', '{"node": "y"}']
    assert path.read_text() == "".join(f"{line}\n" for line in lines)
    assert synced == [len(lines[0]) + 1, len(lines[0]) + len(lines[1]) + 2, path.stat().st_size]
    with open_journal(str(path), {"a": 1, "b": [1, 2]}) as again:
        assert again.entries == [{"node": "x", "sqnr_db": math.inf}, {"node": "y"}]


@pytest.mark.parametrize("torn", ["", "{", '{"node": "z"}', '{"node": "\u00e4'])
def test_a_last_line_without_its_end_is_dropped_from_the_file(tmp_path, torn):
    path = tmp_path / "j"
    with open_journal(path, {"a": 1}) as made:
        made.add({"node": "y"})
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    with open_journal(path, {"a": 1}) as again:
        assert again.entries == [{"node": "y"}]
        assert path.read_bytes() == whole
    path.write_bytes(torn.encode())  # not even the heading is whole
    with open_journal(path, {"a": 1}) as again:
        assert again.entries == []
    assert path.read_text() == '{"a": 1}\n'


@pytest.mark.parametrize(
    ("there", "names"),
    [({"a": 2, "b": 3}, "a"), ({"a": 2, "b": 4}, "a, b"), ({"b": 3}, "a"), ({"a": 1, "b": 3, "c": 0}, "c")],
)
def test_a_journal_of_another_measurement_says_what_differs(tmp_path, there, names):
    path = tmp_path / "j"
    path.write_text(json.dumps(there) + "\n")
    with pytest.raises(PrecisionError, match=rf"j: a journal of another measurement: {names} differ\. Name another"):
        Journal(path, {"a": 1, "b": 3})


@pytest.mark.parametrize("content", ["no json\n", "[1]\n", '{"a": 1}\n7\n', "[" * 100_000 + "\n"])
def test_what_is_no_journal_is_refused(tmp_path, content):
    path = tmp_path / "j"
    path.write_text(content)
    with pytest.raises(PrecisionError, match=r"j: no journal of a measurement\. Name another file"):
        Journal(path, {"a": 1})


def test_a_folder_is_no_journal_and_nowhere_is_no_place_for_one(tmp_path):
    with pytest.raises(OutputError, match="this is no plain file"), open_journal(tmp_path, {}):
        pass
    with pytest.raises(OutputError), open_journal(tmp_path / "none" / "j", {}):
        pass
    with pytest.raises(OutputError):
        Journal(tmp_path / "none" / "j", {})


# What a measurement is known by


def free(network_):
    proto = network_.proto
    for value in (*proto.graph.input, *proto.graph.output):
        for axis, name in ((0, "N"), (3, "W")):
            value.type.tensor_type.shape.dim[axis].dim_param = name
    return from_proto(proto)


def test_symbolic_axes_have_the_lengths_of_the_first_sample():
    model = free(network("conv"))
    wide = [{"x": np.zeros((4, 8, width), np.float32)} for width in (6, 9)]
    assert axis_lengths(model, open_samples(wide, model)) == {"N": 1, "W": 6}

    class Nothing:
        def __iter__(self):
            return iter(())

    with pytest.raises(SamplesError, match=r"no samples to measure on\. Give at least one"):
        axis_lengths(model, Nothing())


def test_the_work_of_nodes_is_that_for_the_first_sample_and_one_each_where_there_is_none():
    model = free(network("conv", "sigmoid"))
    samples = open_samples([{"x": np.zeros((4, 8, 6), np.float32)}], model)
    assert work_of(model, samples) == {"Conv_0": 8 * 6 * 4 * 4 * 9, "Sigmoid_1": 0}
    light = network("sigmoid", "sigmoid")
    assert work_of(light, open_samples({"x": np.zeros((1, 4, 8, 8), np.float32)}, light)) == {
        "Sigmoid_0": 1,
        "Sigmoid_1": 1,
    }


def test_a_measurement_is_of_a_model_ranges_samples_a_batch_and_a_task():
    model = network("conv")
    samples = open_samples({"x": np.zeros((1, 4, 8, 8), np.float32)}, model)

    class Recall:
        def __call__(self, _):
            return 0.0

    def task(_):
        return 0.0

    about = _about(model, {"b": 2.0, "a": 1.0}, samples, 3, None)
    assert about == {
        "measurement": "sensitivity",
        "model": model.digest,
        "ranges": {"a": 1.0, "b": 2.0},
        "samples": samples.fingerprint,
        "batch": 3,
        "task": None,
    }
    assert list(about["ranges"]) == ["a", "b"]
    names = [_about(model, {}, samples, 1, one)["task"].rpartition(".")[2] for one in (task, Recall())]
    assert names == ["task", "Recall"]
