"""A model is opened on a notebook that is written, and a notebook is exported as a page with pictures."""

from __future__ import annotations

import json

import pytest

from workbench.cli import main

nbformat = pytest.importorskip("nbformat", reason="notebooks come with the extra [lab]")


def ends(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


def test_a_notebook_is_written_once_and_never_over(small_cnn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ends("open", small_cnn, "--write-only") in (0, None)
    written = tmp_path / f"{small_cnn.stem}.ipynb"
    (cell,) = nbformat.read(written, as_version=4).cells
    names = {}
    exec(cell.source.replace("workbench.open_model", "wb = workbench.open_model"), names)  # noqa: S102 - our own
    assert names["wb"].source.name == small_cnn.stem
    assert "jupyter lab" in capsys.readouterr().out
    written.write_text(json.dumps({"mine": True}))
    assert ends("open", small_cnn, "--write-only") in (0, None)
    assert json.loads(written.read_text()) == {"mine": True}


def test_what_is_no_model_or_no_notebook_is_said_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"no model")
    (tmp_path / "a.ipynb").write_text("no notebook")
    assert ends("open", "a.onnx", "--write-only") not in (0, 1)
    assert ends("export", "a.ipynb") not in (0, 1)
    assert ends("export", "absent.ipynb") not in (0, 1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "not a readable notebook" in lines[1]


def test_an_export_without_outputs_says_that_it_shows_nothing(tmp_path, capsys):
    v4 = nbformat.v4
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1")]), tmp_path / "a.ipynb")
    assert ends("export", tmp_path / "a.ipynb") in (0, None)
    assert "no outputs" in capsys.readouterr().out
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
