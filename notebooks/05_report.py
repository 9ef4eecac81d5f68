# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The dossier: what a customer files
#
# One recipe in, one page out: what was done, on which machine, what it gained and cost, and how to make it again. Every
# number on the page is measured in this run. It runs on ONNX Runtime on any laptop, whose times say nothing about a
# GPU; on a machine with TensorRT give `backend`.
#
# Without a recipe the sample model is tuned first.

# %% tags=["parameters"]
recipe: str = ""  # a recipe.yaml; the sample model is tuned where empty
model: str = ""  # where its model is now, if not where the recipe says
title: str = ""  # of the page, such as the customer's project
backend: str = "onnxruntime"  # what builds and times: onnxruntime, tensorrt or tensorrt_rtx
field: str = ""  # samples from where the model is used, to compare the calibration's with
gates: str = "sqnr_db >= 15; top1_drop@0.95 <= 5; p95_ms <= 100"  # what has to hold beside the recipe's gates
runs: int = 100  # timed inferences of each engine
pdf: bool = False  # print it too; needs a Chromium browser
out: str = "out/report"  # where the results go
calibration_images: int = 100  # how many to draw
eval_images: int = 300  # how many to draw

# %%
import subprocess
import sys
from pathlib import Path

import workbench

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "sample_models").is_dir())
OUT = Path(out) if Path(out).is_absolute() else ROOT / out


def draw(split: str, count: int) -> Path:
    """Draw glyphs with the repository's own script: the same count gives the same images everywhere."""
    folder = OUT / "data" / split
    script = ROOT / "sample_models" / "glyphs.py"
    subprocess.run([sys.executable, script, "--split", split, "--count", str(count), "--out", folder], check=True)
    return folder


# %% [markdown]
# ## The recipe

# %%
if not recipe:
    seen, unseen = draw("calibration", calibration_images), draw("test", eval_images)
    workbench.tune(
        ROOT / "sample_models" / "residual_cnn.onnx",
        seen / "samples.npz",
        OUT / "tuned",
        evaluation=unseen / "samples.npz",
        labels=unseen / "labels.npy",
        batch=25,
        runs=0,
    )
    recipe, field = str(OUT / "tuned" / "recipe.yaml"), field or str(unseen / "samples.npz")
workbench.Recipe.load(recipe)

# %% [markdown]
# ## Measure, and write it down

# %%
result = workbench.write_dossier(
    recipe,
    OUT / "dossier",
    model=model or None,
    title=title or None,
    backend=backend,
    field=field or None,
    gates=[gate.strip() for gate in gates.split(";") if gate.strip()],
    runs=runs,
    pdf=pdf,
)
for verdict in result.verdicts:
    print(f"gate {verdict}")
for remark in result.remarks:
    print(f"note: {remark}")
for file in result.files:
    print(f"wrote {file}")

# %% [markdown]
# Next: [06_service](06_service.ipynb), from the tuned model to a service.
