"""ONNX files: their fields, bytes, weights and names."""

from __future__ import annotations

import json

import workbench
from tests.fuzz import bases, mutate
from tests.fuzz.registry import kind, tolerated, valid_svg
from workbench import views


def looked_at(path, rng):
    """Do what looking at a model does: read it, say what it is, draw it, change it a little."""
    from workbench.graph.inspection.inspect import summary
    from workbench.graph.load import load_model

    model = tolerated(load_model, path)
    if model is None:
        return
    verdict = tolerated(summary, model)
    if verdict is not None:
        verdict.text()
        json.loads(verdict.to_json())
    for step in rng.sample((drawn, changed, digested), 2):
        step(model, path)


def drawn(model, _path):
    view = tolerated(views.graph, model)
    if view is not None:
        valid_svg(view.svg())


def changed(_model, path):
    wb = tolerated(workbench.open_model, path)
    if wb is not None and tolerated(wb.prepare) is not None:
        tolerated(wb.plan.use, "fp16")
        tolerated(wb.plan.resolve)


def digested(model, path):
    if tolerated(lambda: model.digest) is not None:
        tolerated(model.save, path.with_name("saved.onnx"))


@kind
def model_fields(rng, folder, _base):
    """Fields of an ONNX message."""
    proto = rng.choice(bases.MODELS)()
    mutate.message(rng, proto)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    looked_at(path, rng)


@kind
def model_bytes(rng, folder, _base):
    """Bytes of an ONNX file."""
    path = folder / "m.onnx"
    path.write_bytes(mutate.content(rng, rng.choice(bases.MODELS)().SerializeToString()))
    looked_at(path, rng)


@kind
def model_weights(rng, folder, _base):
    """Weights beside a model: their names, places and lengths, and the file itself."""
    import onnx

    path = folder / "m.onnx"
    onnx.save(bases.network(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    for tensor in rng.sample(list(proto.graph.initializer), 2):
        for entry in tensor.external_data:
            if rng.random() < 0.4:
                entry.value = str(
                    rng.choice((*mutate.INTEGERS, "m.data", "", "/etc/passwd", "../m.data", "m.onnx", "a/b", ".", "\t"))
                )
            elif rng.random() < 0.1:
                mutate.message(rng, tensor)
    path.write_bytes(proto.SerializeToString())
    if rng.random() < 0.5:
        data = folder / "m.data"
        data.write_bytes(mutate.content(rng, data.read_bytes()))
    looked_at(path, rng)


@kind
def model_names(rng, folder, _base):
    """Names that hold anything: everything that is drawn or written of them stays valid."""
    proto = bases.network()
    odd = [name for name in mutate.NAMES if name.isascii() or name.isprintable() or "\ud800" not in name]
    new = {}
    for node in proto.graph.node:
        node.name = rng.choice(odd) + rng.choice(("", node.name))
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = new.setdefault(name, rng.choice(odd) + name)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        value.name = new.get(value.name, value.name)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    wb = tolerated(workbench.open_model, path)
    if wb is None:
        return
    view = views.graph(wb)
    valid_svg(view.svg())
    assert view.png()[:4] == b"\x89PNG"
    if rng.random() < 0.3:
        tolerated(named_results, wb, folder)


def named_results(wb, folder):
    from workbench.recipe.document import Recipe

    wb.calibrate({wb.model.inputs[0].name: bases.samples()})
    wb.plan.use("int8")
    wb.tune()
    path = wb.recipe.save(folder / "recipe.yaml")
    assert Recipe.load(path).steps == wb.recipe.steps
    for view in (views.distributions(wb), views.precision(wb), views.tensor_table(wb)):
        valid_svg(view.svg())
