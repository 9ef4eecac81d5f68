"""Verbs of the command line: each finds its job and that job's options."""

import subprocess
import sys

import pytest

from tests.kit.places import RECORDED, ROOT
from workbench.jobs.options import SchemaOptions
from workbench.jobs.verbs import VERBS, Verb


def test_a_verb_finds_its_job_and_the_options_that_the_job_takes():
    # In a process of its own: a module that another test imported is found more easily.
    code = (
        "from workbench.jobs.verbs import VERBS; from workbench.jobs.options import options_of\n"
        "assert all(options_of(verb.job) is verb.options for verb in reversed(VERBS))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_verb_that_names_no_options_takes_those_of_its_job():
    assert Verb("schema", "recipes:schema").options is SchemaOptions


def test_help_loads_nothing_that_a_job_needs():
    code = "import sys; from workbench.cli import main; main(['--help'])"
    check = "import atexit, sys; atexit.register(lambda: print(*{'numpy', 'onnx', 'onnx_ir', 'yaml'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", f"{check}; {code}"], cwd=ROOT, check=True, capture_output=True)
    assert done.stdout.splitlines()[-1] == b"", (
        "import these in the functions of the jobs, or put options in jobs/options"
    )
    assert b"handoff" in done.stdout


def test_looking_at_an_engine_or_a_model_loads_no_session():
    code = (
        "import sys; from workbench.jobs.reading import inspect, read_engine; inspect(sys.argv[1]); "
        "read_engine(sys.argv[2]); print(*{'yaml', 'workbench.session.workbench'} & {*sys.modules})"
    )
    model, engine = ROOT / "sample_models/residual_cnn.onnx", RECORDED / "resnet50.qdq.graph.json"
    command = [sys.executable, "-c", code, str(model), str(engine)]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.strip() == b""


def test_a_list_of_notebooks_loads_neither_onnx_nor_what_checks_notebooks():
    code = (
        "import sys; from workbench.jobs.notebooks import list_notebooks; list_notebooks(); "
        "print(*{'numpy', 'onnx', 'nbformat', 'yaml'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True).stdout.strip() == b""


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_json_is_offered_where_a_result_has_it(verb):
    result = verb.job.__signature__.return_annotation
    module = sys.modules[verb.job.__module__]
    assert verb.json == hasattr(getattr(module, result), "to_json")
