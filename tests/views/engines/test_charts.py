"""Every engine chart, in both themes, of full and of poor data."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from workbench.engine.breakdown import precision_share, roofline_dots, transitions
from workbench.engine.compare import compare_engines
from workbench.engine.load import load_report
from workbench.engine.work import GPU_LIMITS, memory_timeline
from workbench.views.engines.charts import (
    LatencyBars,
    LatencyOrder,
    LatencyTreemap,
    LayerMemory,
    MemoryTimeline,
    PrecisionShare,
    Roofline,
    TransitionMatrix,
    precision_colour,
)
from workbench.views.engines.comparison import ComparisonBars, TotalBars, kind_stacks
from workbench.views.engines.data import latency_bars, layer_cells
from workbench.views.engines.sunburst import Sunburst, sunburst_arcs
from workbench.views.kit.picture import png_size
from workbench.views.kit.themes import DARK, LIGHT


def charts_of(report):
    return {
        "bars": LatencyBars(latency_bars(report, 20)),
        "order": LatencyOrder(latency_bars(report)),
        "kinds": LatencyTreemap(layer_cells(report), "Time by kind of layer"),
        "rings": Sunburst(sunburst_arcs(report), "Time by kind and type"),
        "scopes": Sunburst(sunburst_arcs(report, "scope"), "Time by name scope"),
        "sizes": LayerMemory([(layer.weight_bytes, None, 2**20) for layer in report.layers]),
        "stacks": kind_stacks([report, report]),
        "share": PrecisionShare(precision_share(report)),
        "transitions": TransitionMatrix(transitions(report)),
        "memory": MemoryTimeline(memory_timeline(report)),
        "roofline": Roofline(roofline_dots(report), GPU_LIMITS["H200 SXM"]),
    }


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "engines" / "trt-8.6.0-h200"


@pytest.fixture(scope="module")
def report(folder):
    stem = "resnet50-b32.modelopt_int8_fp16"
    return load_report(folder / f"{stem}.graph.json", profile=folder / f"{stem}.profile.json")


@pytest.fixture(scope="module")
def charts(report):
    return charts_of(report)


def words_of(svg):
    return " ".join("".join(node.itertext()) for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))  # noqa: S314


EXPECTED = {
    "bars": ["Slowest layers", "input_QuantizeLinear", "ms", "int8", "0.035 (3.8%)"],
    "order": ["execution order", "latency (ms)"],
    "kinds": ["conv 94%"],
    "rings": ["Time by kind and type", "conv · 94%", "0.919", "ms", "int8", "fp16"],
    "scopes": ["Time by name scope", "l1.0 · 9%", "no scope · 11%", "conv2 +1"],
    "sizes": ["Memory of each layer", "MiB", "not all told: 59 layers"],
    "stacks": ["Time by kind", "0.867", "conv", "reformat", "ms"],
    "share": ["layers", "time (ms)", "54 (93%)"],
    "transitions": ["from", "68", "0.033 ms"],
    "memory": ["peak 55.1 MiB", "MiB alive"],
    "roofline": ["4800 GB/s", "int8 1979 TOP/s", "operations a second"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_charts_say_what_they_show(charts, name):
    text = words_of(charts[name].svg("light")).replace("\u00a0", " ")
    for words in EXPECTED[name]:
        assert words in text, (name, words)


def test_same_data_gives_the_same_bytes(charts):
    assert charts["share"].svg("light") == charts["share"].svg("light")


def test_nothing_is_clipped(charts):
    for name, chart in charts.items():
        figure = chart.figure("dark")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        page = figure.bbox
        for axes in figure.axes:
            # On a log axis there are ticks beyond the limits, which are not drawn.
            ticks = axes.get_yticklabels() if axes.get_yscale() == "linear" else []
            for artist in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts, *ticks):
                if not artist.get_text() or not artist.get_visible():
                    continue
                box = artist.get_window_extent(renderer)
                assert box.x0 >= page.x0 - 1, (name, artist)
                assert box.x1 <= page.x1 + 1, (name, artist)
                assert box.y0 >= page.y0 - 1, (name, artist)
                assert box.y1 <= page.y1 + 1, (name, artist)


def test_png_and_themes(charts):
    chart = charts["bars"]
    width, height = png_size(chart.png())
    assert width > height / 2 > 300
    assert DARK.paper in chart.svg("dark")
    assert LIGHT.paper in chart.svg("light")


def test_the_dark_picture_is_the_light_one_in_other_colours(charts):
    """It is drawn once: what text there is upon a colour that changes must change with it."""
    graph = {"Layers": [{"Name": "a layer with a long name", "LayerType": "kgen"}], "Bindings": []}
    times = {"name": "a layer with a long name", "timeMs": 1, "averageMs": 1, "medianMs": 1, "percentage": 100}
    unknown = load_report(graph, profile=[{"count": 1}, times])
    ids = re.compile(r'(?:(?<=id=")|(?<=#))[a-z]+[0-9a-f]{10}\b')
    for chart in (charts["transitions"], charts["stacks"], charts_of(unknown)["kinds"], charts_of(unknown)["rings"]):
        assert ids.sub("", chart.svgs()[1]) == ids.sub("", chart.svg("dark")), type(chart).__name__


@pytest.mark.parametrize("file", ["dynamic/resnet50.int8.graph.json", "../trt-10-logs/engine_inspector_text.log"])
def test_poor_data_draws_without_warnings(folder, file, recwarn):
    poor = load_report(folder / file)
    for chart in charts_of(poor).values():
        assert chart.svg("light").startswith("<svg")
    assert [str(warning.message) for warning in recwarn] == []


def test_comparison_charts(folder):
    stems = [f"resnet50-b32.{name}" for name in ("fp16", "implicit_int8_fp16", "modelopt_int8_fp16")]
    reports = [load_report(folder / f"{s}.graph.json", profile=folder / f"{s}.profile.json") for s in stems]
    comparison = compare_engines(reports)
    bars = ComparisonBars(comparison, 10)
    assert bars.groups[0].nodes == ("stem", "Relu_3", "MaxPool_4")
    text = words_of(bars.svg("light")).replace("\u00a0", " ")
    assert "int8 3.73x" in text
    assert "absent" in text
    assert re.search(r"1\. resnet50-b32\.fp16", text)
    assert "0.908 ms, 1.35x" in words_of(TotalBars(comparison).svg("dark")).replace("\u00a0", " ")
    bare = compare_engines([load_report(folder / f"{s}.graph.json") for s in stems[:2]])
    assert "no profile" in words_of(TotalBars(bare).svg("light")).replace("\u00a0", " ")
    assert ComparisonBars(bare).groups == []
    assert ComparisonBars(bare).svg("light")


def test_unknown_has_a_colour_of_its_own():
    names = ["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "int4", "fp4"]
    for colours in (LIGHT, DARK):
        fills = [precision_colour(name, colours) for name in names]
        assert len(set(fills)) == len(names)
        assert precision_colour("unknown", colours) == colours.unknown
        assert precision_colour("int32", colours) not in fills
