"""What was measured on one file is never said of another, and one checkpoint serves one calibration."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import workbench
from workbench.calibration.checkpoint import Checkpoint
from workbench.calibration.preprocessing import Preprocessing
from workbench.calibration.sources import open_samples
from workbench.errors import OutputError, SamplesError
from workbench.graph.load import load_model
from workbench.session import history_of, opened


def other(path):
    np.savez(path, x=np.zeros((12, 3, 8, 8), np.float32))


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_samples_that_are_replaced_while_calibrating_make_no_recipe(small_cnn, small_data, tmp_path, moment):
    path = tmp_path / "s.npz"
    shutil.copy(small_data, path)
    wb = workbench.open_model(small_cnn)
    data = opened(history_of(wb), path)
    if moment == "before":
        other(path)
    elif moment == "within":
        rows = type(data).__iter__

        class Replaced(type(data)):
            def __iter__(self):
                for position, row in enumerate(rows(self)):
                    if position == 3:
                        other(path)
                    yield row

        data.__class__ = Replaced
    if moment != "after":
        with pytest.raises(SamplesError, match=r"s\.npz: it was changed while it was in use"):
            wb.calibrate(data)
        assert not wb.recipe.steps
        return
    wb.calibrate(data)
    other(path)
    wb.tune()
    with pytest.raises(SamplesError, match="changed while it was in use"):
        wb.compare(runs=0)


def test_an_image_that_is_replaced_is_noticed(small_cnn, tmp_path):
    for name in "ab":
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
    samples = open_samples(tmp_path, load_model(small_cnn), preprocessing=Preprocessing())
    fingerprint = samples.fingerprint
    assert len(list(samples)) == 2
    assert samples.fingerprint == fingerprint
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "b.png")
    with pytest.raises(SamplesError, match=r"b\.png: it was changed"):
        list(samples)


def test_two_calibrations_on_one_checkpoint_one_is_refused_until_the_other_is_dead(tmp_path):
    code = (
        "import sys; from workbench.calibration.checkpoint import Checkpoint\n"
        "with Checkpoint(sys.argv[1], ()).held():\n    print('held', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "c"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(OutputError, match="another calibration is using this checkpoint"), Checkpoint(path, ()).held():
        pass
    process.kill()
    process.wait()
    with Checkpoint(path, ()).held():
        pass
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_is_no_plain_file_is_refused(tmp_path):
    (tmp_path / "real").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OutputError, match="no plain file"), Checkpoint(tmp_path / "link", ()).held():
        pass


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_samples_that_are_gone_are_named(kind, small_cnn, small_data, tmp_path):
    if kind == "file":
        path = tmp_path / "s.npz"
        shutil.copy(small_data, path)
        samples = open_samples(path, load_model(small_cnn))
    else:
        path = tmp_path / "a.png"
        Image.new("RGB", (8, 8), "red").save(path)
        samples = open_samples(tmp_path, load_model(small_cnn), preprocessing=Preprocessing())
    path.unlink()
    with pytest.raises(SamplesError, match=rf"{path.name}: (it was changed while it was in use|no such image here)"):
        list(samples)
    with pytest.raises(SamplesError, match=rf"{path.name}: it was changed while it was in use"):
        assert samples.fingerprint
