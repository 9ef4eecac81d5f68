"""Nothing that the lowering or a measurement adds takes a name that the model has itself."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.names_taken import SUM, added, taken
from tests.kit.networks import feed, network, ranges_of
from workbench.calibration.sources import open_samples
from workbench.precision.lowering import activation_tensors, lower
from workbench.precision.measured_edits.correction import bias_shifts
from workbench.precision.plan.plan import PrecisionPlan
from workbench.precision.plan.presets import preset
from workbench.precision.sensitivity import exact
from workbench.precision.sensitivity.estimated import local_noise
from workbench.runtime.session import Session

BLOCKS = ("conv_bn_relu", "residual_projection", "shared_weight", "sigmoid")


def lowered(model, name, storage):
    plan = preset(name, model)
    resolution = plan.resolve(model)
    ranges = ranges_of(model, activation_tensors(model, resolution))
    return lower(model, resolution, ranges, weight_storage=storage).model


@pytest.mark.parametrize(
    ("name", "opset", "storage"),
    [
        ("int8", 17, "int8"),
        ("fp16", 17, "int8"),
        ("int8+fp16", 17, "float"),
        ("int8+fp16", 19, "float"),
        ("fp8+fp16", 19, "int8"),
    ],
)
def test_a_lowered_model_keeps_what_bears_the_names_it_would_give(name, opset, storage):
    plain = network(*BLOCKS, head="attention" if opset < 18 else "matmul", opset=opset)
    before = lowered(plain, name, storage)
    model, total = taken(plain, *added(plain, before))
    after = lowered(model, name, storage)
    results = Session(after).run(feed(plain))
    assert results[SUM] == total
    output = plain.outputs[0].name
    assert np.array_equal(results[output], Session(before).run(feed(plain))[output])
    # The model's own nodes keep their names, by which plans and engines know them.
    assert set(model.nodes) <= set(after.nodes)
    assert {address: node.op_type for address, node in model.nodes.items()} == {
        address: after.nodes[address].op_type for address in model.nodes
    }


def test_measurements_beside_the_model_take_no_name_of_it():
    plain = network(*BLOCKS)
    plan = PrecisionPlan().with_rule("op:Conv", "int8")
    ranges = ranges_of(plain, activation_tensors(plain, plan.resolve(plain)))
    convs = [name for name, node in plain.nodes.items() if node.op_type == "Conv"]
    tensors = {f"{name}/{kind}" for name in convs for kind in ("copy/0", "difference", "noise", "signal")}
    tensors |= {f"{v}/float" for v in plain.tensors}
    nodes = tensors | {f"{name}/copy" for name in convs}
    pairs = added(plain, lower(plain, plan.resolve(plain), ranges).model)
    model, _ = taken(plain, pairs[0] | tensors, pairs[1] | nodes)
    data, same = (open_samples([feed(plain)], one) for one in (plain, model))
    assert local_noise(plain, convs, ranges, data) == local_noise(model, convs, ranges, same)
    assert bias_shifts(plain, convs, ranges, data) == bias_shifts(model, convs, ranges, same)
    assert exact(plain, convs, ranges, data).errors == exact(model, convs, ranges, same).errors
