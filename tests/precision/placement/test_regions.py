"""Which nodes decide together, which share a decision, and what lies between them."""

from __future__ import annotations

import pytest

from tests.kit.networks import Net, network
from tests.kit.searching import small
from workbench.precision.placement import Region, Regions, regions_of
from workbench.precision.plan import BEST_PRACTICE


def able_of(model):
    return BEST_PRACTICE.resolve(model).nodes("int8")


def test_a_residual_add_is_with_the_convolution_that_it_is_fused_into_and_not_with_the_other():
    model = network("residual_projection")
    regions = regions_of(model, able_of(model))
    together = {region.nodes for region in regions.all if len(region.nodes) > 1}
    assert together == {("Conv_2", "Add_4")}
    assert {region.name for region in regions.all} == {"Conv_0", "Relu_1", "Conv_2", "Conv_3", "Relu_5"}


def test_the_products_of_an_attention_are_one_region():
    model = network("conv", head="attention")
    regions = regions_of(model, able_of(model))
    softmax = next(name for name, node in model.top_nodes.items() if node.op_type == "Softmax")
    inside = {model.top_nodes[node].op_type for node in regions.all[regions.owner[softmax]].nodes}
    assert {"MatMul", "Softmax", "Transpose"} >= inside >= {"MatMul", "Softmax"}
    products = [node for node in regions.all[regions.owner[softmax]].nodes if node.startswith("MatMul")]
    assert len(products) == 2


def test_regions_that_are_built_alike_share_a_decision():
    net = Net()
    x = net.op("Relu", net.conv("x"))
    for _ in range(3):
        x = net.op("Relu", net.conv(x))
    model = net.model(net.conv(x, kernel=1))
    regions = regions_of(model, able_of(model))
    assert sorted(len(group) for group in regions.classes) == [1, 4]  # the last is of another kernel
    assert sum(map(len, regions.classes)) == len(regions.able)


def test_nodes_tell_of_their_regions_and_of_those_that_are_built_alike():
    kinds = "abacb"
    regions = Regions(
        tuple(Region(f"r{at}", (f"n{at}", f"m{at}"), (f"n{at}",), True, kind) for at, kind in enumerate(kinds)), ()
    )
    assert regions.alike(["m2", "unknown"]) == {0, 2}
    assert regions.alike(["n3", "m1"]) == {1, 3, 4}
    assert regions.alike([]) == frozenset()


def test_what_takes_either_precision_is_free_and_the_rest_is_floating_point():
    model = network("pool", "conv", "sigmoid", "conv")
    free = {region.nodes[0].split("_")[0]: region.free for region in regions_of(model, able_of(model)).all}
    assert free == {"AveragePool": True, "Conv": True, "Sigmoid": False}


def test_crossings_know_their_tensors_and_borders_are_counted_once_a_tensor():
    model = small()
    regions = regions_of(model, able_of(model))
    first = next(each for each in regions.crossings if each.tensor == "d")
    assert {regions.all[end].name for end in first.ends} == {"block/conv2"}
    assert regions.borders(range(len(regions.all))) == 0
    block = regions.owner["block/conv2"]
    assert regions.borders({block}) == 2
    assert regions.nodes_of({block}) == {"block/conv2", "block/add"}
    assert regions.in_int8({"block/conv2", "block/add", "stem/conv"}) == {block, regions.owner["stem/conv"]}
    assert regions.in_int8({"block/conv2"}) == frozenset()


@pytest.mark.parametrize("blocks", [("conv", "residual"), ("depthwise", "upsample"), ("two_readers",)])
def test_every_node_is_in_one_region(blocks):
    model = network(*blocks, head="gemm")
    regions = regions_of(model, able_of(model))
    assert sorted(node for region in regions.all for node in region.nodes) == sorted(model.top_nodes)
