"""A model's page and configuration, of ports that were made by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from workbench.errors import BackendError, ModelError, OptionError, OutputError
from workbench.handoff import Port
from workbench.handoff.triton.batching import DynamicBatching
from workbench.handoff.triton.config import (
    ServedModel,
    StatePair,
    make_config,
    message_types,
    read_config,
    state_pairs,
    to_text,
)
from workbench.handoff.triton.repository import _check_room, _land
from workbench.handoff.triton.warm_up import Warmer, WarmUp
from workbench.handoff.triton.words import compose_text, model_page, repository_page

X, T = Port("x", "FP32", (-1, 3, -1)), Port("t", "BYTES", (-1,))
Y = Port("y", "INT64", (-1, 5))
STATE = StatePair(Port("s", "FP16", (-1, 2)), Port("s_out", "FP16", (-1, 2)))
MANIFEST = {"backend": "tensorrt", "version": "8.6.0", "options": {}}


def served(*inputs, outputs=(Y,), platform="onnx", most=4, states=(), manifest=MANIFEST, **batching):
    ports = (*inputs, *(pair.input for pair in states)), (*outputs, *(pair.output for pair in states))
    deployment = SimpleNamespace(name="net", inputs=ports[0], outputs=ports[1])
    how = DynamicBatching(most, why=("As measured.",), **batching)
    return ServedModel(deployment, platform, how, tuple(states), manifest=manifest if platform == "plan" else {})


def lines(model, release="26.07"):
    return model_page(model, 3, "Warmed.", release).splitlines()


def test_a_page_says_what_is_served_with_shapes_and_why():
    page = lines(served(X, T))
    assert page[:5] == [
        "# net",
        "",
        (
            "Version 3: the tuned ONNX model, on ONNX Runtime with TensorRT. Its types are in the graph, so the "
            "configuration asks for no precision: TensorRT takes those of the graph."
        ),
        "",
        "A batch comes before each of these shapes.",
    ]
    assert page[6:9] == ["- input `x`: FP32, 3xany", "- input `t`: STRING, 1", "- output `y`: INT64, 5"]
    why = page[page.index("## Why it is configured so") + 2 :][:3]
    assert why[0] == "- As measured."
    assert why[1].startswith("- No optimization profile, since more than the batch is free")
    assert why[2] == "- Warmed."
    alone = lines(served(X, most=0))
    assert alone[4] == "Shapes are those of one request."
    assert "- input `x`: FP32, anyx3xany" in alone
    fixed = lines(served(Port("x", "FP32", (-1, 3)), tuned=2))
    assert "- Engines are built for a batch of 1 to 4, best for 2." in fixed


def test_a_page_of_an_engine_says_what_it_needs():
    page = "\n".join(lines(served(X, platform="plan")))
    assert "Version 3: a TensorRT engine." in page
    assert "TensorRT 8.6.0" in page
    assert "Triton 26.07 must bring such a TensorRT" in page
    assert "version-compatible=true" not in page
    assert "- The engine has its own optimization profiles." in page
    newer = served(X, platform="plan", manifest=MANIFEST | {"options": {"version_compatible": True}})
    assert "version-compatible=true" in "\n".join(lines(newer))


def test_a_client_asks_with_a_batch_of_one_and_one_for_what_is_free():
    page = "\n".join(lines(served(X, T)))
    assert "inputs.append(InferInput('x', [1, 3, 1], 'FP32'))" in page
    assert "inputs[-1].set_data_from_numpy(np.zeros([1, 3, 1], np.float32))" in page
    assert "inputs.append(InferInput('t', [1, 1], 'BYTES'))" in page
    assert "np.zeros([1, 1], object)" in page
    assert "answer = client.infer('net', inputs)" in page
    assert "print(answer.as_numpy('y'))" in page
    assert "InferInput('x', [1, 3, 1]" in "\n".join(lines(served(X, most=0)))


def test_measuring_states_a_shape_where_one_is_free():
    (line,) = (line for line in lines(served(X, T)) if "docker compose run" in line)
    assert line.endswith("-m net --concurrency-range 1:32:8 --percentile=99 --shape x:3,1")
    (line,) = (line for line in lines(served(Port("x", "FP32", (-1, 3)), states=(STATE,))) if "compose run" in line)
    assert line.endswith("--percentile=99 --sequence-length 20")


def test_states_are_kept_by_triton_and_sent_by_nobody():
    model = served(X, states=(STATE,))
    page = "\n".join(lines(model))
    assert "Triton keeps the state: `s_out` becomes `s`." in page
    assert "`s`:" not in page
    assert "sequence_id=1, sequence_start=True, sequence_end=True" in page
    assert [port.name for port in (*model.inputs(), *model.outputs())] == ["x", "y"]
    config = make_config(model)
    (state,) = config.sequence_batching.state
    assert (state.input_name, state.output_name, list(state.dims)) == ("s", "s_out", [2])
    assert [(one.name, list(one.dims), one.zero_data) for one in state.initial_state] == [("zero", [2], True)]
    assert not config.HasField("dynamic_batching")
    free = StatePair(Port("s", "FP16", (-1, -1)), Port("s_out", "FP16", (-1, -1)))
    (state,) = make_config(served(X, states=(free,))).sequence_batching.state
    assert (list(state.dims), list(state.initial_state[0].dims)) == ([-1], [1])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (served(Port("x", "FP32", (-1, 3))), None),
        (served(Port("x", "FP32", (-1, 3)), most=0), "the first shapes that come"),
        (served(Port("x", "FP32", (-1, 3)), states=(STATE,)), "the first shapes that come"),
        (served(X), "more than the batch is free"),
        (served(Port("x", "FP32", (-1, -1, 3))), "more than the batch is free"),
        (served(Port("a:0", "FP32", (-1, 3))), "no place for the name 'a:0'"),
        (served(Port("a,b", "FP32", (-1, 3))), "no place for the name 'a,b'"),
        (served(X, platform="plan"), "its own optimization profiles"),
    ],
)
def test_a_profile_is_left_out_for_a_reason(model, reason):
    if reason is None:
        assert model.no_profile is None
    else:
        assert reason in model.no_profile
    parameters = {}
    for one in make_config(model).optimization.execution_accelerators.gpu_execution_accelerator:
        parameters = dict(one.parameters)
    assert ("trt_profile_min_shapes" in parameters) == (reason is None)


def test_a_configuration_has_what_was_chosen():
    model = served(Port("x", "FP32", (-1, 3)), T, delay_us=500, instances=2, tuned=2)
    config = make_config(model)
    assert (config.name, config.platform, config.backend) == ("net", "onnxruntime_onnx", "onnxruntime")
    assert (config.default_model_filename, config.max_batch_size) == ("model.onnx", 4)
    assert (config.version_policy.latest.num_versions, config.instance_group[0].count) == (1, 2)
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert [(one.name, list(one.dims), one.HasField("reshape")) for one in config.input] == [
        ("x", [3], False),
        ("t", [1], True),
    ]
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert dict(accelerator.parameters) == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": "/cache",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": "/cache",
        "trt_profile_min_shapes": "x:1x3,t:1",
        "trt_profile_opt_shapes": "x:2x3,t:2",
        "trt_profile_max_shapes": "x:4x3,t:4",
    }
    assert read_config(to_text(config), "here") == config
    one = make_config(served(Port("x", "FP32", (-1, 3)), most=1))
    assert not one.HasField("dynamic_batching")
    assert make_config(served(X)).HasField("dynamic_batching")
    assert make_config(served(X)).dynamic_batching.max_queue_delay_microseconds == 0


def test_a_warm_up_has_its_inputs_with_their_files():
    port = Port("x", "FP32", (-1, 3))
    ups = tuple(WarmUp(f"batch {size}", size, (Warmer(port, (3,), "input0.bin", b""),)) for size in (1, 4))
    config = make_config(replace(served(port), warm_ups=ups))
    assert [(one.name, one.batch_size, one.count) for one in config.model_warmup] == [
        ("batch 1", 1, 1),
        ("batch 4", 4, 1),
    ]
    for one in config.model_warmup:
        assert {name: (list(i.dims), i.input_data_file) for name, i in one.inputs.items()} == {"x": ([3], "input0.bin")}
        assert one.inputs["x"].data_type == config.input[0].data_type
    labelled = make_config(replace(served(port), labels=("y",)))
    assert labelled.output[0].label_filename == "labels.txt"
    assert config.output[0].label_filename == ""


@pytest.mark.parametrize(("version", "kind"), [("9.3.0", "TYPE_INT32"), ("10.0.1", "TYPE_INT64")])
def test_integers_are_narrow_in_engines_before_tensorrt_10(version, kind):
    assert served(X, platform="plan", manifest={"version": version}).datatype(Y) == kind
    assert served(X).datatype(Y) == "TYPE_INT64"


def test_what_triton_cannot_have_is_refused():
    with pytest.raises(ModelError, match="x: an axis of length 0"):
        make_config(served(Port("x", "FP32", (-1, 0))))
    with pytest.raises(ModelError, match=r"here: not a configuration of Triton.*another name"):
        read_config("name: [", "here")


def test_states_are_pairs_of_one_type_and_rank_each_once():
    deployment = SimpleNamespace(
        inputs=(Port("a", "FP32", (1,)), Port("a=b", "FP32", (1,)), Port("c", "INT64", (1,))),
        outputs=(Port("p", "FP32", (1,)), Port("q", "FP32", (1,)), Port("r", "FP32", (1, 1))),
    )
    pairs = state_pairs(deployment, ["a=b=p", "a=q"])
    assert [(pair.input.name, pair.output.name) for pair in pairs] == [("a=b", "p"), ("a", "q")]
    for stated, what in (
        (["a"], "'a' is not INPUT=OUTPUT; inputs are a, a=b, c, outputs p, q, r"),
        (["a=r"], "a and r differ in type or rank"),
        (["c=p"], "c and p differ in type or rank"),
        (["a=p", "a=q"], "a=q names a tensor that has its state already"),
        (["a=p", "a=b=p"], "a=b=p names a tensor that has its state already"),
    ):
        with pytest.raises(OptionError, match=f"`state`: .*{what}"):
            state_pairs(deployment, stated)


def test_the_containers_are_of_one_release():
    services = yaml.safe_load(compose_text("25.01"))["services"]
    assert services["triton"]["image"] == "nvcr.io/nvidia/tritonserver:25.01-py3"
    assert services["measure"]["image"] == "nvcr.io/nvidia/tritonserver:25.01-py3-sdk"
    (device,) = services["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert "tritonserver:25.01-py3-sdk" in repository_page("25.01")
    server = services["triton"]
    assert (server["read_only"], server["healthcheck"]["retries"]) == (True, 3)
    assert server["tmpfs"] == ["/tmp", "/cache:uid=1000,gid=1000,mode=0700"]  # noqa: S108 - the container's


def test_a_compose_file_has_the_server_first_and_its_image_before_all_else():
    text = compose_text("25.01")
    assert text.index("triton:") < text.index("measure:")
    assert text.splitlines()[2].strip().startswith("image:")


def test_the_configuration_lands_last(tmp_path, monkeypatch):
    staged, home, order = tmp_path / "staged", tmp_path / "home", []
    for name in ("1/model.onnx", "README.md", "config.pbtxt", "labels.txt", "warmup/input0.bin"):
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_text(name)
    (home / "2").mkdir(parents=True)
    real = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: order.append(self.name) or real(self, target))
    (home / "warmup").mkdir()
    (home / "warmup/input1.bin").write_text("of the version before")
    _land(staged, home)
    assert order[-1] == "config.pbtxt"
    assert sorted(path.name for path in (home / "warmup").iterdir()) == ["input0.bin", "input1.bin"]
    assert {"README.md", "labels.txt"} < set(order)
    assert (home / "1/model.onnx").read_text() == "1/model.onnx"
    assert (home / "2").is_dir()


@pytest.mark.parametrize("empty", [True, False])
def test_a_new_model_lands_as_a_whole_and_in_an_empty_folder_too(tmp_path, empty):
    staged, home = tmp_path / "staged", tmp_path / "home"
    staged.mkdir()
    (staged / "config.pbtxt").write_text("new")
    if empty:
        home.mkdir()
    _land(staged, home)
    assert (home / "config.pbtxt").read_text() == "new"
    assert not staged.exists()


def room(home, version=2, **changes):
    """Ask whether there is room for a version of a model in a folder."""
    port = Port("x", "FP32", (-1, 3))
    _check_room(home, version, make_config(served(changes.pop("input", port), **changes)))


def test_there_is_room_where_nothing_is_or_a_model_with_the_same_inputs_and_outputs(tmp_path):
    home = tmp_path / "net"
    room(home)
    home.mkdir()
    room(home)
    (home / "config.pbtxt").write_text(to_text(make_config(served(Port("x", "FP32", (-1, 3))))))
    for name in ("1", "7", "notes"):
        (home / name).mkdir()
    room(home)
    room(home, most=8)
    with pytest.raises(OutputError, match=r"there is a version 7 of net already\. .*--version 8\)"):
        room(home, 7)


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ({}, {"platform": "plan"}, "platform"),
        ({"platform": "plan"}, {}, "platform"),
        ({}, {"input": Port("w", "FP32", (-1, 3))}, "input"),
        ({}, {"input": Port("z", "FP32", (-1, 3))}, "input"),
        ({}, {"input": Port("x", "INT8", (-1, 3))}, "input"),
        ({}, {"input": Port("x", "FP32", (-1, 4))}, "input"),
        ({}, {"outputs": (Port("z", "INT64", (-1, 5)),)}, "output"),
        ({"outputs": (Port("z", "INT64", (-1, 5)),)}, {}, "output"),
        (
            {"input": Port("x", "FP32", (3, 4)), "outputs": (Port("y", "FP32", (3, 4)),)},
            {"input": Port("x", "FP32", (4,)), "outputs": (Port("y", "FP32", (4,)),), "most": 0},
            "max batch size",
        ),
        (
            {"input": Port("x", "FP32", (4,)), "outputs": (Port("y", "FP32", (4,)),), "most": 0},
            {"input": Port("x", "FP32", (3, 4)), "outputs": (Port("y", "FP32", (3, 4)),)},
            "max batch size",
        ),
    ],
)
def test_versions_share_a_configuration_and_so_its_ports(tmp_path, before, after, what):
    port = before.get("input", Port("x", "FP32", (-1, 3)))
    there = served(port, **{name: value for name, value in before.items() if name != "input"})
    (tmp_path / "config.pbtxt").write_text(to_text(make_config(there)))
    with pytest.raises(OutputError, match=f"the versions of it that are there have another {what}, and all share"):
        room(tmp_path, **after)


def test_a_folder_or_a_file_of_another_kind_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").write_text("")
    for name in ("file", "folder"):
        with pytest.raises(OutputError, match=r"this is no model of Triton\. Choose another --name or --out"):
            room(tmp_path / name)


@pytest.mark.parametrize(
    ("datatype", "kind"),
    [
        ("BOOL", "bool"),
        ("FP16", "np.float16"),
        ("FP64", "np.float64"),
        ("BF16", "np.float32"),
        *((f"{sign}INT{bits}", f"np.{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)),
    ],
)
def test_a_client_sends_each_type_as_numpy_calls_it(datatype, kind):
    page = "\n".join(lines(served(Port("x", datatype, (-1, 3)))))
    assert f"inputs.append(InferInput('x', [1, 3], '{datatype}'))" in page
    assert f"np.zeros([1, 3], {kind})" in page


def test_without_tritonclient_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(BackendError, match=r"is missing. pip install \"trt-workbench\[triton\]\""):
        message_types()
