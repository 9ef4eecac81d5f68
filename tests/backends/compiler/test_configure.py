"""Build options reach the real builder, and what it cannot do is said."""

from __future__ import annotations

import pytest

from workbench.backends.compiler import rtx as tensorrt_rtx
from workbench.backends.protocol import BuildOptions
from workbench.backends.verdict.checking import check
from workbench.child import Child
from workbench.errors import BackendError
from workbench.graph.load import load_model

pytestmark = pytest.mark.skipif(
    not tensorrt_rtx.rtx_capabilities().build, reason="tensorrt_rtx is not installed: pip install trt-workbench[rtx]"
)


@pytest.fixture(scope="module")
def model(shared):
    return load_model(shared / "models/mnist_cntk/model.onnx")


def test_the_engine_comes_back_where_asked_for(model):
    value = tensorrt_rtx.compile_for(model, "sm86", BuildOptions(), child=Child(), keep_engine=True).value
    assert value.built
    assert len(value.engine) == value.engine_bytes > 100_000
    assert value.build_s > 0


def test_a_timing_cache_is_written(model, tmp_path):
    cache = tmp_path / "timing.cache"
    assert check(model, options=BuildOptions(timing_cache=str(cache))).accepted
    assert cache.stat().st_size > 0
    assert [p.name for p in tmp_path.iterdir()] == ["timing.cache"]


def test_a_workspace_too_small_is_said(model):
    verdict = check(model, options=BuildOptions(workspace_bytes=1 << 20))
    assert not verdict.accepted
    assert [p.reason for p in verdict.problems] == ["no kernel fits into the workspace limit"]


def test_options_that_the_package_lacks_are_errors(model):
    with pytest.raises(BackendError, match=r"no tactic source CUBLAS in this version\. It has EDGE_MASK"):
        check(model, options=BuildOptions(tactic_sources=("CUBLAS",)))
    with pytest.raises(BackendError, match="would ignore: setHardwareCompatibilityLevel"):
        check(model, options=BuildOptions(hardware_compatible=True))
    with pytest.raises(BackendError, match="layer_precisions, dynamic_range ended with TensorRT 8"):
        check(model, options=BuildOptions(dynamic_range=4.0, layer_precisions={"*": "fp16"}))


def test_options_about_speed_reach_the_builder_or_are_said_to_be_missing(model):
    assert check(model, options=BuildOptions(timing_iterations=2, aux_streams=0)).accepted
    with pytest.raises(BackendError, match=r"has no build_route 'scenic'\. It has none"):
        check(model, options=BuildOptions(build_route="scenic"))
    with pytest.raises(BackendError, match="timing_iterations=0"):
        BuildOptions(timing_iterations=0)


def test_a_file_that_is_no_timing_cache_is_refused_and_kept(model, tmp_path):
    cache = tmp_path / "timing.cache"
    cache.write_bytes(b"not a timing cache")
    with pytest.raises(BackendError, match=r"timing\.cache: tensorrt_rtx .* cannot read this timing cache"):
        check(model, options=BuildOptions(timing_cache=str(cache)))
    assert cache.read_bytes() == b"not a timing cache"


def test_an_engine_that_travels_lacks_what_the_package_does_not_bring(model):
    with pytest.raises(BackendError, match=r"does not bring the lean runtime .*exclude_lean_runtime"):
        check(model, options=BuildOptions(version_compatible=True))
    assert check(model, options=BuildOptions(version_compatible=True, exclude_lean_runtime=True)).accepted
    with pytest.raises(BackendError, match="only a version-compatible engine has a lean runtime"):
        BuildOptions(exclude_lean_runtime=True)


@pytest.mark.skipif(tensorrt_rtx.rtx_capabilities().run, reason="there is a GPU")
@pytest.mark.parametrize("options", [{"refit": True}, {"strip": True}])
def test_weights_that_are_put_in_later_need_a_gpu(model, options):
    with pytest.raises(BackendError, match=r"only where a GPU is.*leave out refit and strip"):
        check(model, options=BuildOptions(**options))
