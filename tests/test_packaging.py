"""What is declared, installed and imported agrees."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.kit.places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEAVY = ("onnxruntime", "matplotlib", "pandas", "tensorrt", "tensorrt_rtx", "onnx", "numpy", "pydantic", "anywidget")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalized(requirement: str) -> tuple[str, str]:
    name, version = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", requirement).groups()
    return name.lower(), version.replace(" ", "")


def test_environment_yml_is_in_step_with_pyproject(project):
    kinds = {normalized(r) for r in (*project["dependencies"], *project["optional-dependencies"]["lab"])}
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    plain = [entry for entry in entries if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    have = {normalized(r) for r in (*plain, *pip) if not r.startswith(("python ", "--")) and r != "pip"}
    assert have == kinds


def test_the_environment_of_a_jetson_is_in_step_with_pyproject(project):
    kinds = {normalized(r) for r in (*project["dependencies"], *project["optional-dependencies"]["lab"])}
    lines = (ROOT / "environment-jetson.txt").read_text().splitlines()
    have = {normalized(line) for line in lines if line and not line.startswith("#")}
    # TensorRT comes with the system; CUDA is called by what the extra brings, of the system's CUDA.
    (cuda,) = have - kinds
    least = dict(map(normalized, project["optional-dependencies"]["tensorrt"]))["cuda-bindings"]
    assert cuda == ("cuda-bindings", f"{least},<13")
    assert kinds < have


LOCKED = ("lab", "cluster", "serve")


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_file_is_in_step_with_pyproject(project, python):
    records = [*project["dependencies"], *(r for extra in LOCKED for r in project["optional-dependencies"][extra])]
    system = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    system |= {"platform_system": "Linux", "platform_machine": "x86_64", "implementation_name": "cpython"}
    pins = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(system):
            assert canonicalize_name(pin.name) not in pins, f"{pin.name} is pinned twice for Python {python}"
            (only,) = pin.specifier
            assert only.operator == "=="
            pins[canonicalize_name(pin.name)] = only.version
    for one in map(Requirement, records):
        version = pins.get(canonicalize_name(one.name))
        assert version is not None, f"{one.name} is not in the lock file: make lock"
        assert one.specifier.contains(version, prereleases=True), f"{one} against {version}: make lock"


def test_conda_allows_the_pythons_that_pyproject_allows(project):
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "python " + project["requires-python"] + ",<3.14" in entries


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, workbench; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(out.stdout.split()) & set(HEAVY)


def test_the_lazy_names_are_really_there():
    import workbench

    assert all(getattr(workbench, name) is not None for name in workbench.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = workbench.no_such_name


@pytest.mark.parametrize("module", ["graph", "graph.edits", "calibration", "precision", "backends", "engine", "views"])
def test_sub_packages_load_nothing_heavy(module):
    code = f"import sys, workbench.{module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(out.stdout.split()) & set(HEAVY)
