"""The workbench's own engines, recorded on an H200: what the files add up to, and which nodes they account for."""

from __future__ import annotations

import json
from dataclasses import replace

import onnx
import pytest

from tests.kit.places import RECORDED
from tests.kit.portrait import text_of
from tests.kit.searching import benchmark_model
from workbench.backends.protocol import BuildOptions
from workbench.engine.compare import compare_engines
from workbench.engine.load import load_report
from workbench.engine.precision import realized_precision
from workbench.engine.summary import load_engine
from workbench.errors import RecipeError
from workbench.jobs.bench.variants import open_source, variant_of
from workbench.precision.lowering.lowering import activation_tensors, lower
from workbench.precision.targets import TARGETS, parse_target
from workbench.session import open_model

LAYERS = {
    "resnet50.qdq": (57, 1, 0.8040),
    "resnet50.implicit-int8": (57, 1, 0.7920),
    "resnet50.fp16": (60, 2, 1.1148),
    "resnet50.modelopt": (61, 3, 0.8142),
    "resnet50.tf32": (59, 1, 2.0102),
    "resnet50.fp32": (81, 22, 6.9017),
    "mobilenet_v2.qdq": (56, 1, 0.4791),
    "mobilenet_v2.implicit-int8": (56, 1, 0.4769),
    "mobilenet_v2.fp16": (58, 2, 0.6540),
    "vit_small.fp16": (3, 1, 1.8424),
    "vit_small.implicit-int8": (3, 1, 1.8469),
    "vit_small.qdq": (4, 2, 1.7571),
    "mobilenet_v2.b1.fp16": (57, 2, 0.2359),
    "mobilenet_v2.b1.qdq": (57, 1, 0.2512),
    "mobilenet_v2.b8.fp16": (57, 2, 0.3367),
    "mobilenet_v2.b8.implicit-int8": (56, 1, 0.2941),
    "mobilenet_v2.b8.qdq": (56, 1, 0.2918),
    "mobilenet_v2.b8.qdq-level-5": (56, 1, 0.2832),
    "resnet50.b1.fp16": (60, 2, 0.4052),
    "resnet50.b1.implicit-int8": (58, 2, 0.3146),
    "resnet50.b1.placement-2": (58, 2, 0.3156),
    "resnet50.b1.qdq": (58, 2, 0.3246),
    "residual_cnn.b1.fp16": (20, 2, 0.0933),
    "residual_cnn.b1.implicit-int8": (20, 1, 0.0873),
    "residual_cnn.b1.placement-1": (20, 1, 0.0868),
    "residual_cnn.b1.qdq": (20, 1, 0.0867),
    "ultraface_rfb320.b1.fp16": (72, 2, 0.2739),
    "ultraface_rfb320.b1.qdq": (63, 3, 0.2624),
}


def files(name):
    return RECORDED / f"{name}.graph.json", RECORDED / f"{name}.profile.json"


def load(name):
    graph, profile = files(name)
    return load_report(graph, profile=profile, timing=RECORDED / f"{name}.timing.json")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return a maker of a benchmark's model at the recorded batch, before and after lowering."""
    values = {}

    def make(name):
        if name not in values:
            path = tmp_path_factory.mktemp("models") / f"{name}.onnx"
            onnx.save(benchmark_model(name), path)
            source = open_source(path, batch=32)
            values[name] = source, variant_of(source, "qdq", BuildOptions(), TARGETS["tensorrt-8.6"])[0]
        return values[name]

    return make


@pytest.mark.parametrize("name", LAYERS)
def test_layers_reformats_and_sums_are_those_of_the_files(name):
    report = load(name)
    layers, reformats, median_ms = LAYERS[name]
    assert (len(report.layers), len(report.reformat_layers)) == (layers, reformats)
    assert report.timing.iterations == (1000 if ".b1." in name or ".b8." in name else 400)
    assert report.timing.ms["median"] == pytest.approx(median_ms, abs=5e-5)
    rows = json.loads(files(name)[1].read_text())
    assert report.layers_ms == pytest.approx(sum(row["averageMs"] for row in rows if "averageMs" in row))
    assert report.profile_count == 50
    assert not report.notes or all("have no time" in note for note in report.notes)


def test_every_recorded_engine_is_tested():
    timed = {path.name.removesuffix(".timing.json") for path in RECORDED.glob("*.timing.json")}
    graphs = {path.name.removesuffix(".graph.json") for path in RECORDED.glob("*.graph.json")}
    assert timed == set(LAYERS)
    assert graphs - timed == {"resnet50.qdq-int8-weights", "yolox_nano.qdq"}


def test_an_engine_of_weights_stored_as_int8_accounts_for_every_node(sources):
    """As newer compilers get them; for TensorRT 8.6 a recipe has to ask for it."""
    stored = replace(sources("resnet50")[0], weight_storage="int8")
    lowered = variant_of(stored, "qdq", BuildOptions(), TARGETS["tensorrt-8.6"])[0]
    summary = load_engine(RECORDED / "resnet50.qdq-int8-weights.graph.json", model=lowered)
    assert (len(summary.report.layers), len(summary.report.reformat_layers)) == (57, 1)
    assert summary.fusion.coverage == 1.0
    assert summary.fusion.unaccounted == ()
    precisions = realized_precision(summary.report, summary.fusion)
    assert {precisions[name].precision for name, node in lowered.nodes.items() if node.op_type == "Conv"} == {"int8"}


def test_the_engine_of_a_real_detector_accounts_for_every_node(shared):
    wb = open_model(shared / "models" / "yolox_nano" / "model.onnx")
    wb.prepare()
    wb.plan.set_target("tensorrt-8.6")
    for rule in (("op:Conv | op:Add", "int8"), ("name:Conv_44|Conv_47|Conv_70", "fp32")):
        wb.plan.set(*rule)
    # Ranges decide no name; a minute's calibration would say nothing more here.
    resolution = wb.plan.rules.resolve(wb.model, target=parse_target("tensorrt-8.6"))
    lowered = lower(wb.model, resolution, dict.fromkeys(activation_tensors(wb.model, resolution), 4.0)).model
    summary = load_engine(RECORDED / "yolox_nano.qdq.graph.json", model=lowered)
    assert len(lowered.nodes) == 777
    assert summary.fusion.coverage == 1.0
    assert (summary.fusion.unaccounted, summary.fusion.foreign) == ((), ())
    # A Q of each input of a Concat, which TensorRT made of one; nothing between its tensors is its work.
    clone = summary.fusion.by_layer["931/QuantizeLinear_clone_1"]
    assert (clone.nodes, clone.absorbed) == (("931/QuantizeLinear",), ())
    realized = realized_precision(summary.report, summary.fusion)
    convolutions = {name: realized[name].precision for name, node in lowered.nodes.items() if node.op_type == "Conv"}
    floating = {name for name, precision in convolutions.items() if precision != "int8"}
    assert (len(convolutions), floating) == (113, {"Conv_44", "Conv_47", "Conv_70"})
    twice = [finding for finding in summary.findings if "with another scale as well" in finding.title]
    assert {finding.layers[0] for finding in twice} >= {"781/QuantizeLinear", "931/QuantizeLinear_clone_1"}
    # Without a profile nothing tells findings apart, so those of one title are told once.
    assert summary.text(top=99).count("with another scale as well") == 1
    assert f"and {len(twice) - 1} alike: " in summary.text(top=99)
    # No plan quantizes what a SiLU reads, and a step that changes nothing is none.
    steps = wb.recipe.steps
    wide = next(finding for finding in summary.findings if finding.kind == "float-output")
    with pytest.raises(RecipeError, match="changes nothing here: TensorRT gains nothing from Q/DQ around Sigmoid"):
        wb.engines.fix(wide)
    assert wb.recipe.steps == steps


@pytest.mark.parametrize(("name", "counts"), [("resnet50", (53, 16, 49)), ("mobilenet_v2", (52, 10, 35))])
def test_the_qdq_engine_accounts_for_every_node_that_computes(name, counts, sources):
    lowered = sources(name)[1]
    graph, profile = files(f"{name}.qdq")
    summary = load_engine(graph, profile=profile, model=lowered)
    activation = "Relu" if name == "resnet50" else "Clip"
    by_name = {op: [n for n, node in lowered.nodes.items() if node.op_type == op] for op in ("Conv", "Add", activation)}
    assert tuple(len(nodes) for nodes in by_name.values()) == counts
    for nodes in by_name.values():
        assert [node for node in nodes if node not in summary.fusion.by_node] == []
    assert summary.fusion.coverage == 1.0
    assert summary.fusion.unaccounted == ()


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_the_floating_engine_maps_onto_the_floating_model(name, sources):
    graph, profile = files(f"{name}.fp16")
    summary = load_engine(graph, profile=profile, model=sources(name)[0].model)
    assert summary.fusion.unaccounted == ()


def test_int8_residual_blocks_are_one_layer_each(sources):
    summary = load_engine(*files("resnet50.qdq")[:1], model=sources("resnet50")[1])
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        for block in range(depth):
            parts = {f"layer{stage}/{block}/{part}" for part in ("conv3", "add", "relu3")}
            assert len({layer for part in parts for layer in summary.fusion.by_node[part]}) == 1


def test_int8_against_fp16_group_by_group():
    comparison = compare_engines([load("resnet50.fp16"), load("resnet50.qdq")])
    fp16, qdq = comparison.totals
    assert 1.3 < fp16 / qdq < 1.45
    assert len(comparison.shared) >= 55
    assert "input/QuantizeLinear" in {group.name for group in comparison.groups if not group.layers[0]}


def test_what_quantization_joined_is_explained_by_the_two_graphs(sources):
    plain, quantized = sources("resnet50")
    comparison = compare_engines([load("resnet50.fp16"), load("resnet50.qdq")], models=[plain.model, quantized])
    (stem,) = [group for group in comparison.groups if "stem/pool" in group.nodes]
    assert stem.change[1].startswith(
        "these 2 layers became one: stem/conv + stem/relu | stem/pool, because a Q/DQ stands between input and "
        "stem/conv in resnet50.qdq and not in resnet50.fp16"
    )
    changed = [group for group in comparison.groups if group.change[1] not in {"", "same layers"}]
    assert all("because" in group.change[1] for group in changed)


def test_a_myelin_engine_is_read_and_said_to_hold_most_nodes():
    report = load("vit_small.fp16")
    assert [layer.myelin for layer in report.layers] == [False, False, True]
    assert report.layers[2].ms > 0.9 * report.layers_ms


def test_what_myelin_left_in_fp32_beside_int8_is_found(sources):
    graph, profile = files("vit_small.qdq")
    summary = load_engine(graph, profile=profile, model=sources("vit_small")[1])
    assert summary.fusion.coverage == 1.0
    worst = summary.findings[0]
    assert worst.title == "Myelin graph that reads FP32 in an engine of reduced precision"
    # What is in it is not told one by one, so no node is said to be in FP32, or in anything else.
    realized = realized_precision(summary.report, summary.fusion)
    assert {realized[node].precision for node in worst.nodes} == {None}
    assert worst.cost_ms > 0.9 * summary.report.layers_ms
    assert not any("Myelin" in finding.title for finding in load_engine(*files("vit_small.fp16")[:1]).findings)


@pytest.mark.parametrize(("name", "kind"), [("resnet50", "qdq"), ("mobilenet_v2", "qdq"), ("mobilenet_v2", "fp16")])
def test_what_is_said_of_an_engine_and_its_source(name, kind, sources, snapshot):
    source, lowered = sources(name)
    graph, profile = files(f"{name}.{kind}")
    model = lowered if kind == "qdq" else source.model
    requested = dict.fromkeys(model.nodes, "int8" if kind == "qdq" else "fp16")
    summary = load_engine(graph, profile=profile, model=model, requested=requested)
    assert summary.text(top=12) == snapshot(name="text")
    data = json.loads(summary.json())
    layers = [text_of([layer[key] for key in ("name", "nodes", "absorbed", "known_from")]) for layer in data["layers"]]
    assert "\n".join(layers[::4]) == snapshot(name="every fourth layer")
    findings = [text_of(list(finding.values())) for finding in data["findings"]]
    assert "\n".join(findings[:40]) == snapshot(name="findings")
    assert text_of(data["requested"][::5]) == snapshot(name="requested")
