from types import FunctionType, ModuleType, SimpleNamespace

import pytest

from tests.mutants.warm import changed_on_import, libraries_of, swap

SOURCE = """
import functools

LIMIT = 3

def over(value, by=1):
    return [one for one in value if one > LIMIT + by]

def counted(function):
    @functools.wraps(function)
    def call(*values):
        return function(*values) + 1
    return call

@counted
def twice(value):
    return 2 * value

class Pair:
    size = 2
    def both(self):
        return self.size == 2
"""


@pytest.fixture
def module(tmp_path):
    outcome = ModuleType("made")
    outcome.path = str(tmp_path / "made.py")
    exec(compile(SOURCE, outcome.path, "exec"), outcome.__dict__)  # noqa: S102 - the text above
    return outcome


def functions_of(module):
    records = [module.over, module.counted, module.twice, module.twice.__wrapped__, module.Pair.both]
    assert all(isinstance(one, FunctionType) for one in records)
    return records


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("one > LIMIT", "one >= LIMIT", lambda outcome: outcome.over([3, 4, 5]) == [4, 5]),  # in a comprehension
        ("2 * value", "3 * value", lambda outcome: outcome.twice(5) == 16),  # of a function that is wrapped
        ("(*values) + 1", "(*values) - 1", lambda outcome: outcome.twice(5) == 9),  # of a wrapper that is made already
        ("self.size == 2", "self.size != 2", lambda outcome: not outcome.Pair().both()),
    ],
)
def test_function_that_is_there_gets_its_new_code(module, old, new, seen):
    source = SOURCE.replace(old, new)
    assert not changed_on_import(SOURCE, source, module.path)
    assert not seen(module)
    swap(functions_of(module), SOURCE, source, module.path)
    assert seen(module)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("by=1", "by=2"),
        ("size = 2", "size = 3"),
        ("@counted", ""),
        ("function(*values) + 1", "1"),  # a function that closes over one variable less
        ("return 2 * value", "return 2 *"),
    ],
)
def test_what_functions_that_are_there_cannot_get(module, old, new):
    assert changed_on_import(SOURCE, SOURCE.replace(old, new), module.path)


def test_what_lies_in_the_checkout_is_no_library(tmp_path):
    modules = {
        "numpy": SimpleNamespace(__file__=str(tmp_path / "venv" / "numpy.py")),
        "workbench.graph": SimpleNamespace(__file__=str(tmp_path / "checkout" / "workbench" / "graph.py")),
        "benchmarks.speed": SimpleNamespace(__file__=str(tmp_path / "checkout" / "benchmarks" / "speed.py")),
        "sys": SimpleNamespace(),
        "folder": SimpleNamespace(__file__=None),
        "beside": SimpleNamespace(__file__=str(tmp_path / "checkout2" / "beside.py")),
    }
    assert libraries_of(modules, tmp_path / "checkout") == ["numpy", "sys", "folder", "beside"]
