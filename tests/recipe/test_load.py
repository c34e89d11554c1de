"""Loading: every mistake names its line, what was found, what is allowed, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from align.errors import RecipeError
from align.recipe.find import shipped_recipes
from align.recipe.load import load_recipe
from align.recipe.schema import DPO, Lora, Pretrain, Rank, Sample
from tests.recipe.conftest import GOOD, Make

SFT = "{name: sft, kind: sft, model: base, data: demos}"


def sft(more: str) -> tuple[str, str]:
    return SFT, SFT[:-1] + ", " + more + "}"


def test_a_good_recipe_loads_with_lines(make: Make, folder: Path) -> None:
    loaded = make()
    assert [s.name for s in loaded.recipe.stages] == ["sft", "answers", "rankings", "reward", "dpo", "result"]
    assert loaded.text == GOOD
    assert loaded.path == folder / "demo.yaml"
    assert loaded.lines[("seed",)] == 3
    assert loaded.lines[("sources", "prompts", "holdout")] == 7
    assert loaded.lines[("stages", 4)] == 13
    assert loaded.lines[("stages", 4, "beta")] == 17
    assert loaded.lines[("stages", 5, "models", 1)] == 18
    assert loaded.where(("stages", 4, "beta")) == f'{folder}/demo.yaml:17 stages[4].beta (stage "dpo")'
    assert loaded.where(("stages", 4, "epochs")).startswith(f"{folder}/demo.yaml:13 ")  # not written: the stage's line
    assert loaded.resolve("judge.py") == folder / "judge.py"
    assert loaded.resolve("/a/b.py") == Path("/a/b.py")


@pytest.mark.parametrize(
    ("text", "number"), [("1e-5", 1e-5), ("2E3", 2000.0), ("1.5e+2", 150.0), (".5", 0.5), ("3", 3)]
)
def test_numbers_are_numbers(make: Make, text: str, number: float) -> None:
    stage = make(sft(f"learning_rate: {text}, trainer: {{weight_decay: {text}, adam_epsilon: {text}}}")).recipe.stages[
        0
    ]
    assert stage.kind == "sft"
    assert (stage.learning_rate, type(stage.learning_rate)) == (number, float)
    assert stage.trainer == {"weight_decay": number, "adam_epsilon": number}
    assert type(stage.trainer["weight_decay"]) in (int, float)


def test_yaml_1_2_texts_stay_texts(make: Make) -> None:
    stage = make(sft("trainer: {a: yes, b: on, c: 2026-01-02, d: null, e: &t true, f: [1, {g: *t}]}")).recipe.stages[0]
    assert stage.kind == "sft"
    assert stage.trainer == {"a": "yes", "b": "on", "c": "2026-01-02", "d": None, "e": True, "f": [1, {"g": True}]}
    assert type(stage.trainer["e"]) is bool


def test_merge_keys_and_aliases_work(make: Make) -> None:
    loaded = make(
        ("  - name: dpo\n", "  - &dpo\n    name: dpo\n"),
        ("  - {name: result", "  - {<<: *dpo, name: dpo2, beta: 0.5}\n  - {name: result"),
    )
    first, second = (s for s in loaded.recipe.stages if s.kind == "dpo")
    assert (first.beta, second.beta, second.data) == (0.2, 0.5, "rankings")


def test_values_of_every_union(make: Make) -> None:
    recipe = make(
        sft("lora: none"),
        ("holdout: 0.25", "holdout: 25"),
        ("beta: 0.2", "lora: {r: 4}\n    loss: [sigmoid, sft]"),
        ("model: sft, prompts", "model: [sft, base], prompts"),
    ).recipe
    sft_stage, sample, rank, _, dpo, _ = recipe.stages
    assert sft_stage.kind == "sft" and sft_stage.lora == "none"
    assert isinstance(dpo, DPO) and dpo.lora == Lora(r=4) and dpo.loss == ["sigmoid", "sft"]
    assert isinstance(sample, Sample) and sample.model == ["sft", "base"]
    assert isinstance(rank, Rank) and rank.by.model_dump() == {"rules": "judge.py"}
    assert recipe.sources["prompts"].holdout == 25 and isinstance(recipe.sources["prompts"].holdout, int)


# change -> line, the place, what is found, what is allowed, the remedy (regular expressions)
MISTAKES = {
    "misspelt key of the recipe": (("seed: 7", "sed: 7"), 3, "sed", "unknown key `sed`", "name, seed, sources",
        "`seed`"),
    "misspelt key of a source": (
        ("holdout: 0.25", "holdot: 0.25"), 7, r"sources\.prompts\.holdot", "unknown key `holdot`", "kind, path",
        "`holdout`"
    ),
    "misspelt key of a stage": (
        ("beta: 0.2", "bta: 0.2"), 17, r"stages\[4\]\.bta \(stage \"dpo\"\)", "unknown key `bta`", "epochs", "`beta`"
    ),
    "misspelt required key": (
        ("model: sft\n", "modle: sft\n"), 15, r"stages\[4\]\.modle", "unknown key `modle`$", "", "did you mean `model`"
    ),
    "a key of another kind": (
        ("beta: 0.2", "minibatches: 2"), 17, r"stages\[4\]\.minibatches", "unknown key `minibatches`", "epochs",
        "only `ppo` has it: delete it from `dpo`"
    ),
    "misspelt key in lora": (
        sft("lora: {rank: 3}"), 9, r"stages\[0\]\.lora\.rank", "unknown key `rank`", "r, alpha, dropout", "align schema"
    ),
    "misspelt key in the recipe's lora": (
        ("seed: 7", "lora: {dropot: 0.1}"), 3, r"lora\.dropot", "unknown key `dropot`", "r, alpha", "`dropout`"
    ),
    "no target in lora": (
        sft("lora: {targets: []}"), 9, r"lora\.targets", "an empty list", "a text or a list of texts", "all-linear"
    ),
    "an empty target in lora": (
        sft("lora: {targets: [q_proj, '']}"), 9, r"lora\.targets", "one of the `targets` is an empty text", "", "change"
    ),
    "a target in lora that is an empty text": (
        sft("lora: {targets: ''}"), 9, r"lora\.targets", 'the text ""', "a text or a list of texts", "all-linear"
    ),
    "misspelt key in by": (
        ("{rules: judge.py}", "{rulse: judge.py}"), 11, r"stages\[2\]\.by", "unknown key `rulse` in `by`",
        "exactly one of rules, reward, file", "did you mean `rules`"
    ),
    "two keys in by": (
        ("{rules: judge.py}", "{rules: judge.py, reward: x}"), 11, r"stages\[2\]\.by",
        r"`by` has 2 keys \(rules, reward\)", "exactly one of", "align schema"
    ),
    "no key in by": (("{rules: judge.py}", "{}"), 11, "by", "`by` has 0 keys", "exactly one of", "align schema"),
    "by a text": (
        ("{rules: judge.py}", "rules"), 11, "by", '`by` is the text "rules"', "a mapping with `rules`", "align schema"
    ),
    "a wrong value in by": (
        ("{rules: judge.py}", "{rules: 3}"), 11, r"by\.rules", "`rules` is 3$", "a text", 'in quotes: "3"'
    ),
    "a wrong key in judge": (
        ("judge: reward", "judge: {rule: judge.py}"), 18, r"judge\.rule", "unknown key `rule`$", "rules",
        "did you mean `rules`"
    ),
    "a short name": (sft("lr: 1"), 9, r"stages\[0\]\.lr", "unknown key `lr`", "", "did you mean `learning_rate`"),
    "a trainer argument in the stage": (
        sft("weight_decay: 1"), 9, "weight_decay", "unknown key", "", r"write `trainer: \{weight_decay: \.\.\.\}`"
    ),
    "a trainer's name of our field": (
        sft("num_train_epochs: 1"), 9, "num_train_epochs", "unknown key", "", "use `epochs` of the stage"
    ),
    "unknown kind of stage": (
        ("kind: dpo", "kind: dpoo"), 14, r"stages\[4\]\.kind", 'is the text "dpoo", no kind of stage',
        "pretrain, sft, sample", "did you mean `dpo`"
    ),
    "no kind of stage": (("    kind: dpo\n", ""), 13, r"stages\[4\]", "the stage has no `kind`", "pretrain",
        "add `kind"),
    "unknown kind of source": (
        ("kind: prompts", "kind: promts"), 7, r"sources\.prompts\.kind", '`kind` is the text "promts"',
        "one of policy, reward_model, corpus", "did you mean `prompts`"
    ),
    "missing field of the recipe": (("name: demo\n", ""), 1, "", "`name` is missing", "a name: a lower-case",
        "add `name"),
    "missing field of a source": (
        (", path: demos.jsonl", ""), 6, r"sources\.demos", "`path` is missing", "a text", "add `path"
    ),
    "missing field of a stage": (
        ("    model: sft\n", ""), 13, r'stages\[4\] \(stage "dpo"\)', "`model` is missing", "a text", "add `model"
    ),
    "a text for a number": (
        sft("learning_rate: fast"), 9, r"stages\[0\]\.learning_rate \(stage \"sft\"\)",
        '`learning_rate` is the text "fast"', r"a number, above 0 \(Peak learning rate", "learning_rate: 0.0001`"
    ),
    "a fraction for a whole number": (("seed: 7", "seed: 7.5"), 3, "seed", "`seed` is 7.5", "a whole number",
        "`seed: 0`"),
    "a number for a text": (
        ("path: Qwen/Qwen3-0.6B", "path: x, revision: 123"), 5, "revision", "`revision` is 123", "a text",
        'quotes: "123"'
    ),
    "a text for a list": (
        ("models: [sft, dpo]", "models: sft"), 18, "models", '`models` is the text "sft"', "a list of texts", r"\[sft\]"
    ),
    "a number in a list": (
        ("models: [sft, dpo]", "models: [sft, 3]"), 18, r"models\[1\]", r"`models\[1\]` is 3", "a list of texts",
        'quotes: "3"'
    ),
    "a number in a list that may be a text": (
        ("data: demos", "data: [demos, 3]"), 9, r"data\[1\]", r"`data\[1\]` is 3", "a text or a list of texts",
        'quotes: "3"'
    ),
    "a mapping for a text or list": (
        ("data: demos", "data: {demos: 1}"), 9, "data", "`data` is a mapping", "a text or a list of texts",
        "align schema"
    ),
    "a text for lora": (
        sft("lora: full"), 9, "lora", '`lora` is the text "full"', "a mapping with `r`.* or `none`", "align schema|none"
    ),
    "below the range": (("beta: 0.2", "beta: -1"), 17, "beta", "`beta` is -1", "a number, above 0", "`beta: 0.1`"),
    "above the range": (
        ("prompts: prompts}", "prompts: prompts, per_prompt: 65}"), 10, "per_prompt", "`per_prompt` is 65",
        "1 or more and at most 64", "per_prompt: 4"
    ),
    "not a number": (("beta: 0.2", "beta: .nan"), 17, "beta", "`beta` is nan", "above 0", "beta: 0.1"),
    "infinity": (("beta: 0.2", "beta: .inf"), 17, "beta", "`beta` is inf", "above 0", "beta: 0.1"),
    "below the range of a union": (
        ("holdout: 0.25", "holdout: -0.1"), 7, "holdout", "`holdout` is -0.1", "a number or `all`", "holdout: 0"
    ),
    "not among the choices": (
        ("seed: 7", "precision: fp16"), 3, "precision", "fp16", "one of auto, fp32, bf16", "did you mean `bf16`"
    ),
    "a stage's name": (
        ("name: dpo", "name: My DPO"), 13, r"stages\[4\]\.name", 'the text "My DPO"', "a lower-case letter",
        "align schema"
    ),
    "a source's name": (
        ("  demos:", "  My Demos:"), 6, r"sources\.My Demos", "cannot be a source's name", "a lower-case", "rename"
    ),
    "a source that is a text": (
        ("base: {kind: policy, path: Qwen/Qwen3-0.6B}", "base: Qwen/Qwen3-0.6B"), 5, r"sources\.base",
        'is the text "Qwen/Qwen3-0.6B"', "a mapping with `kind`", "base: {kind: policy, path: Qwen/Qwen3-0.6B}"
    ),
    "a stage that is a text": (
        (SFT, "sft"), 9, r"stages\[0\]", 'is the text "sft"', "a mapping with `name`", "name: ..., kind:"
    ),
    "sources that are empty": (
        (GOOD[GOOD.index("sources"):GOOD.index("stages:")], "sources:\n"), 4, "sources", "`sources` is empty",
        "a mapping from names to a mapping with `kind`", "align schema"
    ),
    "no stages": ((GOOD[GOOD.index("stages:"):], "stages: []\n"), 8, "stages", "an empty list", "1 or more",
        "align schema"),
    "batch size": (
        sft("micro_batch: 3"), 9, r"stages\[0\]", "micro_batch 3 does not divide batch_size 16", "", "change one"
    ),
    "a key that is a number": (("seed: 7", "3: 7"), 3, "", "the key 3 is not a text", "texts", "in quotes"),
    "a tag": (("seed: 7", "seed: !!python/name:x 7"), 3, "", "tag", "texts, numbers", ""),
    "a key given twice": (
        ("seed: 7", "seed: 7\nseed: 8"), 4, "", "the key `seed` is given twice.*line 2", "each key once", "rename"
    ),
    "a source's name given twice": (
        ("  prompts: {", "  demos: {"), 7, "", "the key `demos` is given twice", "each key once", "rename"
    ),
    "a bracket that stays open": (("{kind: policy, path: Qwen/Qwen3-0.6B}", "{kind: policy"), 6, "",
        "not valid YAML", "", "bracket"),
    "a tab": (("seed: 7", "seed:\n\t7"), 4, "", "not valid YAML.*character", "", "spaces"),
    "a second document": (("seed: 7", "---\nseed: 7"), 3, "", "second document", "one recipe a file", "---"),
    "a bell": (("seed: 7", "seed: \x07"), None, "", "not valid YAML", "", "line"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told(make: Make, mistake: str) -> None:
    change, line, place, found, allowed, remedy = MISTAKES[mistake]
    assert isinstance(change, tuple)
    with pytest.raises(RecipeError) as caught:
        make(change)
    error = caught.value
    assert error.exit_code == 2
    assert re.search(rf"demo\.yaml:{line}( .*{place})?" if line else r"demo\.yaml$", error.where), error.where
    assert re.search(rf"{place}( \(stage \".*\"\))?$", error.where), error.where
    assert re.search(str(found), error.found), error.found
    assert re.search(str(allowed), error.allowed), error.allowed
    assert re.search(str(remedy), error.remedy), error.remedy


def test_pretrain_shape_is_checked(make: Make) -> None:
    stage = "{name: sft, kind: pretrain, data: demos, hidden_size: 100, heads: 3}"
    with pytest.raises(RecipeError, match=r"hidden_size 100 is not a multiple of 2 x heads \(6\)"):
        make((SFT, stage))
    with pytest.raises(RecipeError, match="max_length 256 is above the context of 128 tokens"):
        make((SFT, "{name: sft, kind: pretrain, data: demos, context: 128}"))
    assert isinstance(make((SFT, "{name: sft, kind: pretrain, data: demos}")).recipe.stages[0], Pretrain)


def test_evaluate_without_anything_to_do(make: Make) -> None:
    with pytest.raises(RecipeError, match="nothing to evaluate"):
        make(("models: [sft, dpo], prompts: prompts, judge: reward", "limit: 3"))


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(make: Make) -> None:
    with pytest.raises(RecipeError) as caught:
        make(("beta: 0.2", "beta: x\n    epochs: 0"), ("seed: 7", "sed: 7"), ("holdout: 0.25", "holdout: -1"))
    error = caught.value
    assert error.where.endswith("demo.yaml:3 sed")
    assert error.remedy == "did you mean `seed`?"
    assert error.found.splitlines() == [
        "unknown key `sed`",
        "and 3 more:",
        "  line 7: sources.prompts.holdout: `holdout` is -1",
        '  line 17: stages[4].beta: `beta` is the text "x"',
        "  line 18: stages[4].epochs: `epochs` is 0",
    ]


def test_an_alias_that_holds_itself(folder: Path) -> None:
    path = folder / "x.yaml"
    path.write_text("name: x\nseed: &a\n  b: *a\n")
    with pytest.raises(RecipeError, match=r"x\.yaml:\d"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("- 1\n", "the file holds a list, not a recipe"),
        ("hello\n", "the file holds the single value 'hello'"),
    ],
)
def test_a_file_that_is_no_mapping(folder: Path, text: str, message: str) -> None:
    path = folder / "x.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert "name:, sources: and stages:" in caught.value.allowed
    assert "align new quickstart" in caught.value.remedy


def test_a_file_that_is_not_utf8(folder: Path) -> None:
    path = folder / "x.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(path)


def test_a_byte_order_mark_and_chinese(folder: Path) -> None:
    path = folder / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("# a comment", "# 你好").encode())
    assert load_recipe(path).recipe.name == "demo"


def test_a_missing_file_names_the_one_meant(make: Make, folder: Path) -> None:
    make()
    with pytest.raises(RecipeError, match="there is no such recipe") as caught:
        load_recipe(folder / "dmo.yaml")
    assert caught.value.remedy == f"did you mean `{folder}/demo.yaml`?"
    for name in shipped_recipes():
        assert name in caught.value.allowed


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_loads(name: str) -> None:
    assert load_recipe(shipped_recipes()[name]).recipe.name == name
