from __future__ import annotations

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests.kit.models import model as made
from workbench.errors import OptionError
from workbench.runtime import device
from workbench.runtime.borders import in_numbers
from workbench.runtime.device import CPU, Device, DeviceWarning, current_device, on_device, usable_device
from workbench.runtime.session import Session


def relu():
    return made([onnx.helper.make_node("Relu", ["x"], ["y"])], {"x": [1]}, {"y": [1]})


@pytest.mark.parametrize(
    ("text", "result"),
    [
        (None, CPU),
        ("cpu", CPU),
        ("cuda", Device(0)),
        ("cuda:3", Device(3)),
        ("cuda+tf32", Device(0, tf32=True)),
        ("cuda:1+tf32", Device(1, tf32=True)),
    ],
)
def test_devices_are_read(text, result):
    assert Device.of(text) == result
    assert Device.of(result) is result


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:-1", "cuda:x", "tf32", "cuda:0+fp16", ""])
def test_what_is_no_device_is_refused(text):
    with pytest.raises(OptionError, match="Use cpu, cuda"):
        usable_device(text)


def test_tf32_is_off_unless_asked_for():
    (_, options), fallback = Device.of("cuda:2").providers(stream=77)
    assert options == {
        "device_id": "2",
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "user_compute_stream": "77",
    }
    assert fallback == "CPUExecutionProvider"
    assert Device.of("cuda+tf32").providers()[0][1]["use_tf32"] == "1"


def test_what_cannot_be_used_is_told_and_the_processor_computes():
    reason = device.unusable(7)  # whatever it is here
    with pytest.warns(DeviceWarning, match="cuda:7 cannot be used, so the processor computes: ") as messages:
        actual = usable_device("cuda:7")
    assert actual == CPU
    assert reason in str(messages[0].message)


def test_sessions_of_a_block_are_on_its_device(monkeypatch):
    monkeypatch.setattr(device, "unusable", lambda _: "")
    monkeypatch.setattr(Device, "providers", lambda *_: ["CPUExecutionProvider"])
    model = relu()
    with on_device("cuda:1"):
        inside, fast = Session(model), Session(model, mode="speed")
        with on_device(None):  # changes nothing
            assert current_device() == Device(1)
    assert (inside.device, fast.device, Session(model).device) == (Device(1), CPU, CPU)


def test_a_run_is_started_on_the_device_without_waiting_for_it():
    bound, ran = [], []

    class Binding:
        def bind_input(self, *given):
            bound.append(given)

        def bind_output(self, *given):
            bound.append(given)

        def get_outputs(self):
            return ["value of y"]

    def run(_, options):
        ran.append(options.get_run_config_entry("disable_synchronize_execution_providers"))

    session = Session(relu())
    session.device = Device(3)
    session._session = SimpleNamespace(io_binding=Binding, run_with_iobinding=run)
    array = SimpleNamespace(dtype="float32", shape=(1,), data=SimpleNamespace(ptr=77))
    assert session.enqueue({"x": array}) == {"y": "value of y"}
    assert bound == [("x", *Device(3).memory, "float32", (1,), 77), ("y", *Device(3).memory)]
    assert ran == ["1"]


def test_bf16_is_handed_out_in_fp32_part_by_part():
    narrow = np.array([1.5, 2.0], ml_dtypes.bfloat16)
    first, (second,) = in_numbers([narrow, [narrow]])
    assert first.dtype == second.dtype == np.float32
    half = np.array([1.5], np.float16)
    assert in_numbers(half) is half
