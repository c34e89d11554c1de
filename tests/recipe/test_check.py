"""The wiring check: names, order, kinds, paths, held-out rows and trainer arguments, before anything runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from align.errors import RecipeError
from align.recipe.check import SMOOTHED, check_recipe
from align.recipe.trainer_arguments import GONE, OURS, dpo_loss_types, fields_of, fits
from tests.recipe.conftest import Make

SFT = "{name: sft, kind: sft, model: base, data: demos}"
DPO = "    beta: 0.2\n"


def sft(more: str) -> tuple[str, str]:
    return SFT, SFT[:-1] + ", " + more + "}"


def refused(make: Make, *changes: tuple[str, str]) -> RecipeError:
    loaded = make(*changes)
    with pytest.raises(RecipeError) as caught:
        check_recipe(loaded)
    return caught.value


def test_a_good_recipe_passes_without_warnings(make: Make) -> None:
    assert check_recipe(make(("path: Qwen/Qwen3-0.6B", "path: ."))) == []


def test_a_hub_id_is_told(make: Make) -> None:
    (said,) = check_recipe(make())
    assert "demo.yaml:5 sources.base.path: " in said
    assert "there is no folder Qwen/Qwen3-0.6B here, so it is looked for on the hub; " in said
    assert "without `revision:` the newest is taken" in said


def test_a_tracker_that_is_not_installed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])  # as if it were not there, on machines that have it too
    error = refused(make, ("seed: 7", "seed: 7\nreport_to: wandb"))
    assert "`wandb` is not installed" in error.found
    assert error.remedy == "pip install wandb"


@pytest.mark.parametrize(
    ("argument", "package"), [("use_liger_kernel: true", "liger-kernel"), ("deepspeed: nope.json", "deepspeed")]
)
def test_a_package_that_an_argument_needs(
    make: Make, monkeypatch: pytest.MonkeyPatch, argument: str, package: str
) -> None:
    monkeypatch.setattr(sys, "path", [])
    error = refused(make, (DPO, f"    trainer: {{{argument}}}\n"))
    assert f"needs the package {package}, which is not installed" in error.found
    assert error.where.endswith(f'demo.yaml:17 stages[4].trainer.{argument.split(":")[0]} (stage "dpo")')
    assert error.remedy == f"pip install {package}"


# change -> line, place, found, allowed, remedy (regular expressions)
MISTAKES = {
    "two stages of one name": (
        ("name: rankings", "name: answers"), 11, r"stages\[2\]\.name", "`answers` is taken by the stage on line 10",
        "name of its own", "rename"
    ),
    "a stage named like a source": (
        ("name: sft, kind: sft", "name: demos, kind: sft"), 9, r"stages\[0\]\.name",
        "`demos` is taken by the source on line 6", "folder", "rename"
    ),
    "an unknown stage": (
        ("data: rankings}", "data: rankngs}"), 12, r"stages\[3\]\.data",
        "`data` reads `rankngs`, but no source or stage",
        "here: rankings; all names: base, demos, prompts, sft", "did you mean `rankings`"
    ),
    "an unknown source": (
        ("model: base", "model: bse"), 9, r"stages\[0\]\.model", "no source or stage", "here: base;",
        "did you mean `base`"
    ),
    "an unknown name in a list": (
        ("models: [sft, dpo]", "models: [sft, dop]"), 18, r"stages\[5\]\.models\[1\]", "`dop`",
        "here: base, sft, dpo;", "`dpo`"
    ),
    "a name far from all": (("model: base", "model: xyzzy"), 9, "model", "`xyzzy`", "",
        "add a source or a stage named"),
    "a stage that reads a later one": (
        ("model: sft, data: rankings}", "model: dpo, data: rankings}"), 12, r"stages\[3\]\.model",
        r"stage `reward` \(line 12\) reads stage `dpo` \(line 13\), which runs after it", "before this one",
        "move stage `dpo` above stage `reward`"
    ),
    "stages in a circle": (
        ("model: sft, prompts: prompts}", "model: dpo, prompts: prompts}"), 10, r"stages\[1\]\.model",
        "in a circle, which no order mends: answers -> dpo -> rankings -> answers$", "before this one",
        "read `base` or `sft` here, or something else in another"
    ),
    "a stage that reads itself": (
        ("    model: sft\n", "    model: dpo\n"), 15, r"stages\[4\]\.model", "stage `dpo` reads itself", "before",
        "start from"
    ),
    "a policy where rankings belong": (
        ("data: rankings}", "data: base}"), 12, r"stages\[3\]\.data",
        r"`data` reads `base`, which is of kind policy \(source, line 5\)",
        "rankings or preferences; in this recipe: rankings", "read `rankings`"
    ),
    "prompts where a model belongs": (
        ("judge: reward", "judge: prompts"), 18, "judge", r"of kind prompts \(source",
        "reward_model; in this recipe: reward",
        "read `reward`"
    ),
    "nothing of the kind": (
        (SFT, "{name: sft, kind: reward, model: base, data: demos}"), 9, "data",
        "`demos`, which is of kind demonstrations",
        "nothing before this stage", "add a stage of kind rank, or a source of kind rankings or preferences"
    ),
    "rank by a policy": (
        ("{rules: judge.py}", "{reward: sft}"), 11, r"by\.reward", r"`by\.reward` reads `sft`, which is of kind policy",
        "reward_model; nothing before", "add a stage of kind reward, or"
    ),
    "an empty list": (("data: demos", "data: []"), 9, "data", "`data` is an empty list", "one name", "name what"),
    "a name twice": (
        ("[sft, dpo]", "[sft, sft]"), 18, "models", "`models` names `sft` twice", "each name once", "delete one"
    ),
    "a rules file that is missing": (
        ("judge.py", "jugde.py"), 11, r"stages\[2\]\.by\.rules", r"no `jugde\.py` \(looked for /", "a Python file",
        "`judge.py`"
    ),
    "a judge file that is missing": (
        ("judge: reward", "judge: {rules: sub/judge.py}"), 18, r"judge\.rules", "no `sub/judge.py`", "Python",
        "/sub does not exist either"
    ),
    "a data file that is missing": (
        ("path: demos.jsonl", "path: demo.jsonl"), 6, r"sources\.demos\.path", r"no `demo\.jsonl`",
        r"\.jsonl, \.json, \.txt",
        "did you mean `demos.jsonl`"
    ),
    "a data path that is a folder": (
        ("path: demos.jsonl", "path: ."), 6, r"sources\.demos\.path", "is a folder", "file",
        "demos.jsonl, prompts.jsonl"
    ),
    "a held-out file that is missing": (
        ("demos.jsonl}", "demos.jsonl, heldout: xyz}"), 6, r"sources\.demos\.heldout", "no `xyz`",
        "jsonl, ", "recipe's folder"
    ),
    "a model folder that is missing": (
        ("path: Qwen/Qwen3-0.6B", "path: ./model"), 5, r"sources\.base\.path", "no `./model`", "hub id",
        "recipe's folder"
    ),
    "a model in a folder above": (("path: Qwen/Qwen3-0.6B", "path: ../a/b"), 5, "path", "no `../a/b`", "hub id",
        "not exist"),
    "a model of one word": (("path: Qwen/Qwen3-0.6B", "path: gpt2"), 5, "path", "no `gpt2`", "hub id such as", ""),
    "a data file for a model": (("path: Qwen/Qwen3-0.6B", "path: a/b.jsonl"), 5, "path", "no `a/b.jsonl`", "hub id",
        ""),
    "a file for a model": (("path: Qwen/Qwen3-0.6B", "path: judge.py"), 5, "path", "is a file", "folder", "name"),
    "rows for a model": (
        ("path: Qwen/Qwen3-0.6B", "path: demos.jsonl"), 5, "path", "`demos.jsonl` is a file", "folder",
        "name a model's folder or a hub id; if the file holds data, write its kind: `kind: demonstrations`"
    ),
    "a revision of data": (
        ("demos.jsonl}", "demos.jsonl, revision: abc}"), 6, "revision", "`revision` is for models", "", "delete it"
    ),
    "held-out rows of a model": (
        ("Qwen3-0.6B}", "Qwen3-0.6B, holdout: 0.1}"), 5, "holdout", "`holdout` is for data sources", "", "delete it"
    ),
    "a share above 1": (
        ("holdout: 0.25", "holdout: 25.0"), 7, "holdout", r"`holdout` is 25\.0", "a share below 1", "`holdout: 25`"
    ),
    "a chat template that is missing": (
        ("Qwen3-0.6B}", "Qwen3-0.6B, chat_template: chatlm}"), 5, "chat_template", "no `chatlm`",
        "chatml, plain, or", ""
    ),
    "no held-out prompts": (
        (", holdout: 0.25", ""), 18, r"stages\[5\]\.prompts",
        "asks the held-out rows of `prompts`, and none are held out",
        "training never sees", r"add `holdout: 0.1` to the source `prompts` \(line 7\)"
    ),
    "one answer to rank": (
        ("prompts: prompts}", "prompts: prompts, per_prompt: 1}"), 11, r"stages\[2\]\.answers",
        "leaves nothing to rank",
        "2 answers", "write `per_prompt: 4` in stage `answers`"
    ),
    "LoRA from scratch": (
        (SFT, "{name: sft, kind: pretrain, data: demos, lora: {r: 4}}"), 9, "lora", "no base to adapt", "none", "delete"
    ),
    "an unknown loss": (
        (DPO, "    loss: sigmod\n"), 17, "loss", '"sigmod", which TRL\'s DPO does not have', "sigmoid, hinge, ipo",
        "`sigmoid`"
    ),
    "an unknown loss in a list": ((DPO, "    loss: [sigmoid, xxxx]\n"), 17, "loss", '"xxxx"', "hinge", "the default"),
    "no loss": ((DPO, "    loss: []\n"), 17, "loss", "an empty list", "one loss", "delete"),
    "weights for other losses": (
        (DPO, "    loss: [sigmoid, sft]\n    trainer: {loss_weights: [1.0]}\n"), 18, r"trainer\.loss_weights",
        "1 entries for 2 losses", "one weight for each", "write 2 of them, or delete the line"
    ),
    "exo_pair without smoothing": (
        (DPO, "    loss: exo_pair\n"), 17, "loss", "not defined without label smoothing", "above 0",
        "label_smoothing: 0.001"
    ),
    "smoothing that does nothing": (
        (DPO, "    loss: [sigmoid, sft]\n    trainer: {label_smoothing: 0.1}\n"), 18, r"trainer\.label_smoothing",
        "does nothing to the loss sigmoid, sft", "aot_unpaired, exo_pair, robust", "delete the line"
    ),
    "an unknown trainer argument": (
        (DPO, "    trainer:\n      weight_decay: 0.1\n      wramup_steps: 3\n"),
        19, r"stages\[4\]\.trainer\.wramup_steps",
        "`wramup_steps` is no argument of this stage's trainer", r"trl\.DPOConfig, among them warmup_steps(, \w+){4}$",
        "did you mean `warmup_steps`"
    ),
    "an argument of another trainer": (
        sft("trainer: {discopop_tau: 1}"), 9, "discopop_tau", "no argument", r"trl\.SFTConfig", "delete the line"
    ),
    "an argument that is ours": (
        sft("trainer: {learning_rate: 1}"), 9, r"trainer\.learning_rate", "is set by align", "",
        "use `learning_rate` of"
    ),
    "an argument of an older release": (
        sft("trainer: {warmup_ratio: 0.1}"), 9, "warmup_ratio", "no argument", "", "write `warmup_steps`"
    ),
    "an argument of the wrong type": (
        sft("trainer: {weight_decay: a little}"), 9, "weight_decay", 'the text "a little"', "^a number$",
        "change the value"
    ),
    "a number in quotes": (
        sft("trainer: {weight_decay: '1e-2'}"), 9, "weight_decay", 'the text "1e-2"', "^a number$",
        "`weight_decay: 1e-2` without"
    ),
    "true for a number": (sft("trainer: {weight_decay: true}"), 9, "weight_decay", "is true", "^a number$", ""),
    "a fraction for a whole number": (
        sft("trainer: {dataloader_num_workers: 1.5}"), 9, "workers", r"is 1\.5", "^a whole number$", ""
    ),
    "null where nothing is no value": (sft("trainer: {optim: null}"), 9, "optim", "`optim` is empty", "a text", ""),
    "an argument below its range": (
        sft("trainer: {warmup_steps: -3}"), 9, r"trainer\.warmup_steps", "`warmup_steps` is -3", "^0 or more",
        "change `warmup_steps`, or delete"
    ),
    "an infinite number of steps": (
        sft("trainer: {warmup_steps: .inf}"), 9, r"trainer\.warmup_steps", "`warmup_steps` is inf", "^0 or more", ""
    ),
    "noise below zero": (
        sft("trainer: {neftune_noise_alpha: -1}"), 9, "neftune_noise_alpha", "is -1", "^0 or more, or null", ""
    ),
    "padding to nothing": (
        sft("trainer: {pad_to_multiple_of: 0}"), 9, "pad_to_multiple_of", "is 0", "^1 or more, or null", "delete it"
    ),
    "weights of losses that are no numbers": (
        (DPO, "    loss: [sigmoid, sft]\n    trainer: {loss_weights: [1, b]}\n"), 18, r"trainer\.loss_weights",
        'an entry of `loss_weights` is the text "b"', "a list of numbers", "one number for each loss"
    ),
    "no divergence that there is": (
        (DPO, "    trainer: {f_divergence_type: forward_k}\n"), 17, "f_divergence_type", '"forward_k"',
        "one of alpha_divergence, forward_kl, js_divergence, reverse_kl", "`forward_kl`"
    ),
    "an argument not among the choices": (
        sft("trainer: {lr_scheduler_type: cosin}"), 9, "lr_scheduler_type", '"cosin"', "one of .*cosine", "`cosine`"
    ),
}  # fmt: skip
WITH_OTHERS = ("two stages of one name", "a stage named like a source", "nothing of the kind")
"""Mistakes that make others further down."""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told(make: Make, mistake: str) -> None:
    change, line, place, found, allowed, remedy = MISTAKES[mistake]
    error = refused(make, change)
    assert re.search(rf"demo\.yaml:{line} .*{place}( \(stage \".*\"\))?$", error.where), error.where
    assert re.search(found, error.found), error.found
    assert "more:" not in error.found or mistake in WITH_OTHERS, error.found
    assert re.search(allowed, error.allowed), error.allowed
    assert re.search(remedy, error.remedy), error.remedy


@pytest.mark.timeout(60)
def test_many_rounds_are_looked_through_once(make: Make) -> None:
    """Each round can be reached from the next in two ways: in 60 rounds, more than anyone could walk."""
    rounds = "".join(
        f"  - {{name: a{n}, kind: sample, model: d{n - 1}, prompts: prompts}}\n"
        f"  - {{name: r{n}, kind: rank, answers: a{n}, by: {{rules: judge.py}}}}\n"
        f"  - {{name: d{n}, kind: dpo, model: d{n - 1}, data: r{n}}}\n"
        for n in range(1, 61)
    )
    early = "  - {name: early, kind: export, model: d60}\n"
    first = "  - {name: d0, kind: sft, model: base, data: demos}\n"
    error = refused(make, ("  - {name: result", f"{early}{first}{rounds}  - {{name: result"))
    assert "`early` (line" in error.found and "reads stage `d60`" in error.found


@pytest.mark.parametrize(
    ("argument", "allowed"), [("gamma: 7", "0 to 1"), ("cliprange: -1", "above 0"), ("kl_target: null", "")]
)
def test_ranges_of_ppo(make: Make, argument: str, allowed: str) -> None:
    stage = "{{name: ppo, kind: ppo, model: sft, prompts: prompts, reward: reward, trainer: {{{}}}}}"
    change = ("  - {name: result", f"  - {stage.format(argument)}\n  - {{name: result")
    if not allowed:
        check_recipe(make(change))
        return
    error = refused(make, change)
    name, value = argument.split(": ")
    assert (error.found, error.allowed) == (f"`{name}` is {value}", allowed)
    assert error.where.endswith(f'stages[5].trainer.{name} (stage "ppo")')


def test_several_mistakes_at_once(make: Make) -> None:
    error = refused(make, ("model: base", "model: bse"), (DPO, "    trainer: {wramup_steps: 3}\n"))
    assert "`bse`" in error.found
    assert error.allowed.endswith(f"(line {error.where.split(':')[1].split()[0]})")  # not that of the other one
    assert "and 1 more:\n  line 17: stages[4].trainer.wramup_steps: " in error.found


def test_heldout_rows_are_traced_back_through_sample_and_rank(make: Make) -> None:
    change = ("prompts: prompts, judge: reward", "prompts: rankings, judge: reward")
    check_recipe(make(change))
    error = refused(make, change, (", holdout: 0.25", ""))
    assert "of `rankings`, which come from the source `prompts`" in error.found
    assert "source `prompts` (line 7)" in error.remedy
    reward = ("models: [sft, dpo], prompts: prompts, judge: reward", "reward: [reward], data: rankings")
    check_recipe(make(reward))
    assert re.search(r"stages\[5\]\.data", refused(make, reward, (", holdout: 0.25", "")).where)


def test_a_held_out_file_counts_as_held_out(make: Make) -> None:
    check_recipe(make((", holdout: 0.25", ", heldout: demos.jsonl")))


def test_a_source_that_only_measures(make: Make) -> None:
    measured = ("prompts: prompts}\n", "prompts: more}\n")
    more = ("  prompts: {", "  more: {kind: prompts, path: prompts.jsonl}\n  prompts: {")
    check_recipe(make(("holdout: 0.25", "holdout: all"), measured, more))
    error = refused(make, ("demos.jsonl}", "demos.jsonl, holdout: all}"))
    assert error.found == "all rows of `demos` are held out, and this stage learns from `data`"
    assert error.where.endswith('demo.yaml:9 stages[0].data (stage "sft")')
    error = refused(make, ("holdout: 0.25", "holdout: all"))  # what is sampled and ranked from them is held out, too
    assert "all rows of `rankings`, which come from the source `prompts`, are held out" in error.found
    assert error.where.endswith('demo.yaml:12 stages[3].data (stage "reward")')


@pytest.mark.parametrize(
    ("reward", "heads", "fine"),
    [
        ("reward", 1, False),
        ("{rules: judge.py}", 8, False),
        ("reward", 8, True),
        ("[reward, {rules: judge.py}]", 2, True),
    ],
)
def test_one_head_cannot_disagree(make: Make, reward: str, heads: int, fine: bool) -> None:
    ppo = f"name: ppo, kind: ppo, model: sft, prompts: prompts, reward: {reward}, trainer: {{uncertainty_coef: 0.5}}"
    change = ("data: rankings}", f"data: rankings, heads: {heads}}}\n  - {{{ppo}}}")
    if fine:
        check_recipe(make(change))
        return
    error = refused(make, change)
    assert error.found.startswith("nobody can disagree") and "trainer.uncertainty_coef" in error.where


def test_a_source_that_only_measures_beside_one_that_trains(make: Make) -> None:
    """`data: [r, hr]`, of which `hr` is all held out: the stage trains on `r` and its figures are of `hr`."""
    more = ("  prompts: {", "  more: {kind: demonstrations, path: demos.jsonl, holdout: all}\n  prompts: {")
    both = (SFT, SFT.replace("data: demos", "data: [demos, more]"))
    check_recipe(make(more, both))
    error = refused(make, more, both, ("path: demos.jsonl}", "path: demos.jsonl, holdout: all}"))
    assert error.found.startswith("all rows of `demos` are held out") and "all rows of `more`" in error.found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("path: demos.jsonl", "path: ~nosuchuser/x.jsonl"), "there is no `~nosuchuser/x.jsonl`"),
        (("path: Qwen/Qwen3-0.6B", "path: ~nosuchuser/model"), "there is no `~nosuchuser/model`"),
        (("rules: judge.py", "rules: ~nosuchuser/judge.py"), "there is no `~nosuchuser/judge.py`"),
    ],
)
def test_the_home_of_a_user_who_is_not_there(make: Make, change: tuple[str, str], said: str) -> None:
    assert said in refused(make, change).found


def test_an_artifact_of_an_earlier_run_brings_its_own_split(make: Make, folder: Path) -> None:
    artifact = folder / "old"
    artifact.mkdir()
    changes = ("path: prompts.jsonl, holdout: 0.25", "path: old")
    assert "is a folder" in refused(make, changes).found
    (artifact / "manifest.json").write_text("{}")
    assert "none are held out" in refused(make, changes).found
    (artifact / "heldout.jsonl").write_text("")
    check_recipe(make(changes))


def test_model_paths(make: Make, folder: Path) -> None:
    (folder / "model").mkdir()
    check_recipe(make(("path: Qwen/Qwen3-0.6B", "path: model")))
    check_recipe(make(("path: Qwen/Qwen3-0.6B", f"path: {folder}/model, chat_template: chatml, pad_token: x")))
    check_recipe(make(("path: Qwen/Qwen3-0.6B", "path: Qwen/Qwen3-0.6B, revision: abc")))
    error = refused(make, ("path: Qwen/Qwen3-0.6B", "path: model, revision: abc"))
    assert "`revision` is for hub models" in error.found
    assert "did you mean `./model`" in refused(make, ("path: Qwen/Qwen3-0.6B", "path: ./modle")).remedy


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def score(prompt, answer:\n    return 1\n", r"`judge\.py` line 1 is not Python"),
        ("def mark(prompt):\n    return 1\n", r"`judge\.py` defines no `score`"),
        ("import x\n\ndef score(prompt, answer):\n    return 1\n", r"line 3 defines score\(prompt, answer\), which is"),
        ("def score(*given):\n    return 1\n", None),
        ("from elsewhere import score\n", None),
        ("score = max\n", None),
        ("if True:\n    score = max\n", None),
    ],
)
def test_a_rules_file_is_read_before_the_run(make: Make, folder: Path, text: str, found: str | None) -> None:
    (folder / "judge.py").write_text(text, "utf-8")
    if found is None:
        check_recipe(make())
        return
    with pytest.raises(RecipeError, match=found):
        check_recipe(make())


def test_unused_sources_and_equal_answers_are_warned_of(make: Make) -> None:
    warnings = check_recipe(
        make(
            ("  prompts: {", "  spare: {kind: corpus, path: demos.jsonl}\n  prompts: {"),
            ("prompts: prompts}", "prompts: prompts, temperature: 0}"),
        )
    )
    unused, same, hub = warnings
    assert "sources.base.path: there is no folder" in hub
    assert re.search(r"demo\.yaml:7 sources\.spare: no stage reads the source `spare`$", unused)
    assert re.search(r"demo\.yaml:11 stages\[1\]\.temperature .*all 4 answers to a prompt are the same$", same)


def test_every_dpo_loss_is_accepted(make: Make) -> None:
    for loss in dpo_loss_types():
        smoothing = "    trainer: {label_smoothing: 0.01}\n" if loss in SMOOTHED else ""
        check_recipe(make((DPO, f"    loss: {loss}\n{smoothing}")))


@pytest.mark.parametrize("kind", ["pretrain", "sft", "reward", "dpo", "orpo", "simpo", "kto"])
def test_a_plausible_trainer_mapping_passes_for_every_trainer(make: Make, kind: str) -> None:
    trainer = "{weight_decay: 0, warmup_steps: 0.1, lr_scheduler_type: cosine, max_grad_norm: 1e-1, tf32: null}"
    data = "rankings" if kind not in ("pretrain", "sft") else "demos"
    model = "" if kind == "pretrain" else "model: base, "
    stage = f"  - {{name: more, kind: {kind}, {model}data: {data}, trainer: {trainer}}}\n  - {{name: result"
    check_recipe(make(("  - {name: result", stage)))


def test_what_align_sets_is_refused_in_every_trainer() -> None:
    named = [
        "learning_rate output_dir per_device_train_batch_size num_train_epochs max_steps seed report_to bf16 fp16",
        "resume_from_checkpoint gradient_accumulation_steps logging_steps save_steps save_strategy max_length",
    ]
    for kind in ("sft", "reward", "dpo"):
        for name in " ".join(named).split():
            assert name in fields_of(kind), f"{name} is gone from the trainer of {kind}"
            assert name in OURS
    assert not set(OURS) & set(GONE)


def test_types_of_values() -> None:
    assert fits(None, ["null"]) and not fits(None, ["str"])
    assert fits(1, ["float"]) and not fits(1.0, ["int"]) and not fits(True, ["int", "float"])
    assert fits([1], ["list"]) and fits({}, ["dict"]) and fits("a", ["str"]) and not fits("1", ["int"])


def test_an_answer_as_long_as_the_context(make: Make, folder: Path) -> None:
    """The context comes from config.json of the policy that the chain starts from, or from a pretrain stage."""
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"text_config": {"max_position_embeddings": 96}}')
    short = ("judge: reward}", "judge: reward, max_new_tokens: 32}")
    local = ("path: Qwen/Qwen3-0.6B", "path: ./model")
    assert (
        check_recipe(make(local, short, ("sft, prompts: prompts}", "sft, prompts: prompts, max_new_tokens: 95}"))) == []
    )
    error = refused(make, short, local, ("sft, prompts: prompts}", "sft, prompts: prompts, max_new_tokens: 96}"))
    assert "answers of up to 96 tokens leave no room for a prompt: the context of `sft` is 96" in error.found
    assert error.remedy == "write `max_new_tokens: 48` or less" and "max_new_tokens" in error.where
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "../model"}')
    adapter = ("path: Qwen/Qwen3-0.6B", "path: ./adapter")
    error = refused(make, short, adapter, ("sft, prompts: prompts}", "sft, prompts: prompts, max_new_tokens: 96}"))
    assert "is 96" in error.found
    pretrain = "{name: sft, kind: pretrain, data: demos, context: 64, max_length: 64}"
    error = refused(
        make, short, (SFT, pretrain), ("sft, prompts: prompts}", "sft, prompts: prompts, max_new_tokens: 64}")
    )
    assert "the context of `sft` is 64" in error.found
