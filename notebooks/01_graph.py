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
# # Look at a model, and repair it
#
# Exporters leave things behind: arithmetic on constants, nodes that do nothing, an output that somebody once looked at,
# BatchNormalization that belongs into the convolution before it. Each costs time in an engine or stands in the way of
# quantization. Here they are found and repaired; every edit is checked numerically, and is a line of the recipe.
#
# Give your own model through the parameter.

# %% tags=["parameters"]
model: str = ""  # an .onnx file; a sample model with an exporter's leftovers where empty
out: str = "out/graph"  # where the results go
stale: str = "activation_mean"  # outputs to drop, with commas between them, where the model has them
convolution: str = "op:Conv"  # the selector for a closer look

# %%
from pathlib import Path

import onnx
from onnx import TensorProto, helper

import workbench
from workbench import views

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "sample_models").is_dir())
OUT = Path(out) if Path(out).is_absolute() else ROOT / out
OUT.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## A model that needs repair
#
# The sample model is a trained residual CNN, as its training script wrote it, with BatchNormalization. What follows
# adds what exporters leave behind, in plain sight: an input scale computed from constants, a Dropout that does nothing
# at inference, and an output for debugging that stayed.


# %%
def with_leftovers(source: Path, path: Path) -> Path:
    """Write a model with a chain on constants, a Dropout and a stale output; what it computes stays the same."""
    proto = onnx.load(source)
    graph = proto.graph
    first, last = graph.node[0], graph.node[-1]
    image, features = first.input[0], last.input[0]
    front = [
        helper.make_node("Constant", [], ["/pre/Constant_output_0"], "/pre/Constant", value_float=255.0),
        helper.make_node("Constant", [], ["/pre/Constant_1_output_0"], "/pre/Constant_1", value_float=1 / 255),
        helper.make_node(
            "Mul", ["/pre/Constant_output_0", "/pre/Constant_1_output_0"], ["/pre/Mul_output_0"], "/pre/Mul"
        ),
        helper.make_node("Div", [image, "/pre/Mul_output_0"], ["/pre/Div_output_0"], "/pre/Div"),
    ]
    first.input[0] = "/pre/Div_output_0"
    dropout = helper.make_node("Dropout", [features], ["/dropout/Dropout_output_0"], "/dropout/Dropout")
    last.input[0] = "/dropout/Dropout_output_0"
    debug = [
        helper.make_node("ReduceMean", [features], ["/debug/ReduceMean_output_0"], "/debug/ReduceMean", axes=[1]),
        helper.make_node("Identity", ["/debug/ReduceMean_output_0"], ["activation_mean"], "/debug/Identity"),
    ]
    nodes = [*front, *graph.node[:-1], dropout, last, *debug]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.output.append(helper.make_tensor_value_info("activation_mean", TensorProto.FLOAT, ["batch", 1]))
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
    return path


if not model:
    model = str(with_leftovers(ROOT / "sample_models" / "residual_cnn.onnx", OUT / "exported.onnx"))

# %% [markdown]
# ## Look
#
# One page on the model: sizes, work, and what is odd about it. Unknown stays unknown, never zero.

# %%
wb = workbench.open_model(model)
print(wb.graph.summary().text())

# %% [markdown]
# The same as tables. Where the work is:

# %%
sizes = wb.graph.summary().assumed  # a batch of one, where the batch is dynamic
table = wb.graph.nodes(sizes=sizes)
table.sort_values("macs", ascending=False)[["op", "macs", "parameters", "shape"]].head(8)

# %%
wb.graph.ops(sizes)

# %% [markdown]
# A selector names nodes: by operator, name, scope, neighbourhood or type, combined with `&`, `|` and `!`. The same text
# stands in recipes and on the command line; one that matches nothing is an error that suggests near names.

# %%
convolutions = wb.graph.select(convolution)
print(f"{len(convolutions)} nodes match {convolution!r}, the first is {convolutions[0]}")
wb.graph.nodes(f"consumers({convolution})", sizes=sizes)[["op", "shape", "dtype"]].head(5)

# %%
try:
    wb.graph.select("op:Convolution")
except workbench.WorkbenchError as error:
    print(error)

# %% [markdown]
# ## See
#
# The graph, collapsed by the scopes in its names. Click selects, double click opens and closes, `/` searches, `f` shows
# the neighbourhood. What is selected here is `view.selected` in Python, and the other way round. Without a kernel the
# cell keeps the picture.

# %%
view = views.graph(wb)
view

# %%
view.select(convolutions[:2])
view.table()

# %% [markdown]
# The same by the work of each node, in multiply-accumulates on a logarithmic scale; a closed scope shows the sum.

# %%
work = views.graph(wb)
work.color_by("macs")
work

# %% [markdown]
# ## Repair
#
# The surgery view offers the edits that apply to what is selected, or to the whole model where nothing is. It shows the
# neighbourhood before and after an edit, and the line of Python that does the same.

# %%
surgery = views.surgery(wb)
surgery

# %% [markdown]
# Here the same lines stand in the notebook, so that they run without a hand on the mouse. Before and after an edit that
# claims to keep what the model computes, both versions run on seeded random inputs; an edit that moves an output is
# refused, and the model stays as it was. Where a model is too large for that, or ONNX Runtime lacks an operator, the
# result says so: `check=True` insists, `check=False` skips, arrays in its place are what is fed.

# %%
planned = [("drop_output", {"output": tensor.name}) for tensor in wb.model.outputs if tensor.name in stale.split(",")]
planned += [
    (name, {}) for name in ("fold_constants", "remove_noops", "fold_batch_norm", "remove_dead", "share_weights")
]
for name, arguments in planned:
    before = len(wb.model.nodes)
    done = wb.edit(name, **arguments)
    if done.changed:
        print(f"{name}: {'; '.join(done.notes)}\n    {before} -> {len(wb.model.nodes)} nodes; {done.check}")
    else:
        print(f"{name}: nothing to do, so no step of the recipe")

# %% [markdown]
# An edit that would leave an invalid graph is refused with the reason, and nothing has changed.

# %%
try:
    wb.edit("delete", node=convolutions[0])
except workbench.WorkbenchError as error:
    print(error)

# %% [markdown]
# ## Before and after
#
# What differs, by node and by weight, and in colour. Both sides open, move and select together.

# %%
difference = workbench.open_model(wb.source.path).graph.diff(wb.model)
difference.frame().groupby("kind").size().rename("changes").to_frame()

# %%
views.side_by_side(wb.source, wb, titles=("as exported", "repaired"))

# %% [markdown]
# ## Change one's mind
#
# `undo` takes the recipe's last step back, `redo` does it again. There is no other history.

# %%
steps, nodes = len(wb.recipe.steps), len(wb.model.nodes)
wb.undo()
print(f"undone: {len(wb.recipe.steps)} steps, {len(wb.model.nodes)} nodes")
wb.redo()
print(f"redone: {len(wb.recipe.steps)} steps, {len(wb.model.nodes)} nodes")
assert (len(wb.recipe.steps), len(wb.model.nodes)) == (steps, nodes)

# %% [markdown]
# ## Keep
#
# The recipe is the model's fingerprint and the steps. Replayed, it makes the same bytes, on another machine too.

# %%
wb.model.save(OUT / "repaired.onnx")  # over 2 GB, or with external=True, the weights lie in repaired.onnx.data
recipe = wb.recipe.save(OUT / "recipe.yaml")
print(recipe.read_text())

# %%
again = workbench.open_recipe(recipe)
assert again.model.to_bytes() == (OUT / "repaired.onnx").read_bytes()
print("replayed: the same", len((OUT / "repaired.onnx").read_bytes()), "bytes")

# %% [markdown]
# Next: [02_calibration](02_calibration.ipynb), how ranges are found, and what each method makes of them.
