"""No command asks the network for anything as long as the models are local."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Finished, World
from tests.runs import command, make_world, spawn
from tests.sockets import blocked

LORA = """\
name: lora
sources:
  base: {{kind: policy, path: {base}}}
  demos: {{kind: demonstrations, path: demos.jsonl}}
  prompts: {{kind: prompts, path: prompts.jsonl, heldout: prompts-heldout.jsonl}}
lora: {{r: 2, alpha: 4}}
stages:
  - {{name: sft, kind: sft, model: base, data: demos, max_steps: 2, batch_size: 4, max_length: 128}}
  - {{name: answers, kind: sample, model: sft, prompts: prompts, per_prompt: 2, max_new_tokens: 4}}
  - {{name: rankings, kind: rank, answers: answers, by: {{rules: judge.py}}}}
  - {{name: reward, kind: reward, model: sft, data: rankings, max_steps: 2, batch_size: 4, max_length: 128}}
  - {{name: again, kind: rank, answers: answers, by: {{reward: reward}}}}
  - {{name: dpo, kind: dpo, model: sft, data: rankings, max_steps: 2, batch_size: 4, max_length: 128}}
  - {{name: result, kind: evaluate, models: [base, sft, dpo], prompts: prompts, judge: reward, max_new_tokens: 4}}
  - {{name: final, kind: export, model: dpo}}
"""
"""LoRA on a local base, with every stage that loads a model or an adapter."""


def test_the_block_works(tmp_path: Path) -> None:
    """The evidence below means something only if an attempt would be seen, in a forked stage too."""
    record = tmp_path / "network.txt"
    code = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')"
    done = subprocess.run([sys.executable, "-c", code], env=blocked(tmp_path / "site", record), capture_output=True)
    assert done.returncode != 0
    assert record.read_text() != ""


@pytest.mark.slow
def test_a_judge_that_asks_the_network_is_seen(copy: World, tmp_path: Path) -> None:
    record = tmp_path / "network.txt"
    judge = copy.folder / "judge.py"
    judge.write_text("import socket\n\ndef score(*a, **k):\n    socket.getaddrinfo('localhost', 80)\n    return 1.0\n")
    outcome = spawn("run", "tiny.yaml", cwd=copy.folder, env=blocked(tmp_path / "site", record))
    assert outcome.code == 3, outcome.err
    assert record.read_text().startswith("getaddrinfo localhost")


def test_a_run_from_scratch_asks_for_nothing(finished: Finished) -> None:
    assert finished.outcome.code == 0
    assert not finished.network.exists(), finished.network.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["schema"],
        ["check", "tiny.yaml"],
        ["run", "tiny.yaml"],
        ["report", "runs/tiny"],
        ["data", "check", "demos.jsonl"],
        ["data", "stats", "demos.jsonl"],
        ["data", "convert", "demos.jsonl", "out.parquet"],
        ["new"],
        ["new", "hh-harmless", "--into", "mine"],
    ],
    ids=" ".join,
)
def test_other_commands_ask_for_nothing(copy: World, tmp_path: Path, arguments: list[str]) -> None:
    record = tmp_path / "network.txt"
    outcome = spawn(*arguments, cwd=copy.folder, env=blocked(tmp_path / "site", record))
    assert outcome.code == 0, outcome.err
    assert not record.exists(), record.read_text()


@pytest.mark.slow
def test_lora_over_a_local_base_asks_for_nothing(finished: Finished, tmp_path: Path) -> None:
    record = tmp_path / "network.txt"
    recipe = make_world(tmp_path / "world", LORA.format(base=finished.run / "base"))
    outcome = spawn("run", recipe.name, cwd=recipe.parent, env=blocked(tmp_path / "site", record))
    assert outcome.code == 0, outcome.err
    assert not record.exists(), record.read_text()


def can_unshare() -> bool:
    """Whether this machine lets us make a network namespace."""
    try:
        return subprocess.run(["unshare", "-rn", "true"], capture_output=True, timeout=20).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_unshare(), reason="this machine does not let us make a network namespace")
def test_a_run_in_a_network_of_its_own_completes(finished: Finished, tmp_path: Path) -> None:
    """Native code would not be seen by patched sockets; without any network interface it would fail or hang."""
    recipe = make_world(tmp_path / "world", LORA.format(base=finished.run / "base"))
    line = ["unshare", "-rn", *command("run", recipe.name)]
    done = subprocess.run(line, cwd=recipe.parent, env=blocked(tmp_path / "s", tmp_path / "r"), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
