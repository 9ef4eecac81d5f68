"""The workflows that users copy: every command in them is run, in the order and the shell that the CI system uses."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
import yaml

import workbench
from tests.kit.places import ROOT

nbformat = pytest.importorskip("nbformat", reason="notebooks come with the extra [lab]")
pytest.importorskip("tensorrt_rtx", reason="the workflow asks TensorRT-RTX")

FOLDER = ROOT / "docs/ci"
INSTALLS = "pip install"


def github(content):
    steps = content["jobs"]["gates"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    assert all("@v" in step["uses"] for step in steps if "uses" in step)
    return [step["run"] for step in steps if "run" in step]


def gitlab(content):
    job = content["gates"]
    return [*job["before_script"], *job["script"]]


@pytest.fixture
def project(small_cnn, small_data, tmp_path):
    """A repository as the workflows expect one, and a PATH with the command line."""
    (tmp_path / "model.onnx").write_bytes(small_cnn.read_bytes())
    (tmp_path / "samples.npz").write_bytes(small_data.read_bytes())
    wb = workbench.open_model(tmp_path / "model.onnx")
    wb.calibrate(tmp_path / "samples.npz")
    wb.plan.set("op:Conv", "int8")
    wb.require("sqnr_db >= 10")
    wb.save(tmp_path / "tuned")
    v4 = nbformat.v4
    cell = v4.new_code_cell('model: str = ""  # an .onnx file')
    cell.metadata["tags"] = ["parameters"]
    shows = v4.new_code_cell("import workbench\nprint(len(workbench.load_model(model).nodes), 'nodes')")
    notebook = v4.new_notebook(cells=[cell, shows])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "project.ipynb")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/workbench"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m workbench "$@"\n')
    command.chmod(0o755)
    return tmp_path


def test_every_command_of_a_workflow_does_what_it_says(project):
    lines = github(yaml.safe_load((FOLDER / "github-actions.yml").read_text()))
    environment = {
        **os.environ,
        "PATH": f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
    }
    done = [line for line in lines if not line.startswith(INSTALLS)]
    assert len(done) == len(lines) - 1
    for line in done:
        ran = subprocess.run(
            ["/bin/bash", "-e", "-o", "pipefail", "-c", line],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    assert (project / "replayed/tuned.onnx").read_bytes() == (project / "tuned/tuned.onnx").read_bytes()
    assert "nodes" in (project / "pages/project.html").read_text()
    for name in ("gates", "verdict", "notebooks"):
        assert ET.parse(project / f"{name}.xml").getroot().get("failures") == "0"  # noqa: S314 - our own
    assert "sqnr" in (project / "summary.md").read_text()


def test_the_other_workflow_runs_the_same_commands():
    content = yaml.safe_load((FOLDER / "gitlab-ci.yml").read_text())
    theirs = github(yaml.safe_load((FOLDER / "github-actions.yml").read_text()))
    run = [line.strip() for step in theirs for line in step.splitlines()]
    ours = gitlab(content)
    assert ours == [line for line in run if line.startswith(("workbench", INSTALLS))]
    written = [word for line in ours for word in line.split() if word.endswith((".md", ".xml"))]
    kept = [*content["gates"]["artifacts"]["paths"], *content["gates"]["artifacts"]["reports"]["junit"]]
    assert all(word in kept or (word.endswith(".xml") and "*.xml" in kept) for word in written)
