"""Keys, seeds and the plan: what is skipped, what runs again, and the reason given."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from align.artifacts import InputEntry, Manifest, seal
from align.recipe.load import Loaded
from align.recipe.plan import KEY_FILE, Step, effective_settings, make_plan, source_settings, stage_key, stage_seed
from tests.recipe.conftest import Make

SOURCES = {"base": "b", "demos": "d", "prompts": "p"}
DPO = "    beta: 0.2\n"


def plan(loaded: Loaded, run: Path, sources: dict[str, str] = SOURCES) -> dict[str, Step]:
    return {step.name: step for step in make_plan(loaded, run, sources)}


def keys(loaded: Loaded, run: Path, sources: dict[str, str] = SOURCES) -> dict[str, str]:
    return {name: step.key for name, step in plan(loaded, run, sources).items()}


def seal_step(run: Path, step: Step, steps: dict[str, Step], **changes: Any) -> None:
    """Make the artifact that a pipeline would leave behind for a step."""
    partial = run / f"{step.name}.partial"
    partial.mkdir(parents=True)
    (partial / "made.txt").write_text(changes.pop("made", step.name))
    contents = {}
    for names in step.reads.values():
        for name in names:
            contents[name] = Manifest.model_validate_json((run / name / "manifest.json").read_text()).content
    inputs = {
        role: [InputEntry(name=name, key=steps[name].key, content=contents[name]) for name in names]
        for role, names in step.reads.items()
    }
    made_by = "source" if step.what == "source" else step.kind
    manifest = Manifest(
        name=step.name, kind=step.makes, made_by=made_by, settings=step.settings, seed=step.seed, key=step.key
    )
    manifest.inputs = inputs
    seal(partial, manifest.model_copy(update=changes))


def seal_all(run: Path, loaded: Loaded) -> None:
    steps = plan(loaded, run)
    for step in steps.values():
        seal_step(run, step, steps)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before.keys() & after.keys() if before[name] != after[name]}


def test_a_seed_has_31_bits_and_depends_on_both() -> None:
    seeds = [stage_seed(7, "dpo"), stage_seed(8, "dpo"), stage_seed(7, "sft"), stage_seed(-1, "sft")]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert stage_seed(7, "dpo") == 739180680  # SHA-256 of "7/dpo", first four bytes, halved: it must never change


def test_a_key_depends_on_everything() -> None:
    base = stage_key("dpo", {"beta": 0.1}, 3, {"model": ["k1"], "data": ["k2", "k3"]}, None)
    assert base == stage_key("dpo", {"beta": 0.1}, 3, {"data": ["k2", "k3"], "model": ["k1"]}, None)
    others = [
        stage_key("sft", {"beta": 0.1}, 3, {"model": ["k1"], "data": ["k2", "k3"]}, None),
        stage_key("dpo", {"beta": 0.2}, 3, {"model": ["k1"], "data": ["k2", "k3"]}, None),
        stage_key("dpo", {"beta": 0.1}, 4, {"model": ["k1"], "data": ["k2", "k3"]}, None),
        stage_key("dpo", {"beta": 0.1}, 3, {"model": ["k1"], "data": ["k3", "k2"]}, None),
        stage_key("dpo", {"beta": 0.1}, 3, {"model": ["k2"], "data": ["k1", "k3"]}, None),
        stage_key("dpo", {"beta": 0.1}, 3, {"model": ["k1"], "data": ["k2", "k3"]}, "hash"),
    ]
    assert len({base, *others}) == 7


def test_a_key_changes_with_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_key("dpo", {}, 3, {})
    monkeypatch.setattr("align.recipe.plan.FORMAT", 2)
    assert stage_key("dpo", {}, 3, {}) != before


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("beta: 0.2", "beta: 0.3", {"dpo", "result"}),
        ("data: demos}", "data: demos, epochs: 2}", {"sft", "answers", "rankings", "reward", "dpo", "result"}),
        ("prompts: prompts}", "prompts: prompts, top_p: 0.9}", {"answers", "rankings", "reward", "dpo", "result"}),
        ("judge: reward", "judge: reward, limit: 3", {"result"}),
        ("seed: 7", "seed: 8", {"sft", "answers", "rankings", "reward", "dpo", "result"}),
        ("seed: 7", "seed: 7\nprecision: fp32", {"sft", "answers", "rankings", "reward", "dpo", "result"}),
        ("seed: 7", "seed: 7\ncheckpoint_seconds: 0\nreport_to: tensorboard", set()),
        ("name: demo\n", "name: other\n", set()),
        ("# a comment", "# another comment", set()),
        ("beta: 0.2", "beta: 2e-1\n    epochs: 1", set()),  # the same number, and a default written out
    ],
)
def test_a_change_touches_its_stage_and_those_after(
    make: Make, tmp_path: Path, old: str, new: str, expected: set[str]
) -> None:
    before = keys(make(), tmp_path)
    assert changed(before, keys(make((old, new)), tmp_path)) == expected


def test_the_recipes_lora_reaches_the_stages_that_train_and_do_not_say_otherwise(make: Make, tmp_path: Path) -> None:
    own = (DPO, DPO + "    lora: none\n")
    before = keys(make(own, ("data: demos}", "data: demos, lora: {r: 2}}")), tmp_path)
    after = keys(
        make(own, ("data: demos}", "data: demos, lora: {r: 2}}"), ("seed: 7", "seed: 7\nlora: none")), tmp_path
    )
    assert changed(before, after) == {"reward", "result"}  # sft and dpo say it themselves; sampling has no LoRA


def test_inserting_a_stage_changes_no_other_seed_or_key(make: Make, tmp_path: Path) -> None:
    before = plan(make(), tmp_path)
    more = "  - {name: more, kind: dpo, model: sft, data: rankings, beta: 0.5}\n  - name: dpo\n"
    after = plan(make(("  - name: dpo\n", more)), tmp_path)
    assert set(after) - set(before) == {"more"}
    assert {n: (s.key, s.seed) for n, s in before.items()} == {
        n: (s.key, s.seed) for n, s in after.items() if n != "more"
    }


def test_a_changed_source_or_rules_file_reaches_its_readers(make: Make, folder: Path, tmp_path: Path) -> None:
    loaded = make()
    before = keys(loaded, tmp_path)
    assert changed(before, keys(loaded, tmp_path, SOURCES | {"demos": "x"})) == set(before) - {"base", "prompts"}
    (folder / "judge.py").write_text("def score(): ...")
    assert changed(before, keys(loaded, tmp_path)) == {"rankings", "reward", "dpo", "result"}


def test_effective_settings(make: Make) -> None:
    recipe = make(("seed: 7", "lora: {r: 4}\nprecision: bf16")).recipe
    sft = effective_settings(recipe, recipe.stages[0])
    assert sft["lora"] == {"r": 4, "alpha": 32, "dropout": 0.0, "targets": "all-linear"}
    assert (sft["precision"], sft["model"], sft["data"], sft["epochs"]) == ("bf16", "base", "demos", 1)
    assert not {"name", "kind", "checkpoint_seconds", "report_to"} & sft.keys()
    assert effective_settings(recipe, recipe.stages[2])["by"] == {"rules": "judge.py"}
    pretrained = make(("kind: sft, model: base", "kind: pretrain")).recipe
    assert effective_settings(pretrained, pretrained.stages[0])["lora"] == "none"
    assert source_settings(recipe.sources["prompts"])["holdout"] == 0.25


def test_nothing_there_yet(make: Make, tmp_path: Path) -> None:
    steps = make_plan(make(), tmp_path / "no such folder", SOURCES)
    assert [(s.name, s.what, s.kind, s.makes) for s in steps[:5]] == [
        ("base", "source", "policy", "policy"),
        ("demos", "source", "demonstrations", "demonstrations"),
        ("prompts", "source", "prompts", "prompts"),
        ("sft", "stage", "sft", "policy"),
        ("answers", "stage", "sample", "answers"),
    ]
    assert {(s.state, s.why) for s in steps} == {("run", "new")}
    assert steps[3].reads == {"model": ["base"], "data": ["demos"]}
    assert steps[-1].reads == {"models": ["sft", "dpo"], "prompts": ["prompts"], "judge": ["reward"]}
    assert dataclasses.is_dataclass(steps[0])


def test_all_sealed(make: Make, tmp_path: Path) -> None:
    loaded = make()
    seal_all(tmp_path, loaded)
    assert {(s.state, s.why) for s in make_plan(loaded, tmp_path, SOURCES)} == {("sealed", "")}


def test_the_reason_names_the_setting_and_the_input(make: Make, tmp_path: Path) -> None:
    seal_all(tmp_path, make())
    steps = plan(make(("beta: 0.2", "beta: 0.3")), tmp_path)
    assert (steps["dpo"].state, steps["dpo"].why) == ("run", "`beta` changed from 0.2 to 0.3")
    assert (steps["result"].state, steps["result"].why) == ("run", "input `dpo` changed")
    assert all(steps[name].state == "sealed" for name in ("base", "sft", "answers", "rankings", "reward"))


def test_the_reason_for_nested_settings_defaults_and_seeds(make: Make, tmp_path: Path) -> None:
    seal_all(tmp_path, make())
    lora = plan(make(("seed: 7", "seed: 7\nlora: {r: 4}")), tmp_path)
    assert lora["sft"].why == "`lora.r` changed from 16 to 4"
    trainer = plan(make((DPO, DPO + "    max_steps: 5\n    trainer: {weight_decay: 0.1}\n")), tmp_path)
    assert trainer["dpo"].why == (
        "`max_steps` changed from nothing to 5, `trainer` changed from {} to nothing, "
        "`trainer.weight_decay` changed from nothing to 0.1"
    )
    assert plan(make(("seed: 7", "seed: 8")), tmp_path)["sft"].why == "the seed changed"
    others = plan(make(("seed: 7", "seed: 8")), tmp_path, {name: key + "'" for name, key in SOURCES.items()})
    assert others["prompts"].why == "the seed changed, which draws the held-out rows"
    assert others["demos"].why == "what its path holds changed"  # none of its rows are held out
    manifest = tmp_path / "prompts/manifest.json"
    manifest.write_text(manifest.read_text().replace('"seed": 7', '"seed": 0'))  # as earlier versions left it
    older = plan(make(), tmp_path, {name: key + "'" for name, key in SOURCES.items()})
    assert older["prompts"].why == "what its path holds, or the seed, changed"
    many = "    beta: 0.3\n    epochs: 2\n    batch_size: 8\n    max_steps: 3\n    max_length: 99\n"
    assert plan(make((DPO, many)), tmp_path)["dpo"].why.endswith(", 2 more")


def test_the_reason_for_files_that_changed(make: Make, folder: Path, tmp_path: Path) -> None:
    loaded = make()
    seal_all(tmp_path, loaded)
    (folder / "judge.py").write_text("def score(): ...")
    assert plan(loaded, tmp_path)["rankings"].why == "the rules file judge.py changed"
    demos = plan(loaded, tmp_path, SOURCES | {"demos": "x"})
    assert demos["demos"].why == "what its path holds changed"
    assert demos["sft"].why == "input `demos` changed"


def test_the_reason_for_a_new_version(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_all(tmp_path, make())
    monkeypatch.setattr("align.recipe.plan.FORMAT", 2)
    assert plan(make(), tmp_path)["sft"].why == "this version of align makes it differently"


def test_the_reason_for_another_kind(make: Make, tmp_path: Path) -> None:
    seal_all(tmp_path, make())
    steps = plan(make(("kind: sft, model: base", "kind: pretrain")), tmp_path)
    assert steps["sft"].why == "it was a stage of kind sft, now a stage of kind pretrain"


def test_unfinished_work_is_continued_only_under_its_own_key(make: Make, tmp_path: Path) -> None:
    loaded = make()
    partial = tmp_path / "dpo.partial"
    partial.mkdir()
    assert plan(loaded, tmp_path)["dpo"].why == "new (unfinished work there belongs to other settings)"
    (partial / KEY_FILE).write_text(plan(loaded, tmp_path)["dpo"].key + "\n")
    step = plan(loaded, tmp_path)["dpo"]
    assert (step.state, step.why) == ("continue", "unfinished")
    step = plan(make(("beta: 0.2", "beta: 0.3")), tmp_path)["dpo"]
    assert (step.state, step.why) == ("run", "new (unfinished work there belongs to other settings)")


def test_work_that_was_finished_and_not_renamed_is_continued(make: Make, tmp_path: Path) -> None:
    loaded = make()
    steps = plan(loaded, tmp_path)
    seal_step(tmp_path, steps["base"], steps)
    (tmp_path / "base").rename(tmp_path / "base.partial")
    assert plan(loaded, tmp_path)["base"].state == "continue"


def test_an_input_made_again_with_another_content_is_noticed(make: Make, tmp_path: Path) -> None:
    loaded = make()
    seal_all(tmp_path, loaded)
    steps = plan(loaded, tmp_path)
    (tmp_path / "reward").rename(tmp_path / "gone")
    seal_step(tmp_path, steps["reward"], steps, made="something else")
    step = plan(loaded, tmp_path)["result"]
    assert (step.state, step.why) == ("run", "input `reward` was made again and differs")
    assert plan(loaded, tmp_path)["dpo"].state == "sealed"


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_broken_manifest_means_that_it_runs(make: Make, tmp_path: Path, text: str) -> None:
    loaded = make()
    seal_all(tmp_path, loaded)
    (tmp_path / "sft" / "manifest.json").write_text(text)
    steps = plan(loaded, tmp_path)
    assert (steps["sft"].state, steps["answers"].state) == ("run", "sealed")


def test_again(make: Make, tmp_path: Path) -> None:
    """A sealed stage that is asked for again runs, and goes on where that was interrupted; those after it wait."""
    loaded = make()
    seal_all(tmp_path, loaded)

    def states() -> dict[str, tuple[str, str]]:
        steps = make_plan(loaded, tmp_path, SOURCES, ["reward"])
        return {s.name: (s.state, s.why) for s in steps if s.state != "sealed"}

    assert states() == {"reward": ("run", "asked for again")}
    (tmp_path / "reward.partial").mkdir()
    (tmp_path / "reward.partial" / KEY_FILE).write_text(keys(loaded, tmp_path)["reward"])
    assert states() == {"reward": ("continue", "unfinished")}


def test_guidelines_count_as_what_people_are_told(make: Make, folder: Path, tmp_path: Path) -> None:
    (folder / "guide.md").write_text("Be kind.")
    loaded = make(("by: {rules: judge.py}", "by: {people: {guidelines: guide.md}}"))
    seal_all(tmp_path, loaded)
    assert plan(loaded, tmp_path)["rankings"].state == "sealed"
    (folder / "guide.md").write_text("Be short.")
    assert plan(loaded, tmp_path)["rankings"].why == "the file of guidelines guide.md changed"
