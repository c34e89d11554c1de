"""Commands that need no training feel instant."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import Finished
from tests.runs import environment, write_rows

TRIES = 5

QUICKSTART = """\
name: quick
sources:
  corpus: {kind: corpus, path: corpus.jsonl}
  demos: {kind: demonstrations, path: demos.jsonl}
  prompts: {kind: prompts, path: prompts.jsonl, heldout: heldout.jsonl}
stages:
  - {name: base, kind: pretrain, data: corpus}
  - {name: sft, kind: sft, model: base, data: demos, lora: none}
  - {name: answers, kind: sample, model: sft, prompts: prompts}
  - {name: rankings, kind: rank, answers: answers, by: {rules: judge.py}}
  - {name: reward, kind: reward, model: sft, data: rankings}
  - {name: dpo, kind: dpo, model: sft, data: rankings}
  - {name: result, kind: evaluate, models: [sft, dpo], prompts: prompts, judge: {rules: judge.py}, reward: [reward],
     data: rankings}
  - {name: final, kind: export, model: dpo}
"""
"""The stages of recipes/quickstart.yaml, over data of its size."""


def best_seconds(arguments: list[str], cwd: Path) -> float:
    """Processor seconds of the fastest of several tries, through the entry point that `align` calls.

    The commands have one thread and wait for nothing, so this is the time they take on a machine without other work;
    wall-clock time would measure what else runs beside the tests.
    """
    entry = [sys.executable, "-c", "import sys; from align.cli import main; sys.argv[0] = 'align'; main()"]
    best = float("inf")
    for _ in range(TRIES):
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen([*entry, *arguments], cwd=cwd, env=environment(), stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            assert process.returncode == 0, said.read().decode()
        best = min(best, used.ru_utime + used.ru_stime)
    return best


def test_help(tmp_path: Path) -> None:
    assert best_seconds(["--help"], tmp_path) < 0.5


def test_check(tmp_path: Path) -> None:
    def turn(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    words = "The capital of this land lies at a river, and many people visit it each year in the summer"
    asked = [[turn("user", f"What is the number of house {i}, please?")] for i in range(2000)]
    write_rows(tmp_path / "corpus.jsonl", [{"text": f"{words} {i}."} for i in range(1600)])
    write_rows(
        tmp_path / "demos.jsonl",
        [{"messages": [*a, turn("assistant", f"It is {i}.")]} for i, a in enumerate(asked[:1000])],
    )
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": a, "tags": ["fact"]} for a in asked[1000:1700]])
    write_rows(tmp_path / "heldout.jsonl", [{"prompt": a, "tags": ["fact"]} for a in asked[1700:1950]])
    (tmp_path / "judge.py").write_text("def score(*given, **named):\n    return 1.0\n")
    (tmp_path / "quick.yaml").write_text(QUICKSTART)
    # 0.8 s of processor time where nobody disturbs; the same code took 1.3 s on a busy shared machine.
    assert best_seconds(["check", "quick.yaml"], tmp_path) < 1.6


def test_a_finished_run(finished: Finished) -> None:
    assert best_seconds(["run", "tiny.yaml"], finished.folder) < 2.0


@pytest.mark.parametrize("name", ["schema", "new"])
def test_the_rest(tmp_path: Path, name: str) -> None:
    assert best_seconds([name], tmp_path) < 1.0


def test_no_command_but_a_stage_imports_torch(finished: Finished) -> None:
    """The reason why all this is fast, and what would spoil it first."""
    code = (
        "import sys; from align.cli import _main; code = _main(['run', 'tiny.yaml', '--quiet']); "
        "heavy = {'torch', 'transformers', 'matplotlib', 'pyarrow', 'sklearn'} & set(sys.modules); "
        "sys.exit(code or f'{heavy} imported' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished.folder, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
