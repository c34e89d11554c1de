"""The records of every dataset: one class per artifact kind, the same names as TRL's where TRL has one.

A record is frozen and strict: an unknown key is an error. What a public format carries beyond these fields goes to
`meta`, so that importing loses nothing. `id`s are stable hashes of content unless the file brings its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Role = Literal["system", "user", "assistant", "tool"]


class Record(BaseModel):
    """What all records share: strict fields, a stable id, and a place for what else came with the row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fill_id(self) -> Record:
        if not self.id:
            object.__setattr__(self, "id", stable_id(self.model_dump(exclude={"id", "meta"})))
        return self


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: str


Conversation = Annotated[list[Message], Field(min_length=1)]


class Text(Record):
    """A plain document, for pretraining. Artifact kind: `corpus`."""

    text: str = Field(min_length=1)


class Prompt(Record):
    """What is asked, and (for judges) what a right answer would hold. Artifact kind: `prompts`."""

    prompt: Conversation
    tags: list[str] = Field(default_factory=list)
    reference: Any = None


class Demonstration(Record):
    """A conversation to imitate; it ends with the assistant. Artifact kind: `demonstrations`."""

    messages: Conversation
    tags: list[str] = Field(default_factory=list)


class Answer(BaseModel):
    """One answer to a prompt: who wrote it, and how it was sampled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    text: str
    model: str = ""
    sampling: dict[str, Any] = Field(default_factory=dict)


class Answers(Record):
    """A prompt with the answers sampled for it. Artifact kind: `answers`."""

    prompt: Conversation
    answers: list[Answer] = Field(min_length=1)
    tags: list[str] = Field(default_factory=list)
    reference: Any = None


class Ranking(Record):
    """One annotator's order of K answers. Artifact kind: `rankings`.

    ranks[i] belongs to answers[i]: 1 is best, equal ranks are a tie, None was not ranked.
    """

    prompt: Conversation
    answers: list[Answer] = Field(min_length=2)
    ranks: list[int | None]
    annotator: str
    tags: list[str] = Field(default_factory=list)
    reference: Any = None
    margin: float | None = None
    ratings: dict[str, dict[str, float]] | None = None
    comment: str | None = None
    edit: dict[str, str] | None = None
    seconds: float | None = None
    time: str | None = None

    @model_validator(mode="after")
    def _ranks_fit(self) -> Ranking:
        if len(self.ranks) != len(self.answers):
            raise ValueError(f"ranks has {len(self.ranks)} entries for {len(self.answers)} answers; give one each")
        if any(rank is not None and rank < 1 for rank in self.ranks):
            raise ValueError(f"ranks {self.ranks} holds a rank below 1; 1 is best")
        return self


class Preference(Record):
    """Two continuations of one prompt, the better one first. Artifact kind: `preferences`."""

    prompt: Conversation
    chosen: Conversation
    rejected: Conversation
    margin: float | None = None
    source: str = ""
    tags: list[str] = Field(default_factory=list)


class Feedback(Record):
    """A thumb up or down for one answer. Artifact kind: `feedback`."""

    prompt: Conversation
    completion: Conversation
    label: bool
    edit: str | None = None
    comment: str | None = None
    annotator: str = ""
    time: str | None = None
    tags: list[str] = Field(default_factory=list)


RECORDS: dict[str, type[Record]] = {
    "corpus": Text,
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "answers": Answers,
    "rankings": Ranking,
    "preferences": Preference,
    "feedback": Feedback,
}
"""Artifact kind -> the class of its records."""


CHINESE = "\u4e00-\u9fff"
WORD = re.compile(f"[{CHINESE}]|[^\\s{CHINESE}\u3000-\u303f\uff00-\uffef]+")


def count_words(text: str) -> int:
    """Words of a text: what stands between spaces, and each Chinese character (its marks count for none)."""
    return len(WORD.findall(text))


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal content, equal text. Not ASCII-escaped, so Chinese stays Chinese."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def stable_id(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def prompt_key(messages: Sequence[Message]) -> str:
    """The hash that decides the split: equal prompts, whatever their record's id, fall on the same side."""
    return stable_id([[m.role, m.content] for m in messages])


def prompt_of(record: Record) -> list[Message] | None:
    """The conversation a record answers: its prompt, or a demonstration's turns before the last. None for texts."""
    if isinstance(record, Demonstration):
        return list(record.messages[:-1]) or list(record.messages)
    prompt = getattr(record, "prompt", None)
    return list(prompt) if prompt else None


def pairs_of(ranking: Ranking) -> list[tuple[Answer, Answer, int]]:
    """Every strict comparison in a ranking as (better, worse, rank gap). K answers without ties give K(K-1)/2.

    Ties, unranked answers and answers of equal text give none here; a trainer that models ties reads the ranking
    itself.
    """
    placed = [(a, r) for a, r in zip(ranking.answers, ranking.ranks, strict=True) if r is not None]
    return [(a, b, rb - ra) for a, ra in placed for b, rb in placed if ra < rb and a.text != b.text]
