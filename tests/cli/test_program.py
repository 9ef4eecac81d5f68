"""The program around the verbs: which there are, how each failure ends, and what may stand anywhere on the line."""

from __future__ import annotations

import io
import sys
import warnings
from types import SimpleNamespace

import click
import pytest

import workbench
from workbench import runtime
from workbench.cli import main, program
from workbench.cli.doctor import doctor
from workbench.cli.output import own_output
from workbench.errors import BackendError, OutputError, RecipeError, WorkbenchError
from workbench.jobs import VERBS


@pytest.fixture
def fails(monkeypatch, capsys):
    """Run the program where its verb raises something; return the status and what was said."""

    def run(error, *words):
        def stand_in(given, **_):
            run.given = given
            raise error

        monkeypatch.setattr(program.cli, "main", stand_in)
        with pytest.raises(SystemExit) as end:
            main([*words])
        return end.value.code, capsys.readouterr().err

    return run


def test_every_verb_is_listed_once_by_its_first_word():
    names = program.cli.list_commands(click.Context(program.cli))
    assert names == [*dict.fromkeys(verb.name.split(" ")[0] for verb in VERBS), "doctor"]
    assert len(set(names)) == len(names) < len(VERBS)


def test_a_verb_is_a_command_and_several_of_a_kind_are_a_group_even_one():
    def found(name):
        return program.cli.get_command(click.Context(program.cli), name)

    assert type(found("tune")) is click.Command
    assert sorted(found("recipe").commands) == ["diff", "schema", "show", "verify"]
    assert sorted(found("handoff").commands) == ["triton"]
    assert found("handoff").help == "Hand a tuned model over to what serves it."
    assert found("doctor") is doctor
    assert found("tuna") is None


def test_help_is_asked_for_by_one_letter_too_and_is_as_wide_as_110_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    context = click.Context(program.cli, **program.cli.context_settings)
    assert context.help_option_names == ["-h", "--help"]
    assert context.make_formatter().width == 110 - 2


def test_the_program_says_its_version(run):
    assert run("--version") == (0, f"trt-workbench, version {workbench.__version__}\n", "")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RecipeError("it is none", where="r.yaml", fix="Mend it."), 5, "error: r.yaml: it is none. Mend it.\n"),
        (KeyboardInterrupt(), 130, "interrupted; nothing is half written\n"),
        (click.Abort(), 130, "interrupted; nothing is half written\n"),
        (
            OSError(28, "No space left on device", "out"),
            OutputError.exit_code,
            "error: out: No space left on device. Check the path and the disk.\n",
        ),
        (OSError("odd"), OutputError.exit_code, "error: odd. Check the path and the disk.\n"),
        (
            MemoryError(),
            WorkbenchError.exit_code,
            "error: the memory is not enough: nothing more was said. Use fewer or smaller samples, a smaller batch, or",
        ),
        (
            MemoryError("8 GiB"),
            WorkbenchError.exit_code,
            "error: the memory is not enough: 8 GiB. Use fewer or smaller samples, a smaller batch, or a larger",
        ),
        (
            ModuleNotFoundError("No module named 'distributed'", name="distributed"),
            BackendError.exit_code,
            "error: the package distributed is missing. Install it: pip install ",
        ),
        (ModuleNotFoundError("no", name="workbench.gone"), 1, "internal error: ModuleNotFoundError('no'). Run again"),
        (ModuleNotFoundError("no"), 1, "internal error: ModuleNotFoundError('no'). Run again with --debug and report"),
        (ZeroDivisionError("x"), 1, "internal error: ZeroDivisionError('x'). Run again with --debug and report what"),
        (click.UsageError("no such thing"), 2, "Error: no such thing\n"),
    ],
)
def test_each_failure_is_one_line_and_a_status_of_its_own(fails, error, code, said):
    ended, shown = fails(error, "tune")
    assert (ended, shown[: len(said)]) == (code, said)
    assert shown.count("\n") == 1


@pytest.mark.parametrize("error", [RecipeError("r"), OSError("o"), ZeroDivisionError("z")])
def test_with_debug_it_is_raised_wherever_that_word_stands(fails, error):
    with pytest.raises(type(error)):
        fails(error, "recipe", "--debug", "show")
    assert fails.given == ["recipe", "show"]


def test_words_are_those_of_the_process_where_none_are_given(monkeypatch):
    given = []
    monkeypatch.setattr(sys, "argv", ["workbench", "tune", "m.onnx"])
    monkeypatch.setattr(program.cli, "main", lambda words, **_: given.append(words))
    with pytest.raises(SystemExit):
        main()
    assert given == [["tune", "m.onnx"]]


def test_a_limit_may_stand_anywhere(monkeypatch):
    raised = []
    monkeypatch.setattr(program, "set_limits", raised.append)
    words = ["tune", "--limit", "a=1", "--a", "--limit=b=2", "--unlimited", "--limits", "m", "--limit"]
    assert program._raise_limits(words) == ["tune", "--a", "--unlimited", "--limits", "m"]
    assert raised == ["a=1", "b=2", ""]


def test_each_warning_is_said_once(monkeypatch, capsys):
    def warn(*_, **__):
        for text in ("one", "two", "one"):
            warnings.showwarning(UserWarning(text), UserWarning, "file", 1)
        return 0

    monkeypatch.setattr(program.cli, "main", warn)
    with pytest.raises(SystemExit) as end:
        main(["tune"])
    assert (end.value.code, capsys.readouterr().err) == (0, "warning: one\nwarning: two\n")


# What is printed


class Closed(io.StringIO):
    """A stream without a file."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def fileno(self):
        raise self.error


@pytest.mark.parametrize("error", [AttributeError("a"), OSError("o"), ValueError("v")])
def test_any_stream_that_is_no_file_of_its_own_stays(monkeypatch, error):
    stream = Closed(error)
    monkeypatch.setattr(sys, "stdout", stream)
    with own_output():
        assert sys.stdout is stream


@pytest.mark.parametrize(("wrong", "lines", "more"), [(0, 0, ""), (20, 20, ""), (23, 20, "and 3 more\n")])
def test_doctor_lists_twenty_graphs_that_are_not_as_written(monkeypatch, capsys, wrong, lines, more):
    class Tried(SimpleNamespace):
        def __str__(self):
            return "Conv in fp8"

    monkeypatch.setattr(runtime, "self_check", lambda: [Tried(holds=at >= wrong) for at in range(wrong + 2)])
    monkeypatch.setattr("workbench.backends.backends", lambda: [SimpleNamespace(name="b", works=False, reason="why")])
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--numerics"])
    out, err = capsys.readouterr()
    assert err == "not as written: Conv in fp8\n" * lines + more
    assert out.endswith(f"\n2 of {wrong + 2} small graphs are computed as written\n")
    assert end.value.code == (7 if wrong else 0)


@pytest.mark.parametrize(("works", "said"), [(True, "works"), (False, "does not work")])
def test_doctor_says_what_works_and_why_the_rest_does_not(monkeypatch, capsys, works, said):
    monkeypatch.setattr("workbench.backends.backends", lambda: [SimpleNamespace(name="b", works=works, reason="why")])
    monkeypatch.setattr("workbench.recipe.environment", lambda: {"python": "3.11.7", "onnx": "1.23.2"})
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"{'python':16} 3.11.7\n{'onnx':16} 1.23.2\n{'telemetry':16} ")
    assert shown.endswith(f"\n\n{'b':16} {said}: why\n")
    assert "switched off" not in shown
    assert end.value.code == 0
