"""The precision view: what it tells, what it changes, and its estimates against what is really made."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from workbench import views
from workbench.engine.formats import TensorFormat
from workbench.engine.report import EngineReport, EngineTensor, Layer, LayerTime
from workbench.errors import PrecisionError, RecipeError, SelectorError, WorkbenchError
from workbench.precision.estimate import weight_bytes
from workbench.precision.placement import Pays
from workbench.precision.sensitivity.measured import exact
from workbench.recipe.steps import PrecisionStep
from workbench.session import history_of, open_model, samples_for
from workbench.views.graphs.view import GraphView
from workbench.views.kit.picture import WIDGET_MIME
from workbench.views.plans.view import precision


@pytest.fixture
def wb(small_cnn, small_data):
    wb = open_model(small_cnn)
    wb.calibrate(small_data, batch=4)
    wb.plan.use("int8")
    return wb


@pytest.fixture
def measured(wb):
    samples, _ = samples_for(history_of(wb), None)
    return exact(wb.model, wb.plan.resolve().nodes("int8"), wb.ranges, samples, batch=4)


def send(view, **content):
    view.widget()._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def rules(wb):
    return [str(step.rule) for step in wb.recipe.of_kind(PrecisionStep)]


def test_a_row_tells_the_plan_and_what_was_measured(wb, measured):
    rows = {row.node: row for row in precision(wb, measured).rows}
    assert rows.keys() == wb.model.nodes.keys()
    conv = rows["block/conv"]
    assert (conv.op, conv.shape, conv.requested, conv.gets, conv.rule) == ("Conv", "Nx4x8x8", "int8", "int8", 0)
    assert conv.sqnr_db == pytest.approx(measured["block/conv"].sqnr_db)
    assert conv.macs == pytest.approx(4 * 4 * 9 * 64 / (4 * 3 * 9 * 64 + 4 * 4 * 9 * 64 + 20))
    assert not rows["stem/relu"].layer
    assert rows["stem/relu"].sqnr_db is None


def test_a_row_says_why_it_did_not_get_what_was_asked_for(wb):
    wb.plan.set("op:Flatten", "int8")
    row = next(row for row in precision(wb).rows if row.op == "Flatten")
    assert (row.requested, row.gets, row.layer) == ("int8", "fp32", True)
    assert row.why


def engine(**layers):
    """An engine whose layers are named by their nodes: milliseconds, type of the first input, nodes."""

    def tensor(kind):
        return EngineTensor("t", (1, 4, 8, 8), TensorFormat(kind, kind, "linear"))

    return EngineReport(
        name="small.engine",
        dialect="test",
        layers=tuple(
            Layer(
                name=name,
                type="CaskConvolution",
                inputs=(tensor(kind),),
                outputs=(tensor(kind),),
                metadata="".join(f"[ONNX Layer: {node}]" for node in nodes),
                time=LayerTime("layer", ms),
            )
            for name, (ms, kind, *nodes) in layers.items()
        ),
    )


def test_an_engine_tells_latency_and_what_became_of_the_plan(wb):
    outcome = engine(
        one=(3.0, "int8", "stem/conv", "stem/relu"),
        two=(1.0, "fp16", "block/conv", "block/add", "block/relu"),
        three=(1.0, "int8", "head/pool", "head/flatten", "head/fc"),
    )
    view = precision(wb, engine=outcome)
    rows = {row.node: row for row in view.rows}
    shares = [rows[node].latency for node in ("stem/conv", "stem/relu", "block/conv", "head/fc")]
    assert shares == pytest.approx([0.6, 0.0, 0.2, 0.2])
    assert (rows["stem/conv"].gets, rows["stem/conv"].realized) == ("int8", "int8")
    assert (rows["block/conv"].gets, rows["block/conv"].realized) == ("int8", "fp16")
    assert {"latency", "realized"} <= set(view.table().columns)
    assert "realized" not in precision(wb).table().columns
    assert view.differing == ["block/conv", "block/add"]
    assert view.chart.about.endswith("small.engine has 2 layers in another precision than the plan")
    untold = engine(one=(3.0, "int8", "stem/conv", "stem/relu"), two=(1.0, "fp16", "block/conv", "block/add"))
    assert precision(wb, engine=untold).chart.about.endswith("and does not tell it of 1 that multiply")


def test_latencies_of_the_search_are_shown_too(wb):
    cost = {"stem/conv": {"fp32": 4.0, "int8": 3.0}, "block/conv": {"int8": 1.0}}
    result = wb.plan.search("sqnr_db", at_least=5.0, batch=4, cost=cost)
    rows = {row.node: row for row in precision(wb, search=result).rows}
    assert (rows["stem/conv"].latency, rows["block/conv"].latency, rows["head/fc"].latency) == (0.8, 0.2, None)


def test_the_estimated_size_is_that_of_the_weights_written(wb):
    view = precision(wb)
    sensitivity = view.estimate()
    lowered = wb.tune().model
    stored = {v.name: v.const_value for v in lowered.initializers.values() if v.const_value is not None}
    biases = {"b2", "b3"}
    # Zero points and scales have one axis at most.
    total = sum(t.nbytes for name, t in stored.items() if len(t.shape) > 1 or name in biases)
    assert sensitivity.weight_bytes == total
    assert sensitivity.before_bytes == 4 * (4 * 3 * 9 + 4 * 4 * 9 + 4 + 20 + 5)


def test_a_weight_read_in_two_ways_is_stored_in_both():
    from onnx import TensorProto, helper, numpy_helper

    from workbench.graph.load import from_proto
    from workbench.precision.plan.plan import PrecisionPlan

    weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], "one"), helper.make_node("Conv", ["a", "w"], ["y"], "two")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [value("y", TensorProto.FLOAT, [1, 4, 8, 8])],
        [weight],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9))
    plan = PrecisionPlan()
    assert weight_bytes(model, plan.resolve(model)) == 64
    assert weight_bytes(model, plan.with_rule("name:one", "int8").resolve(model)) == 16 + 64
    assert weight_bytes(model, plan.with_rule("*", "int8").resolve(model)) == 16
    assert weight_bytes(model, plan.with_rule("*", "fp16").resolve(model)) == 32


def test_the_estimated_error_is_the_sum_of_the_noise_powers(wb, measured):
    view = precision(wb, measured)
    noise = sum(10 ** (-error.sqnr_db / 10) for error in measured.errors)
    assert view.estimate().sqnr_db == pytest.approx(-10 * math.log10(noise))
    assert "estimate" in view.estimate().text()
    real = wb.compare(batch=4, runs=0).outputs[0].sqnr_db
    assert view.estimate().sqnr_db == pytest.approx(real, abs=4.0)
    wb.plan.set("*", "fp32")
    assert math.isinf(view.estimate().sqnr_db)


def test_what_nobody_measured_is_said(wb, measured):
    assert precision(wb).estimate().sqnr_db is None
    wb.plan.set_target("rtx@sm89")
    wb.plan.set("name:stem/conv", "fp8")
    sensitivity = precision(wb, measured).estimate()
    assert sensitivity.unknown == 1
    assert "the error of 1 quantized node unknown" in sensitivity.text()


def test_a_bulk_edit_is_one_rule_and_a_preview_is_none(wb, measured):
    view, before = precision(wb, measured), rules(wb)
    view.selected = ["stem/conv", "block/conv"]
    assert view.selector == "op:Conv"
    would = view.estimate_with("fp16")
    assert rules(wb) == before
    view.set("fp16")
    assert rules(wb) == [*before, "op:Conv -> fp16"]
    assert view.estimate() == would
    view.undo()
    assert rules(wb) == before


def test_a_selector_is_kept_in_its_own_words(wb):
    view = precision(wb)
    assert view.select("scope:head & op:Gemm") == ["head/fc"]
    view.set("fp16")
    assert rules(wb)[-1] == "scope:head & op:Gemm -> fp16"


def test_the_page_asks_and_python_answers(wb, measured):
    view, before = precision(wb, measured), rules(wb)
    widget = view.widget()
    send(view, type="select", rows=["block/conv"])
    assert widget.marks["selected"] == ["block/conv"]
    assert "rule 0" in widget.marks["explain"]
    assert widget.marks["distribution"]["dark"].startswith("<svg")
    send(view, type="select", rows=["stem/conv"], add=True)
    assert view.selected == ["stem/conv", "block/conv"]
    send(view, type="select", rows=["stem/conv"], add=True)
    send(view, type="preview", precision="fp16")
    assert widget.marks["line"] == 'wb.plan.set("name:block/conv", "fp16")'
    assert widget.marks["preview"].startswith("estimate: ")
    assert rules(wb) == before
    send(view, type="set", precision="fp16")
    assert rules(wb) == [*before, "name:block/conv -> fp16"]
    assert next(row for row in widget.scene["rows"] if row["id"] == "block/conv")["texts"]["gets"] == "fp16"
    assert widget.marks["line"] == ""
    send(view, type="undo")
    assert rules(wb) == before


def test_the_table_has_the_layers_or_everything(wb):
    view = precision(wb)
    view.widget()
    layers = [row.node for row in view.rows if row.layer]
    assert [row["id"] for row in view.scene["rows"]] == layers
    send(view, type="all", on=True)
    assert [row["id"] for row in view.scene["rows"]] == [row.node for row in view.rows]
    send(view, type="all", on=False)
    assert [row["id"] for row in view.scene["rows"]] == [bar["id"] for bar in view.scene["strip"]] == layers


def test_what_is_refused_is_said_on_the_page_and_changes_nothing(wb, monkeypatch):
    view, before, text = precision(wb), rules(wb), []
    monkeypatch.setattr(view.widget(), "send", text.append)
    wb.plan.set_target("tensorrt-8.6")
    for request in (
        {"type": "find", "selector": "op:Convv"},
        {"type": "set", "precision": "int8"},
        {"type": "take", "point": 0},
        {"type": "nonsense"},
        {"type": "select"},
    ):
        view.handle(request)
    view.handle({"type": "select", "rows": ["block/conv"]})
    view.handle({"type": "set", "precision": "fp8"})
    view.handle({"type": "preview", "precision": "int7"})
    assert [message["type"] for message in text] == ["error"] * 7
    assert "tensorrt-8.6 has no fp8" in text[5]["text"]
    assert "block/conv" in text[5]["text"]
    assert rules(wb) == before


def test_errors_of_the_public_methods(wb):
    view = precision(wb)
    with pytest.raises(WorkbenchError, match="nothing is selected"):
        view.set("int8")
    with pytest.raises(SelectorError):
        view.select("op:Convv")
    view.selected = ["stem/conv"]
    with pytest.raises(PrecisionError):
        view.set("int7")
    with pytest.raises(WorkbenchError, match="there is no such plan"):
        view.take(0)


def test_a_graph_view_and_the_table_have_one_selection(wb):
    view, graph = precision(wb), GraphView(wb.model)
    view.link(graph)
    graph.select("op:Conv")
    assert view.selected == ["stem/conv", "block/conv"]
    view.selected = ["head/fc"]
    assert graph.selected == ["head/fc"]


def test_the_distribution_of_what_a_layer_reads_writes_a_range(wb):
    view = precision(wb)
    view.selected = ["block/conv"]
    threshold = view.threshold()
    assert threshold.name == "r1"
    threshold.set(0.5)
    assert wb.ranges["r1"] == 0.5
    assert wb.recipe.steps[-1].do == "set_range"
    view.selected = ["head/flatten"]
    with pytest.raises(WorkbenchError, match="nothing was observed"):
        view.threshold()


@pytest.fixture
def searched(wb):
    return wb.plan.search("sqnr_db", at_least=45.0, batch=4)


def test_a_point_of_the_front_becomes_the_plan(wb, searched):
    assert len(searched.front) > 2
    view = precision(wb, search=searched)
    steps = len(wb.recipe.steps)
    for index in (0, len(searched.front) - 1, 1):
        send(view, type="take", point=index)
        assert view.widget().scene["point"] == view.point == index
        # One step: that of the point before it, or of the search, makes room.
        assert len(wb.recipe.steps) == steps
        assert [step.do for step in wb.recipe.steps].count("set_plan") == 1
        trial = searched.front[index]
        assert wb.plan.resolve().nodes("int8") == trial.plan.resolve(wb.model).nodes("int8")
        assert wb.ranges == trial.ranges
        view.take(index)
        assert len(wb.recipe.steps) == steps
    assert wb.compare(batch=4, runs=0).outputs[0].sqnr_db == pytest.approx(searched.front[1].measured.sqnr_db, abs=1e-6)


def test_a_point_tells_error_and_size_before_it_is_taken(wb, searched):
    view = precision(wb, search=searched)
    for point, trial in zip(view.front, searched.front, strict=True):
        assert point.weight_bytes == weight_bytes(wb.model, trial.plan.resolve(wb.model))
        assert f"SQNR {trial.measured.sqnr_db:.1f} dB" in point.text("sqnr_db")
        assert "weights " in point.text("sqnr_db")
    assert view.front[0].weight_bytes < view.front[-1].weight_bytes


def test_a_front_of_measured_engines_has_their_latency_with_its_error(wb, searched):
    ratios = [0.8 + 0.1 * position for position in range(len(searched.front))]
    front = tuple(
        replace(trial, pays=Pays(verdict="pays", ratio=ratio, error=0.02, against="fp16"))
        for trial, ratio in zip(searched.front, ratios, strict=True)
    )
    chosen = front[searched.front.index(searched.chosen)]
    view = precision(wb, search=replace(searched, front=front, chosen=chosen))
    quantized = [point for point in view.front if point.share]
    assert [point.ratio for point in quantized] == ratios[: len(quantized)]
    assert "pays: 0.800 ± 0.020 of the time of fp16" in view.front[0].text("sqnr_db")
    assert view.widget().scene["front"][0]["error"] == 0.02
    picture = view.svg()
    assert picture.count("LineCollection") > precision(wb, search=searched).svg().count("LineCollection")
    view.take(0)
    assert wb.recipe.pays.ratio == 0.8


def test_undo_takes_a_point_back_as_a_whole(wb, searched):
    rules_before = [str(rule) for rule in history_of(wb).without_plan()[1].plan.rules]
    view = precision(wb, search=searched)
    view.take(0)
    view.undo()
    assert [str(rule) for rule in wb.plan.rules.rules] == rules_before
    assert view.point is None


def test_the_chosen_point_overrules_rules_made_since(wb, searched):
    wb.plan.set("op:Relu | op:Conv", "fp16")
    view = precision(wb, search=searched)
    assert view.point is None
    chosen = searched.front.index(searched.chosen)
    view.take(chosen)
    outcome, expected = wb.plan.resolve(), searched.chosen.plan.resolve(wb.model)
    assert {n: d.precision for n, d in outcome.decisions.items()} == {
        n: d.precision for n, d in expected.decisions.items()
    }


def test_pictures_and_a_table_stand_for_the_widget(wb, searched, measured):
    view = precision(wb, measured, searched)
    data, _ = view._repr_mimebundle_()
    assert {"image/svg+xml", "image/png", WIDGET_MIME} <= set(data)
    assert view.svg("dark") != view.svg("light")
    html = view.html()
    assert "block/conv" in html
    assert "<script" not in html
    table = view.table()["sqnr_db"].dropna()
    assert len(table) == len(measured.errors)
    assert table.is_monotonic_increasing


def test_all_engines_that_were_timed_are_in_the_picture_of_a_measured_search(wb, searched):
    """Those that others beat too, and where floating point beats all there is no empty picture."""
    assert precision(wb).search is searched
    wb.plan.set("name:block/conv", "fp32")
    assert precision(wb).search is None  # that plan is of nobody's search
    floating = next(trial for trial in searched.trials if not trial.share)
    timed = [trial for trial in searched.trials if trial.share][:3]
    paid = [
        replace(trial, pays=Pays(verdict="does not pay", ratio=ratio, error=0.1, against="fp32", where="here"))
        for trial, ratio in zip((floating, *timed), (1.0, 1.2, 1.1, 20.0), strict=True)
    ]
    measured = replace(searched, trials=tuple(paid), front=(paid[0],), chosen=paid[0], measured=object())
    history_of(wb).keep("search", search=measured)
    chart = views.front(wb)
    assert [point.ratio for point in chart.points] == [1.0, 1.1, 1.2, 20.0]
    assert [point.beaten for point in chart.points] == [False, True, True, True]
    assert len(chart.spots()) == 3
    assert "1.100 ± 0.100 of the time of fp32" in chart.spots()[0].text
    history_of(wb).keep("search", search=replace(measured, trials=(paid[0],)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "nothing in INT8 is offered" in views.front(wb).svg("light")
        assert "1.1" in chart.svg("light")


def test_the_front_and_the_worst_nodes_are_charts_to_select_in(wb):
    with pytest.raises(RecipeError, match=r"wb\.sensitivity\(\)"):
        views.sensitivity(wb)
    with pytest.raises(RecipeError, match=r"wb\.plan\.search"):
        views.front(wb)
    searched = wb.plan.search("sqnr_db", at_least=45.0, batch=4)
    bars, table = views.sensitivity(wb), precision(wb)
    worst = searched.sensitivity.ranking()
    assert [spot.nodes for spot in bars.spots()] == [(node,) for node in worst]
    live = bars.widget()
    table.selected = worst[:2]
    assert live.selected == worst[:2]  # one selection for all
    assert len(views.sensitivity(wb, top=2).spots()) == 2

    plans = views.front(wb)
    quantized = [trial for trial in searched.front if trial.share]
    assert len(plans.spots()) == len(quantized)
    for spot, trial in zip(plans.spots(), quantized, strict=True):
        decided = trial.plan.resolve(wb.model).decisions
        assert {decided[node].precision for node in spot.nodes} <= {"fp32"}
        assert f"{len(spot.nodes)} nodes in floating point" in spot.text
    most = plans.widget()
    most.handle({"type": "select", "key": plans.spots()[-1].key})
    assert table.selected == list(plans.spots()[-1].nodes)
    for chart, spots in ((bars, worst), (plans, quantized)):
        assert chart.spotted_svg("light").count('id="spot-') == len(spots)


@pytest.mark.parametrize(
    ("work", "lowest", "short"),
    [([10.0, 20.0, 0.0], 3.5, True), ([3.0, 3.0], 1.5, True), ([1.0, 1e6], 0.5, False), ([0.0], 0.35, True)],
)
def test_bars_of_work_are_seen_however_little_they_differ_and_have_plain_numbers(work, lowest, short):
    from matplotlib.figure import Figure

    from workbench.views.kit import LIGHT
    from workbench.views.plans.chart import draw_strip

    figure = Figure()
    axes = figure.add_subplot()
    bars = draw_strip(axes, [(at, "fp32", "fp32", one) for at, one in enumerate(work)], LIGHT)
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    assert low == pytest.approx(lowest)
    heights = [bar.get_height() for bar in bars.values()]
    assert low < min(heights) <= max(heights) < high
    if short:
        shown = {tick.get_text(): tick.get_position()[1] for tick in axes.get_yticklabels()}
        assert shown == {f"{value:g}": value for value in shown.values()}
        assert {tick.get_text() for tick in axes.get_yticklabels(minor=True)} <= {""}
