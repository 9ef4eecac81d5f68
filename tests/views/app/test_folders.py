"""Where the screen saves."""

from __future__ import annotations

from pathlib import Path

from workbench.session import open_model
from workbench.views.app.folders import free_folder


def test_a_model_is_saved_again_where_it_was_and_never_over_something_else(small_cnn, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wb = open_model(small_cnn)
    wb.plan.set("*", "fp16")
    assert free_folder(wb) == Path("tuned")
    wb.save(free_folder(wb))
    assert free_folder(wb) == Path("tuned")
    Path("tuned/report.html").write_text("of a tuning")
    assert free_folder(wb) == Path("tuned-2")
    Path("tuned-2").write_text("a file")
    Path("tuned-3").mkdir()
    assert free_folder(wb) == Path("tuned-3")
    wb.save("tuned-3")
    recipe = Path("tuned-3/recipe.yaml")
    recipe.write_text(recipe.read_text().replace(wb.source.digest, "0" * 64))
    assert free_folder(wb) == Path("tuned-4")
    recipe.write_text("no recipe")
    assert free_folder(wb) == Path("tuned-4")
