from __future__ import annotations

import pytest

from tests.kit import graphs
from workbench.errors import WorkbenchError
from workbench.views.graphs.overlay import Overlay, paint, short
from workbench.views.graphs.scopes import GraphScopes
from workbench.views.kit.themes import OKABE_ITO, ramp


@pytest.fixture
def scopes() -> GraphScopes:
    return GraphScopes(graphs.decoder(4))


def painted(scopes, overlay):
    shown = scopes.expand(scopes.collapse(scopes.first(), "layers.0…3"), "layers.0…3")
    return paint(list(scopes.panel(shown).walk()), scopes.network, overlay)


def test_numbers_are_summed_on_scopes_and_unknown_stays_unknown(scopes) -> None:
    values = {name: 10.0 for name in scopes.network.index if name.startswith("/layers.1/")}
    values |= dict.fromkeys((n for n in scopes.network.index if n.startswith("/layers.2/")), None)
    values["/layers.3/Add"] = float("nan")
    values["/layers.3/mlp/Gelu"] = 30.0
    result = painted(scopes, Overlay("MACs", values))
    assert result.text["layers.1/"] == "120"
    assert result.text["layers.3/"] == "at least 30"
    assert result.text["layers.2/"] == "unknown"
    assert result.fill["layers.2/"] is None
    assert result.fill["layers.1/"] == ramp(1)
    assert result.fill["layers.3/"] == ramp(0)
    assert result.legend[-1].text == "unknown"


def test_nothing_plus_something_unknown_is_unknown_not_zero(scopes) -> None:
    by_name = {name: 0.0 for name in scopes.network.index if "MatMul" not in name}
    result = painted(scopes, Overlay("MACs", by_name))
    assert result.text["layers.1/"] == "unknown"
    assert result.fill["layers.1/"] is None
    assert result.text["mask/"] == "0"


@pytest.mark.parametrize(("gather", "value"), [("min", "1 dB"), ("max", "12 dB"), ("mean", "6.5 dB")])
def test_other_gathers(scopes, gather, value) -> None:
    names = [name for name in scopes.network.index if name.startswith("/layers.1/")]
    overlay = Overlay("SQNR", {name: at + 1.0 for at, name in enumerate(names)}, gather=gather, unit="dB")
    assert painted(scopes, overlay).text["layers.1/"] == value


def test_words_show_the_most_frequent_and_what_a_scope_is_made_of(scopes) -> None:
    values = {name: "int8" if "MatMul" in name else "fp16" for name in scopes.network.index}
    result = painted(scopes, Overlay("precision", values, order=["int8", "fp16"]))
    assert result.text["layers.1/"] == "fp16"
    assert [key.text for key in result.legend] == ["int8", "fp16"]
    shares = dict(result.strip["layers.1/"])
    assert shares[result.legend[0].colour] == pytest.approx(6 / 12)
    assert sum(shares.values()) == pytest.approx(1)


def test_any_shows_a_single_change_in_a_large_scope(scopes) -> None:
    values = dict.fromkeys(scopes.network.index, "same") | {"/layers.1/mlp/Gelu": "changed"}
    overlay = Overlay("diff", values, gather="any", order=["changed", "same"], colours={"same": "#888888"})
    result = painted(scopes, overlay)
    assert result.text["layers.1/"] == "changed"
    assert result.text["layers.0/"] == "same"
    assert result.fill["layers.0/"] == "#888888"


def test_a_wide_range_is_shown_on_a_log_scale(scopes) -> None:
    names = list(scopes.network.index)
    result = painted(scopes, Overlay("MACs", {name: 10.0**at for at, name in enumerate(names[:9])}))
    assert "log scale" in result.title
    assert all(0 <= weight <= 1 for weight in result.weight.values())
    assert "log" not in painted(scopes, Overlay("MACs", dict.fromkeys(names, 5.0))).title


def test_without_an_overlay_families_colour(scopes) -> None:
    result = painted(scopes, None)
    assert result.fill["/head/MatMul"] == OKABE_ITO["blue"]
    assert {"matrix product", "activation", "normalization"} <= {key.text for key in result.legend}
    assert "recurrence, control" not in {key.text for key in result.legend}


def test_many_words_end_in_other(scopes) -> None:
    result = painted(scopes, Overlay("name", {name: name for name in scopes.network.index}))
    assert len(result.legend) == 8
    assert "other" in result.legend[-1].text


def test_mixed_and_misfit_columns_are_refused() -> None:
    with pytest.raises(WorkbenchError, match="mixes"):
        Overlay("x", {"a": 1, "b": "two"})
    with pytest.raises(WorkbenchError, match="does not gather"):
        Overlay("x", {"a": "two"}, gather="sum")
    with pytest.raises(WorkbenchError, match="does not gather"):
        Overlay("x", {"a": 2}, gather="mode")


def test_an_empty_column_is_all_unknown(scopes) -> None:
    result = painted(scopes, Overlay("latency", {}))
    assert set(result.fill.values()) == {None}
    assert [(key.colour, key.text) for key in result.legend] == [(None, "unknown")]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0123, "0.0123"), (999, "999"), (1234567, "1.23M"), (5e9, "5G"), (-2e3, "-2k")]
)
def test_short_numbers(value, text) -> None:
    assert short(value) == text
