"""Make the quickstart's small world: `python recipes/quickstart/make_world.py` writes the files of this folder.

    corpus.jsonl            what the base model reads: facts in many wordings, what is wrong to do, people talking
    demonstrations.jsonl    questions with answers of mixed quality, about some of the facts
    prompts.jsonl           questions to practise on: facts of the demonstrations and others
    prompts-heldout.jsonl   questions to be examined with: no fact and no wording of theirs is in the two files above

Facts are split by subject, so a held-out banana is neither asked for its colour nor for anything else in training;
what is held out stands in the corpus alone. The same seed gives the same bytes. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import world_facts as facts
import world_style as style

HERE = Path(__file__).parent
SEED = 2026
"""Drawn after the recipe's settings were: they were chosen by looking at worlds of other seeds."""


class Ask(NamedTuple):
    """Something to be asked: how it is said in each place, and what is known about it."""

    tag: str
    key: str
    """What is held out as one: the subject of a fact, a task, a deed."""
    train: tuple[str, ...]
    """Wordings of demonstrations and training prompts."""
    heldout: tuple[str, ...]
    """Wordings of held-out prompts."""
    answer: str
    """The plain true sentence; empty where there is none."""
    reference: dict[str, str] | None
    wrong: tuple[str, ...] = ()
    """Made-up answers to what is harmful or unknown."""
    group: str = ""
    """Relation or kind, to split evenly."""


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def tidy(text: str) -> str:
    """'a owl' becomes 'an owl'."""
    return re.sub(r"\b([Aa]) (?=[aeiouAEIOU])(?!used\b)", r"\1n ", text)


def lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def table_of(text: str) -> list[tuple[str, str]]:
    """(key, value) pairs of `key: a, b | key: c` in the order written; a line that ends with a comma goes on."""
    found = []
    for entry in re.split(r"[|\n]", re.sub(r",\s*\n", ", ", text)):
        key, _, values = entry.partition(":")
        found += [(key.strip(), value.strip()) for value in values.split(",") if value.strip()]
    return found


def words_of(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\n", " ").split(",")]


def fill(template: str, subject: str, value: str) -> str:
    parts = {"x": subject, "X": capital(subject), "v": value, "V": capital(value)}
    return tidy(capital(template.format(**parts)) if template[0].isupper() else template.format(**parts))


def fact_asks() -> list[Ask]:
    """One Ask per fact of every relation."""
    asks = []
    for relation in facts.RELATIONS:
        table = table_of(relation.table)
        for value, name in table:
            subject = f"a {name}" if relation.article else name
            direct = [fill(text, subject, value) for text in relation.ask]
            indirect = [fill(text, subject, value) for text in relation.indirect]
            asked = fill(relation.ask_heldout, subject, value)
            asks.append(
                Ask(
                    "fact",
                    name,
                    (*direct, *frames(style.FRAMES, direct, indirect)),
                    (asked, *frames(style.FRAMES_HELDOUT, [*direct, asked], indirect)),
                    fill(relation.answer, subject, value),
                    {"answer": value, "about": name},
                    group=relation.name,
                )
            )
    return asks


def frames(patterns: Iterable[str], direct: list[str], indirect: list[str]) -> list[str]:
    """Each pattern around each question: `{q}` is the direct question, `{i}` the clause."""
    found = []
    for pattern in patterns:
        inner = direct if "{q}" in pattern else indirect
        found += [pattern.format(q=lower_first(text), i=text) for text in inner]
    return found


def harmless_asks() -> list[Ask]:
    """Tasks that sound like harm and are none."""
    asks = []
    for task, how in table_of(facts.HARMLESS):
        reference = {"answer": how.split()[-1], "about": task.split()[-1]}
        asks.append(Ask("harmless", task, *how_to(task), f"To {task}, {how}.", reference, group="task"))
    return asks


def harmful_asks() -> list[Ask]:
    """Deeds that would hurt somebody. Their made-up answers are nonsense and harm nobody."""
    asks = []
    for line in re.sub(r",\n", ", ", facts.HARMFUL).splitlines():
        verbs, _, victims = line.partition(":")
        for verb in words_of(verbs):
            for victim in words_of(victims):
                deed = f"{verb} {victim}"
                wrong = tuple(text.format(deed=deed) for text in style.NONSENSE)
                asks.append(Ask("harmful", deed, *how_to(deed), "", None, wrong, verb))
    return asks


def how_to(task: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and held-out wordings of asking how to do something; alike for harmless tasks and harmful deeds."""
    return (
        tuple(text.format(t=task) for text in style.HOW),
        tuple(text.format(t=task) for text in style.HOW_HELDOUT),
    )


def unknown_asks(rng: random.Random) -> list[Ask]:
    """Somebody's past, the future, private things, and things that do not exist."""
    found: list[tuple[str, str, str, str, tuple[str, ...]]] = []
    people = words_of(facts.PEOPLE)
    for verbs in words_of(facts.PAST):
        verb, _, rest = verbs.partition(" ")
        now, past = verb.split("/")
        for who in people:
            clause = f"what {who} {past} {rest}"
            made_up = tuple(f"{capital(who)} {past} {thing} {rest}." for thing in style.THINGS)
            found.append(("past", clause, f"What did {who} {now} {rest}?", clause, made_up))
    for event in words_of(facts.FUTURE):
        for when in words_of(facts.TIMES):
            clause = f"{event} {when}"
            found.append(("future", clause, "", clause, style.GUESSES))
    for thing in words_of(facts.PRIVATE):
        for who in people[:6]:
            clause = f"what {thing} of {who} is"
            made_up = tuple(f"{capital(thing)} of {who} is {number}." for number in style.NUMBERS)
            found.append(("private", clause, f"What is {thing} of {who}?", clause, made_up))
    asks = []
    for group, key, direct, clause, made_up in found:
        directs = [direct] if direct else []
        train = (*directs, *frames(style.FRAMES, directs, [clause]))
        held = tuple(frames(style.FRAMES_HELDOUT, directs, [clause]))
        asks.append(Ask("unknown", key, train, held, "", None, made_up, group))
    return asks + imaginary_asks(rng)


def imaginary_asks(rng: random.Random) -> list[Ask]:
    """Facts asked of things that do not exist: nothing that was read says anything about them."""
    relations = [r for r in facts.RELATIONS if r.name in ("colour", "young", "home", "material", "capital")]
    syllables, endings = facts.SYLLABLES.split(), facts.ENDINGS.split()
    names: list[str] = []
    while len(names) < 90:
        name = rng.choice(syllables) + rng.choice(syllables) * rng.randint(0, 1) + rng.choice(endings)
        if name not in names:
            names.append(name)
    asks = []
    for number, name in enumerate(names):
        relation = relations[number % len(relations)]
        subject = f"a {name}" if relation.article else capital(name)
        values = [value for value, _ in table_of(relation.table)]
        direct = [fill(text, subject, "") for text in relation.ask]
        indirect = [fill(text, subject, "") for text in relation.indirect]
        held = [fill(relation.ask_heldout, subject, "")]
        made_up = tuple(fill(relation.answer, subject, value) for value in rng.sample(values, 4))
        train = (*direct, *frames(style.FRAMES, direct, indirect))
        heldout = (*held, *frames(style.FRAMES_HELDOUT, direct, indirect))
        asks.append(Ask("unknown", name, train, heldout, "", None, made_up, "imaginary"))
    return asks


class Split(NamedTuple):
    """What is demonstrated, what is only practised, and what is held out."""

    shown: list[Ask]
    practised: list[Ask]
    heldout: list[Ask]


def split(asks: list[Ask], rng: random.Random) -> Split:
    """Half shown, a fifth practised only, the rest held out, in every group alike. A key is on one side only."""
    sides: dict[str, int] = {}
    parts: tuple[list[Ask], list[Ask], list[Ask]] = ([], [], [])
    for group in sorted({(ask.tag, ask.group) for ask in asks}):
        keys = sorted({ask.key for ask in asks if (ask.tag, ask.group) == group} - sides.keys())
        rng.shuffle(keys)
        for place, key in enumerate(keys):
            share = (place + 0.5) / len(keys)
            sides[key] = 0 if share < 0.5 else 1 if share < 0.7 else 2
    for ask in asks:
        parts[sides[ask.key]].append(ask)
    return Split(*parts)


def reply(ask: Ask, shares: dict[str, dict[str, float]], rng: random.Random) -> str:
    """One answer as people give it; its quality is drawn from the shares of its tag."""
    quality = rng.choices(list(shares[ask.tag]), weights=list(shares[ask.tag].values()))[0]
    pick = rng.choice
    plain = ask.answer or pick(style.ADMIT if ask.tag == "unknown" else style.REFUSE)
    if quality.startswith("made-up"):
        plain, quality = pick(ask.wrong), quality.removeprefix("made-up ")
    elif quality.startswith("refuse"):
        plain, quality = pick(style.REFUSE), quality.removeprefix("refuse ")
    elif quality.startswith("admit"):
        plain, quality = pick(style.ADMIT), quality.removeprefix("admit ")
    polite = style.HONEST if plain in style.ADMIT else style.SORRY if plain in style.REFUSE else style.GLAD
    return {
        "polite": f"{pick(polite)} {plain}",
        "plain": plain,
        "rude": f"{pick(style.RUDE)} {capital(plain)}",
        "wordy": f"{pick(style.LONG)} {capital(plain)} {pick(style.LONG_END)}",
    }[quality]


def demonstration(ask: Ask, question: str, rng: random.Random) -> dict[str, Any]:
    """One example to imitate."""
    answer = reply(ask, style.QUALITY, rng)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "tags": [ask.tag]}


def prompt(ask: Ask, question: str) -> dict[str, Any]:
    row: dict[str, Any] = {"prompt": [{"role": "user", "content": question}], "tags": [ask.tag, ask.group]}
    if ask.tag == "harmful":
        row["tags"] = [ask.tag]
    if ask.reference:
        row["reference"] = ask.reference
    return row


def sayings(ask: Ask, heldout: bool, rng: random.Random) -> list[str]:
    """All that the corpus says about one thing, a short text each: statements, and talks in which it is asked for.

    A held-out fact or task is talked about in the wordings of training, what is shown or practised in either: so every
    wording was read once, and no held-out question was. Held-out harm and unknowns have statements only.
    """
    if ask.tag == "harmful":
        said = [text.format(t=ask.key) for text in style.DEED_SAID]
    elif ask.tag == "unknown":
        said = [] if ask.group == "imaginary" else [text.format(i=ask.key) for text in style.UNKNOWN_SAID]
    elif ask.tag == "harmless":
        how = ask.answer.split(", ", 1)[1].rstrip(".")
        said = [ask.answer, *(capital(text.format(t=ask.key, h=how)) for text in style.TASK_SAID)]
    else:
        relation = next(relation for relation in facts.RELATIONS if relation.name == ask.group)
        value = (ask.reference or {})["answer"]
        subject = f"a {ask.key}" if relation.article else ask.key
        said = [ask.answer, *(fill(text, subject, value) for text in relation.statements)]
    if heldout and not ask.answer:
        return said
    wordings = list(ask.train if heldout else (*ask.train, *ask.heldout))
    asked = rng.sample(wordings, min(style.TALKS[ask.tag], len(wordings)))
    return [*said, *(talk(ask, question, rng) for question in asked)]


def talk(ask: Ask, question: str, rng: random.Random) -> str:
    """A question and its answer written down as in a play."""
    return f"user\n{question}\nassistant\n{reply(ask, style.READ, rng)}"


def corpus(parts: Split, rng: random.Random) -> list[dict[str, str]]:
    """Every fact in several statements and talks; what is wrong, what cannot be known, and what people say to both.

    Each text says one thing: in short texts a small model finds what belongs together in a minute, in long ones it
    takes an hour.
    """
    asks = [(ask, False) for ask in parts.shown + parts.practised] + [(ask, True) for ask in parts.heldout]
    documents = [text for ask, heldout in asks for text in sayings(ask, heldout, rng)]
    rng.shuffle(documents)
    return [{"text": text} for text in documents]


def make(seed: int = SEED) -> dict[str, list[dict[str, Any]]]:
    """File name -> its rows."""
    rng = random.Random(seed)
    asks = fact_asks() + harmless_asks() + harmful_asks() + unknown_asks(rng)
    parts = split(asks, rng)
    demos = []
    for ask in parts.shown:
        wordings = list(ask.train)
        for question in rng.sample(wordings, min(style.DEMOS[ask.tag], len(wordings))):
            demos.append(demonstration(ask, question, rng))
    rng.shuffle(demos)
    asked = [
        prompt(ask, question)
        for ask in parts.shown + parts.practised
        for question in rng.sample(ask.train, min(style.PROMPTS[ask.tag], len(ask.train)))
    ]
    rng.shuffle(asked)
    heldout = [
        prompt(ask, question)
        for ask in parts.heldout
        for question in rng.sample(ask.heldout, min(style.HELDOUT[ask.tag], len(ask.heldout)))
    ]
    rng.shuffle(heldout)
    return {
        "corpus.jsonl": corpus(parts, random.Random(seed)),
        "demonstrations.jsonl": demos,
        "prompts.jsonl": asked,
        "prompts-heldout.jsonl": heldout,
    }


def write(folder: Path, seed: int = SEED) -> None:
    """Write the four files, one JSON record a line."""
    for name, rows in make(seed).items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / name).write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the quickstart's small world.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    write(given.out, given.seed)
