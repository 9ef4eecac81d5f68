"""Verbs of the command line: each finds its job and that job's options."""

import subprocess
import sys

import pytest

from tests.kit.places import ROOT
from workbench.jobs.options import options_of
from workbench.jobs.verbs import VERBS, Verb


def test_a_verb_finds_its_job_and_the_options_that_the_job_takes():
    # In a process of its own: a module that another test imported is found more easily.
    code = (
        "from workbench.jobs.verbs import VERBS; from workbench.jobs.options import options_of\n"
        "assert all(options_of(verb.job) is verb.options for verb in reversed(VERBS))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_verb_may_keep_its_options_beside_its_job():
    verb = Verb("again", "tuning:tune")
    assert verb.options is options_of(verb.job)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_json_is_offered_where_a_result_has_it(verb):
    result = verb.job.__signature__.return_annotation
    module = sys.modules[verb.job.__module__]
    assert verb.json == hasattr(getattr(module, result), "to_json")
