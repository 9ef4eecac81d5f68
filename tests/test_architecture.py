"""The house: folders with faces, arrows that run one way."""

from __future__ import annotations

import ast
from importlib import import_module

import pytest

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
