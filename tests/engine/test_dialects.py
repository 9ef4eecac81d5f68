"""What each dialect makes of what a file says, at the bounds of what it may say."""

from __future__ import annotations

import sys

import pytest

from workbench.engine.dialects import source
from workbench.engine.dialects.inspector11 import read_io_tensors
from workbench.engine.dialects.manifest import clocks_text
from workbench.engine.dialects.numbers import measured
from workbench.engine.dialects.profile import read_profile
from workbench.engine.dialects.text import read_inspector_text
from workbench.engine.dialects.timing import read_timing
from workbench.engine.dialects.trex import read_device, read_performance
from workbench.engine.formats import MOST_ELEMENTS
from workbench.engine.load import load_report
from workbench.engine.report import Binding, LayerTime, OptimizationProfile, Weights
from workbench.errors import ReportError

GRAPH = {"Layers": [{"Name": "a", "LayerType": "Relu"}]}


# The inspector's JSON


def read(**raw):
    (layer,) = load_report({"Layers": [{"Name": "a", "LayerType": "Relu"} | raw]}).layers
    return layer


@pytest.mark.parametrize(
    ("count", "weights"),
    [
        (0, Weights("Bias", "fp16", 0)),
        (3, Weights("Bias", "fp16", 3)),
        (MOST_ELEMENTS, Weights("Bias", "fp16", MOST_ELEMENTS)),
        *((odd, Weights("Bias", None, 0)) for odd in (MOST_ELEMENTS + 1, -1, True, "3", None, 1.0)),
    ],
)
def test_constants_have_a_number_that_a_machine_can_hold(count, weights):
    assert read(Bias={"Type": "Half", "Count": count}).weights == (weights,)


def test_constants_are_objects_that_are_called_so():
    told = {"Type": "Half", "Count": 1}
    layer = read(ConvWeights=told, Bias={}, Weights=5, Strange=told, weights=[told])
    assert layer.weights == (Weights("ConvWeights", "fp16", 1),)
    assert layer.weight_bytes == 2


def test_a_layer_has_a_name_a_stream_and_a_profile():
    names = [*("a", "a [profile 2]"), {"Name": "", "StreamId": 3}, {"Name": "b [profile 1]", "StreamId": "3"}, {}]
    report = load_report({"Layers": names})
    assert [(layer.name, layer.profile, layer.stream) for layer in report.layers] == [
        ("a", 0, None),
        ("a [profile 2]", 2, None),
        ("(layer 2, no name)", 0, 3),
        ("b [profile 1]", 1, None),
        ("(layer 4, no name)", 0, None),
    ]
    assert report.notes == ("layer 2 has no name in the file", "layer 4 has no name in the file")
    assert load_report({"Layers": []}).notes == ()
    assert load_report({"I/O Tensors": []}).notes == ("the file lists inputs and outputs, and no layers",)


def test_a_tensor_has_the_highest_profile_of_its_layer_and_any_spelling_of_its_type():
    tensors = [{"Name": "t [profile 2]", "Format": "kLINEAR", "DataType": "FP8"}, {"Name": "u [profile 1]"}]
    layer = read(Inputs=tensors, Outputs="none", Metadata=7)
    assert (layer.profile, layer.outputs, layer.metadata) == (2, (), "")
    assert [(one.format.text, one.dtype) for one in layer.inputs] == [("kLINEAR FP8", "fp8"), ("", None)]


def test_io_tensors_state_their_ends_themselves():
    """Keys as TensorRT 11 documents them."""
    entries = [
        {
            "Name": "x",
            "IOMode": "INPUT",
            "Dimensions": [-1, 3],
            "DataType": "Float",
            "ProfileInfo": [
                {"MinShape": [1, 3], "OptShape": [4, 3], "MaxShape": [8, 3], "Format": "Row major linear format"},
                {"MinShape": [2, 3], "OptShape": [2, 3]},
            ],
        },
        {"Name": "y", "Datatype": "Half", "ProfileInfo": "none"},
        {"ProfileInfo": [None, {"OptShape": [5]}]},
    ]
    bindings, profiles = read_io_tensors(entries, "g")
    assert [(one.name, one.mode, one.dims, one.format.dtype, one.format.layout) for one in bindings] == [
        ("x", "input", (-1, 3), "fp32", "linear"),
        ("y", None, None, "fp16", "unstated"),
        ("", None, None, None, None),
    ]
    assert profiles == (
        OptimizationProfile(0, {"x": ((1, 3), (4, 3), (8, 3)), "": (None, (5,), None)}),
        OptimizationProfile(1, {"x": ((2, 3), (2, 3), None)}),
    )
    # What the file says of an end is not taken from a layer.
    layer = {
        "Name": "a",
        "LayerType": "Relu",
        "Inputs": [{"Name": "x", "Dimensions": [4, 3], "Format/Datatype": "Half"}],
    }
    report = load_report({"Layers": [layer], "I/O Tensors": entries})
    assert report.bindings == tuple(bindings)
    assert report.profiles == profiles


def test_bindings_that_are_only_named_are_told_by_the_layers():
    def tensor(name, *dims):
        return {"Name": name, "Dimensions": list(dims), "Format/Datatype": "Half"}

    layers = [
        {"Name": "a", "Inputs": [tensor("x", 1)], "Outputs": [tensor("y", 2)]},
        {"Name": "b", "Inputs": [tensor("x", 3), tensor("y", 4)], "Outputs": [tensor("z", 5)]},
    ]
    report = load_report({"Layers": layers, "Bindings": ["x", {"Name": "y"}, "gone"]})
    assert [(one.name, one.mode, one.dims) for one in report.bindings] == [
        *(("x", "input", (1,)), ("y", "output", (2,)), ("gone", None, None))
    ]
    assert report.bindings[2] == Binding("gone")


# The inspector's text


def test_brackets_in_names_belong_to_them():
    line = (
        "Name: odd), LayerType: kgen, "
        "Inputs: [ { Name: {x}, Dimensions: [1,3] }, { Name: {a...{b}}, Dimensions: [2] }], "
        "Outputs: [ { Name: y, Dimensions: [4] }], Metadata: a, b: c, TacticName: t"
    )
    (layer,) = read_inspector_text(line, "log").layers
    assert (layer.name, layer.type, layer.metadata, layer.tactic) == ("odd)", "kgen", "a, b: c", "t")
    assert [(one.name, one.dims) for one in (*layer.inputs, *layer.outputs)] == [
        *(("{x}", (1, 3)), ("{a...{b}}", (2,)), ("y", (4,)))
    ]


# What kind of file it is


def test_a_list_is_what_its_first_row_says():
    with pytest.raises(ReportError, match="layer 'a' has no time"):
        load_report(GRAPH, profile=[{"count": 1}, {"name": "a"}])
    with pytest.raises(ReportError, match="this JSON is not a layer profile"):
        load_report(GRAPH, profile=[{"name": "a"}, {"count": 1}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Layers": [', "the JSON ends too early at line 1, column 13"),
        ('{"a": "bcd', "the JSON ends too early at line 1, column 7"),
        ('{"a": x', "the JSON ends too early at line 1, column 7"),
        ('{"a": x}', r"not valid JSON \(Expecting value\) at line 1, column 7"),
        ('{"a" 1, "b": 2}', r"not valid JSON \(Expecting ':' delimiter\) at line 1, column 6"),
    ],
)
def test_what_is_cut_is_told_from_what_is_wrong(text, message):
    with pytest.raises(ReportError, match=f"JSON text: {message}"):
        load_report(text)


def test_a_file_is_held_against_the_limit_in_mib(tmp_path, monkeypatch):
    path, seen = tmp_path / "g.json", []
    path.write_text('{"Layers": []}'.ljust(3 << 18))
    monkeypatch.setattr(source, "check", lambda *given, where: seen.append((*given, where)))
    load_report(path)
    assert seen == [("document_mib", 0.75, ReportError, path)]


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ReportError, match=r"'a\\x00b': cannot be read \(embedded null byte\)"):
        load_report("a\x00b")


@pytest.mark.parametrize(
    ("how", "file", "message"),
    [
        ("timing", GRAPH, "this is an engine graph .*, not a timing export"),
        ("timing", {"a": 1}, "this JSON is not a timing export"),
        ("timing", [{"build_options": 1}], "this JSON is not a timing export"),
        ("metadata", GRAPH, "this is an engine graph .*, not a TREx device description"),
        ("metadata", [[{"computeMs": 1}]], "this is a timing export .*, not a TREx device description"),
        ("metadata", [[{"count": 1}]], "this is a layer profile .*, not a TREx device description"),
        ("metadata", {"a": 1}, "this JSON is not a TREx device description"),
        ("profile", {"a": 1}, "this JSON is not a layer profile"),
    ],
)
def test_a_file_is_taken_for_what_it_is_alone(how, file, message):
    with pytest.raises(ReportError, match=message):
        load_report(GRAPH, **{how: file})


# Times


def test_what_can_be_measured_ends_where_numbers_do():
    assert measured(sys.float_info.max) == sys.float_info.max


def test_an_average_that_is_told_is_not_computed():
    rows = [{"count": 2}, {"name": "a", "averageMs": 3.0, "timeMs": 8.0}, {"name": "b", "timeMs": 8.0, "medianMs": 5}]
    assert read_profile(rows, "p") == (2, [LayerTime("a", 3.0), LayerTime("b", 4.0, 5.0)])
    with pytest.raises(ReportError, match="layer 'b' has no time"):
        read_profile(rows[2:], "p")  # of how many inferences


def test_throughput_needs_a_start_and_an_end_and_a_span_of_any_length():
    def throughput(**more):
        return read_timing([{"computeMs": 2.0} | more] * 2, "times").throughput

    assert throughput(startComputeMs=1.0, endComputeMs=1.5) == 1000 * 2 / 0.5
    assert [throughput(startComputeMs=1.0), throughput(endComputeMs=1.0), throughput()] == [None] * 3
    assert throughput(startComputeMs=1.0, endComputeMs=1.0) is None


def test_times_of_a_layer_that_is_there_twice_are_shared_out_in_order():
    def joined(*times, names=("a", "a", "b")):
        rows = [{"name": name, "averageMs": ms, "medianMs": median} for name, ms, median in times]
        report = load_report({"Layers": list(names)}, profile=rows)
        return [layer.ms for layer in report.layers], report.notes[1:]

    assert joined(("a", 1.0, 1.0), ("a", 2.0, 2.0), ("b", 4.0, 4.0)) == ([1.0, 2.0, 4.0], ())
    added = "times in the profile: they are added up"
    assert joined(("a", 3.0, None), ("b", 4.0, 4.0)) == ([3.0, 0.0, 4.0], (f"layer 'a' has 1 {added}",))
    assert joined(*[("a", 1.0, 1.0)] * 3, ("b", 4.0, 4.0)) == ([3.0, 0.0, 4.0], (f"layer 'a' has 3 {added}",))
    lacking = "1 of 3 layers have no time in the profile, such as 'b'"
    assert joined(("a", 1.0, 1.0), ("a", 2.0, None)) == ([1.0, 2.0, None], (lacking,))


def test_a_median_of_several_is_told_where_each_has_one():
    def typical(*medians):
        rows = [{"name": "a", "averageMs": 2.0, "medianMs": median} for median in medians]
        return load_report({"Layers": ["a"]}, profile=rows).layers[0].typical_ms

    assert (typical(1.0, 1.5), typical(1.0, None), typical(None, None)) == (2.5, 4.0, 4.0)


def test_a_fiftieth_of_the_time_may_be_in_layers_that_are_not_there():
    def profile(strange):
        rows = [("first", strange / 2), ("a", 50.0 - strange), ("last", strange / 2)]
        return [{"name": name, "averageMs": ms} for name, ms in rows]

    notes = load_report({"Layers": ["a", "b"]}, profile=profile(1.0)).notes
    assert notes[1] == "2 layers of the profile are not in the engine (2.0% of the time)"
    with pytest.raises(ReportError) as refusal:
        load_report({"Layers": ["a", "b"]}, profile=profile(1.5))
    assert refusal.value.what == (
        "a profile of another engine: 2 of its 3 layers, with 3% of its time, are not in engine, such as 'first'; "
        "this engine has 'b' instead"
    )


def test_where_nothing_took_time_layers_are_counted():
    rows = [{"name": name, "averageMs": 0.0} for name in ("a", "gone", "lost", "c")]
    with pytest.raises(ReportError, match="2 of its 4 layers, with 50% of its time, are not in engine, such as 'gone'"):
        load_report({"Layers": ["a", "c"]}, profile=rows)


# What stands beside an engine


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 2, 3, 4, 5], ("min", "max", "mean", "median", "p99")),
        ([1, 2, 3, 4, 5, 6, 7], ("min", "max", "mean", "median", "p90", "p95", "p99")),
        *((odd, None) for odd in ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, None], [*range(7), -1], "12345")),
    ],
)
def test_a_summary_of_times_has_five_figures_or_seven(values, names):
    data = {"performance_summary": {"GPU Compute Time": values, "Throughput": 9}, "device_information": {"a": 1}}
    if names is None:
        with pytest.raises(ReportError, match="five or seven statistics"):
            read_performance(data, "p")
        return
    timing, device, options = read_performance(data, "p")
    assert (timing.ms, timing.throughput) == (dict(zip(names, values, strict=True)), 9.0)
    assert (device, options) == ({"a": 1}, {})


@pytest.mark.parametrize(
    ("data", "name"), [([{"Name": "A"}, {"Name": "B"}], "A"), ([], None), ([7], None), ([{}], None)]
)
def test_a_device_is_the_first_of_its_file(data, name):
    assert read_device(data).get("Selected Device") == name


def test_a_manifest_tells_the_version_where_nobody_else_does():
    manifest = {"engine_sha256": "0", "version": "10.3.0"}
    assert load_report(GRAPH, metadata=manifest).tensorrt_version == "10.3.0"
    assert load_report(GRAPH, metadata=[manifest], tensorrt_version="8.6").tensorrt_version == "8.6"


@pytest.mark.parametrize("readings", [[], [70], [70, 80, 90]])
def test_a_reading_has_a_lowest_and_a_highest(readings):
    assert clocks_text({"power_w": readings}) is None


def test_an_engine_is_called_as_its_file():
    assert load_report('{"Layers": []}').name == load_report({"Layers": []}).name == "engine"
    assert load_report({"Layers": []}, name="mine").name == "mine"


@pytest.mark.parametrize("convert", [str, lambda path: path], ids=["str", "Path"])
@pytest.mark.parametrize(
    ("file", "name"), [("a.graph.json", "a"), ("a.engine.graph.json", "a"), ("b.b1.json", "b.b1"), (".json", "engine")]
)
def test_the_name_of_a_file_loses_its_suffixes(written, convert, file, name):
    assert load_report(convert(written({"Layers": []}, file))).name == name
