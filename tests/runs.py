"""A world so small that a whole recipe runs in seconds, and the command line to run it with."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.artifacts import Artifact, read_artifact

os.environ["OMP_NUM_THREADS"] = "1"  # sums of floats depend on the number of threads, and so would the content hashes

ROOT = Path(__file__).resolve().parents[1]

RECIPE = """\
name: tiny
seed: 3
sources:
  corpus: {kind: corpus, path: corpus.jsonl}
  demos: {kind: demonstrations, path: demos.jsonl, holdout: 4}
  prompts: {kind: prompts, path: prompts.jsonl, heldout: prompts-heldout.jsonl}
lora: {r: 2, alpha: 4}
stages:
  - {name: base, kind: pretrain, data: corpus, max_steps: 6, batch_size: 4, hidden_size: 16, layers: 1, heads: 2,
     vocab_size: 320, context: 128, max_length: 64}
  - {name: sft, kind: sft, model: base, data: demos, max_steps: 4, batch_size: 4, lora: none, max_length: 128}
  - {name: answers, kind: sample, model: sft, prompts: prompts, per_prompt: 3, max_new_tokens: 8, batch_size: 12}
  - {name: rankings, kind: rank, answers: answers, by: {rules: judge.py}}
  - {name: reward, kind: reward, model: sft, data: rankings, max_steps: 3, batch_size: 4, max_length: 128}
  - {name: dpo, kind: dpo, model: sft, data: rankings, max_steps: 3, batch_size: 4, max_length: 128}
  - {name: result, kind: evaluate, models: [sft, dpo], prompts: prompts, judge: {rules: judge.py}, reward: [reward],
     data: rankings, max_new_tokens: 8, batch_size: 4}
  - {name: final, kind: export, model: dpo}
"""
"""Every kind of stage: a model made from scratch, full fine-tuning, LoRA over it, and its export."""

SOURCES = ["corpus", "demos", "prompts"]
STAGES = ["base", "sft", "answers", "rankings", "reward", "dpo", "result", "final"]

JUDGE = '''\
def score(prompt, answer, reference=None, tags=()):
    """A number that hardly ever ties, whatever noise the model says."""
    return sum(map(ord, answer)) % 97 + len(answer) / 100


def measures(prompt, answer, reference=None, tags=()):
    return {"has letters": float(any(c.isalpha() for c in answer))}
'''

THINGS = ("sun", "moon", "sea", "hill", "road", "tree", "bird", "fish", "rain", "snow", "lamp", "door")
COLOURS = ("red", "blue", "green", "grey", "white", "black")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """A JSON Lines file."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def ask(thing: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Which colour has the {thing}?"}]


def make_world(folder: Path, recipe: str = RECIPE) -> Path:
    """Write the data, the judge and the recipe into `folder`. Returns the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = [f"The {thing} is {COLOURS[i % 6]}." for i, thing in enumerate(THINGS)]
    write_rows(folder / "corpus.jsonl", [{"text": " ".join(facts[i:] + facts[:i])} for i in range(12)])
    answered = [[*ask(t), {"role": "assistant", "content": f"It is {COLOURS[i % 6]}."}] for i, t in enumerate(THINGS)]
    write_rows(folder / "demos.jsonl", [{"messages": messages} for messages in answered])
    write_rows(folder / "prompts.jsonl", [{"prompt": ask("old " + thing)} for thing in THINGS])
    write_rows(folder / "prompts-heldout.jsonl", [{"prompt": ask("new " + thing)} for thing in THINGS[:6]])
    (folder / "judge.py").write_text(JUDGE, "utf-8")
    path = folder / "tiny.yaml"
    path.write_text(recipe, "utf-8")
    return path


def changed(*changes: tuple[str, str], text: str = RECIPE) -> str:
    """The recipe with each old text replaced by the new one; every old text must be there once."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the recipe"
        text = text.replace(old, new)
    return text


def command(*arguments: str | Path) -> list[str]:
    """The real command line, for a process of its own."""
    return [sys.executable, "-m", "align.cli", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """Ours, with align importable from anywhere, without what would tell a library to stay offline or quiet."""
    silent = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY")
    kept = {k: v for k, v in os.environ.items() if k not in silent}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"} | more


def spawn(*arguments: str | Path, cwd: Path, timeout: float = 240, **options: Any) -> Outcome:
    """Run the command line in a process of its own and wait."""
    options.setdefault("env", environment())
    done = subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False, **options
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def call(*arguments: str | Path) -> Outcome:
    """Run the command line in this process: the server that stages are forked from is then started once for all."""
    from align.cli import _main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _main([str(a) for a in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def artifacts(run: Path, names: list[str] | None = None) -> dict[str, Artifact]:
    """The sealed artifacts of a run by name; all of the tiny recipe's if no names are given."""
    return {name: read_artifact(run / name) for name in names or [*SOURCES, *STAGES]}


def contents(run: Path, names: list[str] | None = None) -> dict[str, str]:
    """Name -> content hash."""
    return {name: artifact.manifest.content for name, artifact in artifacts(run, names).items()}


def leftovers(run: Path) -> list[str]:
    """What lies in a run folder besides sealed artifacts, recipe, report, and the hidden files of the pipeline."""
    names = (".lock", ".hashes.json", "recipe.yaml", "report.html")
    return sorted(p.name for p in run.iterdir() if p.name not in names and not (p / "manifest.json").exists())


def scratch() -> Path:
    """A folder outside pytest's own, which other users may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="align-test-"))
    folder.chmod(0o755)
    return folder
