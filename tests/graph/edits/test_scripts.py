"""Functions of an engineer's own: what a recipe can keep of them, how they are called, what they say when they fail."""

from __future__ import annotations

import functools
import hashlib
import linecache
import sys
import textwrap
from pathlib import Path

import pytest

from workbench.errors import EditError
from workbench.graph.edits.scripts import Script, plain, surgeon


def refusal(function, *arguments):
    with pytest.raises(EditError) as refused:
        function(*arguments)
    return str(refused.value)


@pytest.mark.parametrize(
    ("value", "held"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.0, 0.0),
        (-0.5, -0.5),
        ("text", "text"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"a": (1,), "b": {"c": None}}, {"a": [1], "b": {"c": None}}),
    ],
)
def test_what_json_holds_is_an_argument(value, held):
    assert plain(value, "x") == held
    assert type(plain(value, "x")) is type(held)


@pytest.mark.parametrize(
    ("value", "where", "said"),
    [
        (float("nan"), "x", "nan"),
        (float("inf"), "x", "inf"),
        ([1, float("-inf")], "x[1]", "-inf"),
        ({"a": [0, {"b": b"c"}]}, "x['a'][1]['b']", "b'c'"),
        ({1: 2}, "x", "{1: 2}"),
        ({1, 2}, "x", "{1, 2}"),
    ],
)
def test_what_json_does_not_hold_is_refused_where_it_is(value, where, said):
    assert refusal(plain, value, "x") == (
        f"{where}: {said} is no argument that a recipe can hold. "
        "Give numbers, text, True, False, None, and lists and dicts of those."
    )


def test_a_script_is_read_from_where_it_is(tmp_path, monkeypatch):
    path = tmp_path / "script.py"
    path.write_text("def f(graph): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelled in ("script.py", "~/script.py", path):
        script = Script.read(spelled)
        assert (script.path, script.code) == (str(path.resolve()), path.read_bytes())
    assert script.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert refusal(Script.read, "no.py") == (
        'no.py: the script cannot be read: No such file or directory. Write "script.py:function".'
    )


ODD = "got an unexpected keyword argument 'times'."
SCRIPT = b"""import sys

LIMIT = 3


class Own:
    pass


def added(first, by=1, *, twice=False):
    assert sys.modules[__name__].LIMIT == 3
    return first + by * (1 + twice)


def inner():
    raise ValueError


def outer(first):
    inner()


def says(first):
    raise KeyError("it is gone")
"""


def test_a_function_of_a_script_is_called_with_its_arguments():
    script = Script("/some/where/own.py", SCRIPT)
    before = set(sys.modules)
    assert script.call("added", 5, {}) == 6
    assert script.call("added", 5, {"by": 2, "twice": True}) == 9
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("outer", {}, "/some/where/own.py:16: outer raised ValueError. The model is unchanged."),
        ("says", {}, "/some/where/own.py:24: says raised KeyError: 'it is gone'. The model is unchanged."),
        (
            "nothing",
            {},
            "/some/where/own.py: there is no function 'nothing' in it. It has Own, added, inner, outer, says.",
        ),
        (
            "LIMIT",
            {},
            "/some/where/own.py: there is no function 'LIMIT' in it. It has Own, added, inner, outer, says.",
        ),
        (
            "inner",
            {},
            "/some/where/own.py:inner: too many positional arguments. It is inner().",
        ),
        (
            "added",
            {"times": 2},
            f"/some/where/own.py:added: {ODD} It is added(first, by=1, *, twice=False).",
        ),
    ],
)
def test_what_goes_wrong_in_a_script_is_said_with_its_line(function, arguments, message):
    script = Script("/some/where/own.py", SCRIPT)
    assert refusal(script.call, function, 5, arguments) == message
    assert not [name for name in sys.modules if name.startswith("workbench_script_")]


def test_what_is_no_python_is_said_with_its_line_where_there_is_one():
    assert refusal(Script("a.py", b"x = 1\ndef (:\n").call, "f", 5, {}) == (
        "a.py:2: f raised SyntaxError: invalid syntax (<a.py>, line 2). The model is unchanged."
    )
    assert refusal(Script("a.py", b"").call, "f", 5, {}) == "a.py: there is no function 'f' in it. It has none."
    assert refusal(Script("a.py", b"\0").call, "f", 5, {}).startswith("a.py: f raised ")


def notebook(source, name, monkeypatch):
    """A function as a notebook has it: with a source, and without a file."""
    source = textwrap.dedent(source)
    shown = f"<cell of {name}>"
    monkeypatch.setitem(linecache.cache, shown, (len(source), None, source.splitlines(keepends=True), shown))
    cell: dict[str, object] = {"__name__": "__main__"}
    exec(compile(source, shown, "exec"), cell)  # noqa: S102
    return cell[name]


def test_a_function_of_a_notebook_becomes_a_file_with_its_imports(monkeypatch):
    function = notebook(
        """
        import math
        import os.path as paths
        from collections import OrderedDict
        from pathlib import Path as P


        def marked(f):
            return f


        @marked
        def own(graph, by: int = 2):
            '''Say what it does.'''

            def again(n):
                return [math.pi for _ in range(n)] + [OrderedDict()]

            return own if by else again(len(str(P(paths.sep))))
        """,
        "own",
        monkeypatch,
    )
    script = Script.of(function)
    assert script.path == "own.py"
    assert script.code.decode() == textwrap.dedent(
        """\
        from __future__ import annotations

        from collections import OrderedDict
        from pathlib import Path as P
        import math
        import posixpath as paths


        def own(graph, by: int = 2):
            '''Say what it does.'''

            def again(n):
                return [math.pi for _ in range(n)] + [OrderedDict()]

            return own if by else again(len(str(P(paths.sep))))
        """
    )
    assert callable(script.call("own", None, {"by": 3}))
    assert len(script.call("own", None, {"by": 0})) == 2


OF_A_NOTEBOOK = (
    "of the notebook, which a recipe could not find again. "
    "Hand it over as an argument, define it inside of the function, or put both into a script."
)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "LIMIT = 3\ndef f(graph):\n    return LIMIT\n",
            f"f: it uses 'LIMIT' {OF_A_NOTEBOOK}",
        ),
        (
            "def helper():\n    pass\ndef f(graph):\n    return helper()\n",
            f"f: it uses 'helper' {OF_A_NOTEBOOK}",
        ),
        ("def f(graph):\n    return absent\n", "f: the name 'absent' is not defined. Import it first."),
        ("f = lambda graph: graph\n", "<lambda>: this is no function with a name. Define it with def."),
        ("async def f(graph):\n    pass\n", "f: this is no function with a name. Define it with def."),
    ],
)
def test_what_a_file_could_not_hold_is_refused(source, message, monkeypatch):
    assert refusal(Script.of, notebook(source, "f", monkeypatch)) == message


def test_a_function_without_a_source_is_refused():
    cell: dict[str, object] = {"__name__": "__main__"}
    exec("def f(graph): pass", cell)  # noqa: S102
    assert refusal(Script.of, cell["f"]) == "f: the source of the function is not to be had. Write it to a script."


def test_a_function_of_a_file_that_is_gone_is_read_as_a_notebooks(monkeypatch):
    function = notebook("def f(graph):\n    return 3\n", "f", monkeypatch)
    function.__module__ = "elsewhere"
    assert Script.of(function).path == "f.py"


def test_a_function_of_a_module_is_its_file():
    script = Script.of(textwrap.dedent)
    assert (script.path, script.code) == (str(Path(textwrap.__file__).resolve()), Script.read(textwrap.__file__).code)

    @functools.wraps(textwrap.dedent)
    def wrapped(text):
        return text

    assert Script.of(wrapped) == script


@pytest.mark.parametrize(
    ("thing", "where"),
    [
        (print, "print"),
        (textwrap.TextWrapper.fill, "TextWrapper.fill"),
        (functools.partial(print), "functools.partial"),
    ],
)
def test_what_is_no_function_of_a_module_is_no_step(thing, where):
    message = refusal(Script.of, thing)
    assert message.startswith(where)
    assert "only a function of a module or a notebook can be a step of a recipe" in message
    assert message.endswith("Define it with def, not inside of another function or class.")


def test_a_marked_function_runs_on_a_graph_and_is_a_step_of_a_workbench(monkeypatch):
    marked = surgeon(notebook("def f(graph, by=1):\n    return graph, by\n", "f", monkeypatch))
    assert (marked("a graph", by=2), marked.__name__) == (("a graph", 2), "f")

    class Workbench:
        def surgeon(self, function, **arguments):
            return function, arguments

    assert marked(Workbench(), by=2) == (marked, {"by": 2})
    with pytest.raises(EditError, match="it uses 'LIMIT' of the notebook"):
        surgeon(notebook("LIMIT = 3\ndef f(graph):\n    return LIMIT\n", "f", monkeypatch))
    assert (
        Script("a.py", b"import workbench\n@workbench.surgeon\ndef f(graph):\n    return X\nX = 3\n").call(
            "f", None, {}
        )
        == 3
    )
