"""Real models that plain INT8 breaks, or does not.

Why yolox_nano breaks: the input of its first depthwise convolution, Conv_44 (tensor 687, 16 channels), reaches 125 in
one channel and 17 in the median one, so that one scale for the whole tensor leaves the median channel 18 of 127 steps
and 8 of the 16 channels fewer than 16; the worst channel rounds to nothing (0 dB), while the tensor as a whole still
has 23 dB, all of it in channels whose weights are small: a depthwise filter reads each channel alone, and weights run
from 0.03 to 11.4 across Conv_44, against the activations. Alone in INT8, this one node of 0.3% of the MACs leaves 7 dB
at the output, and the depthwise Conv_70 12 dB; the median of the 113 convolutions is 38 dB. SiLU before each of
them is no homogeneous function, so equalization cannot move the scales into the weights. (24 images, ranges by minmax
for the channels and by percentile 99.99 for the outputs.)

What the plan is worth on images that nobody tuned on: there are only these 24, so calibration and search get 12 of them
and the other 12 judge. The goal was 95% each time. Tuned on the images of even number: 96.0% of 99 detections there,
98.7% of 79 on the others, Conv_44 and Conv_70 in floating point. Tuned on those of odd number: 97.5% of 79 there, but
84.8% of 99 on the others, only Conv_44 in floating point: what those 12 ask for is too little for the rest. Tuned on
the first 12: 97.1% of 138, and 97.5% of 40 on the others.
"""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tests.kit.detections import detections, kept
from tests.kit.places import ROOT
from workbench.calibration.methods import ranges
from workbench.calibration.samples import feeds
from workbench.graph.cost.cost import costs, total
from workbench.precision.lowering.lowering import lower
from workbench.precision.plan.plan import BEST_PRACTICE
from workbench.precision.sensitivity.measured import axis_lengths
from workbench.runtime.session import Session
from workbench.session import history_of, open_model, opened, samples_for

pytestmark = pytest.mark.slow


def share_in_int8(wb, samples):
    table = costs(wb.model, axis_lengths(wb.model, samples))
    macs, unknown = total(wb.model, table)
    assert not unknown
    return sum(table[node].macs for node in wb.plan.resolve().nodes("int8")) / macs


@pytest.fixture(scope="module")
def yolox(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("yolox") / "samples.npz"
    recorded = np.load(shared / "calibration_caches/recorded/yolox_nano.inputs.npz")["images_u8"]
    np.savez(path, images=recorded.astype(np.float32))
    wb = open_model(shared / "models/yolox_nano/model.onnx")
    wb.prepare()
    wb.calibrate(path)
    return wb


def found_in(model, samples):
    session = Session(model)
    return [detections(session.run(feed.arrays)["output"][0]) for feed in feeds(samples, model)]


def test_rescues_yolox_nano_on_images_that_nobody_tuned_on(shared):
    """The images of even number tune, the others judge; for other halves see above."""
    recorded = np.load(shared / "calibration_caches/recorded/yolox_nano.inputs.npz")["images_u8"].astype(np.float32)
    mine = np.arange(len(recorded)) % 2 == 0
    wb = open_model(shared / "models/yolox_nano/model.onnx")
    wb.prepare()
    wb.calibrate({"images": recorded[mine]})
    samples, _ = samples_for(history_of(wb), None)
    others = opened(history_of(wb), {"images": recorded[~mine]})
    truth, unseen = found_in(wb.source, samples), found_in(wb.source, others)
    assert (sum(map(len, truth)), sum(map(len, unseen))) == (99, 79)

    def detections_kept(outputs):
        pairs = zip(truth, outputs, strict=True)
        return sum(kept(reference, detections(result["output"][0])) for reference, result in pairs) / 99

    def share_found(model, images, reference):
        return sum(map(kept, reference, found_in(model, images))) / sum(map(len, reference))

    broken = lower(
        wb.model,
        BEST_PRACTICE.resolve(wb.model),
        {name: actual.amax for name, actual in ranges(wb.ranges.statistics, "minmax").items()},
    )
    assert share_found(broken.model, samples, truth) < 0.22
    result = wb.plan.search(detections_kept, at_least=0.95)
    assert result.chosen.passed
    assert "Conv_44" in result.chosen.demoted
    assert share_found(wb.tuned, samples, truth) >= 0.95
    assert share_found(wb.tuned, others, unseen) >= 0.95
    assert share_in_int8(wb, samples) >= 0.8


def test_why_yolox_nano_breaks(yolox):
    samples, _ = samples_for(history_of(yolox), None)
    session = Session(yolox.model, outputs=["687"])
    seen = np.concatenate(
        [session.run(feed.arrays)["687"][0].reshape(16, -1) for feed in feeds(samples, yolox.model)], 1
    )
    largest = np.abs(seen).max(1)
    step = largest.max() / 127
    assert largest.max() == pytest.approx(124.7, abs=0.1)
    assert np.median(largest / step) < 18
    assert (largest / step < 16).sum() == 8
    error = seen - np.rint(seen / step) * step
    assert 10 * np.log10((seen**2).sum() / (error**2).sum()) > 23
    assert (10 * np.log10((seen**2).sum(1) / (error**2).sum(1))).min() < 0.1
    weight = np.abs(yolox.model.nodes["Conv_44"].inputs[1].const_value.numpy()).max((1, 2, 3))
    assert weight.max() / weight.min() > 300


def within_a_point(wb, samples, labels, batch):
    result = wb.plan.search("top1_drop", at_most=1.0, samples=samples, labels=labels, batch=batch)
    comparison = wb.compare(samples, labels=labels, batch=batch, runs=0)
    assert comparison.accuracy.drop <= 1.0
    assert share_in_int8(wb, opened(history_of(wb), samples)) >= 0.8
    return result, comparison


@pytest.fixture(scope="module")
def digits(shared):
    with gzip.open(shared / "data/mnist/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32)
    with gzip.open(shared / "data/mnist/t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    held_out = np.arange(len(labels)) % 5 == 0  # the ViT was trained on the others
    return pixels[~held_out][:200], pixels[held_out], labels[held_out]


@pytest.mark.parametrize(
    ("name", "tensor", "scale"), [("mnist_cntk", "Input3", 1), ("vit_mnist_selftrained", "image", 255)]
)
@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_classifiers_stay_within_a_point(shared, digits, tmp_path, name, tensor, scale, method):
    calibration, images, labels = digits
    np.savez(tmp_path / "calibration.npz", **{tensor: calibration / np.float32(scale)})
    np.savez(tmp_path / "test.npz", **{tensor: images / np.float32(scale)})
    wb = open_model(shared / "models" / name / "model.onnx")
    wb.prepare()
    wb.calibrate(tmp_path / "calibration.npz", method=method, batch=50)
    within_a_point(wb, tmp_path / "test.npz", labels, 50)


def test_rescues_the_depthwise_sample_model(tmp_path):
    import subprocess
    import sys

    folder = ROOT / "sample_models"
    if not (folder / "depthwise_cnn.onnx").exists():
        pytest.skip("the sample models are not in this checkout")
    for split, count in (("calibration", 200), ("test", 500)):
        command = [sys.executable, "glyphs.py", "--split", split, "--count", str(count), "--out", str(tmp_path / split)]
        subprocess.run(command, cwd=folder, check=True)
    wb = open_model(folder / "depthwise_cnn.onnx")
    wb.prepare()
    wb.calibrate(tmp_path / "calibration" / "samples.npz", method="minmax", batch=50)
    result, actual = within_a_point(
        wb, tmp_path / "test" / "samples.npz", np.load(tmp_path / "test" / "labels.npy"), 50
    )
    assert result.trials[0].measured.figure > 1.0, "plain INT8 was not broken"
    assert actual.accuracy.original > 0.9
