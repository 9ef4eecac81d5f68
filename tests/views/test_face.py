"""What a notebook finds under `views`: functions that say what they take."""

from __future__ import annotations

import inspect

import pytest

from workbench import views


@pytest.mark.parametrize("name", views.__all__)
def test_every_view_shows_its_options_to_tab_completion_and_help(name):
    show = getattr(views, name)
    assert name in dir(views)
    for option in inspect.signature(show).parameters.values():
        assert option.kind is not option.VAR_KEYWORD
        assert "Any" not in str(option.annotation)
        names = [line.strip().lstrip("*") for line in inspect.getdoc(show).splitlines()]
        assert any(option.name in line.split(", ") for line in names), f"{name} does not say what {option.name} is"
