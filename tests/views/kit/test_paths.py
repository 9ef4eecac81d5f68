"""A path where a view takes what was opened."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from workbench import views
from workbench.errors import OptionError

OPENING = {
    "report_card": "load_engine",
    **dict.fromkeys(("compare", "engine", "engine_chart", "engine_graph", "fusion"), "load_engine"),
}


@pytest.mark.parametrize("name", sorted(views.__all__))
@pytest.mark.parametrize("path", ["model.onnx", Path("model.onnx")], ids=["text", "path"])
def test_every_view_says_how_a_path_is_opened_first(name, path):
    view = getattr(views, name)
    first, *others = inspect.signature(view).parameters.values()
    needed = [one for one in others if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    with pytest.raises(OptionError) as refused:
        view(path, *(None for _ in needed))
    opening = OPENING.get(name, "open_model")
    told = f"{name}: {first.name} is the path 'model.onnx'. Open the file first: workbench.{opening}(path)."
    assert str(refused.value) == told


def test_what_is_wrong_with_the_arguments_is_said_as_always():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'tensor'"):
        views.distribution(None)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        views.graph(None, colour="red")
