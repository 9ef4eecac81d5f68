from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    create_calibrator,
    write_calibration_table,
)

from workbench.calibration.cache import CalibrationCache, load_cache, match_cache, parse_cache
from workbench.errors import ReportError
from workbench.graph.load import load_model

NAMES = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


def test_every_shared_cache_is_read_and_written_back_byte_for_byte(shared):
    files = [*(shared / "calibration_caches").rglob("*cache")]
    assert len(files) >= 6
    for file in files:
        cache = load_cache(file)
        assert cache.to_bytes() == file.read_bytes()
        assert len(cache.entries) == len(file.read_text().splitlines()) - 1
        assert cache.version in {"8600", "100001"}


def test_names_with_colons_blanks_and_brackets():
    text = b"TRT-8401-EntropyCalibration2\na: b:0: 3c010a14\n(Unnamed Layer* 3) [Shuffle]_output: 3f800000\nx/y [0]: 0"
    cache = parse_cache(text)
    assert [e.name for e in cache.entries] == ["a: b:0", "(Unnamed Layer* 3) [Shuffle]_output", "x/y [0]"]
    assert cache.entries[1].amax == 127
    assert (cache.version, cache.algorithm, cache.closed) == ("8401", "EntropyCalibration2", False)
    assert list(cache.ranges) == ["a: b:0", "(Unnamed Layer* 3) [Shuffle]_output"]
    assert cache.to_bytes() == text


def test_windows_line_ends_are_kept():
    text = b"TRT-8600-MinMaxCalibration\r\nx: 3c010a14\r\n"
    assert parse_cache(text).to_bytes() == text


@given(st.dictionaries(NAMES, st.floats(1e-20, 1e20)))
def test_what_is_made_from_ranges_reads_back(ranges):
    outcome = CalibrationCache.from_ranges(ranges)
    read = parse_cache(outcome.to_bytes())
    assert read == outcome
    assert list(read.ranges) == list(ranges)
    assert list(read.ranges.values()) == pytest.approx(list(ranges.values()), rel=1e-7)


def test_a_scale_is_the_float32_that_tensorrt_wrote(shared):
    cache = load_cache(shared / "calibration_caches" / "recorded" / "mnist_cntk.int8_minmax.cache")
    again = CalibrationCache.from_ranges(cache.ranges, version=cache.version, algorithm=cache.algorithm)
    assert again.to_bytes() == cache.to_bytes()


def table(folder):
    """Write a table as ONNX Runtime does."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.quant_utils import write_calibration_table

    seen = {"conv 1:0": (np.float32(-1.5), np.float32(2.25)), "Träger": (np.float32(-3), np.float32(1))}
    write_calibration_table(TensorsData(CalibrationMethod.MinMax, seen).data, str(folder))


def test_what_onnxruntime_writes(tmp_path):
    pytest.importorskip("flatbuffers")
    table(tmp_path)
    for name, expected in (("calibration.json", {"conv 1:0": 2.25, "Träger": 3.0}), ("calibration.cache", None)):
        cache = load_cache(tmp_path / name)
        assert cache.to_bytes() == (tmp_path / name).read_bytes()
        # The text has highest values only.
        assert cache.ranges == (expected or {"conv 1:0": 2.25, "Träger": 1.0})
    with pytest.raises(ReportError, match=r"calibration\.json beside it"):
        load_cache(tmp_path / "calibration.flatbuffers")


class Rows(CalibrationDataReader):
    """Four samples for ONNX Runtime's calibrators."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.rows = iter([{"x": random.normal(size=(2, 4)).astype(np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.rows, None)


@pytest.mark.parametrize("method", ["MinMax", "Entropy", "Percentile"])
def test_what_onnxruntimes_calibrators_return(method, tmp_path, monkeypatch):
    pytest.importorskip("flatbuffers")
    monkeypatch.chdir(tmp_path)
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Relu", ["x"], ["a"]), onnx.helper.make_node("MatMul", ["a", "w"], ["y"])]
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [2, 4])], [value("y", 1, [2, 4])], [weight])
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]), "m.onnx")
    outcome = create_calibrator("m.onnx", None, calibrate_method=CalibrationMethod[method])
    outcome.collect_data(Rows())
    data = outcome.compute_data()
    write_calibration_table(data)
    cache = load_cache("calibration.json")
    assert (cache.dialect, cache.algorithm) == ("onnxruntime-data", method)
    assert cache.to_bytes() == Path("calibration.json").read_bytes()
    expected = {name: max(abs(float(np.ravel(one)[0])) for one in data[name].range_value) for name in data}
    assert cache.ranges == pytest.approx(expected)
    assert set(cache.ranges) >= {"x", "a", "y"}


def test_tables_of_old_releases_and_of_channels():
    text = b'{"x": [-4.0, 3.0], "y": {"lowest": {"data": [-1.0, -6.0]}, "highest": {"data": [5.0, 2.0]}}}'
    cache = parse_cache(text)
    assert cache.ranges == {"x": 4.0, "y": 6.0}
    assert cache.to_bytes() == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"x": [1.0]}', "JSON, but no table"),
        (b'{"x": [true, 1.0]}', "JSON, but no table"),
        (b'{"x": {"lowest": {"data": []}, "highest": 1}}', "JSON, but no table"),
        (b'{"CLS": "TensorsData", "data": {"x": [0, 1]}}', "JSON, but no table"),
        (b"", "line 1: an empty file"),
        (b"TRT-8600-X\nx: 3c010a14\nnonsense\n", "line 3: not 'name: scale'"),
        (b"TRT-8600-X\nx: 3c010a14z\n", "line 2: not 'name: scale'"),
        (b"TRT-8600-X\nx: 3c010a14\n\ny: 3c010a14\n", "line 3: not 'name: scale'"),
        (b"TRT-8600-X\nx: 3c010a14\nx: 3c010a15\n", "line 3: tensor 'x' stands in it twice"),
        (b"hello\n", "line 1: neither a header"),
        (b'{"x":\n 1,}', "line 2: no JSON"),
        (b'{"x": 1}', "JSON, but no table"),
        (b"TRT-8600-X\nx: 3c010a14\n\xff\n", "line 3: not text"),
    ],
)
def test_what_cannot_be_read_names_its_line(content, message):
    with pytest.raises(ReportError, match=message):
        parse_cache(content)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ReportError, match="cannot be read"):
        load_cache(tmp_path / "absent")


def test_json_of_arrays_and_blank_at_the_end():
    text = b'{"x": {"lowest": {"data": [-4.0], "dtype": "float32", "CLS": "numpy.array"}, "highest": 3.0}}\n'
    cache = parse_cache(text)
    assert cache.ranges == {"x": 4.0}
    assert cache.to_bytes() == text


def test_matching_tells_old_exports_from_tensorrts_own_names():
    cache = CalibrationCache.from_ranges({"a": 1, "b": 2, "gone": 3, "(Unnamed Layer* 7) [Constant]_output": 4, "z": 0})
    match = match_cache(cache, {"a", "b", "c", "z"}, ["a", "c", "z"])
    assert match.matched == pytest.approx({"a": 1, "b": 2})
    assert match.missing == ("c", "z")
    assert match.unusable == ("z",)
    assert match.unknown == ("(Unnamed Layer* 7) [Constant]_output",)
    assert match.stale == ("gone",)
    assert "older export" in str(match)


@pytest.mark.parametrize("name", ["mnist_cntk", "ultraface_rfb320", "yolox_nano"])
def test_real_caches_belong_to_their_models(shared, name):
    model = load_model(shared / "models" / name / "model.onnx")
    cache = load_cache(shared / "calibration_caches" / "recorded" / f"{name}.int8_entropy2.cache")
    match = match_cache(cache, model.tensors)
    assert match.stale == ()
    assert len(match.matched) >= 13
    assert "older export" not in str(match)


def test_another_models_cache_is_stale(shared):
    model = load_model(shared / "models" / "mnist_cntk" / "model.onnx")
    match = match_cache(
        load_cache(shared / "calibration_caches" / "recorded" / "yolox_nano.int8_entropy2.cache"), model.tensors
    )
    assert match.matched == {}
    assert len(match.stale) == 370


def test_a_range_that_no_float_holds_is_no_table():
    with pytest.raises(ReportError, match="no table of lowest and highest values"):
        parse_cache(b'{"x": [0, 1' + b"0" * 400 + b"]}", where="calibration.json")
