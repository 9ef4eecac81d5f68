"""From a file to the plain values of a recipe, and what is wrong with them in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import yaml

from workbench.errors import RecipeError
from workbench.limits import check, check_document
from workbench.names import near
from workbench.recipe.migrations import migrated

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel, ValidationError

    from workbench.recipe.migrations import Migrations

__all__ = ["SourceText", "dumped", "read_document", "what_is_wrong"]


@dataclass(frozen=True)
class SourceText:
    """The text that a recipe was loaded from, for its comments; recipes are equal whatever it is."""

    text: str = field(default="", compare=False)


class _Loader(yaml.SafeLoader):
    """Reads plain values only, and refuses a key that is there twice: YAML itself takes the last one, silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in seen:
                twice = f"the key {key.value!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, twice, key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def dumped(content: dict[str, Any]) -> str:
    """Return plain values as a document."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    # The one character that PyYAML writes as it is and reads back as a space.
    return text if "\x85" not in text else yaml.safe_dump(content, sort_keys=False, width=120)


def read_document(
    path: Path, schema: int, *, key: str = "workbench", migrations: Migrations = MappingProxyType({})
) -> tuple[str, dict[str, Any]]:
    """Read a document of this schema version, or of one that there is a way from.

    Parameters
    ----------
    path
        The file.
    schema
        The version that is read.
    key
        What the document's first line is, with its version.
    migrations
        Ways from earlier versions.

    Returns
    -------
    tuple
        Its text, and its content in this version.

    Raises
    ------
    RecipeError
        Not readable, no recipe, or of another version.
    """
    try:
        check("document_mib", path.stat().st_size / 2**20, RecipeError, where=path)
        text = path.read_text(encoding="utf-8")
        content = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except IsADirectoryError as error:
        inside = path / "recipe.yaml"
        raise RecipeError("a folder, and no recipe", where=path, fix=f"Name the file in it: {inside}.") from error
    except FileNotFoundError as error:
        raise RecipeError("no such file", where=path, fix="Check the path.") from error
    except RecursionError as error:
        raise RecipeError("nested far too deep for a recipe", where=path, fix="Restore it from a copy.") from error
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:  # YAML's own types raise the others
        raise RecipeError(
            f"not readable as YAML: {_reason(error)}", where=path, fix="Restore it from a copy."
        ) from error
    check_document(content, RecipeError, where=path)
    if not isinstance(content, dict) or key not in content:
        what = "recipe" if key == "workbench" else key
        raise RecipeError(f"not a {what}", where=path, fix=f"A {what} starts with '{key}: {schema}'.")
    written, content = content[key], migrated(content, key, migrations)
    if content[key] != schema:
        newer = isinstance(written, int) and written > schema
        raise RecipeError(
            f"schema version {written}; this workbench reads version {schema}",
            where=path,
            fix="A newer release wrote it: pip install --upgrade trt-workbench."
            if newer
            else "Use the release of trt-workbench that wrote it.",
        )
    return text, content


def _reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        return error.problem + ("" if mark is None else f", line {mark.line + 1}")
    return (str(error).splitlines() or [type(error).__name__])[0]


def what_is_wrong(error: ValidationError, kind: type[BaseModel]) -> str:
    """Return the first thing that is wrong, its place first; a misspelt name with the one that it may have been.

    Parameters
    ----------
    error
        What pydantic found.
    kind
        The class of the whole document.
    """
    # An unknown key is why another one is missing, and says more.
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = [name for one in _kinds_at(kind, first["loc"][:-1]) for name in one.model_fields]
        return f"{place}: there is no such key; {near(str(first['loc'][-1]), fields)}"
    if first["type"] == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in first["ctx"]["expected_tags"].split(",")]
        return f"{place}: there is no step {first['ctx']['tag']!r}; {near(str(first['ctx']['tag']), tags)}"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"


def _kinds_at(kind: Any, location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """Return the classes that may stand at a place of a document."""
    kinds = _kinds(kind)
    for part in location:
        if isinstance(part, int):
            continue
        inside = [one.model_fields[part].annotation for one in kinds if part in one.model_fields]
        tagged = [one for one in kinds if "do" in one.model_fields and one.model_fields["do"].default == part]
        # A name that is no field is a key of the mapping that the field before holds.
        kinds = tagged or ([inner for annotation in inside for inner in _kinds(annotation)] if inside else kinds)
    return kinds


def _kinds(annotation: Any) -> list[type[BaseModel]]:
    """Return the pydantic models in a type, however it is nested."""
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [inner for part in get_args(annotation) for inner in _kinds(part)]
