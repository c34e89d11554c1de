"""rank: be compared. Orders the answers of each prompt: by rules, a reward model, people, or labels that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from align.contract import HELDOUT, RESUME, TRAIN, Context, Inputs, Metrics, rows
from align.data.files import write_records
from align.data.records import Answers, Ranking, prompt_key
from align.errors import DataError, counted
from align.evaluation.win_rate import TIE
from align.judges.people import collect
from align.judges.reward import RewardJudge
from align.judges.rules import RulesJudge
from align.recipe.schema import ByFile, ByPeople, ByReward, ByRules, Rank


def run(settings: Rank, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Write `rankings` records for the training and the held-out answers."""
    source = inputs.one("answers")
    metrics: Metrics = {}
    total = ties = comparisons = 0
    everything = {s: [r for r in rows(source, s) if isinstance(r, Answers)] for s in (TRAIN, HELDOUT)}
    if isinstance(settings.by, ByPeople):
        said = collect(settings.by.people, everything, out / RESUME)
        rankings, figures = said.rankings, said.figures
    else:
        rankings = {s: ranked_by(settings, answers, inputs, context) for s, answers in everything.items()}
        figures = {}
    for split, ranked in rankings.items():
        if ranked:
            write_records(out / split, ranked)
        for ranking in ranked:
            placed = [r for r in ranking.ranks if r is not None]
            pairs = len(placed) * (len(placed) - 1) // 2
            total, comparisons = total + 1, comparisons + pairs
            ties += sum(a == b for i, a in enumerate(placed) for b in placed[i + 1 :])
    if total == 0:
        raise DataError(
            "no answer was ranked", where=source.name, remedy="check that the labels belong to these answers"
        )
    if isinstance(settings.by, ByFile):
        missing = sum(len(a) - len({prompt_key(r.prompt) for r in rankings[s]}) for s, a in everything.items())
        if missing:
            context.say(f"{counted(missing, 'prompt')} without a label left out")
            metrics["unlabelled_prompts"] = missing
    return {
        **metrics,
        "rankings": total,
        "comparisons": comparisons,
        "tied_share": round(ties / max(1, comparisons), 4),
        **figures,
    }


def ranked_by(settings: Rank, answers: Sequence[Answers], inputs: Inputs, context: Context) -> list[Ranking]:
    """The rankings of these answers, by whom the settings say; not by people, who are asked for all at once."""
    match settings.by:
        case ByRules(rules=path):
            return by_scores(answers, rules_scores(answers, context.recipe_folder / path, context), path)
        case ByReward(reward=name):
            return by_scores(answers, reward_scores(answers, inputs, context), name)
        case _:
            labels = [r for s in (TRAIN, HELDOUT) for r in rows(inputs.one("by.file"), s)]
            return by_labels(answers, [r for r in labels if isinstance(r, Ranking)])


def rules_scores(answers: Sequence[Answers], path: Path, context: Context) -> list[list[float]]:
    """The rules file's score of every answer, a list per prompt."""
    judge = RulesJudge(path)
    found = []
    for i, item in enumerate(answers):
        found.append([judge.score(item.prompt, a.text, item.reference, item.tags) for a in item.answers])
        context.progress("judging", i + 1, len(answers), "")
    return found


def reward_scores(answers: Sequence[Answers], inputs: Inputs, context: Context) -> list[list[float]]:
    """The reward model's score of every answer, a list per prompt."""
    if not answers:
        return []
    judge = RewardJudge(inputs.one("by.reward"), context.precision)
    report: Callable[[int, int], Any] = lambda done, of: context.progress("scoring", done, of, "")  # noqa: E731
    flat = iter(judge.score_all([(r.prompt, a.text) for r in answers for a in r.answers], report))
    return [[next(flat) for _ in item.answers] for item in answers]


def by_scores(answers: Sequence[Answers], scores: Sequence[Sequence[float]], judge: str) -> list[Ranking]:
    """Rankings from scores: 1 is best, equal scores tie, and the next rank counts those before it (1, 2, 2, 4).

    Prompts with a single answer have nothing to compare and are left out.
    """
    found = []
    for item, values in zip(answers, scores, strict=True):
        if len(item.answers) < 2:
            continue
        ranks: list[int | None] = [1 + sum(other > value + TIE for other in values) for value in values]
        ratings = {a.id: {"score": round(v, 6)} for a, v in zip(item.answers, values, strict=True)}
        found.append(
            Ranking(
                id=item.id,
                prompt=item.prompt,
                answers=item.answers,
                ranks=ranks,
                annotator=judge,
                tags=item.tags,
                reference=item.reference,
                ratings=ratings,
            )
        )
    return found


def by_labels(answers: Sequence[Answers], labels: Sequence[Ranking]) -> list[Ranking]:
    """The existing rankings of these prompts whose answers, by text, are among those sampled."""
    texts = {prompt_key(item.prompt): {a.text for a in item.answers} for item in answers}
    return [label for label in labels if {a.text for a in label.answers} <= texts.get(prompt_key(label.prompt), set())]
