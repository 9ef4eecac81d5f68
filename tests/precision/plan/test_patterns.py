"""Which nodes are a normalization that is written out, in the forms that exporters gave it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kit.networks import Net
from workbench.precision.plan.patterns import written_out_normalizations


def normalization(
    *, square="Pow", swapped=False, twice=None, gain="constant", shift=True, two_means=False, root="Sqrt"
):
    """Return a network that normalizes x, in the form that is asked for, and which nodes belong to it."""
    net = Net()
    mean = net.op("ReduceMean", "x", axes=[-1])
    centre = net.op("Sub", "x", mean)
    deviation = centre
    if twice is not None:
        other = net.op("ReduceMean", twice, axes=[-1]) if two_means else mean
        deviation = net.op("Sub", "x", other)
    squared = (
        net.op("Mul", deviation, deviation)
        if square == "Mul"
        else net.op(square, deviation, net.constant(np.float32(2)))
    )
    variance, epsilon = net.op("ReduceMean", squared, axes=[-1]), net.constant(np.float32(1e-5))
    stable = net.op("Add", epsilon, variance) if swapped else net.op("Add", variance, epsilon)
    last = net.op("Div", centre, net.op(root, stable))
    if gain == "constant":
        last = net.op("Mul", last, net.weight(8))
    elif gain == "computed":
        last = net.op("Mul", last, net.op("Relu", "x"))
    if shift:
        last = net.op("Add", last, net.weight(8))
    return net.model(last)


def found(model):
    members = written_out_normalizations(model)
    assert len(set(members.values())) <= 1
    return [node.name for node in model.top_nodes.values() if node in members], set(members.values())


PLAIN = ["ReduceMean_0", "Sub_1", "Pow_2", "ReduceMean_3", "Add_4", "Sqrt_5", "Div_6", "Mul_7", "Add_8"]


@pytest.mark.parametrize(
    ("form", "members"),
    [
        ({}, PLAIN),
        ({"square": "Mul"}, ["Mul_2" if name == "Pow_2" else name for name in PLAIN]),
        ({"swapped": True}, PLAIN),
        ({"shift": False}, PLAIN[:8]),
        ({"gain": None, "shift": False}, PLAIN[:7]),
        ({"gain": None}, PLAIN[:7]),  # a shift alone is no gain
        ({"gain": "computed"}, PLAIN[:7]),
        ({"square": "Max"}, []),
        ({"root": "Exp"}, []),
    ],
)
def test_mean_variance_root_and_division_belong_together_and_a_constant_gain_and_shift(form, members):
    names, divisions = found(normalization(**form))
    assert names == members
    assert divisions == ({"Div_6"} if members else set())


def test_some_subtract_the_mean_twice():
    names, divisions = found(normalization(twice="x"))
    assert names == [
        *("ReduceMean_0", "Sub_1", "Sub_2", "Pow_3", "ReduceMean_4", "Add_5", "Sqrt_6", "Div_7", "Mul_8", "Add_9"),
    ]
    assert divisions == {"Div_7"}
    assert len(found(normalization(twice="x", two_means=True))[0]) == 11
    # The mean of something else is none of it.
    assert found(normalization(twice="t1", two_means=True))[0] == []


def test_what_is_read_by_others_too_ends_it():
    net = Net()
    end = net.layer_norm("x", 8)
    division = net.nodes[-3].output[0]
    model = net.model(net.op("Max", end, division))
    assert found(model)[0] == PLAIN[:7]
