"""The recipe's JSON Schema, for editors: completion, checks while typing, and each field's docstring on hover."""

from __future__ import annotations

from typing import Any

from align.recipe.schema import Recipe

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe; `align schema` prints it."""
    schema = Recipe.model_json_schema()
    schema["title"] = "Recipe of align"
    return {"$schema": DIALECT, **schema}
