"""What the pages say of the code is so. The examples in them are run by `tests.kit.examples`."""

from __future__ import annotations

import re
import runpy

import pytest
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from tests.kit.places import ROOT
from workbench import errors
from workbench.cli import program
from workbench.jobs import verbs

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = {"bash", "python", "yaml"}
SHOWN = {"text"}


def test_the_table_of_exit_codes_is_that_of_the_code():
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    kinds = [getattr(errors, name) for name in errors.__all__]
    of_errors = {kind.exit_code for kind in kinds if issubclass(kind, errors.WorkbenchError)}
    of_verbs = {verbs.EXIT_GATE, program.EXIT_INTERNAL, program.EXIT_INTERRUPTED, verbs.EXIT_REFUSED}
    assert documented == {0, 2} | of_errors | of_verbs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_a_page_is_run_or_says_that_it_is_only_shown(page):
    fences = [token for token in MarkdownIt().parse(page.read_text()) if token.type == "fence"]
    unknown = {fence.info for fence in fences if not fence.info.startswith("{")} - RUN - SHOWN
    assert not unknown, f"give each block one of the languages {RUN | SHOWN}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_pictures_of_a_page_are_there(page):
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    targets += re.findall(r"(?:src|srcset)=\"(?!https?:)([^\"]+)\"", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_the_repository_that_a_page_names_are_there(page):
    named = re.findall(r"`((?:workbench|tests|docs|notebooks|benchmarks|sample_models)/[\w./-]+)`", page.read_text())
    real = [name.partition("FAMILY")[0] if "FAMILY" in name else name.partition("NAME")[0] for name in named]
    assert [name for name in real if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()] == []


def test_what_the_pages_say_is_in_a_file_is_there():
    text = "\n".join(page.read_text() for page in PAGES)
    places = [(file, name) for name, file in re.findall(r"`(\w+)` in\s`(workbench/[\w./]+\.py)`", text)]
    places += re.findall(r"`(workbench/[a-z_/]+\.py)`: [^`.]*`(\w+)`", text)
    absent = [
        (file, name)
        for file, name in places
        if not re.search(rf"^\s*(?:def |class )?{name}\b(?: =|[:(])", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert len(places) > 10
    assert absent == []


def test_no_attribute_of_a_picture_or_link_is_left_in_the_text():
    # Without its extension {.only-light} is text, and a reader sees the pictures of both themes.
    extensions = runpy.run_path(str(ROOT / "docs/conf.py"))["myst_enable_extensions"]
    parser = create_md_parser(MdParserConfig(enable_extensions=set(extensions)), RendererHTML)
    texts = [
        (page.name, child.content)
        for page in PAGES
        for token in parser.parse(page.read_text())
        for child in token.children or ()
        if child.type == "text"
    ]
    assert [text for text in texts if re.search(r"\{[.#][\w-]+\}", text[1])] == []
