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
# # From a trained ONNX model to a tuned one
#
# The next cells show the workbench: all of the main job can be done on it by mouse, with the button at its top right.
# Give your own model through the parameters; without, it is a small CNN that reads drawn letters and digits.

# %% tags=["parameters"]
model: str = ""  # an .onnx file; the sample model where empty
samples: str = ""  # .npz, .npy or a folder of images to calibrate on; drawn where empty
preprocess: str = ""  # for folders of images, in the form of the command line: how a pixel becomes a number
eval_samples: str = ""  # what to compare on; drawn where empty
labels: str = ""  # one class index a sample of eval_samples
resume: bool = False  # go on with the recipe that was kept beside this notebook
out: str = "out/quickstart"  # where the results go
calibration_images: int = 300  # how many to draw
eval_images: int = 1000  # how many to draw
max_drop: float = 1.0  # percentage points of top-1 that may be lost

# %%
import workbench

example = workbench.example(out=f"{out}/data")
wb = workbench.open_model(model or example.model, resume=resume)
wb

# %% [markdown]
# Steps are at the top, the graph at the left, a table of its nodes in the middle, what there is to say of the selection
# at the right, and the recipe at the bottom: each click is a step of it. The cells below do the same in Python, on ONNX
# Runtime and any laptop, and the screen follows them. The `tuned.onnx` that comes of it is what TensorRT compiles.

# %% [markdown]
# ## Prepare and calibrate
#
# `prepare` folds constants and BatchNormalization, and raises the operator set where Q/DQ needs it: each is a step of
# the recipe. One pass over the samples then gathers a histogram of every tensor that could be quantized; every method
# of picking a range follows from it without another pass.

# %%
samples = samples or str(example.draw("calibration", calibration_images).samples)
wb.prepare()
statistics = wb.calibrate(samples, batch=32, preprocessing=preprocess or None)
print(f"{len(statistics)} tensors observed; the first ranges: {dict(list(wb.ranges.items())[:3])}")

# %% [markdown]
# ## Choose precision
#
# A plan is a list of rules, later rules win. The best practice: INT8 for what multiplies, for residual Adds and for the
# pooling behind them; the rest stays in floating point. The plan explains each decision.

# %%
wb.plan.use("int8")
table = wb.plan.table()
print(table["precision"].value_counts().to_string())
table[table["requested"] != "fp32"].head(10)

# %%
asked = table[table["requested"] != "fp32"]["node"]
print(wb.plan.explain(asked.iloc[0]))
print(wb.plan.explain(asked.iloc[-1]))

# %% [markdown]
# ## Tune, and see it along the network
#
# `tune` writes the plan into the graph. The picture shows what each node got, how far each range lies below the largest
# value seen, and which tensors lose most on their own.

# %%
wb.require("top1_drop", at_most=max_drop)
lowered = wb.tune()
print(f"{len(lowered.activations)} activations and {len(lowered.weights)} weights are quantized")

# %%
from workbench import views

views.tuning(wb)

# %% [markdown]
# ## Compare
#
# Both models run on samples they were not calibrated on. Outputs are compared with Q/DQ computed as written, which is
# the arithmetic that TensorRT's INT8 approximates. Latency here is this processor's and says nothing about a GPU's.

# %%
if not eval_samples:
    eval_samples, labels = map(str, example.draw("test", eval_images))
comparison = wb.compare(eval_samples, labels=labels or None, batch=32, preprocessing=preprocess or None)
for gate in wb.recipe.check_gates(comparison):
    print(f"gate {gate}")
comparison

# %% [markdown]
# ## Keep
#
# The recipe holds every step with the ranges found, in full precision: replaying it makes the same bytes, on another
# machine too, without a forward pass.

# %%
tuned, recipe, *_ = wb.save(f"{out}/tuned")
print(recipe.read_text()[:1200])

# %%
again = workbench.open_recipe(recipe)
assert again.tune().model.to_bytes() == tuned.read_bytes()
print("replayed: the same", len(tuned.read_bytes()), "bytes")

# %% [markdown]
# Next: [01_graph](01_graph.ipynb) looks into a graph that is not as it should be, and repairs it.
