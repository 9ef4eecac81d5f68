"""What the service is told of the options, short of opening a port."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from onnx import TensorProto, helper

from tests.kit.serving import saved
from workbench.errors import OptionError
from workbench.handoff import service
from workbench.jobs import serve, serving
from workbench.jobs.options import ServeOptions

pytest.importorskip("fastapi", reason="fastapi comes with the extra [serve]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    scores = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 192])
    nodes = [helper.make_node("Flatten", ["x"], ["y"], "flatten")]
    return saved(tmp_path_factory.mktemp("serving"), [image], [scores], nodes)


def test_a_folder_is_served_under_the_name_before_it(folder, tmp_path):
    first, second = serving._deployments((str(folder), f"other={folder}"))
    assert (first.name, second.name, second.folder) == ("source", "other", folder)
    shutil.copytree(folder, tmp_path / "a=b")
    (odd,) = serving._deployments((str(tmp_path / "a=b"),))
    assert (odd.name, odd.folder) == ("source", tmp_path / "a=b")
    with pytest.raises(OptionError, match=f"are both called source; give one another name: source_2={folder}"):
        serving._deployments((f"other={folder}", str(folder), str(folder)))


def test_each_option_reaches_the_service(folder, tmp_path):
    pixels = {"postprocess": "kind=classes,top=2", "preprocess": "scale=2"}
    given = {"max_batch": 3, "max_body_mib": 2, "concurrency": 5, "timeout_s": 7.0, "queue": 9, "wait_ms": 250.0}
    options = ServeOptions(folders=(str(folder),), watch=tmp_path / "w.npz", watch_every=4, **pixels, **given)
    made = serving._Make(options, built(options))()
    try:
        settings, served = made.settings, made.models["source"]
        assert (settings.body_bytes, settings.concurrency, settings.timeout_s) == (2 << 20, 5, 7.0)
        batching = served.batcher.batching
        assert (batching.rows, batching.wait_s, batching.queued) == (3, 0.25, 9)
        assert (served.images.postprocessing.top, served.images.preprocessing.scale) == (2, 2.0)
        assert (tmp_path / "w.npz").is_file()
        field = served.watchers[-1]
        assert (field._every, field._on_counted) == (4, served.metrics.counted)
    finally:
        made.close()


def test_a_service_of_which_nothing_is_asked_has_no_images_and_watches_nothing(folder):
    options = ServeOptions(folders=(str(folder),))
    made = serving._Make(options, built(options))()
    (served,) = made.models.values()
    made.close()
    assert (served.images, len(served.watchers), made.settings) == (None, 1, service.Settings())


def built(options):
    (deployment,) = serving._deployments(options.folders)
    return (service.engine_for(deployment, "onnxruntime", options.max_batch, None),)


def test_what_is_served_is_said_and_that_it_ended(folder, monkeypatch):
    said, ran = [], []

    @contextmanager
    def listen(host, port):
        yield SimpleNamespace(at=(host, port))

    monkeypatch.setattr(service, "listen", listen)
    monkeypatch.setattr(service, "url_of", lambda opened: "http://{}:{}".format(*opened.at))
    monkeypatch.setattr(service, "say", said.append)
    monkeypatch.setattr(service, "engine_for", lambda one, *asked: (one.name, *asked))
    monkeypatch.setattr(service, "run_server", lambda make, _, *, workers: ran.append((make.engines, workers)))
    result = serve((f"a={folder}", f"b={folder}"), port=81, host="h", max_batch=4, workers=3)
    assert result.text() == "the service at http://h:81 has ended"
    assert said == ["serving a, b at http://h:81/v2, described at http://h:81/docs"]
    assert ran == [((("a", "onnxruntime", 4, None), ("b", "onnxruntime", 4, None)), 3)]
    with pytest.raises(OptionError, match="calibration was not on images"):
        serve((str(folder),), postprocess="kind=classes")


def test_floating_inputs_and_what_has_a_range_are_watched():
    kinds = ("FP16", "INT64", "BF16", "UINT8", "FP32", "FP64", "BOOL", "BYTES")
    inputs = [SimpleNamespace(name=f"x{kind}", datatype=kind) for kind in kinds]
    deployment = SimpleNamespace(name="net", inputs=inputs, ranges={"xFP32": 1.0, "a/relu": 2.0, "b/relu": 3.0})
    floating = ["xFP16", "xBF16", "xFP32", "xFP64"]
    assert serving._watched(deployment, ()) == [*floating, "a/relu", "b/relu"]
    assert serving._watched(deployment, ("*relu", "xFP16")) == ["xFP16", "a/relu", "b/relu"]
    with pytest.raises(OptionError, match=r"no tensor is called 'c/\*'"):
        serving._watched(deployment, ("*relu", "c/*"))
    blind = SimpleNamespace(name="net", inputs=inputs[1:2], ranges={})
    with pytest.raises(OptionError, match="net has no floating-point input and no range"):
        serving._watched(blind, ())
