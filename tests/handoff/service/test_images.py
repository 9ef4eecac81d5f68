"""An image in, classes or detections out."""

from __future__ import annotations

import http.client
import io
import json

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import workbench
from tests.kit.awaited import PATIENCE_S
from tests.kit.serving import loaded, running
from workbench.calibration import Preprocessing
from workbench.errors import OptionError
from workbench.handoff import Port, open_deployment
from workbench.handoff.service import Postprocessing, images_of

NEAR_FACE = "color=RGB,scale=1,mean=127,std=128"


def encoded(pixels, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def look(service, name, body):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
    connection.request("POST", f"/v2/models/{name}/image", body)
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    return answer.status, content


@pytest.fixture(scope="module")
def looking(tuned_cnn):
    """A service that takes images of 8 x 8 and answers with two classes."""
    model = loaded(tuned_cnn)
    with running([model]) as service:
        images = images_of(model.deployment, Preprocessing(), Postprocessing.parse("kind=classes,top=2,softmax=yes"))
        service.service.models["small_cnn"].images = images
        yield service


PIXELS = np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8)


def test_classes_of_an_image(looking, single):
    status, answer = look(looking, "small_cnn", encoded(PIXELS))
    array = Preprocessing(size=(8, 8)).array_of(Image.fromarray(PIXELS), np.dtype(np.float32))
    logits = single(array[None])[0].astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum()
    best = np.argsort(-shares)[:2]
    assert status == 200
    assert [one["class"] for one in answer["classes"]] == best.tolist()
    assert [one["score"] for one in answer["classes"]] == pytest.approx(shares[best].tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "WEBP"])
def test_formats(looking, kind):
    assert look(looking, "small_cnn", encoded(PIXELS, kind))[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 415, "this is no image"),
        (b"../../etc/passwd", 415, "this is no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", 415, "this is no image"),
        (encoded(PIXELS)[:200], 400, "cannot be decoded"),
        (encoded(np.zeros((6000, 6000), np.uint8)), 413, "6000 x 6000 pixels"),
    ],
)
def test_what_is_no_image(looking, body, status, reason):
    answered, content = look(looking, "small_cnn", body)
    assert (answered, reason in content["error"]) == (status, True), content
    assert look(looking, "small_cnn", encoded(PIXELS))[0] == 200


def test_a_model_that_takes_none(served):
    status, content = look(served, "small_cnn", encoded(PIXELS))
    assert (status, "--postprocess" in content["error"]) == (404, True)


def test_boxes_that_overlap_are_one_detection_in_pixels_of_the_image():
    boxes = np.array([[0.1, 0.1, 0.5, 0.5], [0.12, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 1.2], [0.0, 0.0, 0.1, 0.1]])
    scores = np.array([[0.2, 0.8], [0.1, 0.9], [0.3, 0.7], [0.9, 0.1]])
    reading = Postprocessing.parse("kind=detections,boxes=b,scores=s,background=0")
    answer = reading({"b": boxes[None], "s": scores[None]}, image=(100, 200), size=(10, 10))
    assert answer == {
        "detections": [
            {"class": 1, "score": 0.9, "box": pytest.approx([24, 10, 100, 50])},
            {"class": 1, "score": 0.7, "box": pytest.approx([120, 60, 180, 100])},
        ]
    }


def test_boxes_as_centres_in_pixels_of_the_input():
    reading = Postprocessing.parse("kind=detections,boxes=b,scores=s,form=centres,units=pixels,top=1")
    answer = reading({"b": np.array([[[5.0, 5, 4, 2]]]), "s": np.array([[[0.9]]])}, image=(100, 200), size=(10, 10))
    assert answer["detections"][0]["box"] == pytest.approx([60, 40, 140, 60])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kind=words", "kind"),
        ("kind=detections", "name them in boxes and scores"),
        ("top=0", "top"),
        ("size=3", "size"),
        ("kind", "kind"),
    ],
)
def test_a_postprocessing_that_is_none_is_one_line(text, reason):
    with pytest.raises(OptionError, match=f"`postprocess`: .*{reason}"):
        Postprocessing.parse(text)


def test_outputs_that_are_not_there():
    outputs = [Port("y", "FP32", (-1, 5))]
    with pytest.raises(OptionError, match="there is no output z; there are y"):
        Postprocessing(scores="z").checked(outputs)
    with pytest.raises(OptionError, match="y has 2 axes, and detections are read from 3"):
        Postprocessing(kind="detections", scores="y", boxes="y").checked(outputs)


def test_a_model_that_was_not_calibrated_on_images_says_so(tuned_cnn):
    with pytest.raises(OptionError, match="say how one becomes an input"):
        images_of(open_deployment(tuned_cnn), None, Postprocessing())


def test_a_face_is_found_by_a_real_detector(shared, tmp_path):
    model = shared / "models/ultraface_rfb320/model.onnx"
    workbench.tune(model, shared / "data/faces", tmp_path / "out", runs=0, preprocessing=NEAR_FACE, preset="fp32")
    detector = loaded(tmp_path / "out")
    reading = Postprocessing.parse("kind=detections,boxes=boxes,scores=scores,background=0,threshold=0.7")
    photo = min((shared / "data/faces").glob("*.jpg"))
    with running([detector]) as service:
        service.service.models["model"].images = images_of(detector.deployment, None, reading)
        status, answer = look(service, "model", photo.read_bytes())
    assert status == 200
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    with Image.open(photo) as image:
        array = Preprocessing.parse(f"{NEAR_FACE},size=240x320").array_of(image, np.dtype(np.float32))
        width, height = image.size
    scores, boxes = session.run(["scores", "boxes"], {session.get_inputs()[0].name: array[None]})
    best = int(scores[0, :, 1].argmax())
    assert scores[0, best, 1] > 0.9, "there is no face on this photo"
    value = answer["detections"][0]
    assert value["score"] == pytest.approx(float(scores[0, best, 1]), abs=1e-4)
    ends = np.tile([width, height], 2)
    assert value["box"] == pytest.approx(np.clip(boxes[0, best] * ends, 0, ends).tolist(), abs=0.5)
