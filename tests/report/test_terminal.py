"""The closing tables of `align run`."""

from __future__ import annotations

import io

from rich.console import Console

from align.report.terminal import summary_table
from tests.report.conftest import EVALUATION, RunFolder, fill


def printed(run: RunFolder, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(run.path))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def row(text: str, start: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.strip().startswith(start))


def test_stages_policies_and_reward_models(finished: RunFolder) -> None:
    text = printed(finished)
    assert row(text, "base") == ["base", "pretrain", "done", "1", "min", "33", "s", "812", "MB", "loss", "1.41"]
    assert row(text, "reward ")[-3:] == ["accuracy", "90.2", "%"]
    assert row(text, "result")[-4:] == ["dpo", "wins", "81.2", "%"]
    assert "dpo wins 81 % against sft on 240 held-out prompts (95 % interval 76–86 %)." in text
    assert row(text, "win rate against sft")[-3:] == ["baseline", "81.2", "%"]
    assert row(text, "harmful refused")[2:] == ["55.0", "%", "97.5", "%"]
    assert row(text, "TF-IDF") == ["TF-IDF", "71.1", "%"]


def test_a_run_in_progress(folder: RunFolder) -> None:
    folder.source("corpus", "corpus", 3)
    text = printed(folder)
    assert text.count("not yet") == 8 and "win rate" not in text


def test_names_from_data_are_no_console_markup(folder: RunFolder) -> None:
    models = [{"name": "sft", "measures": {"[red]x[/red]": {"value": 0.5, "n": 1}}}]
    fill(folder, {**EVALUATION, "models": models})
    assert "[red]x[/red]" in printed(folder)


def test_it_fits_80_columns(finished: RunFolder) -> None:
    assert max(len(line.rstrip()) for line in printed(finished, 80).splitlines()) <= 80
