"""A result as the last line of a cell is at most a screen."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import pytest

import workbench
from workbench.display import MOST_ROWS, Card, Shown, ShownText, counted, in_words, shortened
from workbench.errors import EditError, WorkbenchError


@pytest.fixture(scope="module")
def results(small_cnn, small_data):
    wb = workbench.open_model(small_cnn)
    done = {"prepare": wb.prepare(), "calibrate": wb.calibrate(small_data)}
    done["engines"] = wb.engines
    done["search"] = wb.plan.search("sqnr_db", at_least=15)
    done |= {"sensitivity": wb.sensitivity(), "tune": wb.tune(), "compare": wb.compare(runs=2)}
    done |= {"edit": wb.edit("fold_constants"), "build": wb.build(), "summary": wb.graph.summary()}
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        done["check"] = wb.check()
    done["inspect"] = wb.engines.inspect(done["build"])
    return done | {"workbench": wb, "recipe": wb.recipe}


NAMES = "prepare calibrate search sensitivity tune compare edit build inspect check engines summary workbench recipe"


@pytest.mark.parametrize("name", NAMES.split())
def test_a_result_is_at_most_one_screen(results, name):
    if name not in results:
        pytest.skip("TensorRT-RTX is missing")
    text, html = repr(results[name]), results[name]._repr_html_()
    assert 0 < len(text.splitlines()) <= MOST_ROWS + 10
    assert len(text) < 2500
    assert len(html) < 20_000
    assert "<strong>" in html


def test_what_is_beyond_a_screen_is_counted():
    card = Card("much", ("n",), tuple((n,) for n in range(100)), tuple(f"note {n}" for n in range(9)))
    assert f"and {100 - MOST_ROWS} more" in card.text()
    assert "and 4 more notes" in card.html()
    assert card.html().count("<tr>") == MOST_ROWS + 1


def test_a_sentence_that_is_longer_than_a_line_is_cut():
    card = Card("h" * 9999, ("name", "value"), (("n" * 999, 1.0),) * 99, ("note " * 999,) * 9)
    assert len(card.text()) < 4000
    assert len(card.html()) < 20_000


def test_one_of_something_has_no_plural():
    assert (counted(1, "edit"), counted(0, "edit"), counted(2, "edit")) == ("1 edit", "0 edits", "2 edits")


def test_engines_say_what_was_read_last(small_cnn):
    wb = workbench.open_model(small_cnn)
    assert "wb.engines.inspect(wb.build())" in repr(wb.engines)
    wb.engines.set(version_compatible=True)
    assert "builds ask for version_compatible" in repr(wb.engines)


def test_a_tensor_without_a_range_is_named_in_a_sentence(results):
    ranges = results["workbench"].ranges
    with pytest.raises(WorkbenchError, match=r"^nothing: this tensor has no range\. Those with one are") as caught:
        ranges["nothing"]
    assert isinstance(caught.value, KeyError)
    assert ranges.get("nothing") is None
    assert "nothing" not in ranges


def test_an_error_in_a_notebook_is_its_sentence(monkeypatch):
    error = EditError("it does not apply", where="conv", fix="Choose another")
    assert error._render_traceback_() == ["EditError: conv: it does not apply. Choose another"]
    monkeypatch.setenv("WORKBENCH_DEBUG", "1")
    assert "EditError" in error._render_traceback_()[-1]


def test_a_value_of_several_parts_is_said_in_words():
    assert in_words({"name": "EPYC 9654", "threads": 2}) == "EPYC 9654, threads 2"
    assert in_words("H200") == "H200"


def test_a_dataclass_shows_its_card_unless_it_says_how_it_is_shown():
    @dataclass(frozen=True)
    class Told(ShownText):
        words: str

        def text(self):
            return self.words

    @dataclass(frozen=True)
    class Own(Told):
        def __repr__(self):
            return "own"

    assert (repr(Told("a word")), repr(Own("a word"))) == ("a word", "own")


@pytest.mark.parametrize(
    ("text", "most", "left"), [("abcd", 4, "abcd"), ("abcde", 4, "abc…"), ("", 0, ""), ("ab", 1, "…")]
)
def test_a_text_that_is_too_long_loses_its_end(text, most, left):
    assert shortened(text, most) == left


ROWS = (("conv", 0.123456), ("a\n wide  name", None), ("<b>", float("nan")), ("n", 12345678))


def test_a_card_in_lines_has_columns_and_a_sentence_each():
    assert Card("It is so", ("name", "value"), ROWS, ("because", "so")).text().splitlines() == [
        "It is so",
        "  name         value",
        "  conv         0.1235",
        "  a wide name",
        "  <b>",
        "  n            12345678",
        "  because",
        "  so",
    ]
    assert Card("It is so", ("name", "value")).text() == "It is so"


def test_a_card_in_html_has_the_same_cells_and_no_markup_of_a_name():
    html = Card("<i>", ("na<me", "value"), ROWS, ("<u>",)).html()
    assert [html.count(part) for part in ("<tr>", "<th ", "<td ", "<table", "<p ")] == [5, 2, 8, 1, 2]
    assert [html.count(f"&lt;{name}") for name in ("i&gt;", "me", "b&gt;", "u&gt;")] == [1, 1, 1, 1]
    assert ">0.1235<" in html
    assert "<table" not in Card("It is so", ("name",)).html()


def test_a_text_is_a_card_whose_first_line_is_the_headline():
    assert Card.of_text("one\ntwo\nthree") == Card("one", notes=("two", "three"))
    assert Card.of_text("") == Card("")


@pytest.mark.parametrize(("rows", "notes", "more"), [(15, 5, []), (16, 6, ["and 1 more", "and 1 more notes"])])
def test_rows_and_notes_up_to_a_screen_are_shown(rows, notes, more):
    card = Card("much", ("n",), tuple((f"row{n}",) for n in range(rows)), tuple(f"note{n}" for n in range(notes)))
    for shown in (card.text(), card.html()):
        assert (shown.count("row"), shown.count("note")) == (15, 5 + ("more notes" in shown))
        assert [line for line in ("and 1 more", "and 1 more notes") if line in shown] == more


@pytest.mark.parametrize("over", [0, 1])
def test_cells_and_sentences_are_cut_at_their_bounds(over):
    card = Card("h" * (400 + over), ("n",), (("c" * (60 + over),),), ("s" * (400 + over),))
    counts = [card.text().count(letter) for letter in "hcs"]
    assert counts == ([399, 59, 399] if over else [400, 60, 400])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"max_batch": 3, "of": {"name": "a", "in": "b"}}, "max batch 3, of a, in b"),
        (["a", ("b", 3)], "a, b, 3"),
        ({}, ""),
        (None, "None"),
    ],
)
def test_names_stand_before_what_they_hold(value, words):
    assert in_words(value) == words


@pytest.mark.parametrize("kind", [Shown, ShownText])
def test_what_shows_itself_has_to_say_how(kind):
    with pytest.raises(TypeError, match="abstract"):
        kind()
