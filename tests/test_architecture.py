"""The house: folders with faces, arrows that run one way."""

from __future__ import annotations

import ast
import re
from importlib import import_module

import pytest

import workbench
from tests.kit.places import ROOT

STUBS = sorted((ROOT / "workbench").rglob("__init__.pyi"))


def face_of(stub):
    return ".".join(stub.parent.relative_to(ROOT).parts)


@pytest.mark.parametrize("stub", STUBS, ids=face_of)
def test_every_name_of_a_face_is_there(stub):
    package = import_module(face_of(stub))
    assert package.__all__
    assert all(getattr(package, name) is not None for name in package.__all__)


@pytest.mark.parametrize("stub", STUBS, ids=face_of)
def test_no_name_of_a_face_is_that_of_a_module_beside_it(stub):
    # Importing such a module would put it in the name's place.
    modules = {path.stem for path in stub.parent.iterdir() if path.suffix in ("", ".py")}
    imports = [x for x in ast.parse(stub.read_text()).body if isinstance(x, ast.ImportFrom)]
    assert not modules & {alias.name for x in imports if x.module for alias in x.names}


VAGUE = {"found", "told", "said", "given", "made", "wanted", "known"}
"""Participles that say how something came about, and not what it is: a name is the noun it holds."""


def defined_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno


@pytest.mark.parametrize("vague", ["def found(): ...", "def f(told): ...", "class Known: ...", "self._made = 1"])
def test_a_vague_name_is_seen_wherever_it_is_defined(vague):
    assert any(name.strip("_").lower() in VAGUE for name, _ in defined_names(ast.parse(vague)))


def test_names_are_the_nouns_that_they_hold():
    places = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted((ROOT / "workbench").rglob("*.py"))
        for name, line in [(path.stem, 1), *defined_names(ast.parse(path.read_text(encoding="utf-8")))]
        if name.strip("_").lower() in VAGUE
    ]
    defined = re.compile(rf"\b(?:const|let|var|function)\s+_?({'|'.join(VAGUE)})\b", re.IGNORECASE)
    for path in sorted((ROOT / "workbench").rglob("*.js")):
        places += [f"{path.relative_to(ROOT)}: {name}" for name in defined.findall(path.read_text(encoding="utf-8"))]
    assert places == []


def test_what_a_notebook_begins_with_fits_on_one_list_of_completions():
    assert len(workbench.__all__) <= 25


SCRIPTS = ("docs", "notebooks", "benchmarks", "sample_models")
"""What is run by hand or on another machine, and so says too late what is no longer there."""


def imported_names(folders=("workbench", "tests", *SCRIPTS)):
    """Return (module, name) of every import in the repository, faces' own left out."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py*"):
            if path.suffix not in {".py", ".pyi"}:
                continue
            place = path.parent.relative_to(ROOT).parts
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    above = place[: len(place) - node.level + 1] if node.level else ()
                    module = ".".join([*above, *([node.module] if node.module else [])])
                    if path.suffix == ".py" or module != ".".join(place):
                        yield from ((module, alias.name) for alias in node.names)


BY_NAME = {("workbench.backends.onnxruntime", "backend_for"), ("workbench.views.app", "bundle")}
"""What is not imported, but looked for by its name."""


def test_a_face_has_no_name_that_nobody_uses():
    inner = [face for face in map(face_of, STUBS) if face not in {"workbench", "workbench.views"}]
    faces = {(face, name) for face in inner for name in import_module(face).__all__}
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    unused = faces - set(imported_names()) - BY_NAME
    assert sorted(f"{face}.{name}" for face, name in unused if f"{face}.{name}" not in pages) == []


def has_name(module, name):
    """Say whether a module of the package has a name, without running it: it may need a GPU."""
    path = ROOT.joinpath(*module.split("."))
    if path.is_dir():
        beside = any((path / f"{name}{end}").exists() for end in ("", ".py"))
        return beside or name in import_module(module).__all__
    tree = ast.parse(path.with_suffix(".py").read_text(encoding="utf-8"))
    imported = {alias.asname or alias.name for x in tree.body if isinstance(x, ast.ImportFrom) for alias in x.names}
    return name in imported or any(name == defined for defined, _ in defined_names(tree))


def test_what_scripts_import_is_there():
    imports = {pair for pair in imported_names((*SCRIPTS, "tests/gpu")) if pair[0].split(".")[0] == "workbench"}
    assert len(imports) > 50
    assert sorted(pair for pair in imports if not has_name(*pair)) == []
