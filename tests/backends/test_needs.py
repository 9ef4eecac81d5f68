"""What an engine needs is said from its manifest, and what does not fit is refused with the reason, unloaded."""

from __future__ import annotations

import json
from importlib import metadata
from types import SimpleNamespace

import pytest

from workbench.backends import needs
from workbench.backends.compiler import rtx as tensorrt_rtx
from workbench.backends.cudart import CudaDevice
from workbench.backends.needs import Runtime, check_fits, installed, need_of, this_platform
from workbench.backends.protocol import BuildOptions
from workbench.backends.tensorrt import TensorRT
from workbench.errors import BackendError
from workbench.graph.load import load_model

H200 = CudaDevice("NVIDIA H200", (9, 0), 132, 12080, 12010)
A100 = CudaDevice("A100", (8, 0), 108, 12080, 12010)
TURING = CudaDevice("T4", (7, 5), 40, 12000, 12000)


def facts(version="8.6.0", *, backend="tensorrt", capability=(9, 0), name="NVIDIA H200", where=None, **options):
    return {
        "backend": backend,
        "version": version,
        "model": "resnet50",
        "options": options,
        "device": {"name": name, "capability": list(capability)},
        "platform": where or this_platform(),
    }


def full(version):
    return Runtime("full", "tensorrt", version)


def lean(version):
    return Runtime("lean", "tensorrt_lean", version)


TRAVELS = {"version_compatible": True}
WITHOUT = {"version_compatible": True, "exclude_lean_runtime": True}


@pytest.mark.parametrize(
    ("options", "runtime", "loads"),
    [
        ({}, full("8.6.0"), True),
        ({}, full("8.6.1"), False),
        ({}, lean("8.6.0"), False),
        (TRAVELS, full("8.6.0"), True),
        (TRAVELS, full("8.6.3"), True),
        (TRAVELS, lean("8.6.1"), True),
        (TRAVELS, full("10.16.1.11"), True),
        (TRAVELS, lean("10.16.1.11"), True),
        (TRAVELS, full("11.4.0"), False),
        (TRAVELS, full("8.5.9"), False),
        (WITHOUT, full("8.6.0"), True),
        (WITHOUT, lean("8.6.0"), True),
        (WITHOUT, lean("10.16.1.11"), False),
        (WITHOUT, lean("11.4.0.106"), False),
    ],
)
def test_which_runtime_loads_an_engine_of_8_6_0(options, runtime, loads):
    assert need_of(facts(**options)).takes(runtime) is loads


def test_an_engine_of_10_also_loads_in_11_but_not_the_other_way_round():
    assert need_of(facts("10.3.0", **TRAVELS)).takes(full("11.4.0.106"))
    assert not need_of(facts("11.4.0.106", **TRAVELS)).takes(full("10.16.1.11"))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (facts(), "needs the full runtime of TensorRT 8.6.0 and no other version; a GPU of compute capability 9.0, as"),
        (facts(**TRAVELS), "needs the full or the lean runtime of TensorRT 8.6.0 or newer, up to 10.x; a GPU"),
        (facts(**WITHOUT), "needs the full or the lean runtime of TensorRT 8.6.0 and no other version"),
        (facts(hardware_compatible=True), "a GPU of the Ampere architecture or newer"),
        (facts("10.3.0", strip=True), "; its weights, which were left out"),
        (facts("1.7.1.116", backend="tensorrt_rtx"), "needs TensorRT-RTX 1.7.1.116 and no other version"),
        ({"backend": "tensorrt", "trusted": True}, "nothing is known"),
    ],
)
def test_what_an_engine_needs_is_a_sentence(manifest, message):
    assert message in str(need_of(json.loads(json.dumps(manifest))))


@pytest.mark.parametrize(
    ("manifest", "runtime", "reason"),
    [
        (facts(), full("8.6.1"), r"built with tensorrt 8\.6\.0; this is the full runtime of TensorRT 8\.6\.1"),
        (facts(), lean("10.16.1.11"), r"needs the full runtime of TensorRT 8\.6\.0 .*pip install tensorrt==8\.6\.0"),
        (
            facts(**WITHOUT),
            lean("11.4.0.106"),
            r"needs the full or the lean .* no other version.*pip install tensorrt==8\.6\.0",
        ),
        (
            facts(name="NVIDIA L4", capability=(8, 9)),
            full("8.6.0"),
            r"built for NVIDIA L4 .*8\.9.*H200 \(9\.0\).*hardware_compatible",
        ),
        (facts(name="GB200", capability=(10, 0)), full("8.6.0"), r"built for GB200 \(compute capability 10\.0\)"),
        (facts() | {"device": None}, full("8.6.0"), r"built for a GPU \(compute capability unknown\)"),
        (facts() | {"device": {}, "target": "sm86"}, full("8.6.0"), r"built for a GPU \(compute capability 8\.6\)"),
        (facts(where="windows-amd64"), full("8.6.0"), "built on windows-amd64"),
        (facts(where="aix-ppc"), full("8.6.0"), f"built on aix-ppc; this is {this_platform()}"),
        (
            facts("1.32", backend="onnxruntime"),
            full("8.6.0"),
            r"made by onnxruntime; this is .*\. Run it with onnxruntime",
        ),
        (facts("10.3.0", strip=True), full("10.3.0"), r"written without its weights.*workbench run --weights"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(manifest, runtime, reason):
    with pytest.raises(BackendError, match=reason):
        check_fits(manifest, runtime=runtime, device=H200)


def test_what_fits_is_not_refused():
    check_fits(facts(), runtime=full("8.6.0"), device=H200)
    check_fits(facts(name="T4", capability=(7, 5)), runtime=full("8.6.0"))
    check_fits({"trusted": True}, runtime=lean("11.4.0"), device=TURING)


def test_hardware_compatible_engines_fit_more_gpus():
    ampere = facts(hardware_compatible=True, name="A100", capability=(8, 0))
    check_fits(ampere, runtime=full("8.6.0"), device=H200)
    check_fits(facts(hardware_compatible=True), runtime=full("8.6.0"), device=A100)
    with pytest.raises(BackendError, match="built for A100"):
        check_fits(ampere, runtime=full("8.6.0"), device=TURING)


def test_runtimes_are_found_by_their_modules_with_the_version_of_what_was_installed(monkeypatch):
    modules = {"tensorrt", "tensorrt_lean_bindings"}
    versions = {"tensorrt-lean-cu12-bindings": "10.2"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    finder = SimpleNamespace(find_spec=lambda name: name if name in modules else None)
    monkeypatch.setattr(needs, "importlib", SimpleNamespace(util=finder))
    monkeypatch.setattr(needs.metadata, "version", version)
    assert installed() == (Runtime("full", "tensorrt", ""), Runtime("lean", "tensorrt_lean_bindings", "10.2"))
    assert [str(one) for one in installed()] == [
        *("the full runtime of TensorRT", "the lean runtime of TensorRT 10.2"),
    ]
    modules.add("tensorrt_lean")
    assert installed()[1].module == "tensorrt_lean"
    modules.clear()
    assert installed() == ()


def test_runtimes_that_are_not_here_are_not_found():
    kinds = {runtime.kind for runtime in installed()}
    for kind, backend in (("full", TensorRT()), ("lean", TensorRT(lean=True)), ("rtx", TensorRT("tensorrt_rtx"))):
        if kind not in kinds:
            with pytest.raises(BackendError, match=r"is missing\. .*pip install"):
                backend.runtime()


@pytest.mark.skipif(not tensorrt_rtx.rtx_capabilities().build, reason="tensorrt_rtx is not installed")
def test_an_engine_that_was_built_for_another_gpu_says_so_before_it_is_loaded(small_cnn):
    options = BuildOptions(version_compatible=True, exclude_lean_runtime=True)
    engine = TensorRT("tensorrt_rtx").build(load_model(small_cnn), options, target="sm86")
    assert engine.manifest["target"] == "sm86"
    assert engine.manifest["options"]["exclude_lean_runtime"] is True
    assert engine.manifest["inputs"] == [{"name": "x", "dtype": "FLOAT", "shape": ["N", 3, 8, 8]}]
    need = need_of(engine.manifest)
    assert need.capability == (8, 6)
    runtime = TensorRT("tensorrt_rtx").runtime()
    assert need.takes(runtime)
    with pytest.raises(BackendError, match=r"compute capability 8\.6\); this is NVIDIA H200 \(9\.0\)"):
        check_fits(engine.manifest, runtime=runtime, device=H200)
