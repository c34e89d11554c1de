"""rank: be compared. Orders the answers of each prompt by rules, by a reward model, or by labels that exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from align.contract import HELDOUT, TRAIN, Context, Inputs, Metrics, rows
from align.data.files import write_records
from align.data.records import Answers, Ranking, prompt_key
from align.errors import DataError
from align.evaluation.win_rate import TIE
from align.judges.reward import RewardJudge
from align.judges.rules import RulesJudge
from align.recipe.schema import ByFile, ByReward, ByRules, Rank
from align.recipe.words import counted


def run(settings: Rank, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Write `rankings` records for the training and the held-out answers."""
    source = inputs.one("answers")
    metrics: Metrics = {}
    total = ties = comparisons = missing = 0
    for split in (TRAIN, HELDOUT):
        answers = [r for r in rows(source, split) if isinstance(r, Answers)]
        match settings.by:
            case ByRules(rules=path):
                ranked = by_scores(answers, rules_scores(answers, context.recipe_folder / path, context), path)
            case ByReward(reward=name):
                ranked = by_scores(answers, reward_scores(answers, inputs, context), name)
            case ByFile(file=name):
                labels = [r for s in (TRAIN, HELDOUT) for r in rows(inputs.one("by.file"), s)]
                ranked = by_labels(answers, [r for r in labels if isinstance(r, Ranking)])
                missing += len(answers) - len({prompt_key(r.prompt) for r in ranked})
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
    if missing:
        context.say(f"{counted(missing, 'prompt')} without a label left out")
        metrics["unlabelled_prompts"] = missing
    return {
        **metrics,
        "rankings": total,
        "comparisons": comparisons,
        "tied_share": round(ties / max(1, comparisons), 4),
    }


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
