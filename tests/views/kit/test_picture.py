from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from workbench.views.kit.picture import WIDGET_MIME, Pictured, png_size


class Dot(Pictured):
    def svg(self, theme: str = "auto") -> str:
        return f"<svg><!-- {theme} --></svg>"

    def png(self, theme: str = "light") -> bytes:
        image = pytest.importorskip("PIL.Image").new("RGB", (30, 20), "black" if theme == "dark" else "white")
        out = io.BytesIO()
        image.save(out, "png")
        return out.getvalue()


class Live(Dot):
    def widget(self):
        return SimpleNamespace(model_id="abc")


def test_a_picture_carries_svg_and_png_with_its_shown_size() -> None:
    data, metadata = Dot()._repr_mimebundle_()
    assert set(data) == {"text/plain", "image/svg+xml", "image/png"}
    assert png_size(data["image/png"]) == (30, 20)
    assert metadata["image/png"] == {"width": 15, "height": 10}


def test_a_live_view_adds_the_widget_and_keeps_the_picture() -> None:
    data, _ = Live()._repr_mimebundle_()
    assert data[WIDGET_MIME]["model_id"] == "abc"
    assert {"image/svg+xml", "image/png"} <= set(data)


def test_include_and_exclude_are_honoured() -> None:
    assert "image/svg+xml" not in Live()._repr_mimebundle_(include=["image/png"])[0]
    assert WIDGET_MIME not in Live()._repr_mimebundle_(exclude=[WIDGET_MIME])[0]


def test_ipython_takes_the_bundle() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    data, metadata = formatters.DisplayFormatter().format(Dot())
    assert data["image/svg+xml"].startswith("<svg>")
    assert metadata["image/png"]["width"] == 15
