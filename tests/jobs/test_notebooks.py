"""Notebooks run with typed parameters; one that fails keeps what it made and does not stop the others."""

from __future__ import annotations

import json
import re
import sys

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks come with the extra [lab]")
pytest.importorskip("papermill", reason="notebooks come with the extra [lab]")

from tests.kit.places import ROOT  # noqa: E402
from workbench.errors import OptionError, ReportError, WorkbenchError  # noqa: E402
from workbench.handoff.notebook import parameters_of, shipped_notebooks, typed  # noqa: E402
from workbench.jobs.notebooks import list_notebooks, run_notebooks  # noqa: E402

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def notebook(path, *cells):
    v4 = nbformat.v4
    first = v4.new_code_cell('count: int = 1  # how many\nname: str = "a"\nloud: bool = False\nout: str = ""')
    first.metadata["tags"] = ["parameters"]
    page = v4.new_notebook(cells=[first, *map(v4.new_code_cell, cells)])
    page.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(page, path)
    return str(path)


def test_the_list_has_every_notebook_with_its_typed_parameters():
    text = list_notebooks().text()
    assert list(shipped_notebooks()) == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert re.search(r'^  model: str = ""  an \.onnx file', text, re.MULTILINE)
    assert all(one["type"] != "None" for path in shipped_notebooks().values() for one in parameters_of(path).values())


def test_a_parameter_may_hold_what_looks_like_another_or_like_a_comment(tmp_path):
    path = notebook(tmp_path / "a.ipynb")
    page = nbformat.read(path, 4)
    page.cells[0].source = (
        '%matplotlib inline\ngates: str = "sqnr_db >= 15; p95_ms <= 9"  # what holds\ntag = "a#1"\n'
        "sizes: list[int] = [\n    1,\n    4,\n]  # how many\nnames: list[str] = []\n"
    )
    nbformat.write(page, path)
    assert parameters_of(path) == {
        "gates": {"type": "str", "default": '"sqnr_db >= 15; p95_ms <= 9"', "about": "what holds"},
        "tag": {"type": "None", "default": '"a#1"', "about": ""},
        "sizes": {"type": "list[int]", "default": "[\n    1,\n    4,\n]", "about": "how many"},
        "names": {"type": "list[str]", "default": "[]", "about": ""},
    }
    assert typed(path, {"gates": "cosine >= 0.9", "sizes": "[1, 16]", "names": "北京,b"}) == {
        "gates": "cosine >= 0.9",
        "sizes": [1, 16],
        "names": ["北京", "b"],
    }
    with pytest.raises(WorkbenchError, match=r"sizes is list\[int\], not '1,many'"):
        typed(path, {"sizes": "1,many"})
    page.cells[0].source = "count: int ="
    nbformat.write(page, path)
    with pytest.raises(WorkbenchError, match="its parameters are no Python"):
        parameters_of(path)


def test_parameters_of_a_notebook_in_an_older_form_and_of_what_is_none(tmp_path):
    path = notebook(tmp_path / "a.ipynb")
    old = nbformat.convert(nbformat.read(path, 4), 3)
    (tmp_path / "old.ipynb").write_text(nbformat.writes(old, 3), encoding="utf-8")
    assert "worksheets" in (tmp_path / "old.ipynb").read_text(encoding="utf-8")
    assert parameters_of(tmp_path / "old.ipynb") == parameters_of(path) != {}
    for content in ("no notebook", "[]", '{"cells": [1]}'):
        (tmp_path / "none.ipynb").write_text(content, encoding="utf-8")
        with pytest.raises(ReportError, match="not a readable notebook"):
            parameters_of(tmp_path / "none.ipynb")
    with pytest.raises(ReportError, match="no such file"):
        parameters_of(tmp_path / "missing.ipynb")


def test_text_becomes_what_the_parameter_is(tmp_path):
    path = notebook(tmp_path / "a.ipynb")
    values = {"count": "3", "name": "3", "loud": "true"}
    assert typed(path, values) == {"count": 3, "name": "3", "loud": True}
    with pytest.raises(WorkbenchError, match="count is int, not 'many'"):
        typed(path, {"count": "many"})
    with pytest.raises(WorkbenchError, match="no parameter 'cuont'; did you mean count"):
        typed(path, {"cuont": "3"})


def test_one_that_fails_keeps_its_part_names_the_cell_and_stops_no_other(tmp_path):
    bad = notebook(tmp_path / "bad.ipynb", "print('seen', count)", "1 / 0", "print('never')")
    good = notebook(tmp_path / "good.ipynb", "print(count + 1, loud, out)")
    result = run_notebooks(
        (bad, good), out=tmp_path / "out", parameters={"count": 41, "loud": "yes"}, junit=tmp_path / "j.xml"
    )
    failed, passed = result.cases
    assert (failed.passed, passed.passed, result.exit_code) == (False, True, 1)
    assert "cell 3 (1 / 0) fails: ZeroDivisionError" in failed.message
    page = (tmp_path / "out/bad.html").read_text()
    assert "seen 41" in page
    assert "never" not in re.sub(r"<div[^>]*highlight.*?</pre>", "", page, flags=re.DOTALL)
    assert f"42 True {tmp_path / 'out/good'}" in (tmp_path / "out/good.html").read_text()
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()


def test_what_no_notebook_has_is_refused_before_any_runs(tmp_path):
    good = notebook(tmp_path / "good.ipynb")
    with pytest.raises(OptionError, match="no notebook has cuont; did you mean count"):
        run_notebooks((good,), out=tmp_path / "out", parameters=("cuont=1",))
    with pytest.raises(OptionError, match="there is no notebook 00_quickstrat; did you mean 00_quickstart"):
        run_notebooks(("00_quickstrat",), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_wheel_has_the_notebooks_and_all_that_they_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    shipped = project["wheel"]["force-include"]
    assert all((ROOT / source).exists() for source in shipped)
    assert {target.removeprefix("workbench/shipped/") for target in shipped.values()} == set(shipped)
    assert set(shipped) <= set(project["sdist"]["include"])
    for path in shipped_notebooks().values():
        cells = json.loads(path.read_text())["cells"]
        code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        named = re.findall(r"ROOT((?: / \"[\w.]+\")+)", code)
        places = ["/".join(re.findall(r'"([\w.]+)"', one)) for one in named]
        unshipped = [one for one in places if not any(one == s or one.startswith(f"{s}/") for s in shipped)]
        assert not unshipped, f"{path.name} names {unshipped}, which the wheel has not"
