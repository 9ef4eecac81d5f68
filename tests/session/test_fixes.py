"""From a finding to a step of the recipe."""

from __future__ import annotations

import pytest

from workbench.engine.finding import Finding, Suggestion
from workbench.engine.findings import find
from workbench.errors import RecipeError, ReportError
from workbench.session import history_of, open_model, open_recipe
from workbench.session.fixes import fix_line

FP32, FP16, INT8 = "Row major linear FP32", "Row major linear FP16 format", "Row major Int8 format"


def layer(name, kind, nodes, inputs, outputs, **more):
    def tensors(arguments):
        return [{"Name": n, "Dimensions": [2, 4, 8, 8], "Format/Datatype": f} for n, f in arguments.items()]

    metadata = "".join(f"[ONNX Layer: {node}]" for node in nodes)
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": tensors(inputs),
        "Outputs": tensors(outputs),
        "Metadata": metadata,
        **more,
    }


def engine_of(*layers):
    """What a compiler might have made of the small CNN; the head is always the same."""
    head = layer(
        "head",
        "gemm",
        ["head/pool", "head/flatten", "head/fc"],
        {layers[-1]["Outputs"][0]["Name"]: layers[-1]["Outputs"][0]["Format/Datatype"]},
        {"y": FP16},
    )
    return {"Layers": [*layers, head], "Bindings": ["x", "y"]}


@pytest.fixture
def wb(small_cnn):
    return open_model(small_cnn)


def only(summary, kind):
    (finding,) = [finding for finding in summary.findings if finding.kind == kind]
    return finding


STEM = layer("stem", "CaskConvolution", ["stem/conv", "stem/relu"], {"x": FP16}, {"r1": FP16}, Activation="RELU")
BLOCK = layer(
    "block",
    "CaskConvolution",
    ["block/conv", "block/add", "block/relu"],
    {"r1": FP32},
    {"r2": FP16},
    Activation="RELU",
)


def test_a_precision_becomes_a_rule_of_the_recipe(wb, tmp_path):
    summary = wb.engines.read(engine_of(STEM, BLOCK))
    finding = only(summary, "silent-fp32")
    assert finding.suggestion.kind == "precision"
    line = fix_line(history_of(wb), finding)
    assert wb.recipe.steps == ()
    assert wb.engines.fix(finding) == line == 'wb.plan.set("scope:block", "fp16")'
    assert set(wb.plan.resolve().nodes("fp16")) >= {"block/conv", "block/add", "block/relu"}
    path = wb.recipe.save(tmp_path / "recipe.yaml")
    assert [str(rule) for rule in open_recipe(path).plan.rules.rules] == ["scope:block -> fp16"]
    # Asked again of the same engine, it is no longer silent: it is not what was asked for.
    again = wb.engines.read(engine_of(STEM, BLOCK))
    assert {v.node for v in again.verdicts if v.status == "wider"} == {"block/conv", "block/add", "block/relu"}
    wider = only(again, "wider-than-asked")
    assert wider.suggestion is None
    with pytest.raises(RecipeError, match="no step of a recipe mends it"):
        wb.engines.fix(wider)


def test_what_feeds_too_many_bits_is_what_to_ask(wb):
    wb.plan.set("scope:block", "fp16")
    wide = layer("stem", "CaskConvolution", ["stem/conv", "stem/relu"], {"x": FP32}, {"r1": FP32}, Activation="RELU")
    finding = only(wb.engines.read(engine_of(wide, BLOCK)), "wider-than-asked")
    assert finding.suggestion.selector == ("stem/conv", "stem/relu")
    assert wb.engines.fix(finding) == 'wb.plan.set("scope:stem", "fp16")'


def test_an_unquantized_reader_is_quantized(wb):
    conv = layer("block", "CaskConvolution", ["block/conv"], {"r1": INT8}, {"c2": FP16})
    add = layer("add", "PointWiseV2", ["block/add", "block/relu"], {"c2": FP16, "r1": FP16}, {"r2": FP16})
    stem = layer("stem", "CaskConvolution", ["stem/conv", "stem/relu"], {"x": INT8}, {"r1": INT8}, Activation="RELU")
    finding = only(wb.engines.read(engine_of(stem, conv, add)), "float-output")
    assert finding.suggestion.kind == "quantize_input"
    with pytest.raises(RecipeError, match="changes nothing here: the convolution 'block/conv' before it is fp32"):
        wb.engines.fix(finding)
    wb.plan.set("op:Conv", "int8")
    assert wb.engines.fix(finding) == finding.suggestion.line
    assert str(wb.plan.rules.rules[-1]) == "name:block/add -> int8"


def test_edits_enter_the_recipe(wb):
    cast = layer("cast", "Cast", [], {"x": FP32}, {"t": FP16})
    stem = layer("stem", "CaskConvolution", ["stem/conv", "stem/relu"], {"t": FP16}, {"r1": FP16}, Activation="RELU")
    block = {**BLOCK, "Inputs": stem["Outputs"]}
    summary = wb.engines.read(engine_of(cast, stem, block))
    assert wb.engines.fix(only(summary, "small-batch")) == 'wb.edit("set_batch", size=8)'
    assert wb.model.inputs[0].shape[0] == 8
    line = wb.engines.fix(only(summary, "cast"))
    assert line == "wb.edit(\"set_input_type\", input='x', dtype='FLOAT16')"
    assert [step.do for step in wb.recipe.steps] == ["set_batch", "set_input_type"]
    with pytest.raises(RecipeError, match="changes nothing"):
        wb.engines.fix(only(summary, "small-batch"))


def test_a_build_option_says_where_it_goes(wb):
    reformat = layer("re", "Reformat", [], {"r1": FP16}, {"r1b": "Channel major FP16 format where channel % 8 == 0"})
    block = {**BLOCK, "Inputs": reformat["Outputs"]}
    finding = only(wb.engines.read(engine_of(STEM, reformat, block)), "reformat")
    assert finding.suggestion.line == "BuildOptions(optimization_level=5)"
    with pytest.raises(RecipeError, match=r"BuildOptions\(optimization_level=5\)"):
        wb.engines.fix(finding)
    assert wb.recipe.steps == ()


def test_what_the_model_or_the_plan_lacks_is_refused(wb):
    def finding(*selector, value="fp16"):
        suggestion = Suggestion("precision", selector, value)
        return Finding(kind="k", title="t", evidence="e", fix="f", layers=("l",), suggestion=suggestion)

    with pytest.raises(RecipeError, match="none of its nodes, such as 'elsewhere'"):
        wb.engines.fix(finding("elsewhere", "nowhere"))
    assert wb.engines.fix(finding("stem/conv")) == 'wb.plan.set("name:stem/conv", "fp16")'
    with pytest.raises(RecipeError, match="changes nothing here: it has fp16 already"):
        wb.engines.fix(finding("nowhere", "stem/conv"))
    with pytest.raises(RecipeError, match="a plan has no fp4"):
        wb.engines.fix(finding("stem/conv", value="fp4"))
    strange = [layer("l", "CaskConvolution", ["a", "b"], {"s": FP16}, {"t": FP16})]
    with pytest.raises(ReportError, match="does not match the engine"):
        wb.engines.read({"Layers": strange})


def test_every_suggestion_of_the_recorded_engines_can_be_done_or_says_where(shared):
    from workbench.engine.lints.moves import PLANNED
    from workbench.engine.load import load_report
    from workbench.graph.edits.registry import edit_by_name

    seen = set()
    for path in sorted((shared / "engines").rglob("*.graph.json")):
        for actual in find(load_report(path)):
            suggestion = actual.suggestion
            if suggestion is None:
                continue
            seen.add(suggestion.kind)
            assert suggestion.line
            if suggestion.kind == "edit":
                edit_by_name(suggestion.value, **dict(suggestion.arguments))
            elif suggestion.kind == "precision":
                assert suggestion.value in PLANNED
                assert suggestion.selector
    assert seen >= {"precision", "quantize_input", "edit", "build"}
