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
# # Calibrate: one pass, every method, and a look at the data
#
# INT8 needs a range for every tensor: values up to it are rounded to 127 steps, values beyond it are clipped. One pass
# over the samples gathers a histogram of every tensor; all methods of choosing ranges follow from it. Here they are
# compared, one threshold is set by hand, and samples from elsewhere are held against those of the calibration.
#
# The model is a small depthwise CNN, trained on glyphs that the repository draws itself. Give your own through the
# parameters.

# %% tags=["parameters"]
model: str = ""  # an .onnx file; the sample model where empty
samples: str = ""  # .npz, .npy or a folder of images to calibrate on; drawn where empty
field: str = ""  # samples from where the model is used; drawn where empty
other: str = ""  # samples that may be unlike them; drawn, by night and in glaring light, where empty
preprocess: str = ""  # for folders of images, in the form of the command line
tensor: str = ""  # which tensor to look at closely; the one that the methods disagree on most where empty
batch: int = 32  # samples a run, where the model's batch is dynamic
calibration_images: int = 512  # how many to draw
field_images: int = 256  # how many to draw
out: str = "out/calibration"  # where the results go

# %%
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import workbench
from workbench import views

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "sample_models").is_dir())
OUT = Path(out) if Path(out).is_absolute() else ROOT / out
OUT.mkdir(parents=True, exist_ok=True)
sys.path.insert(0, str(ROOT / "sample_models"))
import glyphs


def draw(split: str, count: int, light: str = "day") -> str:
    """Draw glyphs into a file, as a camera sees them by day, by night or in glaring light."""
    images, _ = glyphs.glyphs(count, glyphs.SPLITS[split])
    # The model takes grey levels 0 to 255 as (g / 255 - 0.5) / 0.25: black is -2, white is 2.
    if light == "night":
        images = (images + 2) * np.float32(0.3) - 2
    elif light == "glare":
        images = np.clip(images * 4, -2, 2)
    file = OUT / f"{split}-{light}.npz"
    np.savez(file, **{glyphs.INPUT_NAME: images})
    return str(file)


samples = samples or draw("calibration", calibration_images)
field = field or draw("test", field_images)
others = {"other samples": other} if other else {kind: draw("test", field_images, kind) for kind in ("night", "glare")}

# %% [markdown]
# ## One pass
#
# The statistics do not grow with the samples. With a `checkpoint`, a calibration that was killed goes on where it was;
# `channels=1` keeps each channel's extremes too, which shows the dead ones. Each range is in the recipe with the
# samples' fingerprint.

# %%
wb = workbench.open_model(model or ROOT / "sample_models" / "depthwise_cnn.onnx")
wb.prepare()
seen = wb.calibrate(
    samples, batch=batch, preprocessing=preprocess or None, channels=1, checkpoint=OUT / "calibration.part"
)
seen.save(OUT / "statistics.npz")
print(f"{len(seen)} tensors, {sum(t.values for t in seen.values()):,} values seen")  # noqa: PD011
print(f"statistics: {(OUT / 'statistics.npz').stat().st_size / 1e6:.2f} MB")

# %% [markdown]
# ## All tensors
#
# The rows that lose most on their own come first. A click on a heading sorts. `disagreement` is the largest threshold
# of the four methods divided by the smallest: where it is near 1 the choice does not matter. The graph below is linked:
# a selected row selects the node that makes its tensor, a selected node its row.

# %%
graph = views.graph(wb)
table = views.tensor_table(wb, graph)
table

# %%
table.selected = list(table.frame.index[:3])
graph

# %%
views.distributions(wb)

# %% [markdown]
# ## One tensor, and a threshold to drag
#
# The lines are the methods' thresholds. Min-max clips nothing, and its steps are the coarsest; a smaller threshold
# clips the tail and has finer steps for everything else. The SQNR is what this tensor alone loses. In a running
# notebook the threshold can be dragged: where it is dropped becomes a `set_range` step of the recipe.

# %%
tensor = tensor or str(table.frame["disagreement"].idxmax())
views.distribution(wb, tensor)

# %%
views.quantized(wb, tensor)

# %% [markdown]
# ## The methods at the model's outputs
#
# What a tensor loses alone is not what the model loses. `choose_ranges` picks all ranges anew from the statistics; the
# outputs are then compared on samples that were not calibrated on, with Q/DQ computed as written.

# %%
wb.plan.use("int8")
rows = []
for method in ("minmax", "percentile", "entropy", "mse"):
    wb.ranges.choose(method)
    compared = wb.compare(field, batch=batch, preprocessing=preprocess or None, runs=0)
    rows.append({"method": method, **{f"SQNR of {o.name}, dB": o.sqnr_db for o in compared.outputs}})
    wb.undo()
measured = pd.DataFrame(rows).set_index("method")
measured.round(1)

# %% [markdown]
# ## Set by hand
#
# What dragging does, as a line of code: here to between the thresholds of the two methods that did best. It is one step
# of the recipe; the outputs say whether it was worth it, and `wb.undo()` takes it back.

# %%
best, second = measured.min(axis=1).sort_values(ascending=False).index[:2]
wb.ranges.choose(best)
view = views.distribution(wb, tensor)
view.set(float(np.sqrt(table.frame.loc[tensor, best] * table.frame.loc[tensor, second])))
compared = wb.compare(field, batch=batch, preprocessing=preprocess or None, runs=0)
before, after = measured.min(axis=1)[best], min(o.sqnr_db for o in compared.outputs)
print(f"worst output: {before:.1f} dB with all ranges by {best}, {after:.1f} dB with this one by hand")
view

# %% [markdown]
# ## The weights
#
# Weights get one scale an output channel. Where the channels differ much in size, one scale for all of them would round
# the small ones away.

# %%
weighted = [name for name, node in wb.model.top_nodes.items() if node.op_type in ("Conv", "Gemm")]
charts = [(views.weights(wb, name), name) for name in weighted]
gains = pd.Series({name: chart.per_channel_db - chart.per_tensor_db for chart, name in charts}, name="gain, dB")
print(gains.sort_values(ascending=False).head(5).round(1).to_string())
views.weights(wb, str(gains.idxmax()))

# %% [markdown]
# ## Is the calibration like the field?
#
# Other samples of the same kind hardly differ. Those of another kind do, in two ways. By night all values are smaller:
# nothing is clipped, but most of the 127 steps are never used (`amax_ratio` below 1). In glaring light values leave the
# calibrated ranges, and a warning says so. Either way: calibrate on samples like those of the field.

# %%
views.drift(wb, field, preprocessing=preprocess or None, labels=("calibration", "field"))

# %%
from IPython.display import display

for name, file in others.items():
    unlike = views.drift(wb, file, preprocessing=preprocess or None, labels=("calibration", name))
    display(unlike, unlike.table().drop(columns="warning").head(5))

# %% [markdown]
# ## Keep
#
# The recipe ends with the ranges: those of the calibration, the method chosen, and the threshold set by hand. Opening
# it gives the same ranges without samples and without statistics.

# %%
wb.tune()
recipe = wb.recipe.save(OUT / "recipe.yaml")
for step in wb.recipe.steps:
    content = step.model_dump(mode="json", exclude_none=True)
    brief = {k: f"{len(v)} entries" if isinstance(v, dict) else v for k, v in content.items() if k != "sha256"}
    print(brief)

# %%
again = workbench.open_recipe(recipe)
assert again.ranges == wb.ranges
assert again.tune().model.to_bytes() == wb.tuned.to_bytes()
print(
    f"{tensor}: {again.ranges[tensor]:.6g}, {again.ranges.origins[tensor]}; {len(again.ranges)} ranges in {recipe.name}"
)

# %% [markdown]
# Next: [03_precision](03_precision.ipynb), which layers to leave in floating point.
