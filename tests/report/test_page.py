"""The page: what is on it, that it needs nothing from outside, and that no text from data becomes markup."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from align.errors import DataError, SystemLimit
from align.report import build_report
from align.report.collect import read_run
from align.report.story import cards
from tests.report.conftest import EVALUATION, PEOPLE, RunFolder, answered, curve, fill, lm_metrics

EXAM = {"evaluation.json": json.dumps(EVALUATION), "answers.jsonl": answered()}
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects attributes, ids and text, and checks that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page_of(run: RunFolder) -> str:
    return build_report(run.path).read_text("utf-8")


def test_the_page_needs_nothing_from_outside(finished: RunFolder) -> None:
    html = page_of(finished)
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    links = [value for _, key, value in page.attributes if key in ("src", "href", "xlink:href", "action", "data")]
    assert links and all(value.startswith("#") for value in links)
    assert not re.search(r"https?://|url\(|@import|//cdn", html)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_page_is_well_formed(finished: RunFolder) -> None:
    page = Page(page_of(finished))
    ids = [value for _, key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, key, value in page.attributes if key == "href"} <= set(ids)
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    assert page.tags.count("th") == sum(key == "scope" for _, key, _ in page.attributes)
    pictures = [value for tag, key, value in page.attributes if tag == "figure" and key == "aria-label"]
    assert "Loss of dpo up to step 400: training from 0.667 to 0.164" in pictures


def test_the_figures_are_on_the_page(finished: RunFolder) -> None:
    words = Page(page_of(finished)).words
    for said in (
        "dpo wins 81 % against sft on 240 held-out prompts (95 % interval 76–86 %).",
        "Follow good examples", "Read widely", "Be compared", "Practise", "The exam", "Go out",
        "1,213,952", "1 min 33 s", "812 MB", "1.4 GB", "cpu (2 cores)", "2025-11-21 19:25 UTC", "0123456789ab",
        "76.0–86.0 %", "172 / 46 / 22", "97.5 %", "TF-IDF 71.1 %", "87.4–92.7 %",
        "20 of 240 held-out prompts", "它是什么颜色", "540 rows, 60 held-out rows", "learning_rate 0.0005",
        "trl 1.16.0",
    ):  # fmt: skip
        assert said in words, said
    assert words.count("Question ") == 20


def test_what_figures_mean_is_said(finished: RunFolder) -> None:
    words = Page(page_of(finished)).words
    for said in (
        "A figure beside a curve is its mean over the last tenth of its steps, and so is the closing loss.",
        "the score is the mean of its marks, in its own unit; higher is better.",
        "The judge does not say which way is better: bars show size, not merit.",
    ):
        assert said in words, said


def test_an_exam_shows_the_figures_of_every_policy(finished: RunFolder) -> None:
    names = ["sft", "dpo", "ppo", "kto"]
    scores = {f"{name}_score": float(i) for i, name in enumerate(names)}
    rates = {f"{name}_win_rate": 0.75 for name in names[1:]}
    found = scores | rates | {"reward_accuracy": 0.9, "doctor": {"rankings.all-tied": 25}}
    finished.stage("result", "evaluate", {"models": ["sft", "dpo"]}, EXAM, metrics=found)
    (card,) = [card for card in cards(read_run(finished.path)) if card.step.name == "result"]
    assert [label for label, _ in card.tiles] == [
        "dpo win rate", "ppo win rate", "kto win rate", "sft score", "dpo score", "ppo score", "kto score",
    ]  # fmt: skip
    assert card.figures == [("reward accuracy", "90.0 %"), ("all tied in rankings (data doctor)", "25 rows")]


def test_a_finding_of_the_data_doctor_is_told_in_words(finished: RunFolder) -> None:
    finished.stage("rankings", "rank", {}, {"train.jsonl": "{}\n"}, metrics={"doctor": {"all-tied": 1}})
    words = Page(page_of(finished)).words
    assert "all tied (data doctor) 1 row" in words and "doctor." not in words


def test_text_from_data_never_becomes_markup(folder: RunFolder) -> None:
    bad = "<script>alert(1)</script> {{ 1234 * 4321 }} {% raw %} </style> \"' & <b>"
    row = {
        "id": "x", "prompt": [{"role": "user", "content": bad}], "tags": [bad], "reference": {"a": bad},
        "answers": {"sft": {"text": bad, "score": 0.0}, "dpo": {"text": "", "score": 1.0}},
    }  # fmt: skip
    evaluation = json.loads(json.dumps(EVALUATION))
    evaluation["judge"] = bad
    evaluation["models"][0]["measures"] = {bad: {"value": 0.5, "n": 1}}
    fill(folder, evaluation, json.dumps(row) + "\n")
    page = Page(page_of(folder))
    assert "script" not in page.tags and "b" in page.tags
    assert page.words.count("<script>alert(1)</script> {{ 1234 * 4321 }} {% raw %}") >= 6
    assert "5332114" not in page.words
    assert "(empty)" in page.words


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    pages = []
    for name in ("a", "b"):
        run = RunFolder(tmp_path / name / "run")
        fill(run)
        pages.append(build_report(run.path).read_bytes())
    assert pages[0] == pages[1]
    assert build_report(tmp_path / "a" / "run").read_bytes() == pages[0]


def test_a_run_in_progress(folder: RunFolder) -> None:
    folder.source("corpus", "corpus", 3)
    logs = folder.path / "base.partial" / "logs"
    logs.mkdir(parents=True)
    (logs / "metrics.jsonl").write_text(curve(9, lm_metrics) + '{"step": 100, "lo', "utf-8")
    words = Page(page_of(folder)).words
    assert "0 of 8 stages finished; next is base." in words
    assert words.count("not yet") >= 7 and "unfinished" in words
    assert "No evaluation has finished yet." in words
    assert "Token accuracy" in words


def test_no_evaluation_in_the_recipe(folder: RunFolder) -> None:
    (folder.path / "recipe.yaml").write_text(
        "name: small\nstages: [{name: sft, kind: sft, model: b, data: d}]\n", "utf-8"
    )
    folder.stage("sft", "sft", {}, {"w": "1"})
    assert "nothing was measured on held-out prompts" in Page(page_of(folder)).words


def test_an_evaluation_without_reward_models_or_scores(folder: RunFolder) -> None:
    models = [{"name": "sft", "score": None, "win_rate": None, "measures": {}, "mean_words": None}]
    row = {"prompt": [{"role": "user", "content": "Hi"}], "answers": {"sft": {"text": "Hello", "score": None}}}
    fill(folder, {"baseline": "sft", "prompts": 1, "models": models, "reward": []}, json.dumps(row) + "\n")
    words = Page(page_of(folder)).words
    assert "Does the reward model" not in words and "Hello" in words


def test_an_evaluation_of_reward_models_alone(folder: RunFolder) -> None:
    fill(folder, {**EVALUATION, "models": [], "judge": None, "baseline": None, "prompts": 0})
    (folder.path / "result" / "answers.jsonl").unlink()
    words = Page(page_of(folder)).words
    assert "reward prefers the better answer in 90 % of 517 held-out pairs" in words
    assert "No policy has answered held-out prompts yet." in words


def test_what_is_out_of_date_is_marked(finished: RunFolder) -> None:
    finished.stage("reward", "reward", {"model": ["sft"], "data": ["rankings"]}, {"w": "new"}, key="another")
    assert "out of date" in Page(page_of(finished)).words


def test_long_answers_scroll_within_reach_of_the_keyboard(folder: RunFolder) -> None:
    row = json.loads(answered(1))
    row["answers"]["sft"]["text"] = "long " * 400
    fill(folder, answers=json.dumps(row) + "\n")
    assert 'class="text" tabindex="0"' in page_of(folder)


def test_a_page_that_cannot_be_written(finished: RunFolder) -> None:
    (finished.path / "report.html").mkdir()
    with pytest.raises(SystemLimit, match="the report cannot be written"):
        build_report(finished.path)
    assert not (finished.path / "report.html.new").exists()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run to report on"):
        build_report(tmp_path)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, align.report, align.report.terminal, align.report.model_card;"
        "print([m for m in ('torch', 'matplotlib', 'jinja2', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_who_labelled_and_what_came_of_it(tmp_path: Path) -> None:
    """From a pseudonym to the weights, and to the file of labels again."""
    run = RunFolder(tmp_path / "run")
    run.stage("rankings", "rank", {}, {"train.jsonl": "{}\n"}, metrics=PEOPLE)
    for name, kind, reads in (("reward", "reward", "rankings"), ("dpo", "dpo", "rankings"), ("out", "export", "dpo")):
        run.stage(name, kind, {"data": [reads]}, {"model": ""})
    run.stage("sft", "sft", {}, {"model": ""})
    page = re.sub(r"\s+", " ", build_report(run.path).read_text("utf-8"))
    table = [("u_6", 6, "55 %", "75 %"), ("u_5", 5, "45 %", "–"), ("u_test", 0, "0 %", "100 %")]
    rows = [f"<code>{name}</code></th>" + "".join(f"<td>{v}</td>" for v in rest) for name, *rest in table]
    assert [page.count(row) for row in rows] == [1, 1, 1]
    assert [page.index(row) for row in rows] == sorted(page.index(row) for row in rows), "who ranked most comes first"
    made = ", ".join(f'<a href="#step-{name}">{name}</a>' for name in ("reward", "dpo", "out"))
    assert f"Made from it: {made}." in page
    assert "<code>fb5ad5332975</code>" in page and "fb5ad53329750" not in page
    again = "align labels export labels.jsonl --project run/rankings --upto 14 --db &#39;/home/me/team s.db&#39;"
    assert again in page
    assert "<dt>annotators.u_5</dt>" not in page and "<dt>upto</dt>" not in page, "told once"
    assert "2 of these rankings are reviewers' decisions." in page and "<dt>decisions</dt>" not in page


@pytest.mark.parametrize(
    ("decisions", "words"),
    [({"decisions": 1}, "1 of these rankings is a reviewer's decision."), ({"decisions": 0}, ""), ({}, "")],
    ids=["one", "none", "an earlier version's"],
)
def test_how_many_rankings_a_reviewer_decided(tmp_path: Path, decisions: dict[str, int], words: str) -> None:
    run = RunFolder(tmp_path / "run")
    told = {name: value for name, value in PEOPLE.items() if name != "decisions"} | decisions
    run.stage("rankings", "rank", {}, {"train.jsonl": "{}\n"}, metrics=told)
    page = build_report(run.path).read_text("utf-8")
    assert words in page and ("decision" in page) == bool(words)


def test_no_people_no_labels(finished: RunFolder) -> None:
    page = build_report(finished.path).read_text("utf-8")
    assert "Annotator" not in page and "From labels to weights" not in page
