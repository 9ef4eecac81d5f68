"""Costs out of engines that were really measured: TensorRT 8.6.0 on an H200, the models of the benchmarks."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest

from tests.kit.networks import network
from tests.kit.places import RECORDED
from tests.kit.searching import benchmark_model, calibrated, candidates_of, mobilenet, small
from workbench.cli import main
from workbench.engine.load import load_report
from workbench.errors import PrecisionError, ReportError
from workbench.graph.load import from_proto
from workbench.precision.plan.plan import BEST_PRACTICE, PrecisionPlan
from workbench.precision.plan.rule import Rule
from workbench.precision.search.cost import modelled_costs
from workbench.precision.search.engine import engine_costs, engine_latencies
from workbench.precision.targets import parse_target
from workbench.session import Workbench

ENGINE = RECORDED / "mobilenet_v2.fp16.graph.json", RECORDED / "mobilenet_v2.fp16.profile.json"


@cache
def report(name):
    return load_report(RECORDED / f"{name}.graph.json", profile=RECORDED / f"{name}.profile.json")


@cache
def model(size=224):
    wb = Workbench(mobilenet(size))
    wb.prepare()
    return wb.model


def layer_ms(name, node):
    """Median milliseconds of the layers that the engine itself says hold a node."""
    return sum(layer.time.median_ms for layer in report(name).layers if node in layer.sources)


def test_the_times_of_a_real_engine_arrive_at_its_nodes():
    actual, lost = engine_latencies(model(), report("mobilenet_v2.fp16"))
    assert actual["blocks.5/depthwise"] == ("fp16", pytest.approx(layer_ms("mobilenet_v2.fp16", "blocks.5/depthwise")))
    assert actual["blocks.5/depthwise/relu6"] == ("fp16", 0.0)  # fused into it
    assert actual["flatten"][1] == 0.0  # vanished
    # The cast of the input belongs to the convolution it was made for.
    stem = layer_ms("mobilenet_v2.fp16", "stem/conv")
    assert actual["stem/conv"][1] == pytest.approx(stem + report("mobilenet_v2.fp16").layers[0].time.median_ms)
    whole = sum(layer.time.median_ms for layer in report("mobilenet_v2.fp16").layers)
    assert sum(spent for _, spent in actual.values()) + lost == pytest.approx(whole)
    assert lost < 0.01 * whole


def test_a_region_that_myelin_made_one_layer_of_is_shared_out():
    vit = Workbench(_benchmark("vit_small"))
    actual, lost = engine_latencies(vit.model, report("vit_small.fp16"), region="fp16")
    assert lost == 0
    assert {precision for precision, _ in actual.values()} == {"fp16"}
    assert sum(spent > 0 for _, spent in actual.values()) > 200
    # Of an engine that does not tell the region's precision, it is left out, and that is said.
    actual, lost = engine_latencies(vit.model, report("vit_small.fp16"))
    assert lost == pytest.approx(1.7514, abs=1e-4)
    assert [node for node, (_, spent) in actual.items() if spent] == ["patch_embed/conv"]


def test_a_transformer_of_one_layer_is_told_what_it_is():
    """The inspector does not say that a region computes in INT8."""
    vit = Workbench(_benchmark("vit_small")).model
    engines = {"fp16": report("vit_small.fp16"), "int8": report("vit_small.qdq")}
    costs = engine_costs(vit, engines)
    product = "blocks.3/mlp/fc1"
    products = [node for node, kinds in costs.measured.items() if set(kinds) == {"fp16", "int8"}]
    assert product.partition("/")[0] in {node.partition("/")[0] for node in products}
    whole = {kind: sum(costs.of(node, kind) for node in costs.milliseconds) for kind in ("fp16", "int8")}
    # 1.75 ms and 1.63 ms of region: by bytes and MACs INT8 would take half.
    roofline = modelled_costs(vit, {"N": 32})
    modelled = {kind: sum(roofline.of(node, kind) for node in costs.milliseconds) for kind in ("fp16", "int8")}
    assert 0.9 < whole["int8"] / whole["fp16"] < 1.0
    assert modelled["int8"] / modelled["fp16"] == pytest.approx(0.5)
    unsaid = engine_costs(vit, list(engines.values()))
    assert any(
        "regions of Myelin, whose precision the engine does not tell, left out" in message for message in unsaid.about
    )
    assert not any(set(kinds) == {"fp16", "int8"} for kinds in unsaid.measured.values())
    with pytest.raises(PrecisionError, match="int7: there is no such precision"):
        engine_costs(vit, {"int7": report("vit_small.qdq")})


def _benchmark(name):
    return from_proto(benchmark_model(name))


def test_two_engines_tell_where_int8_is_slower():
    costs = engine_costs(model(), [report("mobilenet_v2.fp16"), report("mobilenet_v2.qdq")])
    slower = [node for node in costs.milliseconds if costs.of(node, "int8") > costs.of(node, "fp16")]
    measured = [
        node
        for node in candidates_of(model(), BEST_PRACTICE)
        if layer_ms("mobilenet_v2.qdq", node) > layer_ms("mobilenet_v2.fp16", node) and costs.macs[node]
    ]
    assert "blocks.0/project" in slower
    # The classifier's own layer is slower, but the FP16 engine needs a reformat behind it.
    assert set(measured) - {"classifier"} <= set(slower)
    roofline = modelled_costs(model(), {"N": 32})
    assert all(roofline.of(node, "int8") < roofline.of(node, "fp16") for node in measured)
    assert costs.about[0].startswith("engine mobilenet_v2.fp16: 100 nodes in fp16")
    assert "nodes in int8; 0.0" in costs.about[1]
    assert "not measured, so scaled" in costs.about[3]


def test_one_engine_is_scaled_for_the_other_precisions():
    costs = engine_costs(model(), [report("mobilenet_v2.fp16")])
    roofline = modelled_costs(model(), {"N": 32})  # the batch the engine was built for
    node = "blocks.3/expand"
    ratio = roofline.of(node, "int8") / roofline.of(node, "fp16")
    assert costs.of(node, "int8") == pytest.approx(costs.of(node, "fp16") * ratio)
    assert set(costs.measured[node]) == {"fp16"}
    assert any("int8 of 100 nodes" in message for message in costs.about)


def test_a_search_leaves_out_of_int8_what_a_gpu_runs_slower_there(tmp_path):
    wb = calibrated(mobilenet(32), tmp_path, 2)
    wb.plan.use("int8+fp16")
    reports = [report("mobilenet_v2.fp16"), report("mobilenet_v2.qdq")]
    result = wb.plan.search("sqnr_db", at_least=1.0, cost=reports)
    slower = {node for node in result.chosen.demoted if result.costs.of(node, "int8") >= result.costs.of(node, "fp16")}
    assert slower == result.chosen.demoted
    assert "blocks.0/project" in slower
    assert result.chosen.cost_ms < result.trials[0].cost_ms
    assert wb.plan.resolve()["blocks.0/project"].precision == "fp16"
    assert "by measured latencies" in result.text()
    assert "costs: engine mobilenet_v2.qdq" in result.text()
    # By bytes and MACs everything would have been INT8.
    assert wb.plan.search("sqnr_db", at_least=1.0).chosen.demoted == frozenset()


def test_bad_reports_say_what_is_wrong():
    with pytest.raises(PrecisionError, match=r"no times of layers.*--profile"):
        engine_costs(model(), [load_report(ENGINE[0])])
    with pytest.raises(ReportError, match="the model does not match the engine"):
        engine_costs(small(), [report("mobilenet_v2.fp16")])
    with pytest.raises(PrecisionError, match="no engine report"):
        engine_costs(model(), [])


def test_engines_of_another_machine_map_too(shared):
    folder = shared / "engines" / "trt-8.6.0-h200"
    reports = [
        load_report(folder / f"resnet50-b32.{name}.graph.json", profile=folder / f"resnet50-b32.{name}.profile.json")
        for name in ("fp16", "modelopt_int8_fp16")
    ]
    import gzip

    import onnx

    from workbench.graph.edits.remove_qdq import RemoveQDQ
    from workbench.graph.load import from_proto

    proto = onnx.load_from_string(gzip.decompress((folder / "resnet50-b32.modelopt.zeroed.onnx.gz").read_bytes()))
    plain = RemoveQDQ()(from_proto(proto)).model
    costs = engine_costs(plain, reports)
    convolutions = [node for node, kinds in costs.measured.items() if plain.nodes[node].op_type == "Conv"]
    assert len(convolutions) == 53
    assert all(set(costs.measured[node]) == {"fp16", "int8"} for node in convolutions)
    assert sum(costs.of(node, "int8") for node in convolutions) < sum(costs.of(node, "fp16") for node in convolutions)


def test_the_command_line_takes_engines(tmp_path, capsys):
    wb = calibrated(mobilenet(32), tmp_path, 2)
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(wb.source.to_bytes())
    words = ["search", str(onnx), "--samples", str(tmp_path / "samples.npz"), "--min-sqnr", "1", "--runs", "0"]
    words += ["--preset", "int8+fp16", "--engine", str(ENGINE[0]), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "one --profile for each --engine" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*words, "--profile", str(ENGINE[1]), "--engine", f"fp16={ENGINE[0]}", "--profile", str(ENGINE[1])])
    assert end.value.code == 2
    assert "a precision of its own, or none" in capsys.readouterr().err
    qdq = [RECORDED / f"mobilenet_v2.qdq.{kind}.json" for kind in ("graph", "profile")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--profile", str(ENGINE[1]), "--engine", str(qdq[0]), "--profile", str(qdq[1])])
    assert end.value.code == 0
    assert "costs: engine mobilenet_v2.fp16" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "search.json").read_text())
    assert content["costs"][0].startswith("engine mobilenet_v2.fp16")
    assert "blocks.0/project" in content["trials"][content["chosen"]]["in_float"]
    assert np.isfinite(content["trials"][0]["cost_ms"])


def test_int8_in_a_part_of_a_transformer_costs_the_rest_its_fp16_in_tensorrt_8():
    transformer = network(head="attention")
    costs = modelled_costs(transformer, {"N": 32})
    products = [node.name for node in transformer.top_nodes.values() if node.op_type == "MatMul"]

    def total(target, *quantized):
        rules = [
            Rule(select="*", precision="fp16"),
            *(Rule(select=f"name:{node}", precision="int8") for node in quantized),
        ]
        return costs.total(PrecisionPlan(rules=tuple(rules)).resolve(transformer, target=parse_target(target)))

    assert total("tensorrt-10", products[0]) < total("tensorrt-10")
    assert total("tensorrt-8.6", products[0]) > total("tensorrt-8.6") > 0
