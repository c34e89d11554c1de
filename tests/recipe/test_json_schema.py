"""The JSON Schema for editors, and the docstring under every field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from align.recipe import schema as contract
from align.recipe.json_schema import DIALECT, json_schema
from align.recipe.schema import StageBase
from align.recipe.wiring import MAKES, ROLES, STAGES

CLASSES = [
    value
    for value in vars(contract).values()
    if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == contract.__name__
]


@pytest.mark.parametrize("settings", CLASSES, ids=lambda c: c.__name__)
def test_every_field_has_a_docstring(settings: type[BaseModel]) -> None:
    assert settings.__doc__
    undocumented = [name for name, field in settings.model_fields.items() if name != "kind" and not field.description]
    assert undocumented == []


def test_the_schema_is_json_with_descriptions() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == DIALECT
    assert schema["title"] == "Recipe of align"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "stages"]
    dpo = schema["$defs"]["DPO"]["properties"]
    assert dpo["beta"] == {
        "default": 0.1,
        "description": "Strength of the pull towards the reference.",
        "exclusiveMinimum": 0,
        "title": "Beta",
        "type": "number",
    }


def test_stages_are_told_apart_by_their_kind() -> None:
    items = json_schema()["properties"]["stages"]["items"]
    assert items["discriminator"]["propertyName"] == "kind"
    assert set(items["discriminator"]["mapping"]) == set(STAGES)
    assert len(items["oneOf"]) == len(STAGES)


def test_every_reference_leads_somewhere() -> None:
    schema = json_schema()
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(value[key] for key in ("$ref",) if isinstance(value.get(key), str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(schema)
    assert found
    assert {ref.removeprefix("#/$defs/") for ref in found} <= set(schema["$defs"])


def test_the_tables_of_kinds_are_complete() -> None:
    for kind, settings in STAGES.items():
        assert f"'{kind}'" in str(settings.model_fields["kind"].annotation)
    assert set(MAKES) == set(ROLES) == set(STAGES)
    for kind, roles in ROLES.items():
        for role in roles:
            assert role.split(".")[0] in STAGES[kind].model_fields
    named = {settings for settings in CLASSES if issubclass(settings, StageBase) and "kind" in settings.model_fields}
    assert named == set(STAGES.values())
