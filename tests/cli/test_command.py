"""A command is made of the options of a job: what each becomes on the command line, and what is printed of a result."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import click
import pytest
from pydantic import Field

from workbench.cli.command import command, option_names
from workbench.errors import OptionError
from workbench.jobs.options import Cli, Numbers, Options, Words


class Sample(Options):
    """Do it with `some_words`, not with `others`."""

    file: Annotated[Path, Cli(argument=True), Field(description="The file.")]
    count: Annotated[int, Field(description="How many.")]
    places: Annotated[tuple[Path, ...], Cli(argument=True)] = ()
    some_words: Annotated[tuple[str, ...], Words, Field(description="Words.")] = ("a", "b")
    numbers: Annotated[tuple[int, ...] | None, Numbers, Cli(short="-n", metavar="A,B")] = None
    kind: Literal["one", "two"] = "one"
    rate: float | None = None
    ratio: float = 1.5
    gates: Annotated[tuple[str, ...], Cli(name="gate")] = ()
    samples: Any = None
    described: Annotated[Any, Cli(text=True)] = None
    exact: Annotated[bool, Field(description="Exactly.")] = False
    say: Annotated[Any, Cli(hidden=True)] = None


def made(job=None, *, name="sample", json=False):
    return command(SimpleNamespace(name=name, options=Sample, job=job, json=json))


def test_each_option_is_what_its_type_and_its_marks_say():
    shown = {
        one.name: (
            "/".join(one.opts),
            one.type.name,
            one.nargs,
            one.required,
            one.default if one.param_type_name == "option" and not one.is_flag else None,
            getattr(one, "multiple", None),
            getattr(one, "is_flag", None),
            getattr(one, "show_default", None) or None,
        )
        for one in made().params
    }
    unset = made().params[2].default  # however click says that there is none
    assert {name: tuple(None if part is unset else part for part in parts) for name, parts in shown.items()} == {
        "file": ("file", "path", 1, True, None, False, None, None),
        "count": ("--count", "integer", 1, True, None, False, False, None),
        "places": ("places", "path", -1, False, None, False, None, None),
        "some_words": ("--some-words", "text", 1, False, "a,b", False, False, True),
        "numbers": ("-n/--numbers", "text", 1, False, None, False, False, None),
        "kind": ("--kind", "choice", 1, False, "one", False, False, True),
        "rate": ("--rate", "float", 1, False, None, False, False, None),
        "ratio": ("--ratio", "float", 1, False, 1.5, False, False, True),
        "gates": ("--gate", "text", 1, False, None, True, False, None),
        "samples": ("--samples", "path", 1, False, None, False, False, None),
        "described": ("--described", "text", 1, False, None, False, False, None),
        "exact": ("--exact", "boolean", 1, False, None, False, True, None),
    }
    by_name = {one.name: one for one in made().params}
    assert list(by_name["kind"].type.choices) == ["one", "two"]
    assert by_name["samples"].type.type is Path
    assert (by_name["count"].help, by_name["exact"].help, by_name["numbers"].metavar) == (
        "How many.",
        "Exactly.",
        "A,B",
    )


def test_help_names_options_as_they_are_typed_and_leaves_other_words_alone():
    assert made().help == "Do it with --some-words, not with others."
    assert {key: name for key, name in option_names(Sample).items() if key in ("file", "some_words", "gates")} == {
        "file": "FILE",
        "some_words": "--some-words",
        "gates": "--gate",
    }
    bare = type("Bare", (Options,), {"__doc__": None})
    assert command(SimpleNamespace(name="bare", options=bare, job=None, json=False)).help == ""


@pytest.mark.parametrize(("name", "called"), [("sample", "sample"), ("recipe show", "show")])
def test_a_verb_of_two_words_is_called_by_its_last(name, called):
    assert made(name=name).name == called


def run(words, result, *, json=False):
    """Run the command; return what it returned, and what the job was given."""
    given = []
    returned = made(lambda **values: given.append(values) or result, json=json).main(
        ["f", *words], standalone_mode=False
    )
    return returned, given[0]


class Result(SimpleNamespace):
    """What a job returned."""

    def text(self):
        return "text"

    def to_json(self):
        return "{}"


def test_only_what_was_typed_is_handed_to_the_job_beside_the_defaults(capsys):
    returned, given = run(["--count", "3", "p", "q", "--gate", "x", "--gate", "y", "--exact"], Result())
    given.pop("say")("a step")
    assert given == {
        "file": Path("f"),
        "count": 3,
        "places": (Path("p"), Path("q")),
        "some_words": "a,b",
        "kind": "one",
        "ratio": 1.5,
        "gates": ("x", "y"),
        "exact": True,
    }
    assert returned == 0
    assert capsys.readouterr() == ("text\n", "a step\n")


def test_what_a_result_has_is_printed_and_json_has_standard_output_for_itself(capsys):
    whole = Result(remarks=("one", "two"), files=(Path("a"),), exit_code=12)
    assert run(["--count", "1"], whole, json=True)[0] == 12
    assert capsys.readouterr() == ("text\nnote: one\nnote: two\nwrote a\n", "")
    assert run(["--count", "1", "--json"], whole, json=True)[0] == 12
    assert capsys.readouterr() == ("{}\n", "note: one\nnote: two\nwrote a\n")
    with pytest.raises(click.NoSuchOption):
        run(["--count", "1", "--json"], whole)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("`some_words` and `gates` go with `others`", "--some-words and --gate go with others."),
        ("what is `file`?", "what is FILE?"),
        ("no `kind`!", "no --kind!"),
        ("no `rate`.", "no --rate."),
    ],
)
def test_an_error_names_options_as_they_are_typed(what, said):
    def refuse(**_):
        raise OptionError(what)

    with pytest.raises(click.UsageError) as failure:
        made(refuse).main(["f", "--count", "1"], standalone_mode=False)
    assert failure.value.message == said


def test_what_is_required_is_asked_for_by_name():
    with pytest.raises(click.MissingParameter) as failure:
        made().main(["f"], standalone_mode=False)
    assert failure.value.param.name == "count"
