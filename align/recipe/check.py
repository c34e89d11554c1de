"""Hold a recipe against itself before anything runs: names, order, artifact kinds, paths, trainer arguments.

What a data file *holds* (broken lines, a held-out prompt in training) is checked when the pipeline imports it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass

from align.recipe import words
from align.recipe.ask_people import answers_each, people_problems
from align.recipe.document import Place, Problem, raise_problems
from align.recipe.lengths import length_problems
from align.recipe.load import Loaded
from align.recipe.paths import data_path_problems, missing_path, model_path_problems
from align.recipe.rules_file import ALLOWED, rules_problem
from align.recipe.schema import DPO, PPO, Evaluate, Learning, Lora, Reward, Sample, Source, StageBase
from align.recipe.trainer_arguments import argument_problems, dpo_loss_types
from align.recipe.wiring import MAKES, ROLES, references, rules_files

MODELS = ("policy", "reward_model")
TEMPLATES = ("chatml", "plain")
SMOOTHED = {"exo_pair", "robust", "aot", "aot_unpaired"}
"""DPO's losses that `label_smoothing` changes; a test reads them from TRL."""


@dataclass(frozen=True)
class Item:
    """A name that stages may read: a source or a stage."""

    name: str
    kind: str
    """Artifact kind."""
    place: Place
    order: int
    """Position among the stages; -1 for a source."""
    settings: Source | StageBase


def check_recipe(loaded: Loaded) -> list[str]:
    """Check that everything in a recipe fits together. Returns warnings.

    Raises RecipeError naming every mistake: the first in full, the others by line.
    """
    problems = [*_name_problems(loaded), *_tracker_problems(loaded.recipe.report_to)]
    items = items_of(loaded)
    for item in items.values():
        if isinstance(item.settings, Source):
            problems += _source_problems(loaded, item.settings, item.place)
    for index, stage in enumerate(loaded.recipe.stages):
        place: Place = ("stages", index)
        problems += _reference_problems(loaded, items, stage, index)
        problems += _stage_problems(loaded, items, stage, place)
    raise_problems(loaded.document, problems)
    return _warnings(loaded, items)


def _tracker_problems(tracker: str) -> Iterator[Problem]:
    """Where `report_to:` names a package that is not installed: told here, not by a trainer minutes into the run."""
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        yield Problem(
            ("report_to",),
            f"the package `{tracker}` is not installed",
            "none, or the name of an installed tracker",
            f"pip install {tracker}",
        )


def items_of(loaded: Loaded) -> dict[str, Item]:
    """Every source and stage by name; the first of two that share one."""
    found: dict[str, Item] = {}
    for name, source in loaded.recipe.sources.items():
        found[name] = Item(name, source.kind, ("sources", name), -1, source)
    for index, stage in enumerate(loaded.recipe.stages):
        item = Item(stage.name, MAKES[stage.kind], ("stages", index), index, stage)
        found.setdefault(stage.name, item)
    return found


def _name_problems(loaded: Loaded) -> Iterator[Problem]:
    lines = {name: loaded.document.line(("sources", name)) for name in loaded.recipe.sources}
    kinds = dict.fromkeys(lines, "source")
    for index, stage in enumerate(loaded.recipe.stages):
        place: Place = ("stages", index, "name")
        if stage.name in lines:
            yield Problem(
                place,
                f"the name `{stage.name}` is taken by the {kinds[stage.name]} on line {lines[stage.name]}",
                "a name of its own for each source and stage; it is the name of the folder in the run",
                "rename one of the two",
            )
        else:
            lines[stage.name], kinds[stage.name] = loaded.document.line(place), "stage"


def _reference_problems(loaded: Loaded, items: dict[str, Item], stage: StageBase, index: int) -> Iterator[Problem]:
    """The names a stage reads exist, come before it, and are of a kind that the role accepts."""
    kind = kind_of(stage)
    before = [item for item in items.values() if item.order < index]
    for role in ("model", "data"):
        if getattr(stage, role, None) == []:
            yield Problem(
                ("stages", index, role), f"`{role}` is an empty list", "one name or more", "name what it reads"
            )
    for role, names in references(stage).items():
        place: Place = ("stages", index, *role.split("."))
        for name in {name for name in names if names.count(name) > 1}:
            yield Problem(place, f"`{role}` names `{name}` twice", "each name once", "delete one of the two")
        written = getattr(stage, role, None)  # among the names of a list there may be rules files
        for number, name in enumerate(names):
            at = (*place, written.index(name) if isinstance(written, list) else number)
            here = at if at in loaded.lines else place
            item = items.get(name)
            fitting = [other for other in before if other.kind in ROLES[kind][role]]
            if item is None:
                yield _unknown_name(here, role, name, items, fitting)
            elif item.order >= index:
                yield _too_early(loaded, here, stage, item, items, fitting)
            elif item.kind not in ROLES[kind][role]:
                yield _wrong_kind(loaded, here, role, item, ROLES[kind][role], fitting)


def _unknown_name(place: Place, role: str, name: str, items: dict[str, Item], fitting: list[Item]) -> Problem:
    hint = words.did_you_mean(name, [item.name for item in fitting]) or words.did_you_mean(name, items)
    known = words.listing(item.name for item in fitting)
    return Problem(
        place,
        f"`{role}` reads `{name}`, but no source or stage has this name",
        f"here: {known}; all names: {words.listing(items)}",
        hint or f"add a source or a stage named `{name}`, or read one that exists",
    )


def _too_early(
    loaded: Loaded, place: Place, stage: StageBase, item: Item, items: dict[str, Item], fitting: list[Item]
) -> Problem:
    allowed = "a source, or a stage before this one"
    index = items[stage.name].order
    if item.order == index:
        return Problem(place, f"stage `{stage.name}` reads itself", allowed, "name what it should start from")
    if back := _way(items, item.name, stage.name, set()):
        circle = " -> ".join([stage.name, *back])
        remedy = "read " + " or ".join(f"`{other.name}`" for other in fitting) if fitting else "read something else"
        return Problem(
            place,
            f"the stages read each other in a circle, which no order mends: {circle}",
            allowed,
            f"{remedy} here, or something else in another of these stages",
        )
    here, there = loaded.document.line(("stages", index)), loaded.document.line(item.place)
    return Problem(
        place,
        f"stage `{stage.name}` (line {here}) reads stage `{item.name}` (line {there}), which runs after it",
        allowed,
        f"move stage `{item.name}` above stage `{stage.name}`",
    )


def _way(items: dict[str, Item], start: str, goal: str, tried: set[str]) -> list[str]:
    """The names from one stage to another that it reads, directly or through others, both named; [] if it does not.

    tried: the names that were looked at before; each leads there or not, whichever way one comes to it.
    """
    if start == goal:
        return [goal]
    item = items.get(start)
    if item is None or isinstance(item.settings, Source) or start in tried:
        return []
    tried.add(start)
    names = [name for found in references(item.settings).values() for name in found]
    ways = (_way(items, name, goal, tried) for name in names)
    return next(([start, *way] for way in ways if way), [])


def _wrong_kind(
    loaded: Loaded, place: Place, role: str, item: Item, accepted: tuple[str, ...], fitting: list[Item]
) -> Problem:
    what = "source" if item.order < 0 else "stage"
    line = loaded.document.line(item.place)
    kinds = " or ".join(accepted)
    makers = [kind for kind, made in MAKES.items() if made in accepted]
    if fitting:
        remedy = "read " + " or ".join(f"`{other.name}`" for other in fitting)
        allowed = f"{kinds}; in this recipe: {words.listing(other.name for other in fitting)}"
    else:
        allowed = f"{kinds}; nothing before this stage in this recipe is one"
        stages = f"a stage of kind {' or '.join(makers)}, or " if makers else ""
        remedy = f"add {stages}a source of kind {kinds}"
    return Problem(
        place, f"`{role}` reads `{item.name}`, which is of kind {item.kind} ({what}, line {line})", allowed, remedy
    )


def kind_of(stage: StageBase) -> str:
    """The stage's kind: sft, dpo, ..."""
    kind: str = stage.kind  # type: ignore[attr-defined]  # every kind's class has it, as a Literal of its own
    return kind


# --- sources -----------------------------------------------------------------------------------------------------


def _source_problems(loaded: Loaded, source: Source, place: Place) -> Iterator[Problem]:
    models_only, data_only = ("revision", "chat_template", "pad_token"), ("holdout", "heldout", "format", "broken")
    is_model = source.kind in MODELS
    for name in data_only if is_model else models_only:
        if name in source.model_fields_set and getattr(source, name):
            whom = "data sources" if is_model else "models"
            yield Problem(
                (*place, name), f"`{name}` is for {whom}, and this source is of kind {source.kind}", "", "delete it"
            )
    if isinstance(source.holdout, float) and source.holdout >= 1:
        rows = int(source.holdout)
        yield Problem(
            (*place, "holdout"),
            f"`holdout` is {source.holdout}",
            "a share below 1 such as 0.1, or a whole number of rows such as 200",
            f"write `holdout: {rows}` for that many rows" if rows == source.holdout else "write one of these",
        )
    template = source.chat_template
    if is_model and template and template not in TEMPLATES and not loaded.resolve(template).is_file():
        yield missing_path(loaded, (*place, "chat_template"), template, f"{', '.join(TEMPLATES)}, or a Jinja file")
    if is_model:
        yield from model_path_problems(loaded, source, (*place, "path"))
        return
    yield from data_path_problems(loaded, source.kind, source.path, (*place, "path"))
    if source.heldout:
        yield from data_path_problems(loaded, source.kind, source.heldout, (*place, "heldout"))


# --- what concerns one kind of stage ------------------------------------------------------------------------------


def _stage_problems(loaded: Loaded, items: dict[str, Item], stage: StageBase, place: Place) -> Iterator[Problem]:
    kind = kind_of(stage)
    yield from argument_problems(kind, getattr(stage, "trainer", {}), (*place, "trainer"))
    if kind == "pretrain" and isinstance(getattr(stage, "lora", None), Lora):
        yield Problem(
            (*place, "lora"), "a model made from scratch has no base to adapt", "`none`, or no `lora`", "delete `lora`"
        )
    yield from _rules_problems(loaded, stage, place)
    stages: dict[str, StageBase] = {s.name: s for s in loaded.recipe.stages}
    yield from length_problems(loaded, stages, stage, place)
    yield from people_problems(loaded, stages, stage, place)
    if isinstance(stage, Learning):
        yield from _nothing_to_learn_from(items, stage, place)
    if isinstance(stage, DPO):
        yield from _loss_problems(stage, place)
    if isinstance(stage, PPO) and stage.trainer.get("uncertainty_coef"):
        yield from _disagreement_problems(items, stage, (*place, "trainer", "uncertainty_coef"))
    if isinstance(stage, Evaluate):
        for role, name in (("prompts", stage.prompts), ("data", stage.data)):
            if name is not None:
                yield from _heldout_problems(loaded, items, name, (*place, role))
    if kind == "rank":
        yield from _rankable(items, references(stage).get("answers", []), place)


def _nothing_to_learn_from(items: dict[str, Item], stage: StageBase, place: Place) -> Iterator[Problem]:
    """No name of a role brings rows to train on. Beside one that does, a name whose rows only measure is welcome."""
    for role, names in references(stage).items():
        sources = {name: heldout_sources(items, name) for name in names}
        if all(found and all(_only_measures(item) for item in found) for found in sources.values()):
            for name, found in sources.items():
                first = found[0].name
                via = "" if name == first else f", which come from the source `{first}`,"
                told = f"all rows of `{name}`{via} are held out, and this stage learns from `{role}`"
                yield Problem((*place, role), told, "rows to train on", f"give `{first}` a share, or name another")


def _only_measures(item: Item) -> bool:
    return getattr(item.settings, "holdout", 0) == "all"


def _rules_problems(loaded: Loaded, stage: StageBase, place: Place) -> Iterator[Problem]:
    for inside, written in rules_files(stage).items():
        path, at = loaded.resolve(written), (*place, *inside)
        if not path.is_file():
            yield missing_path(loaded, at, written, ALLOWED)
        elif problem := rules_problem(path, written, at):
            yield problem


def _loss_problems(stage: DPO, place: Place) -> Iterator[Problem]:
    losses = [stage.loss] if isinstance(stage.loss, str) else stage.loss
    known = dpo_loss_types()
    for name in losses:
        if name not in known:
            yield Problem(
                (*place, "loss"),
                f"`loss` is {words.show(name)}, which TRL's DPO does not have",
                f"one of {words.listing(known)}",
                words.did_you_mean(name, known) or "write `loss: sigmoid`, the default",
            )
    if not losses:
        yield Problem((*place, "loss"), "`loss` is an empty list", "one loss or more", "delete it for the default")
    weights = stage.trainer.get("loss_weights")
    if isinstance(weights, list) and len(weights) != len(losses):
        yield Problem(
            (*place, "trainer", "loss_weights"),
            f"`loss_weights` has {len(weights)} entries for {len(losses)} losses",
            "one weight for each loss",
            f"write {len(losses)} of them, or delete the line to count all losses the same",
        )
    smoothing = stage.trainer.get("label_smoothing", 0.0)
    if "exo_pair" in losses and smoothing == 0:
        yield Problem(
            (*place, "loss"),
            "the loss exo_pair is not defined without label smoothing",
            "label_smoothing above 0",
            "write `trainer: {label_smoothing: 0.001}`",
        )
    if smoothing and not SMOOTHED & set(losses):
        yield Problem(
            (*place, "trainer", "label_smoothing"),
            f"`label_smoothing` does nothing to the loss {words.listing(losses)}",
            f"a loss that knows it: {words.listing(sorted(SMOOTHED))}",
            "delete the line; what annotators disagree on is smoothed by itself",
        )


def _disagreement_problems(items: dict[str, Item], stage: PPO, place: Place) -> Iterator[Problem]:
    """How many heads a source has is known once it is loaded (trainers/ppo/rewards.py)."""
    models = [items[name].settings for name in references(stage).get("reward", []) if name in items]
    if sum(model.heads if isinstance(model, Reward) else 2 for model in models) < 2:
        told = "nobody can disagree: one head, or none, of a reward model scores the answers"
        yield Problem(place, told, "two heads or more, or two reward models", "give the reward stage `heads: 8`")


def heldout_sources(items: dict[str, Item], name: str, seen: frozenset[str] = frozenset()) -> list[Item]:
    """The sources that the rows of `name` come from, traced back through `sample` and `rank` stages."""
    item = items.get(name)
    if item is None or name in seen:
        return []
    if isinstance(item.settings, Source):
        return [item]
    role = {"sample": "prompts", "rank": "answers"}.get(kind_of(item.settings), "")
    names = references(item.settings).get(role, [])
    return [source for other in names for source in heldout_sources(items, other, seen | {name})]


def _heldout_problems(loaded: Loaded, items: dict[str, Item], name: str, place: Place) -> Iterator[Problem]:
    for item in heldout_sources(items, name):
        source = item.settings
        if not isinstance(source, Source) or source.kind in MODELS or source.holdout or source.heldout:
            continue
        folder = loaded.resolve(source.path)
        if (folder / "heldout.jsonl").is_file():
            continue  # an artifact of an earlier run that brings its own split
        via = "" if name == item.name else f", which come from the source `{item.name}`"
        yield Problem(
            place,
            f"`{place[-1]}` asks the held-out rows of `{name}`{via}, and none are held out",
            "rows that training never sees",
            f"add `holdout: 0.1` to the source `{item.name}` (line {loaded.document.line(item.place)})",
        )


def _rankable(items: dict[str, Item], names: list[str], place: Place) -> Iterator[Problem]:
    for name in names:
        item = items.get(name)
        if item and isinstance(item.settings, Sample) and answers_each(item.settings) < 2:
            yield Problem(
                (*place, "answers"),
                f"`{name}` samples one answer a prompt, which leaves nothing to rank",
                "2 answers a prompt or more",
                f"write `per_prompt: 4` in stage `{name}`",
            )


def _warnings(loaded: Loaded, items: dict[str, Item]) -> list[str]:
    """What is allowed and probably not meant."""
    used = {name for stage in loaded.recipe.stages for names in references(stage).values() for name in names}
    warnings = [
        f"{loaded.where(item.place)}: no stage reads the source `{name}`"
        for name, item in items.items()
        if item.order < 0 and name not in used
    ]
    for index, stage in enumerate(loaded.recipe.stages):
        if isinstance(stage, Sample) and stage.temperature == 0 and stage.per_prompt > 1:
            where = loaded.where(("stages", index, "temperature"))
            warnings.append(f"{where}: at temperature 0 all {stage.per_prompt} answers to a prompt are the same")
    for name, item in items.items():
        source = item.settings
        if isinstance(source, Source) and source.kind in MODELS and not loaded.resolve(source.path).exists():
            pinned = "" if source.revision else "; without `revision:` the newest is taken"
            where = loaded.where(("sources", name, "path"))
            warnings.append(f"{where}: there is no folder {source.path} here, so it is looked for on the hub{pinned}")
    return warnings
