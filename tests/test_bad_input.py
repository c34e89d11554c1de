"""Every mistake a user can make: an exit code, an error with place, finding and remedy, and no half-made folder."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Finished, World
from tests.runs import (
    STAGES,
    Outcome,
    ask,
    call,
    changed,
    contents,
    environment,
    leftovers,
    make_world,
    spawn,
    write_rows,
)

CODES = {"RecipeError": 2, "DataError": 3, "ModelError": 4, "TrainingError": 5, "SystemLimit": 6}


def run(world: World) -> Outcome:
    return call("run", world.recipe, "--runs", world.runs, "--json")


@dataclass(frozen=True)
class Refused:
    """What an error must hold, each as a part of its text."""

    error: str
    where: str
    found: str
    allowed: str = ""
    remedy: str = ""


def assert_refused(outcome: Outcome, expected: Refused) -> None:
    assert outcome.code == CODES[expected.error], outcome.err
    told = outcome.json
    assert told["error"] == expected.error
    for part in ("where", "found", "allowed", "remedy"):
        assert getattr(expected, part) in told[part], f"{part} is {told[part]!r}"
        assert told[part] in outcome.err
    assert told["where"] and told["found"], "an error without place or finding"
    assert told["allowed"] or told["remedy"], "an error that does not say what to do"
    assert "Traceback" not in outcome.err


def assert_nothing_half_made(run_folder: Path) -> None:
    """No folder without manifest, and none that a run would have to make anew."""
    if run_folder.exists():
        assert [n for n in leftovers(run_folder) if n != ".worker.log" and not n.endswith(".failed.log")] == []
        assert list(run_folder.glob("*/manifest.json")), "a run folder in which nothing was sealed"


# --- the recipe ----------------------------------------------------------------------------------------------------

RECIPES = {
    "misspelt key": (
        ("per_prompt: 3", "per_promt: 3"),
        Refused("RecipeError", "tiny.yaml:12", "unknown key `per_promt`", "per_prompt", "did you mean `per_prompt`?"),
    ),
    "misspelt key at the top": (
        ("seed: 3", "sede: 3"),
        Refused("RecipeError", "tiny.yaml:2", "unknown key `sede`", "seed", "did you mean `seed`?"),
    ),
    "unknown stage": (
        ("{name: final, kind: export, model: dpo}", "{name: final, kind: export, model: dop}"),
        Refused("RecipeError", "tiny.yaml:18", "reads `dop`, but no source or stage", "dpo", "did you mean `dpo`?"),
    ),
    "unknown source": (
        ("model: base, data: demos", "model: base, data: demo"),
        Refused(
            "RecipeError", "tiny.yaml:11", "reads `demo`, but no source or stage", "demos", "did you mean `demos`?"
        ),
    ),
    "unknown kind of stage": (
        ("kind: pretrain", "kind: pretrian"),
        Refused("RecipeError", "tiny.yaml:9", "no kind of stage", "pretrain, sft", "did you mean `pretrain`?"),
    ),
    "unknown kind of source": (
        ("kind: demonstrations", "kind: demonstration"),
        Refused("RecipeError", "tiny.yaml:5", "demonstration", "demonstrations", "did you mean `demonstrations`?"),
    ),
    "a stage that reads a later one": (
        ("kind: reward, model: sft", "kind: reward, model: dpo"),
        Refused(
            "RecipeError", "tiny.yaml:14", "reads stage `dpo` (line 15), which runs after it", "before", "move stage"
        ),
    ),
    "stages in a circle": (
        ("kind: sft, model: base", "kind: sft, model: dpo"),
        Refused("RecipeError", "tiny.yaml:11", "in a circle, which no order mends: sft -> dpo -> sft", "", "`base`"),
    ),
    "a stage that reads itself": (
        ("kind: sft, model: base", "kind: sft, model: sft"),
        Refused("RecipeError", "tiny.yaml:11", "stage `sft` reads itself", "before", ""),
    ),
    "wrong artifact kind": (
        ("kind: reward, model: sft, data: rankings", "kind: reward, model: sft, data: demos"),
        Refused("RecipeError", "tiny.yaml:14", "reads `demos`, which is of kind demonstrations", "rankings", "read"),
    ),
    "a word for a number": (
        ("name: dpo, kind: dpo,", "name: dpo, kind: dpo, learning_rate: fast,"),
        Refused("RecipeError", "tiny.yaml:15", "`learning_rate` is", "number", "2e-05"),
    ),
    "a number out of range": (
        ("per_prompt: 3", "per_prompt: 65"),
        Refused("RecipeError", "tiny.yaml:12", "`per_prompt` is 65", "64", ""),
    ),
    "an unknown trainer argument": (
        ("name: dpo, kind: dpo,", "name: dpo, kind: dpo, trainer: {betta: 1},"),
        Refused("RecipeError", "tiny.yaml:15", "betta", "", ""),
    ),
    "no such file": (
        ("path: demos.jsonl", "path: demo.jsonl"),
        Refused("RecipeError", "tiny.yaml:5", "there is no `demo.jsonl`", ".jsonl", "did you mean `demos.jsonl`?"),
    ),
    "data only": (
        ("path: demos.jsonl", "path: demos.jsonl, pad_token: x"),
        Refused("RecipeError", "tiny.yaml:5", "`pad_token` is for models", "", "delete it"),
    ),
    "not YAML": (("stages:", "stages: ["), Refused("RecipeError", "tiny.yaml", "", "", "")),
}


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("command", ["run", "check"])
def test_recipe(world: World, name: str, command: str) -> None:
    change, expected = RECIPES[name]
    world.recipe.write_text(changed(change))
    assert_refused(call(command, world.recipe, "--runs", world.runs, "--json"), expected)
    assert not world.runs.exists()


# --- data ----------------------------------------------------------------------------------------------------------

GOOD = {"messages": [*ask("sun"), {"role": "assistant", "content": "It is red."}]}
MORE = [{"messages": [*ask(thing), GOOD["messages"][-1]]} for thing in ("moon", "hill", "road", "tree", "bird")]


def empty(folder: Path) -> None:
    (folder / "demos.jsonl").write_text("")


def blank_lines(folder: Path) -> None:
    (folder / "demos.jsonl").write_text("\n\n")


def not_json(folder: Path) -> None:
    (folder / "demos.jsonl").write_text(json.dumps(GOOD) + "\n{'messages': 1}\n")


def cut_off(folder: Path) -> None:
    (folder / "demos.jsonl").write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD)[:40])


def missing_field(folder: Path) -> None:
    messages = [*GOOD["messages"][:1], {"role": "assistant"}]
    write_rows(folder / "demos.jsonl", [GOOD, GOOD, {"messages": messages}])


def empty_answer(folder: Path) -> None:
    write_rows(
        folder / "demos.jsonl", [GOOD, {"messages": [*ask("sea"), {"role": "assistant", "content": " "}]}, *MORE]
    )


def equal_sides(folder: Path) -> None:
    row = {"prompt": ask("sea"), "chosen": GOOD["messages"][1:], "rejected": GOOD["messages"][1:]}
    write_rows(folder / "demos.jsonl", [row])
    recipe = folder / "tiny.yaml"
    recipe.write_text(
        recipe.read_text().replace(
            "{kind: demonstrations, path: demos.jsonl, holdout: 4}", "{kind: preferences, path: demos.jsonl}"
        )
    )


def leak(folder: Path) -> None:
    rows = (folder / "prompts.jsonl").read_text().splitlines()
    with (folder / "prompts-heldout.jsonl").open("a") as out:
        out.write(rows[4] + "\n")


def leak_between_sources(folder: Path) -> None:
    write_rows(folder / "demos.jsonl", [GOOD, {"messages": [*ask("new sun"), GOOD["messages"][1]]}])
    recipe = folder / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("demos.jsonl, holdout: 4}", "demos.jsonl}"))


DATA = {
    "empty file": (empty, Refused("DataError", "demos.jsonl", "the file is empty", "at least one record", "")),
    "blank lines only": (blank_lines, Refused("DataError", "demos.jsonl", "the file is empty", "", "")),
    "not JSON": (not_json, Refused("DataError", "demos.jsonl:2", "JSON", "", "align data check")),
    "cut off": (cut_off, Refused("DataError", "demos.jsonl:2", "JSON", "", "align data check")),
    "missing field": (missing_field, Refused("DataError", "demos.jsonl:3", "content", "", "align data check")),
    "empty answer": (empty_answer, Refused("DataError", "demos.jsonl:2", "the answer is empty", "", "--drop-broken")),
    "chosen equal to rejected": (
        equal_sides, Refused("DataError", "demos.jsonl:1", "chosen and rejected are equal", "", "--drop-broken")
    ),
    "held-out prompt in training": (
        leak, Refused("DataError", "prompts-heldout.jsonl:7", "also in the training rows of prompts", "either")
    ),
    "held-out prompt in another source": (
        leak_between_sources, Refused("DataError", "prompts-heldout.jsonl:1", "training rows of demos", "either")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(DATA))
@pytest.mark.parametrize("command", ["run", "check"])
def test_data(world: World, name: str, command: str) -> None:
    spoil, expected = DATA[name]
    spoil(world.folder)
    assert_refused(call(command, world.recipe, "--runs", world.runs, "--json"), expected)
    assert not world.runs.exists()


def test_prompts_longer_than_the_context(copy: World) -> None:
    copy.recipe.write_text(changed(("per_prompt: 3, max_new_tokens: 8", "per_prompt: 3, max_new_tokens: 100")))
    expected = Refused(
        "DataError", "prompt ", "18 prompts too long", "at most 28 tokens, for a context of 128", "lower"
    )
    assert_refused(run(copy), expected)
    assert_nothing_half_made(copy.run)


# --- models --------------------------------------------------------------------------------------------------------

ON_A_MODEL = """\
name: tiny
sources:
  base: {{kind: policy, path: {path}}}
  demos: {{kind: demonstrations, path: demos.jsonl}}
lora: {{r: 2, alpha: 4}}
stages:
  - {{name: sft, kind: sft, model: base, data: demos, max_steps: 1, batch_size: 4, max_length: 128}}
"""


@pytest.fixture
def model(finished: Finished, world: World) -> Path:
    """A model folder of our own, and a recipe that starts from it."""
    folder = world.folder / "model"
    shutil.copytree(finished.run / "base", folder, ignore=shutil.ignore_patterns("manifest.json", "logs"))
    world.recipe.write_text(ON_A_MODEL.format(path="model"))
    return folder


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def no_pad_token(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", pad_token=None)


def eos_as_pad_token(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    _edit(folder / "tokenizer_config.json", pad_token=config["eos_token"])


def no_tokenizer(folder: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / file).unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_off_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_such_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def adapter_without_base(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "./gone", "peft_type": "LORA"}))
    (folder / "adapter_model.safetensors").write_bytes(b"")


def _edit(file: Path, **values: object) -> None:
    fields = json.loads(file.read_text()) | values
    file.write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))


MODELS = {
    "no chat template": (no_template, Refused("ModelError", "model", "no chat template", "chatml", "chat_template:")),
    "no pad token": (no_pad_token, Refused("ModelError", "model", "no pad token", "an existing token", "pad_token:")),
    "EOS as pad token": (eos_as_pad_token, Refused("ModelError", "model", "as pad token", "is not EOS", "pad_token:")),
    "no tokenizer": (no_tokenizer, Refused("ModelError", "model", "tokenizer", "", "")),
    "no weights": (no_weights, Refused("ModelError", "model", "holds no weights", "*.safetensors", "copy")),
    "cut off weights": (cut_off_weights, Refused("ModelError", "model", "the model cannot be loaded", "", "")),
    "no config": (no_config, Refused("ModelError", "model", "config.json is missing", "", "name the folder")),
    "no such folder": (no_such_folder, Refused("RecipeError", "tiny.yaml:3", "there is no `model`", "model folder")),
    "adapter without its base": (
        adapter_without_base, Refused("ModelError", "adapter_config.json", "the adapter's base is not there", "", "put")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MODELS))
def test_model(world: World, model: Path, name: str) -> None:
    spoil, expected = MODELS[name]
    spoil(model)
    assert_refused(run(world), expected)
    assert_nothing_half_made(world.run)
    if name in ("no weights", "no config", "no such folder"):  # these are seen before anything is made
        assert not world.runs.exists()


def test_a_model_that_is_named_right_is_taken(world: World, model: Path) -> None:
    """The counterpart: the folder that the cases above spoil is good, and so are the remedies they name."""
    no_template(model)
    no_pad_token(model)
    recipe = ON_A_MODEL.format(path='model, chat_template: chatml, pad_token: "<|pad|>"')
    world.recipe.write_text(recipe)
    outcome = run(world)
    assert outcome.code == 0, outcome.err


def test_an_adapter_of_another_base(finished: Finished, world: World) -> None:
    """An adapter for a model of width 16, put over one of width 32."""
    wider = changed(
        ("hidden_size: 16", "hidden_size: 32"), ("name: tiny", "name: wide"), ("max_steps: 6", "max_steps: 1")
    )
    stages = wider.index("stages:")
    first = wider[stages:].split("\n  - ")[:2]
    wide = world.folder / "wide.yaml"
    wide.write_text(wider[:stages] + "\n  - ".join(first) + "\n")
    assert call("run", wide, "--runs", world.runs).code == 0
    adapter = world.folder / "adapter"
    shutil.copytree(
        finished.run / "dpo", adapter, ignore=shutil.ignore_patterns("manifest.json", "logs", "policy.json")
    )
    _edit(adapter / "adapter_config.json", base_model_name_or_path="../runs/wide/base")
    world.recipe.write_text(ON_A_MODEL.format(path="adapter"))
    expected = Refused("ModelError", "adapter", "the adapter was made for another base", "", "name the base")
    assert_refused(run(world), expected)
    assert_nothing_half_made(world.run)


# --- training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "found"),
    [
        ("fsdp: full_shard", "fsdp only works in distributed training"),
        ("torch_compile_backend: foo", "not a valid DynamoBackend"),
    ],
)
def test_a_trainer_argument_that_a_library_refuses(copy: World, argument: str, found: str) -> None:
    stage = "{name: sft, kind: sft, model: base, data: demos,"
    copy.recipe.write_text(changed((stage, f"{stage} trainer: {{{argument}}},")))
    name = argument.split(":")[0]
    outcome = run(copy)
    expected = Refused("TrainingError", f"stage sft, trainer.{name}", found, "installed libraries", "`trainer:`")
    assert_refused(outcome, expected)
    assert_nothing_half_made(copy.run)


def test_a_loss_that_is_no_number(copy: World) -> None:
    copy.recipe.write_text(changed(("max_steps: 6,", "max_steps: 6, learning_rate: 1.0e+30,")))
    before = (copy.run / "base" / "manifest.json").read_bytes()
    expected = Refused("TrainingError", "base", " is nan at step", "a finite number", "lower learning_rate")
    assert_refused(run(copy), expected)
    assert_nothing_half_made(copy.run)
    assert (copy.run / "base" / "manifest.json").read_bytes() == before
    assert (copy.run / "base.failed.log").exists()


# --- the machine ---------------------------------------------------------------------------------------------------


def without_override() -> None:
    """In the child before exec: give up root's right to read and write anything, so that permission bits count."""
    drop, rights = 24, (1, 2)  # PR_CAPBSET_DROP; CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and any(libc.prctl(drop, right, 0, 0, 0) for right in rights):
        if ctypes.get_errno() == errno.EINVAL:
            return
        os.setgroups([])
        os.setuid(65534)


@pytest.mark.parametrize("place", ["runs", "runs/tiny", "runs/tiny/.lock"])
def test_no_permission_to_write(copy: World, place: str) -> None:
    forbidden = copy.folder / place
    if place == "runs":
        shutil.rmtree(copy.run)
    copy.recipe.write_text(changed(("name: final, kind: export, model: dpo", "name: final, kind: export, model: sft")))
    before = sorted(copy.runs.rglob("*"))
    forbidden.chmod(0o500 if forbidden.is_dir() else 0o400)
    try:
        outcome = spawn("run", copy.recipe, "--json", cwd=copy.folder, preexec_fn=without_override)
    finally:
        forbidden.chmod(0o700)
    expected = Refused("SystemLimit", "runs", "ermission", "", "folder")
    assert_refused(outcome, expected)
    assert sorted(copy.runs.rglob("*")) == before


FORBIDDEN = {
    "recipe": ("run", "tiny.yaml", "tiny.yaml"),
    "recipe, checked": ("check", "tiny.yaml", "tiny.yaml"),
    "data": ("run", "tiny.yaml", "demos.jsonl"),
    "held-out data": ("check", "tiny.yaml", "prompts-heldout.jsonl"),
    "rules": ("check", "tiny.yaml", "judge.py"),
    "data check": ("data check", "demos.jsonl", "demos.jsonl"),
    "data stats": ("data stats", "demos.jsonl", "demos.jsonl"),
    "data check --heldout": ("data check", "prompts.jsonl --heldout prompts-heldout.jsonl", "prompts-heldout.jsonl"),
}


@pytest.mark.parametrize("name", list(FORBIDDEN))
def test_no_permission_to_read(world: World, name: str) -> None:
    command, arguments, forbidden = FORBIDDEN[name]
    (world.folder / forbidden).chmod(0o200)
    outcome = spawn(*command.split(), *arguments.split(), cwd=world.folder, preexec_fn=without_override)
    assert outcome.code == 6, outcome.err
    assert "no permission to read" in outcome.err and f"do:      chmod u+r {forbidden}" in outcome.err
    assert "Traceback" not in outcome.err
    assert not world.runs.exists()


def test_runs_is_a_file(world: World) -> None:
    world.runs.write_text("a file")
    expected = Refused("RecipeError", str(world.runs), "this is a file, and runs are kept in a folder", "", "--runs")
    assert_refused(run(world), expected)
    assert world.runs.read_text() == "a file"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let us mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, left: int) -> Path:
    """Write a file that leaves so many bytes free."""
    ballast = disk / "ballast"
    free = shutil.disk_usage(disk).free
    ballast.write_bytes(bytes(max(0, free - left)))
    return ballast


FULL = Refused("SystemLimit", "tiny", "", "", "free")


@pytest.mark.parametrize(
    "left",
    [0, 150_000, pytest.param(40_000, marks=pytest.mark.slow), pytest.param(400_000, marks=pytest.mark.slow)],
)
def test_a_full_disk(finished: Finished, world: World, disk: Path, left: int) -> None:
    """A disk that fills up stops the run with an error; with space again, the same command completes it."""
    world.recipe.write_text(changed(("seed: 3", "seed: 3\ncheckpoint_seconds: 0")))
    ballast = fill(disk, left)
    outcome = call("run", world.recipe, "--runs", disk / "runs", "--json")
    assert_refused(outcome, FULL)
    said = outcome.json["found"]
    assert "the disk is full" in said or "No space left on device" in said
    folder = disk / "runs" / "tiny"
    if left == 0:
        assert not (disk / "runs").exists()
    else:
        assert_complete_or_absent(folder)
    ballast.unlink()
    again = call("run", world.recipe, "--runs", disk / "runs", "--json")
    assert again.code == 0, again.err
    assert contents(folder) == contents(finished.run)
    assert leftovers(folder) == []


def assert_complete_or_absent(run_folder: Path) -> None:
    """What carries an artifact's name is one; the rest can be continued."""
    for path in run_folder.iterdir():
        if path.is_dir():
            assert path.name.endswith(".partial") or (path / "manifest.json").exists(), path.name
            assert not path.name.endswith(".partial") or (path / "KEY").exists(), path.name


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int full(int handle) {
    char link[64], path[4096];
    const char *place = getenv("ALIGN_TEST_DISK"), *flag = getenv("ALIGN_TEST_FULL");
    if (!place || !flag || access(flag, F_OK)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strncmp(path, place, strlen(place)) == 0;
}

#define REFUSE(handle) if (full(handle)) { errno = ENOSPC; return -1; }
ssize_t write(int handle, const void *bytes, size_t count) {
    REFUSE(handle)
    return ((ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write"))(handle, bytes, count);
}
ssize_t writev(int handle, const struct iovec *parts, int count) {
    REFUSE(handle)
    return ((ssize_t (*)(int, const struct iovec *, int)) dlsym(RTLD_NEXT, "writev"))(handle, parts, count);
}
ssize_t pwrite64(int handle, const void *bytes, size_t count, off64_t at) {
    REFUSE(handle)
    return ((ssize_t (*)(int, const void *, size_t, off64_t)) dlsym(RTLD_NEXT, "pwrite64"))(handle, bytes, count, at);
}
"""
"""A disk that is full while a certain file exists, for machines where nothing can be mounted."""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_disk_that_fills_up_while_training(finished: Finished, world: World) -> None:
    library, flag = world.folder / "shim.so", world.folder / "full"
    (world.folder / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, world.folder / "shim.c", "-ldl"], check=True)
    world.recipe.write_text(changed(("seed: 3", "seed: 3\ncheckpoint_seconds: 0")))
    env = environment(LD_PRELOAD=str(library), ALIGN_TEST_DISK=str(world.runs.resolve()), ALIGN_TEST_FULL=str(flag))
    # Full from the moment in which the judge is asked: `rank` and the writing of its rankings come after it.
    judge = world.folder / "judge.py"
    rules = judge.read_text()
    judge.write_text(rules.replace("    return sum", f"    open({str(flag)!r}, 'w').close()\n    return sum"))
    outcome = spawn("run", world.recipe, "--json", cwd=world.folder, env=env)
    assert_refused(outcome, FULL)
    assert_complete_or_absent(world.run)
    assert [p.name for p in world.run.glob("*.partial")] == ["rankings.partial"]
    flag.unlink()
    judge.write_text(rules)
    again = spawn("run", world.recipe, "--json", cwd=world.folder, env=env)
    assert again.code == 0, again.err
    assert again.json["ran"] == STAGES[3:]
    assert contents(world.run) == contents(finished.run)


def test_a_world_like_the_finished_one(world: World, finished: Finished) -> None:
    """The cases above change one thing in a recipe that is right."""
    assert call("check", world.recipe, "--runs", world.runs).code == 0
    assert make_world(world.folder).read_text() == finished.recipe.read_text()
