"""The data generator: the same bytes for the same seed, and nothing shared between splits."""

from __future__ import annotations

import subprocess
import sys

import glyphs
import numpy as np
import pytest


def test_same_seed_same_bytes_and_a_longer_draw_starts_with_the_shorter():
    images, labels = glyphs.glyphs(40, 7)
    again, same = glyphs.glyphs(60, 7)
    assert images.tobytes() == again[:40].tobytes()
    assert labels.tolist() == same[:40].tolist()
    later, _ = glyphs.glyphs(20, 7, start=40)
    assert later.tobytes() == again[40:].tobytes()


def test_bytes_do_not_depend_on_what_was_drawn_before_in_the_process(folder):
    code = "import glyphs; print(glyphs.pixels(8, 3, start=5)[0].tobytes().hex())"
    fresh = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    glyphs.pixels(3, 9, width=20)
    assert fresh.stdout.strip() == glyphs.pixels(8, 3, start=5)[0].tobytes().hex()


def test_different_seeds_differ_and_splits_are_disjoint():
    seen = {split: {image.tobytes() for image in glyphs.pixels(300, seed)[0]} for split, seed in glyphs.SPLITS.items()}
    assert set(seen) == {"train", "calibration", "test"}
    assert sum(len(images) for images in seen.values()) == 900
    assert len(set().union(*seen.values())) == 900


def test_shapes_types_range_and_every_class():
    images, labels = glyphs.glyphs(400, 3)
    assert (images.shape, images.dtype) == ((400, 1, 32, 32), np.float32)
    assert (labels.shape, labels.dtype) == ((400,), np.int64)
    assert -2.0 <= images.min() < -1.5
    assert 1.5 < images.max() <= 2.0
    assert set(labels.tolist()) == set(range(len(glyphs.CLASSES)))
    grey, _ = glyphs.pixels(400, 3)
    assert np.allclose(images[:, 0], (grey / 255 - 0.5) / 0.25, atol=1e-6)


def test_width_is_the_callers():
    assert glyphs.glyphs(2, 1, width=48)[0].shape == (2, 1, 32, 48)
    with pytest.raises(ValueError, match="16 columns"):
        glyphs.glyphs(1, 1, width=8)
    with pytest.raises(ValueError, match="negative"):
        glyphs.glyphs(-1, 1)


def test_command_line_writes_samples_and_labels_without_torch(folder, tmp_path):
    script = (
        "import sys, runpy; sys.argv = ['glyphs.py', '--split', 'test', '--count', '12', '--out', sys.argv[1]];"
        "runpy.run_path('glyphs.py', run_name='__main__'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "new")], cwd=folder, check=True, capture_output=True)
    samples = np.load(tmp_path / "new" / "samples.npz")
    expected, labels = glyphs.glyphs(12, glyphs.SPLITS["test"])
    assert samples.files == [glyphs.INPUT_NAME]
    assert samples[glyphs.INPUT_NAME].tobytes() == expected.tobytes()
    assert np.load(tmp_path / "new" / "labels.npy").tolist() == labels.tolist()
