"""What an answer is worth: reward models of any tokenizer, Python functions, or several of these weighted."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from align.data.chat import as_dicts
from align.data.records import Message
from align.errors import AlignError, TrainingError
from align.judges.reward import RewardJudge, Scale

RewardFunction = Callable[..., Sequence[float]]
"""f(prompts, completions, **columns) -> one number an answer, as in TRL. prompts: lists of {"role", "content"};
completions: texts; columns: the prompts' further columns, and completion_ids. Named parameters get what they name."""


SHARED_TOKENS = 8192
"""Tokens scored at once on the policy's base; without gradients they take little."""
MEND = "mend what scores, then run again: training continues from its last checkpoint"


@dataclass(frozen=True)
class Episode:
    """A prompt and the policy's answer to it. finished: whether the answer closed by itself. row: further columns."""

    prompt: Sequence[Message]
    prompt_ids: list[int]
    answer_ids: list[int]
    text: str
    finished: bool
    row: dict[str, Any] = field(default_factory=dict)


class ModelReward:
    """A reward model as a source of scores."""

    def __init__(self, judge: RewardJudge) -> None:
        self.judge, self.name = judge, judge.folder.name
        self.shared: Callable[[Sequence[list[int]], int], list[list[float]]] | None = None
        """What each head says of token sequences, so many tokens at once, on the policy's base; set where the reward
        model fits it."""

    @property
    def scale(self) -> Scale | None:
        return self.judge.scale

    def heads(self, episodes: Sequence[Episode]) -> list[list[float]]:
        """What each head says of each episode, in its own unit; most reward models have one."""
        items = [(e.prompt, e.text) for e in episodes]
        scores = self.shared(self.judge.encode(items), SHARED_TOKENS) if self.shared else self.judge.score_heads(items)
        name = f"the reward model {self.name}"
        return [[finite(name, value, e) for value in values] for values, e in zip(scores, episodes, strict=True)]


class FunctionReward:
    """A Python function as a source of scores, with errors that name it and the answer."""

    scale = None

    def __init__(self, function: RewardFunction) -> None:
        self.function = function
        self.name = getattr(function, "__name__", type(function).__name__)
        taken = inspect.signature(function).parameters.values()
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in taken)
        self.takes = {p.name for p in taken}

    def __call__(self, episodes: Sequence[Episode]) -> list[float]:
        columns: dict[str, Any] = {n: [e.row.get(n) for e in episodes] for n in {n for e in episodes for n in e.row}}
        columns |= {  # a dataset's own `completions` are not what is scored
            "prompts": [as_dicts(e.prompt) for e in episodes],
            "completions": [e.text for e in episodes],
            "completion_ids": [e.answer_ids for e in episodes],
        }
        given = {n: v for n, v in columns.items() if self.takes_all or n in self.takes}
        try:
            values = list(self.function(**given))
        except AlignError:
            raise
        except Exception as error:  # the user's code may raise anything
            trace = error.__traceback__
            while trace and trace.tb_next:
                trace = trace.tb_next
            place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else self.name
            raise TrainingError(
                f"the reward function {self.name} failed with {type(error).__name__}: {error}",
                where=place,
                remedy=MEND,
            ) from error
        if len(values) != len(episodes):
            raise TrainingError(
                f"the reward function {self.name} gave {len(values)} values for {len(episodes)} answers",
                where=self.name,
                allowed="one number for each of `completions`, in order",
                remedy=MEND,
            )
        return [finite(f"the reward function {self.name}", v, e) for v, e in zip(values, episodes, strict=True)]


def finite(source: str, value: Any, episode: Episode) -> float:
    """The value as a number. Raises TrainingError, which names source, prompt and answer, if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise TrainingError(
            f"{source} gave {value!r} for the answer {episode.text[:60]!r}",
            where=f"prompt {episode.prompt[-1].content[:60]!r}",
            allowed="a finite number, higher is better",
            remedy=MEND,
        )
    return number


@dataclass
class Scores:
    """Scores of episodes: `total` is what PPO raises, `raw` what each source said, in its own unit."""

    total: list[float]
    raw: dict[str, list[float]]


@dataclass(frozen=True)
class Handling:
    """How scores are handled; PPOConfig has the same fields."""

    missing_eos_penalty: float = 1.0
    score_clip: float | None = 10.0
    uncertainty_coef: float = 0.0


class Rewards:
    """Several sources as one score: each reward model normalised, all weighted and added.

    Reward models are brought to mean 0 and deviation 1 by the scale stored with them, or else by the scores of the
    first rollout, whose answers are still the starting policy's. Functions count as they are.
    """

    def __init__(self, sources: Sequence[ModelReward | FunctionReward], weights: Sequence[float], args: Any) -> None:
        self.sources, self.weights, self.args = list(sources), list(weights), args
        self.scales: dict[str, Scale] = {s.name: s.scale for s in sources if s.scale}

    def __call__(self, episodes: Sequence[Episode]) -> Scores:
        """Score every episode, in order."""
        raw: dict[str, list[float]] = {}
        total = [0.0] * len(episodes)
        opinions: list[list[float]] = []  # of every model's every head, normalised
        for source, weight in zip(self.sources, self.weights, strict=True):
            if isinstance(source, ModelReward):
                heads = source.heads(episodes)
                raw[source.name] = [fmean(said) for said in heads]
                values = self._normal(source.name, heads)
                opinions += self._opinions(source.name, heads)
            else:
                values = raw[source.name] = source(episodes)
            total = [t + weight * v for t, v in zip(total, values, strict=True)]
        if self.args.uncertainty_coef and len(opinions) < 2:
            raise TrainingError(
                "nobody can disagree here: one head, or none, of a reward model scores the answers",
                where="uncertainty_coef",
                allowed="a reward model with `heads: 2` or more, or several reward models",
                remedy="add heads to the reward stage, or delete uncertainty_coef",
            )
        if self.args.uncertainty_coef:
            spread = [pstdev(column) for column in zip(*opinions, strict=True)]
            total = [t - self.args.uncertainty_coef * s for t, s in zip(total, spread, strict=True)]
        penalty = self.args.missing_eos_penalty
        total = [t - (0.0 if e.finished else penalty) for t, e in zip(total, episodes, strict=True)]
        return Scores(total, raw)

    def _opinions(self, name: str, heads: list[list[float]]) -> list[list[float]]:
        """What each head says of every episode, normalised."""
        said = [self.scales[name].opinions(values) for values in heads]
        return [[self._clipped(value) for value in column] for column in zip(*said, strict=True)]

    def _normal(self, name: str, heads: list[list[float]]) -> list[float]:
        values = [fmean(said) for said in heads]
        if name not in self.scales:
            means = tuple(fmean(column) for column in zip(*heads, strict=True))
            self.scales[name] = Scale(fmean(values), pstdev(values) or 1.0, means)
        return [self._clipped(self.scales[name].normal(v)) for v in values]

    def _clipped(self, value: float) -> float:
        clip = self.args.score_clip or math.inf
        return min(max(value, -clip), clip)

    def state(self) -> dict[str, tuple[float, float, tuple[float, ...]]]:
        """The scales in use, to be kept in a checkpoint."""
        return {name: (scale.mean, scale.std, scale.heads) for name, scale in self.scales.items()}

    def restore(self, state: dict[str, tuple[float, float, tuple[float, ...]]]) -> None:
        """The inverse of `state`."""
        self.scales = {name: Scale(*kept) for name, kept in state.items()}


def make_rewards(reward: Any, weights: Sequence[float] | None, args: Any, precision: Any) -> Rewards:
    """Sources from what the user gave: a folder, a function, or a list of these. Raises TrainingError otherwise."""
    given = list(reward) if isinstance(reward, list | tuple) else [reward]
    sources: list[ModelReward | FunctionReward] = []
    for one in given:
        if isinstance(one, str | Path):
            sources.append(ModelReward(RewardJudge(Path(one), precision, load=False)))
        elif callable(one):
            sources.append(FunctionReward(one))
        else:
            raise TrainingError(
                f"a reward is {type(one).__name__}", where="reward", allowed="a reward model's folder, or a function"
            )
    names = [s.name for s in sources]
    if not sources or len(set(names)) < len(names):
        raise TrainingError(
            f"the rewards are {names}", where="reward", allowed="one or more sources with different names"
        )
    if weights is not None and len(weights) != len(sources):
        raise TrainingError(
            f"there are {len(weights)} reward_weights for {len(sources)} rewards",
            where="reward_weights",
            allowed="one for each reward, in order",
        )
    return Rewards(sources, weights or [1.0] * len(sources), args)
