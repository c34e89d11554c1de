"""The kinds of stages, and what fits where.

`ROLES` says which artifact kinds each role of a stage accepts, `MAKES` what a stage leaves behind; `check.py` holds a
recipe against both before anything runs.
"""

from __future__ import annotations

from typing import Any

from align.recipe.schema import (
    DPO,
    GRPO,
    KTO,
    ORPO,
    PPO,
    RLOO,
    SFT,
    ByPeople,
    ByRules,
    Evaluate,
    Export,
    People,
    Pretrain,
    Rank,
    Reward,
    Sample,
    SimPO,
    StageBase,
)

STAGES: dict[str, type[StageBase]] = {
    "pretrain": Pretrain,
    "sft": SFT,
    "sample": Sample,
    "rank": Rank,
    "reward": Reward,
    "dpo": DPO,
    "orpo": ORPO,
    "simpo": SimPO,
    "kto": KTO,
    "ppo": PPO,
    "grpo": GRPO,
    "rloo": RLOO,
    "evaluate": Evaluate,
    "export": Export,
}
"""Stage kind -> its settings."""

MAKES: dict[str, str] = {
    "pretrain": "policy",
    "sft": "policy",
    "sample": "answers",
    "rank": "rankings",
    "reward": "reward_model",
    "dpo": "policy",
    "orpo": "policy",
    "simpo": "policy",
    "kto": "policy",
    "ppo": "policy",
    "grpo": "policy",
    "rloo": "policy",
    "evaluate": "evaluation",
    "export": "export",
}
"""Stage kind -> the artifact kind it leaves behind."""

COMPARED = ("rankings", "preferences")
ASKED = ("prompts", "answers", "rankings", "preferences", "demonstrations", "feedback")

ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "pretrain": {"data": ("corpus", "demonstrations", "preferences", "rankings")},
    "sft": {"model": ("policy",), "data": ("demonstrations", *COMPARED)},
    "sample": {"model": ("policy",), "prompts": ASKED},
    "rank": {"answers": ("answers",), "by.reward": ("reward_model",), "by.file": ("rankings",)},
    "reward": {"model": ("policy",), "data": COMPARED},
    "dpo": {"model": ("policy",), "data": COMPARED},
    "orpo": {"model": ("policy",), "data": COMPARED},
    "simpo": {"model": ("policy",), "data": COMPARED},
    "kto": {"model": ("policy",), "data": ("feedback", *COMPARED)},
    "ppo": {
        "model": ("policy",),
        "prompts": ASKED,
        "reward": ("reward_model",),
        "demonstrations": ("demonstrations", *COMPARED),
    },
    "grpo": {"model": ("policy",), "prompts": ASKED, "reward": ("reward_model",)},
    "rloo": {"model": ("policy",), "prompts": ASKED, "reward": ("reward_model",)},
    "evaluate": {
        "models": ("policy",),
        "prompts": ASKED,
        "judge": ("reward_model",),
        "reward": ("reward_model",),
        "data": COMPARED,
    },
    "export": {"model": ("policy",)},
}
"""Stage kind -> role -> the artifact kinds it accepts. A dotted role is a field inside `by:`."""


def references(stage: StageBase) -> dict[str, list[str]]:
    """Role -> the names a stage reads in that role, in the order written. Roles left empty are absent."""
    found: dict[str, list[str]] = {}
    for role in ROLES[stage.kind]:  # type: ignore[attr-defined]
        value: Any = stage
        for part in role.split("."):
            value = getattr(value, part, None)
        names = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]
        if names:
            found[role] = names
    return found


def rules_files(stage: StageBase) -> dict[tuple[str | int, ...], str]:
    """The rules files a stage ranks, judges or rewards by, as written in the recipe, by their place in the stage."""
    found: dict[tuple[str | int, ...], str] = {}
    for field in ("by", "judge", "reward"):
        value = getattr(stage, field, None)
        if isinstance(value, ByRules):
            found[field, "rules"] = value.rules
        elif isinstance(value, list):
            found |= {(field, i, "rules"): v.rules for i, v in enumerate(value) if isinstance(v, ByRules)}
    return found


def people_of(stage: StageBase) -> People | None:
    """What a stage asks of people; None if it asks them nothing."""
    by = getattr(stage, "by", None)
    return by.people if isinstance(by, ByPeople) else None


def files_of(stage: StageBase) -> list[tuple[str, str]]:
    """The files that decide what a stage makes: as written in the recipe, and in words."""
    found = [(file, f"the rules file {file}") for file in rules_files(stage).values()]
    people = people_of(stage)
    if people is not None and people.guidelines:
        found.append((people.guidelines, f"the file of guidelines {people.guidelines}"))
    return found
