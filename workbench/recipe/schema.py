"""The recipe's form as JSON Schema, for editors and other programs."""

from __future__ import annotations

import json
from typing import Any

from workbench.recipe.document import Recipe

__all__ = ["recipe_schema"]


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a recipe, made from the classes that read it."""
    schema = Recipe.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        if "description" in part:
            part["description"] = " ".join(part["description"].split("\n\n")[0].split())
    schema["required"] = ["workbench", *schema["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **json.loads(json.dumps(schema))}
