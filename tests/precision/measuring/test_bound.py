"""What limits an engine, by recorded ones."""

from __future__ import annotations

import pytest

from tests.kit.places import RECORDED
from workbench.engine import EngineReport, EngineTensor, GpuLimits, Layer, load_report
from workbench.engine.formats import TensorFormat
from workbench.precision.measuring.bound import least_ms, limits_of, what_limits


def read(stem):
    return load_report(RECORDED / f"{stem}.graph.json", profile=RECORDED / f"{stem}.profile.json")


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", None),
        ("NVIDIA GeForce RTX 4090", None),
        ("Intel(R) Xeon(R) Processor", None),
    ],
)
def test_a_gpu_is_known_by_the_name_of_its_driver(device, name):
    limits = limits_of(device)
    assert (None if limits is None else limits.name) == name


def test_at_batch_32_memory_and_arithmetic_are_most_of_it_and_at_batch_1_next_to_nothing():
    h200 = limits_of("NVIDIA H200")
    large, small = least_ms(read("resnet50.fp16"), h200), least_ms(read("residual_cnn.b1.fp16"), h200)
    assert 0.3 < large / 1.1148 < 1
    assert small / 0.1278 < 0.02


@pytest.mark.parametrize(
    ("dtype", "elements", "milliseconds"),
    [
        ("fp16", 1000, 1e3 * 2 * (2000 + 3000) / 4.8e6),  # moved and written again
        ("int8", 1000, 1e3 * (2000 + 3000) / 4.8e6),
        ("fp16", None, 0.0),
    ],
)
def test_a_layer_takes_as_long_as_its_bytes_or_its_operations(dtype, elements, milliseconds):
    limits = GpuLimits("a GPU", 4.8e6, {"fp16": 1e6, "int8": 4e6}, "a data sheet")

    def layer(name, kind, **more):
        sizes = [None if elements is None else (count, elements) for count in (2, 3)]
        tensors = (EngineTensor(name, size, TensorFormat(dtype, dtype, "linear")) for size in sizes)
        return Layer(name=name, type=kind, inputs=(next(tensors),), outputs=(next(tensors),), **more)

    moving = EngineReport(name="e", layers=(layer("move", "Reformat"),), dialect="JSON")
    assert least_ms(moving, limits) == pytest.approx(milliseconds)
    both = EngineReport(name="e", layers=(layer("move", "Reformat"), layer("product", "gemm")), dialect="JSON")
    products = 0.0 if elements is None else 1e3 * 2 * 3 * 1000 * 1000 / limits.peak[dtype]
    assert least_ms(both, limits) == pytest.approx(milliseconds + products)


def test_what_limits_is_said_in_sentences():
    graph, roofline = what_limits("fp16", read("residual_cnn.b1.fp16"), "NVIDIA H200", 0.1278, 0.09)
    assert graph == "as a CUDA graph fp16 takes 0.0900 ms, 30% less, for launching its kernels"
    assert "layers need 0.00" in roofline
    assert "H200 SXM (roofline)" in roofline
    assert what_limits("fp16", read("residual_cnn.b1.fp16"), "a processor", 0.1278, None) == ()
