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
# # From a broken INT8 to a plan that holds
#
# Uniform INT8 with min-max ranges takes more than five points of top-1 from the sample model, a small network of
# depthwise convolutions. This notebook finds out which layers hurt and why, mends it by hand, lets a search find the
# cheapest plan that meets a stated gate, and asks a real TensorRT compiler what it makes of the result.
#
# Give your own model through the parameters. Without labels the only gate is the SQNR of the outputs.

# %% tags=["parameters"]
model: str = ""  # an .onnx file; the sample model where empty
samples: str = ""  # .npz, .npy or a folder of images to calibrate on; drawn where empty
preprocess: str = ""  # for folders of images, in the form of the command line: how a pixel becomes a number
search_samples: str = ""  # what the search evaluates on; drawn with the sample model, else the calibration's
search_labels: str = ""  # one class index a sample of search_samples
eval_samples: str = ""  # what the result is judged on; drawn with the sample model, else the calibration's
labels: str = ""  # one class index a sample of eval_samples
out: str = "out/precision"  # where the results go
calibration_images: int = 500  # how many to draw
search_images: int = 500  # how many to draw
eval_images: int = 2000  # how many to draw
batch: int = 100  # samples a run, where the model's batch is dynamic
max_drop: float = 1.0  # gate: percentage points of top-1 that may be lost, where there are labels
min_sqnr: float = 22.0  # gate: SQNR of the worst output, in dB
most_trials: int = 40  # evaluations a search may make
engine: str = ""  # inspector JSON of an engine of the model: its times are the costs; bytes and MACs where empty
profile: str = ""  # times of that engine's layers
target: str = "sm86"  # whose TensorRT verdict is asked for

# %%
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import display

import workbench
from workbench import views

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "sample_models").is_dir())
OUT = Path(out) if Path(out).is_absolute() else ROOT / out
OUT.mkdir(parents=True, exist_ok=True)


def draw(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw glyphs with the repository's own script: the same count gives the same images everywhere."""
    folder = OUT / "data" / split
    script = ROOT / "sample_models" / "glyphs.py"
    subprocess.run([sys.executable, script, "--split", split, "--count", str(count), "--out", folder], check=True)
    return np.load(folder / "samples.npz")["image"], np.load(folder / "labels.npy")


if not model:
    model = str(ROOT / "sample_models" / "depthwise_cnn.onnx")
    if not samples:
        # The search gets images that calibration did not see, and the last judgement a split that neither saw.
        images, classes = draw("calibration", calibration_images + search_images)
        test_images, test_classes = draw("test", eval_images)
        data = {"image": images[:calibration_images]}
        search_data, search_classes = {"image": images[calibration_images:]}, classes[calibration_images:]
        eval_data, eval_classes = {"image": test_images}, test_classes
elif not samples:
    raise SystemExit("a model of your own needs samples: give the parameter samples")
wb = workbench.open_model(model)
report = workbench.load_engine(engine, profile=profile or None).report if engine else None


def read(file: str) -> object:
    """Return samples from a file; one array whose name is not the model's only input is taken for it."""
    if not file.endswith(".npz"):
        return file
    arrays, inputs = dict(np.load(file)), [tensor.name for tensor in wb.model.inputs]
    alone = len(arrays) == len(inputs) == 1 and inputs[0] not in arrays
    return {inputs[0]: next(iter(arrays.values())).astype(np.float32)} if alone else arrays


if samples:
    data = read(samples)
    search_data = read(search_samples) if search_samples else data
    eval_data = read(eval_samples) if eval_samples else data
    search_classes, eval_classes = search_labels or None, labels or None

# %% [markdown]
# ## Uniform INT8, and what it breaks
#
# Everything that multiplies in INT8, each range the largest magnitude that calibration saw.

# %%
wb.prepare()
how = preprocess or None
wb.calibrate(data, method="minmax", batch=batch, preprocessing=how)
wb.plan.use("int8")
uniform = wb.compare(eval_data, labels=eval_classes, batch=batch, preprocessing=how, runs=0)


def row(name: str, comparison: object, share: float) -> dict[str, object]:
    """Tell a plan in one line of a table; figures are those of the samples that nobody tuned on."""
    accuracy = comparison.accuracy
    return {
        "plan": name,
        "MACs in INT8": f"{share:.1%}",
        "SQNR [dB]": round(min(output.sqnr_db for output in comparison.outputs), 1),
        "top-1": "" if accuracy is None else f"{accuracy.tuned:.2%}",
        "drop [points]": "" if accuracy is None else round(100 * (accuracy.original - accuracy.tuned), 2),
        "file [kB]": round(comparison.tuned_bytes / 1e3, 1),
    }


share = views.precision(wb).estimate().share
table = [row("uniform INT8, min-max", uniform, share)]
pd.DataFrame(table)

# %% [markdown]
# ## Which layers hurt
#
# Sensitivity: one node at a time in INT8, and what that alone does to the outputs. *Quick* estimates it from a few
# forward passes; *exact* measures it, re-running only what lies downstream of each node.

# %%
sensitivity = wb.sensitivity()
sensitivity

# %% [markdown]
# ## Why
#
# The distribution of what the most sensitive layer reads. INT8 has 127 steps up to the range. Where the largest value
# is far beyond the bulk, a min-max range spends nearly all steps on a tail that hardly occurs, and the bulk shares the
# few that are left. In the sample model the squared ReLU before each depthwise convolution makes such a tail, and the
# channels that differ by one to two orders of magnitude share one scale.

# %%
worst = sensitivity.ranking()[0]
view = views.precision(wb, sensitivity)
view.selected = [worst]
tensor = view.tensor()
print(wb.plan.explain(worst))
views.distribution(wb, tensor) if tensor else print("its input was not observed")

# %% [markdown]
# ## The plan, layer by layer
#
# Live, this is a table: select rows or write a selector, choose a precision, read what it would cost, apply. Each
# change is one rule of the recipe. The estimate adds the noise powers of the nodes one by one; errors do not really
# add up, so it says where to look and never replaces a measurement.

# %%
view

# %% [markdown]
# By hand: the two layers that hurt most stay in floating point. The estimate is there before anything is run; the
# comparison then measures it.

# %%
view.selected = sensitivity.ranking()[:2]
print(f'wb.plan.set("{view.selector}", "fp32")')
print("before:", view.estimate().text())
view.set("fp32")
print("after: ", view.estimate().text())
by_hand = wb.compare(eval_data, labels=eval_classes, batch=batch, preprocessing=how, runs=0)
table.append(row("two layers in FP32 by hand", by_hand, view.estimate().share))
view.undo()
pd.DataFrame(table)

# %% [markdown]
# ## Let a plan be found
#
# A search is given a gate and finds the cheapest plan that meets it: first with the ranges of other methods, then with
# as few layers in floating point as it takes. Every step is a real evaluation on `search_samples`: of the glyphs,
# images that calibration did not see. What is cheap says a measured engine, where one is given; what it does not tell,
# and everything without one, follows from bytes and MACs, and the result says so.
#
# The first gate is the drop in top-1, where there are labels. If other ranges are all that it takes, no layer has to
# leave INT8.

# %%
if search_classes is not None:
    by_drop = wb.plan.search(
        "top1_drop",
        at_most=max_drop,
        samples=search_data,
        preprocessing=how,
        labels=search_classes,
        batch=batch,
        cost=report,
        most_trials=most_trials,
    )
    print(by_drop.text())
    with_ranges = wb.compare(eval_data, labels=eval_classes, batch=batch, preprocessing=how, runs=0)
    table.append(row(f"search: top-1 drop <= {max_drop:g}", with_ranges, by_drop.chosen.share))
    display(by_drop.table())
else:
    print("no labels: only the SQNR is a gate here")

# %% [markdown]
# The second gate is stricter: the outputs themselves have to stay close, not only the class that wins. Channels of like
# ranges (`equalize`) and biases without the mean error of INT8 (`correct_bias`) are tried too, and kept only where the
# plan that comes out is better: cheaper, or as cheap and nearer to the original.

# %%
result = wb.plan.search(
    "sqnr_db",
    at_least=min_sqnr,
    samples=search_data,
    preprocessing=how,
    batch=batch,
    cost=report,
    equalize=True,
    correct_bias=True,
    most_trials=most_trials,
)
print(result.text())
result.table()

# %% [markdown]
# The Pareto front of the search: no plan there is beaten in both cost and error. Live, a slider goes along it: where it
# stops, that plan is the recipe's, as one step that takes the place of the one before. With an engine the table tells
# what its compiler made of each layer, and how much of the time each takes.

# %%
views.precision(wb, search=result, engine=report)

# %% [markdown]
# ## What holds
#
# Judged on `eval_samples`: of the glyphs, images that neither calibration nor search has seen. That matters. Of one
# detector (yolox_nano) the tests of this repository have 24 images: tuned to keep 95% of the detections on 12 of them,
# the plan kept 99% on the other 12 for one half, and 85% for the other half.

# %%
final = wb.compare(eval_data, labels=eval_classes, batch=batch, preprocessing=how, runs=0)
table.append(row(f"search: SQNR >= {min_sqnr:g} dB", final, result.chosen.share))
if eval_data is data:
    print("judged on the calibration's own samples: give eval_samples for a judgement on others")
for verdict in wb.recipe.check_gates(final):
    print(f"gate {verdict.gate}: {'passed' if verdict.passed else 'failed'}")
pd.DataFrame(table)

# %% [markdown]
# The plan is a few rules that a person can read, and it says of every node which one decided.

# %%
print(wb.plan)
demoted = sorted(result.chosen.demoted)
for node in demoted[:3] or sensitivity.ranking()[:1]:
    print(wb.plan.explain(node))

# %% [markdown]
# ## The verdict of a compiler
#
# TensorRT-RTX's own parser and builder, which need no GPU, on the model with its Q/DQ pairs. It says whether there is
# an engine; nothing is run.

# %%
from importlib.util import find_spec

if find_spec("tensorrt_rtx") is None:
    print("TensorRT-RTX is not installed: pip install 'trt-workbench[rtx]'")
else:
    print(wb.check(target))

# %% [markdown]
# ## Keep
#
# The recipe holds every step, the ranges in full precision and the rules; replaying it makes the same bytes.

# %%
files = wb.save(OUT / "tuned")
recipe = OUT / "tuned" / "recipe.yaml"
assert workbench.open_recipe(recipe).tune().model.to_bytes() == files[0].read_bytes()
print(f"{recipe.name}: {len(wb.recipe.steps)} steps; replayed, the same bytes")

# %% [markdown]
# Next: [04_engines](04_engines.ipynb), what compilers make of the tuned model.
