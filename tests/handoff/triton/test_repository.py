"""A model repository of Triton, read back with Triton's own protobuf."""

from __future__ import annotations

import hashlib
import re
import resource
import shutil

import numpy as np
import onnx
import pytest
import yaml
from google.protobuf import text_format
from onnx import TensorProto, helper
from PIL import Image
from tritonclient.grpc import InferInput, model_config_pb2

import workbench
from tests.handoff.triton.test_batching import bench
from workbench.backends import write_engine
from workbench.backends.needs import this_platform
from workbench.backends.protocol import Engine
from workbench.cli import main
from workbench.errors import BackendError, ModelError, OptionError, OutputError, RecipeError, SamplesError
from workbench.graph import load_model
from workbench.jobs import handoff_triton
from workbench.recipe import ModelReference, Recipe, Tuned

FP32 = model_config_pb2.TYPE_FP32


def config(repository, name):
    """Read a configuration with Triton's own message; a field that it does not know is an error."""
    return text_format.Parse((repository / name / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def deployed(folder, model):
    """Put a model into a folder as a tuning that changed nothing would."""
    folder.mkdir(parents=True)
    if isinstance(model, onnx.ModelProto):
        onnx.save(model, folder / "tuned.onnx")
    else:
        shutil.copy(model, folder / "tuned.onnx")
    digest = hashlib.sha256((folder / "tuned.onnx").read_bytes()).hexdigest()
    Recipe(model=ModelReference(file=str(folder / "net.onnx"), sha256=digest), tuned=Tuned(sha256=digest)).save(
        folder / "recipe.yaml"
    )
    return folder


def network(inputs, outputs):
    """A model that hands each input on as an output of the same place."""
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in arguments.items()]
        for arguments in (inputs, outputs)
    ]
    nodes = [helper.make_node("Identity", [a], [b], a) for a, b in zip(inputs, outputs, strict=True)]
    graph = helper.make_graph(nodes, "g", *values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def repository(tuned_cnn, tmp_path_factory):
    out = tmp_path_factory.mktemp("triton") / "repo"
    measured = bench(out.with_name("bench"), ("small_cnn-b1", "qdq", 1, 0.5), ("small_cnn-b16", "qdq", 16, 1.0))
    labels = out.with_name("labels.txt")
    labels.write_text("cat\ndog\nowl\nfox\nbee\n")
    handoff_triton(tuned_cnn, out, bench=[measured], labels=labels)
    return out


def test_the_model_is_the_tuned_one_byte_for_byte(repository, tuned_cnn):
    home = repository / "small_cnn"
    assert (home / "1/model.onnx").read_bytes() == (tuned_cnn / "tuned.onnx").read_bytes()
    assert sorted(path.name for path in home.iterdir()) == ["1", "README.md", "config.pbtxt", "labels.txt", "warmup"]
    assert sorted(path.name for path in repository.iterdir()) == ["README.md", "compose.yaml", "small_cnn"]


def test_the_configuration_is_of_triton_and_says_what_was_measured(repository):
    read = config(repository, "small_cnn")
    assert (read.name, read.platform, read.backend) == ("small_cnn", "onnxruntime_onnx", "onnxruntime")
    assert [(i.name, i.data_type, list(i.dims)) for i in read.input] == [("x", FP32, [3, 8, 8])]
    assert [(o.name, list(o.dims), o.label_filename) for o in read.output] == [("y", [5], "labels.txt")]
    assert (read.max_batch_size, read.dynamic_batching.max_queue_delay_microseconds) == (16, 500)
    assert [(g.kind, g.count) for g in read.instance_group] == [(model_config_pb2.ModelInstanceGroup.KIND_GPU, 2)]
    assert read.version_policy.latest.num_versions == 1
    (accelerator,) = read.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    profiles = [accelerator.parameters[f"trt_profile_{word}_shapes"] for word in ("min", "opt", "max")]
    assert profiles == ["x:1x3x8x8", "x:16x3x8x8", "x:16x3x8x8"]
    assert "precision_mode" not in accelerator.parameters


def test_it_warms_up_with_the_first_sample_of_the_calibration(repository, small_data):
    read = config(repository, "small_cnn")
    assert [warm_up.batch_size for warm_up in read.model_warmup] == [1, 16]
    for warm_up in read.model_warmup:
        value = warm_up.inputs["x"]
        content = (repository / "small_cnn/warmup" / value.input_data_file).read_bytes()
        # Triton reads the file once for each request of the batch, each of one sample.
        array = np.frombuffer(content, "<f4").reshape(tuple(value.dims))
        with np.load(small_data) as samples:
            np.testing.assert_array_equal(array, samples["x"][0])


def test_it_warms_up_with_an_image_as_the_calibration_read_it(small_cnn, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    for at, image in enumerate(pixels):
        Image.fromarray(image).save(images / f"{at}.png")
    wb = workbench.open_model(small_cnn)
    wb.calibrate(images, preprocessing="size=8x8,scale=0.5")
    wb.save(tmp_path / "tuned")
    handoff_triton(tmp_path / "tuned", tmp_path / "repo")
    content = (tmp_path / "repo/small_cnn/warmup/input0.bin").read_bytes()
    np.testing.assert_array_equal(np.frombuffer(content, "<f4").reshape(3, 8, 8), pixels[0].transpose(2, 0, 1) * 0.5)
    for file in images.iterdir():
        file.write_bytes(b"no image")
    odd = handoff_triton(tmp_path / "tuned", tmp_path / "odd")
    assert any("are not what they were" in remark for remark in odd.remarks)
    shutil.rmtree(images)
    with pytest.raises(SamplesError):
        handoff_triton(tmp_path / "tuned", tmp_path / "none", samples={"x": np.zeros((0, 3, 8, 8), np.float32)})
    gone = handoff_triton(tmp_path / "tuned", tmp_path / "again")
    assert any("samples of the calibration are not here" in remark for remark in gone.remarks)


def test_the_compose_file_locks_the_server_in(repository):
    services = yaml.safe_load((repository / "compose.yaml").read_text())["services"]
    server = services["triton"]
    assert re.fullmatch(r"nvcr\.io/nvidia/tritonserver:\d\d\.\d\d-py3", server["image"])
    assert services["measure"]["image"] == server["image"] + "-sdk"
    assert server["read_only"] is True
    assert server["user"] == "1000:1000"
    assert server["volumes"] == [".:/models:ro"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert server["healthcheck"]["test"][-1].endswith("/v2/health/ready")
    assert services["measure"]["entrypoint"][0] == "perf_analyzer"
    cache = config(repository, "small_cnn").optimization.execution_accelerators.gpu_execution_accelerator[0]
    assert any(path.startswith(cache.parameters["trt_engine_cache_path"] + ":") for path in server["tmpfs"])


def test_its_page_shows_a_client_that_makes_the_right_request(repository):
    page = (repository / "small_cnn/README.md").read_text()
    assert "Measured samples a second by batch: 1: 2000, 16: 16000." in page
    assert "docker compose run --rm measure -m small_cnn" in page
    client = re.search(r"```python\n(.*?)client =", page, re.DOTALL)[1]
    values = {}
    exec(client.replace("tritonclient.http", "tritonclient.grpc"), values)  # noqa: S102
    (arguments,) = values["inputs"]
    assert isinstance(arguments, InferInput)
    assert (arguments.name(), arguments.shape(), arguments.datatype()) == ("x", [1, 3, 8, 8], "FP32")


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", ["n", 4], "Engines are built for a batch of 1 to 8, best for 8."),
        ("x", ["n", "t"], "more than the batch is free"),
        ("image:0", ["n", 4], "no place for the name 'image:0'"),
        ("x", [2, 4], "built for the first shapes that come"),
    ],
)
def test_what_engines_are_built_for_is_said(tmp_path, name, shape, message):
    kind = (TensorProto.FLOAT, shape)
    handoff_triton(deployed(tmp_path / "some", network({name: kind}, {"y": kind})), tmp_path / "repo")
    assert message in (tmp_path / "repo/net/README.md").read_text()
    (accelerator,) = config(tmp_path / "repo", "net").optimization.execution_accelerators.gpu_execution_accelerator
    assert ("trt_profile_max_shapes" in accelerator.parameters) == message.startswith("Engines")


def test_a_second_version_and_a_second_model(repository, tuned_cnn, tmp_path):
    out = shutil.copytree(repository, tmp_path / "repo")
    (out / "README.md").write_text("ours\n")
    with pytest.raises(OutputError, match=r"there is a version 1 of small_cnn already\. .*--version 2"):
        handoff_triton(tuned_cnn, out)
    (out / "compose.yaml").write_text("")
    handoff = handoff_triton(tuned_cnn, out, version=2)
    kept = [f"{out / name} is kept as it was." for name in ("compose.yaml", "README.md")]
    assert list(handoff.remarks[-2:]) == kept
    assert [(out / name).read_text() for name in ("compose.yaml", "README.md")] == ["", "ours\n"]
    assert (out / "small_cnn/1/model.onnx").read_bytes() == (out / "small_cnn/2/model.onnx").read_bytes()
    assert "Version 2" in (out / "small_cnn/README.md").read_text()
    handoff_triton(tuned_cnn, out, name="other")
    assert config(out, "other").name == "other"
    odd = deployed(
        tmp_path / "odd", network({"x": (TensorProto.FLOAT, ["n", 4])}, {"y": (TensorProto.FLOAT, ["n", 4])})
    )
    with pytest.raises(OutputError, match=r"versions of it that are there have another input.*--name"):
        handoff_triton(odd, out, name="small_cnn", version=3)
    assert not (out / "small_cnn/3").exists()
    (out / "mine").mkdir()
    (out / "mine/notes.txt").write_text("x")
    with pytest.raises(OutputError, match="no model of Triton"):
        handoff_triton(tuned_cnn, out, name="mine")


def test_types_scalars_and_fixed_batches_stand_as_triton_wants_them(tmp_path):
    kinds = {"a": (TensorProto.INT64, ["n"]), "b": (TensorProto.BOOL, ["n", 2]), "c": (TensorProto.FLOAT16, ["n", "t"])}
    by_name = {f"{name}/out": arguments for name, arguments in kinds.items()}
    handoff_triton(deployed(tmp_path / "some", network(kinds, by_name)), tmp_path / "repo", name="some")
    read = config(tmp_path / "repo", "some")
    assert [(i.name, model_config_pb2.DataType.Name(i.data_type), list(i.dims)) for i in read.input] == [
        ("a", "TYPE_INT64", [1]),
        ("b", "TYPE_BOOL", [2]),
        ("c", "TYPE_FP16", [-1]),
    ]
    assert read.input[0].HasField("reshape")
    assert list(read.input[0].reshape.shape) == []
    assert not any(
        "profile" in key for key in read.optimization.execution_accelerators.gpu_execution_accelerator[0].parameters
    )
    fixed = {"x": (TensorProto.FLOAT, [4, 3]), "s": (TensorProto.INT64, [])}
    handoff_triton(
        deployed(tmp_path / "fixed", network(fixed, {"y": fixed["x"], "t": fixed["s"]})),
        tmp_path / "repo",
        name="fixed",
    )
    read = config(tmp_path / "repo", "fixed")
    assert (read.max_batch_size, [list(i.dims) for i in read.input]) == (0, [[4, 3], [1]])
    assert not read.HasField("dynamic_batching")
    page = (tmp_path / "repo/fixed/README.md").read_text()
    assert "No warm-up" in page
    assert "Shapes are those of one request." in page


STATES = {
    "gtcrn_simple": ["conv_cache=conv_cache_out", "tra_cache=tra_cache_out", "inter_cache=inter_cache_out"],
    "silero_vad_op18_ifless": ["state=stateN"],
    "dtln_1": ["input_3=tf_op_layer_stack_2"],
}


@pytest.mark.parametrize("name", STATES)
def test_triton_keeps_the_states_of_real_recurrent_models(shared, tmp_path, name):
    folder = deployed(tmp_path / name, shared / "models" / name / "model.onnx")
    handoff = handoff_triton(folder, tmp_path / "plain", name=name)
    asked = [remark for remark in handoff.remarks if "--state INPUT=OUTPUT" in remark]
    assert name == "silero_vad_op18_ifless" or STATES[name][0] in asked[0]
    handoff = handoff_triton(folder, tmp_path / "repo", name=name, state=STATES[name])
    read = config(tmp_path / "repo", name)
    model = load_model(folder / "tuned.onnx")
    pairs = dict(pair.split("=") for pair in STATES[name])
    assert {state.input_name: state.output_name for state in read.sequence_batching.state} == pairs
    assert {i.name for i in read.input} == {tensor.name for tensor in model.inputs} - set(pairs)
    assert {o.name for o in read.output} == {tensor.name for tensor in model.outputs} - set(pairs.values())
    for state in read.sequence_batching.state:
        shape = model.tensor(state.input_name).shape
        assert list(state.dims) == [length if isinstance(length, int) else -1 for length in shape]
        (start,) = state.initial_state
        assert start.zero_data
        assert start.name
        assert list(start.dims) == [length if isinstance(length, int) else 1 for length in shape]
    assert not read.model_warmup
    assert not read.HasField("dynamic_batching")
    page = (tmp_path / "repo" / name / "README.md").read_text()
    assert "sequence_start" in page


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("x", r"'x' is not INPUT=OUTPUT; inputs are x, outputs y"),
        ("y=x", r"'y=x' is not INPUT=OUTPUT"),
        ("x=y", r"x and y differ in type or rank"),
    ],
)
def test_states_that_are_none_are_refused(tuned_cnn, tmp_path, state, message):
    with pytest.raises(OptionError, match=message):
        handoff_triton(tuned_cnn, tmp_path / "repo", state=[state])
    assert not (tmp_path / "repo").exists()


def plan(folder, model, **changes):
    data = b"an engine, which nothing here loads"
    facts = {
        "format": "workbench-engine/1",
        "backend": "tensorrt",
        "version": "8.6.0",
        "engine_sha256": hashlib.sha256(data).hexdigest(),
        "model": "small_cnn",
        "model_sha256": load_model(model).digest,
        "options": {"version_compatible": True},
        "profile": [{"input": "x", "min": [1, 3, 8, 8], "opt": [4, 3, 8, 8], "max": [4, 3, 8, 8], "given": True}],
        "device": {"name": "NVIDIA H200", "capability": [9, 0]},
        "platform": this_platform(),
    } | changes
    return write_engine(Engine(facts["backend"], data, facts), folder / "model.plan")


def test_an_engine_is_served_as_a_plan_with_the_batch_that_it_takes(tuned_cnn, tmp_path):
    engine = plan(tmp_path, tuned_cnn / "tuned.onnx")
    handoff_triton(tuned_cnn, tmp_path / "repo", engine=engine)
    read = config(tmp_path / "repo", "small_cnn")
    assert (read.platform, read.backend, read.default_model_filename) == ("tensorrt_plan", "tensorrt", "model.plan")
    assert read.max_batch_size == 4
    assert not read.HasField("optimization")
    assert (tmp_path / "repo/small_cnn/1/model.plan").read_bytes() == engine.read_bytes()
    page = (tmp_path / "repo/small_cnn/README.md").read_text()
    assert "needs the full or the lean runtime of TensorRT 8.6.0 or newer, up to 10.x" in page
    assert "version-compatible=true" in page


def test_integers_of_64_bits_are_32_in_engines_before_10(tmp_path):
    ports = {"x": (TensorProto.INT64, ["n", 2])}
    folder = deployed(tmp_path / "int", network(ports, {"y": ports["x"]}))
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=np.array([[1, 2], [3, 4]]))
    for version, kind, width in (("8.6.0", "TYPE_INT32", 4), ("10.3.0", "TYPE_INT64", 8)):
        place = tmp_path / version
        place.mkdir()
        engine = plan(place, folder / "tuned.onnx", version=version, profile=[])
        handoff_triton(folder, place / "repo", engine=engine, samples=samples)
        read = config(place / "repo", "net")
        assert model_config_pb2.DataType.Name(read.input[0].data_type) == kind
        assert len((place / "repo/net/warmup/input0.bin").read_bytes()) == 2 * width


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_sha256": "0" * 64}, "it is not an engine of .*workbench build"),
        ({"backend": "tensorrt_rtx"}, "an engine of tensorrt_rtx"),
        ({"options": {"strip": True}}, "written without its weights"),
    ],
)
def test_engines_that_triton_cannot_serve_are_refused(tuned_cnn, tmp_path, changes, message):
    with pytest.raises(BackendError, match=message):
        handoff_triton(tuned_cnn, tmp_path / "repo", engine=plan(tmp_path, tuned_cnn / "tuned.onnx", **changes))


def test_bad_input_is_one_line(tuned_cnn, small_cnn, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    sequence = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    odd = network({"x": (TensorProto.FLOAT, [1])}, {"y": (TensorProto.FLOAT, [1])})
    odd.graph.node.append(helper.make_node("SequenceConstruct", ["x"], ["s"], "s"))
    odd.graph.output.append(sequence)
    cases = [
        ([tmp_path], RecipeError, "not what a tuning writes"),
        ([tmp_path / "none"], RecipeError, "no such folder"),
        ([deployed(tmp_path / "odd", odd)], ModelError, "KServe's protocol cannot carry"),
        ([tuned_cnn, "--name", "a/b"], RecipeError, "cannot be the name of a model"),
        ([tuned_cnn, "--labels", tmp_path / "labels.txt"], OptionError, "has 2 lines, and y has 5 classes"),
        ([tuned_cnn, "--triton", "latest"], OptionError, "--triton"),
        ([tuned_cnn, "--samples", small_cnn], SamplesError, ""),
        ([tuned_cnn, "--engine", small_cnn], BackendError, "a model, and no engine. Build one first"),
        ([tuned_cnn, "--engine", tmp_path / "labels.txt"], BackendError, "without a manifest"),
    ]
    for words, kind, message in cases:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in ("handoff", "triton", *words, "--out", tmp_path / "repo")])
        shown = capsys.readouterr().err
        assert caught.value.code == kind.exit_code, shown
        assert message in shown
        assert "Traceback" not in shown
    assert not (tmp_path / "repo").exists()


def test_large_models_keep_their_weights_beside_them(tuned_cnn, tmp_path):
    proto = onnx.load(tuned_cnn / "tuned.onnx")
    folder = tmp_path / "big"
    folder.mkdir()
    onnx.save(proto, folder / "tuned.onnx", save_as_external_data=True, location="tuned.onnx.data", size_threshold=0)
    digest = load_model(folder / "tuned.onnx").digest
    Recipe(model=ModelReference(file="big.onnx", sha256=digest), tuned=Tuned(sha256=digest)).save(
        folder / "recipe.yaml"
    )
    handoff_triton(folder, tmp_path / "repo")
    versions = tmp_path / "repo/big/1"
    assert sorted(path.name for path in versions.iterdir()) == ["model.onnx", "tuned.onnx.data"]
    assert load_model(versions / "model.onnx").digest == digest


def test_nothing_but_models_is_a_folder(repository):
    """Triton takes each folder of a repository for a model."""
    assert [path.name for path in repository.iterdir() if path.is_dir()] == ["small_cnn"]


def test_what_does_not_fit_on_the_disk_leaves_nothing_and_names_the_repository(tmp_path):
    tuned = deployed(
        tmp_path / "tuned", network({"x": (TensorProto.FLOAT, ["N", 4])}, {"y": (TensorProto.FLOAT, ["N", 4])})
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(OutputError, match=r"repository/net: cannot be written: File too large"):
            handoff_triton(tuned, tmp_path / "repository", name="net")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "repository").exists()
