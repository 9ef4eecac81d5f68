"""Which shapes an input is built for where nobody gave any, and what given ones have to fit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workbench.backends.profiles import choose_profiles, default_range
from workbench.backends.protocol import BuildOptions, ShapeRange
from workbench.errors import BackendError


def given(name, *shape, axes=(), shape_tensor=False):
    named = dict(enumerate(axes))
    return SimpleNamespace(name=name, shape=shape, is_shape_tensor=shape_tensor, get_dimension_name=named.get)


def chosen(*inputs, **options):
    network = SimpleNamespace(num_inputs=len(inputs), get_input=lambda at: inputs[at])
    profiles = choose_profiles(network, BuildOptions(**options))
    return [{one.name: (one.range.min, one.range.opt, one.range.max) for one in each} for each in profiles]


@pytest.mark.parametrize(
    ("shape", "opt", "batch"),
    [
        ((), (), None),
        ((-1,), (1,), 8),
        ((0, -1), (0, 128), 0),
        ((5, 0), (5, 0), 5),
        ((-1, -1, 7), (1, 128, 7), 8),
        ((-1, -1, -1), (1, 128, 128), 8),
        ((-1,) * 4, (1, 3, 224, 224), 8),
        ((6, -1, -1, -1), (6, 3, 224, 224), 6),
        ((-1,) * 5, (1, 128, 128, 128, 128), 8),
        # Channels come last where a tensor says that it has as many there as images have, and nothing else.
        ((-1, -1, -1, 0), (1, 3, 224, 0), 8),
        ((-1, -1, -1, 1), (1, 224, 224, 1), 8),
        ((-1, -1, -1, 2), (1, 3, 224, 2), 8),
        ((-1, -1, -1, 3), (1, 224, 224, 3), 8),
        ((-1, -1, -1, 4), (1, 224, 224, 4), 8),
        ((-1, -1, -1, 5), (1, 3, 224, 5), 8),
        ((-1, -1, 7, 3), (1, 3, 7, 3), 8),
        ((-1, 7, -1, 3), (1, 7, 224, 3), 8),
    ],
)
def test_the_first_axis_is_the_batch_and_four_axes_are_an_image(shape, opt, batch):
    actual = default_range(shape)
    assert (actual.min, actual.opt) == (opt, opt)
    assert actual.max == (opt if batch is None else (batch, *opt[1:]))


def test_only_what_has_no_length_takes_that_of_another_input():
    ranges = [(2, 3, 5), (7, 9, 11), None, (1, 1, 1)]
    assert default_range((-1, 4, -1, -1), ranges) == ShapeRange((2, 4, 224, 1), (3, 4, 224, 1), (5, 4, 224, 1))


def test_an_input_without_a_free_length_needs_no_profile():
    assert chosen(given("empty", 0, 3), given("scalar")) == []
    assert chosen(given("empty", 0, 3), given("x", -1)) == [{"x": ((1,), (1,), (8,))}]
    # Neither does a shape that nobody gave: a scalar holds one value, as a vector of one does.
    assert chosen(given("none", shape_tensor=True), given("one", 1, shape_tensor=True)) == [
        {"none": ((1,),) * 3, "one": ((1,),) * 3}
    ]
    assert chosen(given("three", 3, shape_tensor=True)) == [{"three": ((1, 1, 1),) * 3}]


@pytest.mark.parametrize(
    ("low", "best", "high"),
    [
        ((1,), (2,), (3,)),
        ((1, 5, 1), (2, 5, 1), (3, 5, 1)),
        ((1, 4), (2, 4), (3, 4)),
        ((1, 6), (2, 6), (3, 6)),
        ((1, 4), (2, 5), (3, 5)),
        ((1, 5), (2, 5), (3, 6)),
    ],
)
def test_a_given_range_has_the_rank_and_the_fixed_lengths_of_its_input(low, best, high):
    assert chosen(given("x", -1, 5), profiles=({"x": ShapeRange((0, 5), (2, 5), (9, 5))},)) == [
        {"x": ((0, 5), (2, 5), (9, 5))}
    ]
    with pytest.raises(BackendError) as caught:
        chosen(given("x", -1, 5), profiles=({"x": ShapeRange(low, best, high)},))
    assert caught.value.what == f"input 'x' has shape (-1, 5); the profile asks for {low} to {high}"
    assert caught.value.fix == "Keep the rank and the fixed axes; only axes shown as -1 may vary."


def test_an_empty_axis_stays_empty():
    with pytest.raises(BackendError, match="the profile asks for"):
        chosen(given("x", -1, 0), profiles=({"x": ShapeRange.fixed((2, 1))},))


def test_inputs_whose_first_axis_has_a_name_say_how_long_it_is_wherever_it_comes_again():
    unnamed, scalar = given("a", -1, -1, axes=("", "n")), given("s", shape_tensor=True)
    first, second = given("b", -1, 4, axes=("n", "")), given("c", -1, -1, axes=("t", "n"))
    assert chosen(unnamed, scalar, first, second) == [
        {
            "a": ((1, 1), (1, 1), (8, 8)),
            "s": ((1,), (1,), (1,)),
            "b": ((1, 4), (1, 4), (8, 4)),
            "c": ((1, 1), (1, 1), (8, 8)),
        }
    ]
