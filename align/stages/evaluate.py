"""evaluate: the exam. Policies on held-out prompts against the first of them; reward models on held-out comparisons."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from align.artifacts import Artifact
from align.contract import HELDOUT, TRAIN, Context, Inputs, Metrics, rows
from align.data.chat import as_dicts
from align.data.comparisons import comparisons
from align.data.records import Prompt, count_words, prompt_key
from align.errors import DataError
from align.evaluation.calibration import calibration
from align.evaluation.reward_accuracy import (
    accuracy,
    annotator_agreement,
    by_length,
    by_tag,
    longer_wins,
    tfidf_baseline,
    ties,
)
from align.evaluation.win_rate import win_rate
from align.judges.reward import RewardJudge
from align.judges.rules import RulesJudge
from align.models.generate import Sampled, Sampling
from align.recipe.schema import ByRules, Evaluate
from align.stages.reward import score_margins
from align.stages.sample import Asking, answer_all, distinct_prompts


def run(settings: Evaluate, inputs: Inputs, out: Path, context: Context) -> Metrics:
    """Write evaluation.json (the figures) and answers.jsonl (what every policy said)."""
    result: dict[str, Any] = {"judge": None, "baseline": None, "prompts": 0, "models": [], "reward": []}
    metrics: Metrics = {}
    if settings.models:
        compare_policies(settings, inputs, out, context, result)
        for model in result["models"]:
            metrics[f"{model['name']}_score"] = round(model["score"], 4)
            if model["win_rate"]:
                metrics[f"{model['name']}_win_rate"] = round(model["win_rate"]["rate"], 4)
    for artifact in inputs.all("reward"):
        result["reward"].append(measure_reward(artifact, inputs.one("data"), context))
        metrics[f"{artifact.name}_accuracy"] = round(result["reward"][-1]["accuracy"]["rate"], 4)
        metrics[f"{artifact.name}_ece"] = round(result["reward"][-1]["calibration"]["ece"], 4)
    (out / "evaluation.json").write_text(json.dumps(result, indent=1, ensure_ascii=False), "utf-8")
    return metrics


def compare_policies(settings: Evaluate, inputs: Inputs, out: Path, context: Context, result: dict[str, Any]) -> None:
    """Ask every policy the held-out prompts, judge all answers in one go, and fill `result`."""
    source = inputs.one("prompts")
    prompts = distinct_prompts(rows(source, HELDOUT))[: settings.limit]
    if not prompts:
        raise DataError(
            "there is no held-out prompt to ask", where=source.name, remedy="add holdout: 0.1 to the prompts' source"
        )
    sampling = Sampling(settings.temperature, 1.0, settings.max_new_tokens)
    asking = Asking(sampling, settings.per_prompt, settings.batch_size)
    policies = inputs.all("models")
    said = {p.name: answer_all(p, prompts, asking, out, context) for p in policies}
    scores, measures = judge_all(settings, inputs, prompts, said, context)
    baseline = policies[0].name
    means = {name: [fmean(values) for values in by_prompt] for name, by_prompt in scores.items()}
    result.update(judge=_judge_name(settings), baseline=baseline, prompts=len(prompts))
    for name in said:
        texts = [one.text for answers in said[name].values() for one in answers]
        result["models"].append(
            {
                "name": name,
                "score": fmean(means[name]),
                "win_rate": None if name == baseline else win_rate(means[name], means[baseline], context.seed),
                "measures": {k: {"value": fmean(v), "n": len(v)} for k, v in measures[name].items()},
                "mean_words": fmean(count_words(text) for text in texts),
            }
        )
    with (out / "answers.jsonl").open("w", encoding="utf-8") as file:
        for i, prompt in enumerate(prompts):
            answers = {
                name: {"text": said[name][prompt_key(prompt.prompt)][0].text, "score": scores[name][i][0]}
                for name in said
            }
            row: dict[str, Any] = {"id": prompt.id, "prompt": as_dicts(prompt.prompt), "tags": prompt.tags}
            row |= {"reference": prompt.reference, "answers": answers}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def judge_all(
    settings: Evaluate,
    inputs: Inputs,
    prompts: Sequence[Prompt],
    said: dict[str, dict[str, list[Sampled]]],
    context: Context,
) -> tuple[dict[str, list[list[float]]], dict[str, dict[str, list[float]]]]:
    """Scores by policy, prompt and answer, and the judge's measures by policy (values over all its answers)."""
    scores: dict[str, list[list[float]]] = {}
    measures: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in said}
    if isinstance(settings.judge, ByRules):
        judge = RulesJudge(context.recipe_folder / settings.judge.rules)
        for name, answers in said.items():
            scores[name] = []
            for p in prompts:
                texts = [one.text for one in answers[prompt_key(p.prompt)]]
                scores[name].append([judge.score(p.prompt, t, p.reference, p.tags) for t in texts])
                for text in texts:
                    for key, value in judge.measures(p.prompt, text, p.reference, p.tags).items():
                        measures[name][key].append(value)
        return scores, measures
    reward = RewardJudge(inputs.one("judge"), context.precision)
    for name, answers in said.items():
        items = [(p.prompt, one.text) for p in prompts for one in answers[prompt_key(p.prompt)]]
        flat = iter(reward.score_all(items, lambda done, of: context.progress("judging", done, of, "")))
        scores[name] = [[next(flat) for _ in answers[prompt_key(p.prompt)]] for p in prompts]
    return scores, measures


def measure_reward(artifact: Artifact, data: Artifact, context: Context) -> dict[str, Any]:
    """A reward model's accuracy and calibration on held-out comparisons, beside what needs no model and what people
    agree on. The agreement is taken from all rows: it has nothing to do with what the model was trained on."""
    records = rows(data, HELDOUT)
    heldout = comparisons(records)
    if not heldout:
        raise DataError(
            "there is no held-out comparison to measure a reward model on",
            where=data.name,
            remedy="add holdout: 0.1 to the source",
        )
    judge = RewardJudge(artifact, context.precision)
    margins = score_margins(judge.scorer, judge.tokenizer, heldout, judge.max_length, context)
    baselines = {"longer wins": longer_wins(heldout)}
    trained_on = rows(data, TRAIN)
    tfidf = tfidf_baseline(comparisons(trained_on), heldout)
    if tfidf is not None:
        baselines["TF-IDF"] = tfidf
    return {
        "name": artifact.name,
        "accuracy": accuracy(heldout, margins, context.seed),
        "baselines": baselines,
        "ties": ties(records),
        "tags": by_tag(heldout, margins, context.seed),
        "lengths": by_length(heldout, margins, context.seed),
        "calibration": calibration([pair.group for pair in heldout], margins),
        "agreement": annotator_agreement([*records, *trained_on], context.seed),
    }


def _judge_name(settings: Evaluate) -> str:
    return f"rules {settings.judge.rules}" if isinstance(settings.judge, ByRules) else f"reward model {settings.judge}"
