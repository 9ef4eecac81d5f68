from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import pytest

from tests.kit.places import ROOT
from workbench.views.kit.picture import VIEW_MIME, WIDGET_MIME, Pictured, png_size

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
    assert data[WIDGET_MIME]["model_id"] == data[VIEW_MIME]["model_id"] == "abc"
    assert {"image/svg+xml", "image/png"} <= set(data)


def test_include_and_exclude_are_honoured() -> None:
    assert "image/svg+xml" not in Live()._repr_mimebundle_(include=["image/png"])[0]
    assert not {WIDGET_MIME, VIEW_MIME} & set(Live()._repr_mimebundle_(exclude=[WIDGET_MIME])[0])


def test_ipython_takes_the_bundle() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    data, metadata = formatters.DisplayFormatter().format(Dot())
    assert data["image/svg+xml"].startswith("<svg>")
    assert metadata["image/png"]["width"] == 15


def test_the_extension_draws_what_a_view_stores() -> None:
    """It knows the names that the package stores, and the wheel has it where JupyterLab looks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ((source, place),) = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"].items()
    assert place == "share/jupyter/labextensions"
    (folder,) = (ROOT / source).iterdir()
    about = json.loads((folder / "package.json").read_text())
    assert (about["name"], about["version"]) == (folder.name, project["project"]["version"])
    script = (folder / about["jupyterlab"]["_build"]["load"]).read_text()
    assert f'"{VIEW_MIME}"' in script
    assert f'"{WIDGET_MIME}"' in script
    assert f'window._JUPYTERLAB["{folder.name}"]' in script
