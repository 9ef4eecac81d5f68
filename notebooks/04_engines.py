# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What the compiler really made
#
# A plan says what was asked for; an engine says what was done. This notebook reads engines that TensorRT 8.6.0 built
# on an H200 and that the repository keeps as files, so it runs on any laptop: which source nodes became one layer, in
# which precision each one runs, what INT8 gained over FP16 and where time is left. It ends with findings, each with a
# fix.
#
# Give your own files through the parameters: what `trtexec --exportLayerInfo` and `--exportProfile` wrote, and the ONNX
# model that the engine was built from. With a GPU and TensorRT here, the last part builds engines of its own.

# %% tags=["parameters"]
graph: str = ""  # inspector JSON of an engine; the recorded INT8 ResNet-50 where empty
profile: str = ""  # times of its layers
timing: str = ""  # times of whole inferences
baseline_graph: str = ""  # the engine to compare with; the recorded FP16 one where empty
baseline_profile: str = ""  # times of its layers
baseline_timing: str = ""  # times of whole inferences
model: str = ""  # the ONNX model that `graph` was built from; made where everything is empty
gpu: str = "H200 SXM"  # for the roofline; a wrong name prints the list
out: str = "out/engines"  # where the results go
build: bool = True  # build engines on this machine: TensorRT where it works, ONNX Runtime otherwise
bench_model: str = ""  # what to build; the residual sample model where empty
bench_batch: int = 8  # with this batch
bench_variants: str = "qdq,fp16"  # see workbench bench --help
bench_samples: str = ""  # calibrates it; drawn where everything about it is empty
bench_eval_samples: str = ""  # what the engines compute is compared on these
bench_labels: str = ""  # one class index for each of them
bench_budget_s: float = 300.0  # seconds for all of them
bench_tactic_sources: str = ""  # such as EDGE_MASK_CONVOLUTIONS,JIT_CONVOLUTIONS; TensorRT's default where empty

# %%
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import workbench
from workbench import views

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "sample_models").is_dir())
OUT = Path(out) if Path(out).is_absolute() else ROOT / out
OUT.mkdir(parents=True, exist_ok=True)
RECORDED = ROOT / "tests" / "data" / "engines"

if not graph:
    graph, profile, timing = (f"{RECORDED}/resnet50.qdq.{kind}.json" for kind in ("graph", "profile", "timing"))
    baseline_graph, baseline_profile, baseline_timing = (
        f"{RECORDED}/resnet50.fp16.{kind}.json" for kind in ("graph", "profile", "timing")
    )

# %% [markdown]
# ## The model it was built from
#
# The recorded engine comes from a ResNet-50 with seeded random weights. It is made again here, and Q/DQ pairs are put
# where they were in that build: speed does not depend on weights or ranges.

# %%
plain = None  # the same network without Q/DQ, which the FP16 baseline was built from
if model:
    source = workbench.load_model(model)
elif Path(graph).parent == RECORDED:
    name = Path(graph).name.split(".")[0]
    subprocess.run([sys.executable, ROOT / "benchmarks" / "models.py", OUT / "models", name], check=True)
    wb = workbench.open_model(OUT / "models" / f"{name}.onnx")
    wb.prepare()
    wb.edit("set_batch", size=32, check=False)
    wb.plan.set_target("tensorrt-8.6")
    (image,) = wb.model.inputs
    wb.calibrate([{image.name: np.random.default_rng(0).normal(size=image.static_shape).astype("float32")}])
    wb.tune()
    plain, source = wb.model, wb.tuned
else:
    source = None
print("no model: layers keep the names the engine states" if source is None else f"{len(source.nodes)} source nodes")

# %% [markdown]
# ## The engine in a page of text

# %%
summary = workbench.load_engine(graph, profile=profile or None, timing=timing or None, model=source)
print(summary.text(top=8))

# %% [markdown]
# ## Fusion: source nodes and layers
#
# Every source node is in a layer, or vanished for a reason that is told. One residual block of the source as layers:
# the convolution that ends the block took the Add and the Relu with it. `fusion.table()` has every node.

# %%
fusion = summary.fusion
print(fusion.summary())
scope = "layer2/1/" if Path(graph).parent == RECORDED else ""
groups = [group for group in fusion.groups if any(node.startswith(scope) for node in group.nodes)]
pd.set_option("display.max_colwidth", 90)
pd.DataFrame(
    {
        "source nodes that became one layer": [" + ".join(group.nodes) for group in groups],
        "Q/DQ whose work it does": [len(group.absorbed) for group in groups],
        "ms": [summary.report.layer(group.layer).ms for group in groups],
    }
).head(12)

# %% [markdown]
# The same as a picture: an outline holds the nodes that became one layer, in the color of its precision. Live, a click
# on an outline selects the layer: what is known of it stands below, and Python sees it as `view.selected_layer`.

# %%
on_graph = None
if source is not None:
    on_graph = views.fusion(summary)
    if scope:
        on_graph.reveal(f"{scope}conv2")
        on_graph.selected_layer = fusion.by_node[f"{scope}conv2"][0]
on_graph if on_graph is not None else "no model, so no source graph"

# %% [markdown]
# Table, source graph and the engine's own graph with one selection. The engine's graph shows reformats as cards of
# their own, and resting the pointer on an edge tells its format.

# %%
view = views.engine(summary, color="latency" if summary.report.profiled else "precision")
if summary.report.profiled:
    view.selected_layer = max(summary.report.layers, key=lambda layer: layer.ms or 0.0).name
pd.DataFrame(view.facts(), columns=["of the slowest layer", ""])

# %%
view

# %% [markdown]
# ## Where the time goes

# %%
report = summary.report
views.engine_chart(summary, "treemap")

# %%
views.engine_chart(summary, "sunburst")

# %% [markdown]
# Every convolution with what it computes, how fast, and by which kernel.

# %%
shown = ["nodes", "ms", "precision", "kernel", "in_channels", "out_channels", "ops_per_byte", "tops", "tensor_cores"]
summary.convolutions().sort_values("ms", ascending=False)[shown].head(10)

# %% [markdown]
# ## Precision, realized
#
# How much runs in which precision, and every edge between two layers by the precision on either side: conversions
# off the diagonal are what a misplaced Q/DQ costs.

# %%
views.engine_chart(summary, "precision")

# %%
views.engine_chart(summary, "transitions")

# %% [markdown]
# ## Memory and limits

# %%
views.engine_chart(summary, "memory")

# %%
views.engine_chart(summary, "roofline", gpu=gpu)

# %% [markdown]
# ## INT8 against FP16
#
# Engines are aligned by the source nodes they share, never by position. The sums of layers compare two profiles, which
# have a cost of their own; the medians of whole inferences, measured in one run, decide. Where a fusion differs, the
# Q/DQ or Cast that one ONNX file has there and the other has not is named.

# %%
comparison = None
if baseline_graph:
    times = {"profile": baseline_profile or None, "timing": baseline_timing or None}
    baseline = workbench.load_engine(baseline_graph, **times, model=plain)
    comparison = workbench.compare_engines([baseline.report, report], source, models=[plain, source])
    for one in (baseline.report, report):
        if one.timing is not None:
            print(f"{one.name}: median {one.timing.ms['median']:.4f} ms over {one.timing.iterations} whole inferences")
    print(comparison.summary())
views.engine_chart(comparison, "totals") if comparison is not None else "no baseline was given"

# %% [markdown]
# Group by group: a row selects its layers in both engines' graphs.

# %%
views.compare(baseline, summary) if comparison is not None else "no baseline was given"

# %% [markdown]
# ## An engine of this machine
#
# With TensorRT and a GPU: the chosen variants, built and timed side by side, as `workbench bench` does it. Without:
# what ONNX Runtime makes of the same quantized model on this processor, read by the same report. Its times say nothing
# about a GPU's. Either way the engine itself runs the evaluation samples: SQNR and top-1 against the floating-point
# model say whether what was tuned is what runs.


# %%
def drawn(split: str, count: int) -> Path:
    """Draw glyphs with the repository's own script: the same count gives the same images everywhere."""
    folder = OUT / "data" / split
    script = ROOT / "sample_models" / "glyphs.py"
    options = ("--split", split, "--count", str(count), "--out", folder)
    subprocess.run([sys.executable, script, *options], check=True, stdout=subprocess.DEVNULL)
    return folder


if build and not (bench_model or bench_samples or bench_eval_samples):
    bench_samples, test = str(drawn("calibration", 64) / "samples.npz"), drawn("test", 400)
    bench_eval_samples, bench_labels = str(test / "samples.npz"), str(test / "labels.npy")

mine = None
if build:
    tuned = workbench.open_model(bench_model or ROOT / "sample_models" / "residual_cnn.onnx")
    tuned.prepare()
    tuned.calibrate(bench_samples)
    tuned.tune()
    try:
        rows = workbench.bench(
            [bench_model or ROOT / "sample_models" / "residual_cnn.onnx"],
            OUT / "bench",
            batch=bench_batch,
            variants=bench_variants,
            samples=bench_samples,
            evaluation=bench_eval_samples,
            labels=bench_labels or None,
            tactic_sources=bench_tactic_sources or None,
            budget_s=bench_budget_s,
            say=print,
        )
        print(rows.text())
        first = next((row for row in rows.rows if row.status == "measured"), None)
        if first is not None:
            stem = OUT / "bench" / first.stem
            files = {kind: f"{stem}.{kind}.json" for kind in ("profile", "timing")}
            mine = workbench.load_engine(f"{stem}.graph.json", **files)
    except workbench.WorkbenchError as error:
        print(f"no TensorRT engine is built here: {error}")
        engine = tuned.build("onnxruntime")
        mine = tuned.engines.inspect(engine)
        print(tuned.engines.compare(engine, bench_eval_samples, labels=bench_labels or None))
    if mine is not None:
        print(mine.fusion.summary())

# %%
views.engine_chart(mine, "latency") if mine is not None else "nothing was built"

# %% [markdown]
# ## Findings
#
# What costs time in both engines, the dearest first. Costs overlap and are not to be added up.

# %%
findings = summary.findings_table().assign(engine=report.name)
if comparison is not None:
    findings = pd.concat([findings, baseline.findings_table().assign(engine=baseline.report.name)], ignore_index=True)
others = [baseline.report, report] if comparison is not None else None
card = OUT / "report_card.html"
card.write_text(views.report_card(summary, gpu=gpu, comparison=comparison, others=others), encoding="utf-8")
print(f"everything above in one page: {card}")
findings[["engine", "title", "cost_ms", "bound", "fix", "line"]].head(20)

# %% [markdown]
# A finding is mended by a step of the recipe where there is one: `wb.engines.fix(finding)` does the edit or sets the
# rule, and says what to do instead where neither helps.


# %%
def mend(finding: object) -> str:
    """Apply a finding; return the recipe line, or what to do instead."""
    try:
        return wb.engines.fix(finding)
    except workbench.WorkbenchError as error:
        return str(error)


if plain is not None:
    for finding in summary.findings:
        print(f"{finding.title}: {mend(finding)}")

# %% [markdown]
# Next: [05_report](05_report.ipynb), the page that a customer files.
