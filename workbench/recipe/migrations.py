"""From a document of an earlier schema version to one of the version that is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["MIGRATIONS", "Migrations", "migrated"]

Migrations = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]

MIGRATIONS: Migrations = {}
"""Version of a recipe to what makes a document of the next version of it. All releases so far write version 1.

A new version comes with a function here, and with recipes of the last one in ``tests/data/recipes``: a test asks for
both.
"""


def migrated(content: dict[str, Any], key: str, migrations: Migrations) -> dict[str, Any]:
    """Return a document in the newest version that there is a way to.

    Parameters
    ----------
    content
        The document; it is not changed.
    key
        What holds its version.
    migrations
        Version to what makes a document of the next version of it.
    """
    while isinstance(content[key], int) and content[key] in migrations:
        version = content[key]
        content = {**migrations[version](dict(content)), key: version + 1}
    return content
