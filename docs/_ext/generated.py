"""Parts of pages that are read out of the code while the pages are built, so that they cannot be behind it.

``{generated} house`` in a page is replaced by the Markdown that the function `house` returns.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from click import Context
from sphinx.util.docutils import SphinxDirective

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable

    from docutils import nodes
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]


class Generated(SphinxDirective):
    """What a function of this module makes."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the nodes of its Markdown."""
        return self.parse_text_to_nodes(PARTS[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def first_line(documented: Any) -> str:
    """Return the first sentence of a docstring."""
    return " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def house() -> str:
    """Return the packages from top to bottom, as the import contract has them, each with what it is for."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contract if one.get("containers") == ["workbench"])
    inner = {one["containers"][0]: one["layers"] for one in contract if "layers" in one}
    rows = []
    for layer in layers:
        for name in layer.split(" | "):
            folder = ROOT / "workbench" / name
            file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            about = (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n\n")[0].replace("\n", " ")
            parts = ", ".join(f"`{part}`" for part in inner.get(f"workbench.{name}", ()))
            rows.append((f"`{name}`", about + (f" Inside, from top to bottom: {parts}." if parts else "")))
    return table(("package", "what it is for"), rows)


def edits() -> str:
    """Return every edit with its arguments."""
    from workbench.graph.edits import EDITS

    return table(
        ("edit", "what it does", "arguments"),
        (
            (f"`{name}`", first_line(kind), ", ".join(f"`{field}`" for field in kind.model_fields if field != "do"))
            for name, kind in EDITS.items()
        ),
    )


def lints() -> str:
    """Return every lint of an engine."""
    from workbench.engine.lints import LINTS

    return table(("lint", "what it finds"), ((f"`{one.check.__name__}`", first_line(one.check)) for one in LINTS))


def targets() -> str:
    """Return every target with its precisions."""
    from workbench.precision.targets import TARGETS

    rows = []
    for one in TARGETS.values():
        since = ", ".join(f"{name} (sm{least})" if least else name for name, least in one.since.items())
        rows.append((f"`{one.name}`", since, "strongly typed" if one.strongly_typed else "weakly typed"))
    return table(("target", "precisions, and the first GPU that has them", "typing"), rows)


def steps() -> str:
    """Return every kind of step that a recipe holds, with its fields."""
    from workbench.graph.edits import EDITS
    from workbench.recipe.steps import AnyStep

    kinds = [kind for kind in flatten(AnyStep) if kind not in EDITS.values()]
    return table(
        ("`do`", "what it is", "fields"),
        ((f"`{kind.model_fields['do'].default}`", first_line(kind), fields(kind)) for kind in kinds),
    )


def gates() -> str:
    """Return what a gate can be on."""
    from workbench.recipe import METRICS

    units = {"comparison": "a comparison", "timing": "a timed engine", "engine": "an engine", "model": "the model"}
    units["field"] = "statistics of a service"
    return table(
        ("metric", "what it is", "unit", "measured on"),
        ((f"`{name}`", one.about, one.unit, units[one.source]) for name, one in METRICS.items()),
    )


def recipe() -> str:
    """Return the fields of a recipe."""
    from workbench.recipe import Recipe

    _, _, section = (inspect.getdoc(Recipe) or "").partition("Parameters\n----------\n")
    entries = re.findall(r"^(\w+)\n((?: {4}.+\n?)+)", section, re.MULTILINE)
    return table(
        ("field", "what it is"),
        ((f"`{name}`", " ".join(text.split()).replace("``", "`")) for name, text in entries),
    )


def verbs() -> str:
    """Return the help of every verb of the command line."""
    from workbench.cli.program import cli

    parts = []
    for name in cli.list_commands(Context(cli)):
        verb = cli.get_command(Context(cli), name)
        context = Context(verb, info_name=f"workbench {name}", max_content_width=84, terminal_width=84)
        parts.append(f"## {name}\n\n```text\n{verb.get_help(context)}\n```")
    return "\n\n".join(parts)


def findings() -> str:
    """Return what each script of `findings/` shows: the comment at its top."""
    rows = []
    for script in sorted((ROOT / "findings").glob("*.sh")):
        comment = re.match(r"#!.*\n((?:#.*\n)+)", script.read_text())
        about = "" if comment is None else " ".join(line.lstrip("# ") for line in comment[1].splitlines())
        rows.append((about, f"`{script.name}`"))
    return table(("behaviour", "script"), rows)


def flatten(annotation: Any) -> list[Any]:
    """Return the classes in a union, however it is nested."""
    inside = [part for part in get_args(annotation) if not isinstance(part, str)]
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [one for part in inside for one in flatten(part)]


def fields(kind: Any) -> str:
    """Return the fields of a pydantic model but the one that tells its kind."""
    return ", ".join(f"`{name}`" for name in kind.model_fields if name != "do")


PARTS = {part.__name__: part for part in (house, edits, lints, targets, steps, gates, recipe, verbs, findings)}
