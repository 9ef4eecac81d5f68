"""A recipe makes the same bytes under another Python with other releases of numpy, onnx and ONNX Runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import workbench
from tests.kit.places import ROOT
from workbench.environments import packages_folder
from workbench.errors import BackendError
from workbench.recipe import environment as our_environment

STORED = sorted((ROOT / "tests/data/recipes").glob("*.yaml"))
COMMON = "onnx-ir ml_dtypes pydantic pyyaml ruamel.yaml lazy-loader click tqdm psutil".split()
# The oldest releases that the package allows on 3.10, and later ones elsewhere.
RELEASES = {
    "3.10": ["numpy==1.26.4", "onnx==1.17.0", "onnxruntime==1.20.1"],
    "3.11": ["numpy==2.1.3", "onnx==1.18.0", "onnxruntime==1.22.1"],
    "3.12": ["numpy==2.2.6", "onnx==1.18.0", "onnxruntime==1.22.1"],
    "3.13": ["numpy==2.3.5", "onnx==1.19.1", "onnxruntime==1.23.2"],
}
LONGEST_S = 180.0
REPLAY = """
import json, sys, warnings
warnings.simplefilter("ignore")
from workbench.graph import file_digest, load_model
from workbench.recipe import Recipe, environment
from workbench.recipe.replay import replay
made = {}
for recipe, model in json.loads(sys.argv[1]):
    made[recipe] = file_digest(replay(Recipe.load(recipe), load_model(model))[1].model)
print(json.dumps([made, environment()]))
"""


def pythons() -> dict[str, str]:
    """Return other Pythons of this machine by their version."""
    own = "{}.{}".format(*sys.version_info[:2])
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    values = {}
    for version in RELEASES:
        places = [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
        on_path = shutil.which(f"python{version}")
        for place in [*places, *([on_path] if on_path else [])]:
            pip = subprocess.run([place, "-m", "pip", "--version"], capture_output=True, check=False)
            if version != own and pip.returncode == 0:
                values.setdefault(version, place)
    return values


@pytest.fixture(scope="module")
def replays(small_cnn, tmp_path_factory):
    """Recipes with their models: every stored one, and a transformer in INT8 and FP16."""
    folder = tmp_path_factory.mktemp("recipes")
    wb = workbench.open_model(ROOT / "sample_models/small_vit.onnx")
    wb.prepare()
    (image,) = wb.model.inputs
    rng = np.random.default_rng(0)
    wb.calibrate({image.name: rng.random((4, *image.shape[1:]), np.float32)}, batch=4)
    wb.plan.use("int8+fp16")
    wb.tune()
    wb.recipe.save(folder / "vit.yaml")
    return [*((str(path), str(small_cnn)) for path in STORED), (str(folder / "vit.yaml"), str(wb.source.path))]


def test_another_python_with_other_packages_makes_the_same_bytes(replays):
    actual = pythons()
    if not actual:
        pytest.skip(f"only Python {sys.version_info[0]}.{sys.version_info[1]} with pip is on this machine")
    version = next(iter(actual))  # the oldest: with the packages that differ most
    try:
        name = f"python{version}-{'-'.join(RELEASES[version])}"
        folder = packages_folder(
            name, [*RELEASES[version], *COMMON], python=actual[version], dependencies=True, timeout_s=LONGEST_S
        )
    except BackendError as error:
        pytest.skip(f"its packages could not be had: {error}")
    done = subprocess.run(
        [actual[version], "-c", REPLAY, json.dumps(replays)],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])},
    )
    assert done.returncode == 0, done.stderr
    outcome, environment = json.loads(done.stdout.splitlines()[-1])
    ours = our_environment()
    assert all(environment[package] != ours[package] for package in ("python", "numpy", "onnx", "onnxruntime"))
    assert outcome == {
        recipe: workbench.open_recipe(recipe, model=model).recipe.tuned.sha256 for recipe, model in replays
    }
