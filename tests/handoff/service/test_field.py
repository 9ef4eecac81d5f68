"""What a service sees in the field, counted as calibration counts, and compared with calibration."""

from __future__ import annotations

import re
import shutil
import threading

import numpy as np
import pytest
import tritonclient.http as httpclient

import workbench
from tests.kit.awaited import PATIENCE_S, until
from tests.kit.serving import loaded, running
from workbench import views
from workbench.calibration import Statistics, TensorStatistics, observe, open_samples
from workbench.errors import OptionError, OutputError, ReportError
from workbench.handoff import open_deployment
from workbench.handoff.service import FieldStatistics
from workbench.handoff.service.batching import Ran

DAY = np.random.default_rng(1).normal(size=(12, 3, 8, 8)).astype(np.float32)  # what the model was calibrated on


def counted(folder, file, samples, **options):
    """Let a service see samples one by one; return what it counted."""
    deployment = open_deployment(folder)
    with running([loaded(folder)]) as service:
        served = service.service.models["small_cnn"]
        seen = []
        field = FieldStatistics(deployment.model, ["x", *deployment.ranges], file, on_counted=seen.append, **options)
        served.watchers.append(field)
        served.loaded.closing.callback(field.close)
        with httpclient.InferenceServerClient(service.address) as client:
            for count, sample in enumerate(samples, 1):
                tensor = httpclient.InferInput("x", [1, *sample.shape], "FP32")
                tensor.set_data_from_numpy(sample[None])
                client.infer("small_cnn", [tensor])
                wanted = count // options.get("every", 1)
                until(lambda wanted=wanted: len(seen) >= wanted, "it is counted", pause_s=0.001)
    return Statistics.load(file)


def test_it_counts_what_calibration_would(tuned_cnn, tmp_path):
    statistics = counted(tuned_cnn, tmp_path / "field.npz", DAY)
    deployment = open_deployment(tuned_cnn)
    expected = observe(deployment.model, list(statistics), open_samples({"x": DAY}, deployment.model))
    assert statistics.keys() == expected.keys() == {"x", *deployment.ranges}
    for name, tensor in statistics.items():
        assert (tensor.samples, tensor.values) == (12, expected[name].values)
        assert np.array_equal(tensor.counts, expected[name].counts)


def test_it_goes_on_where_it_ended_and_counts_one_of_so_many(tuned_cnn, tmp_path):
    file = tmp_path / "field.npz"
    assert counted(tuned_cnn, file, DAY, every=4)["x"].samples == 3
    assert counted(tuned_cnn, file, DAY, every=4)["x"].samples == 6
    deployment = open_deployment(tuned_cnn)
    with pytest.raises(OptionError, match="statistics of other tensors"):
        FieldStatistics(deployment.model, ["x"], file)
    (tmp_path / "other.npz").write_bytes(b"no statistics")
    with pytest.raises(ReportError, match="no readable statistics"):
        FieldStatistics(deployment.model, ["x"], tmp_path / "other.npz")


def test_it_takes_no_more_memory_than_its_tensors_and_never_waits(tuned_cnn, tmp_path):
    deployment = open_deployment(tuned_cnn)
    field = FieldStatistics(deployment.model, ["x", *deployment.ranges], tmp_path / "field.npz")
    before = {name: tensor.counts.nbytes + tensor.lines.nbytes for name, tensor in field.statistics.items()}
    count, begun, gate = field._count, threading.Event(), threading.Event()

    def held(*run):
        begun.set()
        assert gate.wait(PATIENCE_S)
        count(*run)

    field._count = held
    field(Ran(4, 0.0, {"x": DAY[:4]}))
    assert begun.wait(PATIENCE_S)
    for _ in range(2000):  # each returns, though nothing is counted
        field(Ran(4, 0.0, {"x": DAY[:4]}))
    gate.set()
    field.close()
    assert {name: t.counts.nbytes + t.lines.nbytes for name, t in field.statistics.items()} == before
    assert field.statistics["x"].samples == 4 * (1 + 8)  # what was counted, and what waited


def test_a_file_that_cannot_be_written_is_named_at_once_and_never_holds_up_the_end(tuned_cnn, tmp_path):
    model = open_deployment(tuned_cnn).model
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        FieldStatistics(model, ["x"], tmp_path / "gone" / "field.npz")
    folder = tmp_path / "later"
    folder.mkdir()
    field = FieldStatistics(model, ["x"], folder / "field.npz")
    shutil.rmtree(folder)  # while the service runs
    field(Ran(4, 0.0, {"x": DAY[:4]}))
    ending = threading.Thread(target=field.close, daemon=True)
    ending.start()
    ending.join(PATIENCE_S)
    assert not ending.is_alive()


@pytest.fixture(scope="module")
def fields(tuned_cnn, tmp_path_factory):
    """Statistics of a day like that of the calibration, and of a night that is not."""
    folder = tmp_path_factory.mktemp("fields")
    counted(tuned_cnn, folder / "day.npz", DAY)
    counted(tuned_cnn, folder / "night.npz", DAY * 2.5)
    return folder


def test_the_night_clips_what_the_day_did_not(tuned_cnn, fields):
    day, night = (workbench.drift(tuned_cnn, fields / f"{name}.npz") for name in ("day", "night"))
    # Inside, rounding in the layers before may lift one of few values over its range, on the same data too.
    assert not any("stem" in sentence or "block" in sentence for sentence in day.sentences)
    assert len(day.sentences) < len(night.sentences)
    assert day.rows == night.rows == 12
    worst = next(one for one in night.drifts if one.name == "x")
    limit = open_deployment(tuned_cnn).ranges["x"]
    clipped = float((np.abs(DAY * 2.5) > limit).mean())
    assert worst.outside == pytest.approx(clipped, abs=2e-3)
    sentence = next(one for one in night.sentences if "tensor x" in one)
    assert re.fullmatch(rf"night clips {worst.outside:.1%} in stem/conv \(tensor x\); calibrated on samples", sentence)
    assert "clipped" in night.text()
    assert night.chart.svg().startswith("<svg")


def test_a_gate_holds_the_field_against_calibration(tuned_cnn, fields, tmp_path, capsys):
    from workbench import cli

    def ends(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(["drift", str(tuned_cnn), *map(str, arguments)])
        return end.value.code, capsys.readouterr()

    gate = ("--gate", "field_clipped <= 4", "--gate", "field_drift <= 0.9")
    code, printed = ends(fields / "day.npz", *gate)
    assert (code, printed.out.count("passed")) == (0, 2)
    code, printed = ends(fields / "night.npz", *gate, "--picture", tmp_path / "night.png")
    assert (code, printed.out.count("FAILED by")) == (12, 2)  # the gate, and the verdict
    assert (tmp_path / "night.png").read_bytes().startswith(b"\x89PNG")
    code, printed = ends(fields / "night.npz", "--gate", "clipped < 1")
    assert code == 2
    assert printed.err.strip().count("\n") <= 3


def test_a_folder_without_what_calibration_saw(tuned_cnn, fields, tmp_path):
    folder = shutil.copytree(tuned_cnn, tmp_path / "folder")
    (folder / "statistics.npz").unlink()
    with pytest.raises(ReportError, match="not known what calibration saw"):
        workbench.drift(folder, fields / "day.npz")


def test_statistics_of_another_model(tuned_cnn, tmp_path):
    Statistics({"elsewhere": TensorStatistics()}).save(tmp_path / "other.npz")
    with pytest.raises(ReportError, match="none of its tensors has a range in this model"):
        workbench.drift(tuned_cnn, tmp_path / "other.npz")


def test_the_drift_view_takes_the_file(small_cnn, small_data, fields):
    wb = workbench.open_model(small_cnn)
    wb.prepare()
    wb.calibrate(small_data, batch=4)
    with pytest.warns(UserWarning, match="outside the calibrated range"):
        chart = views.drift(wb, fields / "night.npz", labels=("day", "night"))
    assert any("x: " in warning for warning in chart.warnings)
