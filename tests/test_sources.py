"""Sources: keys, splits, rows left out, earlier artifacts read again, and the cache of hashes."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from align.artifacts import read_artifact
from align.errors import DataError, ModelError
from align.recipe.check import check_recipe
from align.recipe.load import Loaded, load_recipe
from align.sources import HASHES, HashCache, check_model_folder, prepare_sources, read_source, source_keys
from tests.conftest import Finished
from tests.runs import ask, call, write_rows

RECIPE = """\
name: tiny
seed: {seed}
sources:
  data: {{{source}}}
stages:
  - {{name: base, kind: pretrain, data: data}}
"""


def load(folder: Path, source: str, seed: int = 3) -> Loaded:
    path = folder / "r.yaml"
    path.write_text(RECIPE.format(source=source, seed=seed))
    return load_recipe(path)


def key(folder: Path, source: str, seed: int = 3) -> str:
    return source_keys(load(folder, source, seed).recipe, folder, HashCache(folder / HASHES))["data"]


def prepare(folder: Path, source: str, said: list[str] | None = None) -> Path:
    """Seal the source in `folder/run`. Returns the artifact's folder."""
    recipe = load(folder, source).recipe
    run = folder / "run"
    run.mkdir(exist_ok=True)
    notes = said if said is not None else []
    keys = source_keys(recipe, folder, HashCache(run / HASHES))
    return prepare_sources(recipe, folder, run, keys, notes.append)["data"].path


def demo(thing: str, answer: str = "It is red.") -> dict[str, object]:
    return {"messages": [*ask(thing), {"role": "assistant", "content": answer}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [demo(f"thing {i}") for i in range(8)]
    write_rows(tmp_path / "d.jsonl", rows)
    write_rows(tmp_path / "h.jsonl", [demo("other")])
    return tmp_path


# --- rows that cannot be used --------------------------------------------------------------------------------------


def broken(folder: Path) -> None:
    rows = [demo(f"thing {i}") for i in range(8)]
    rows[2], rows[5], rows[6] = demo("a", ""), demo("b", "  "), {"messages": ask("c")}
    write_rows(folder / "d.jsonl", rows)


def test_broken_rows_stop_the_run(folder: Path) -> None:
    broken(folder)
    with pytest.raises(DataError, match="the answer is empty") as caught:
        prepare(folder, "kind: demonstrations, path: d.jsonl")
    assert caught.value.where.endswith("d.jsonl:3")
    assert list((folder / "run").iterdir()) == []
    file = folder / "d.jsonl"
    assert caught.value.remedy == (
        f"to see them: align data check {file} --kind demonstrations; to leave them out: write `broken: drop` in the "
        f"source `data`, or align data convert {file} OUT.jsonl --kind demonstrations --drop-broken"
    )


def test_the_remedy_reads_the_file_as_the_source_does(folder: Path) -> None:
    broken(folder)
    with pytest.raises(DataError) as caught:
        prepare(folder, "kind: demonstrations, path: d.jsonl, format: messages")
    assert "d.jsonl --kind demonstrations --format messages; to leave" in caught.value.remedy


def test_broken_rows_are_left_out_and_counted(folder: Path) -> None:
    broken(folder)
    said: list[str] = []
    made = prepare(folder, "kind: demonstrations, path: d.jsonl, broken: drop, holdout: 2", said)
    assert said == [
        "data: 2 of 8 rows of d.jsonl left out (empty-answer): the answer is empty",
        "data: 1 of 8 rows of d.jsonl left out (not-the-assistant): the last message is not the assistant's",
    ]
    manifest = read_artifact(made).manifest
    metrics = manifest.metrics
    assert (metrics["rows"], metrics["heldout_rows"]) == (3, 2)  # the share is held out of what is left
    assert manifest.seed == 3, "which drew them"
    kept = (made / "train.jsonl").read_text() + (made / "heldout.jsonl").read_text()
    assert "thing 0" in kept and "thing 2" not in kept


def test_what_the_doctor_finds_is_said_and_recorded(folder: Path) -> None:
    row = {"prompt": ask("a"), "chosen": demo("a")["messages"][1:], "rejected": demo("a", "No.")["messages"][1:]}  # type: ignore[index]
    write_rows(folder / "d.jsonl", [row, {**row, "chosen": row["rejected"], "rejected": row["chosen"]}, row])
    said: list[str] = []
    made = prepare(folder, "kind: preferences, path: d.jsonl", said)
    assert [text.split(": ", 1)[0][-9:] for text in said] == ["d.jsonl:3", "d.jsonl:2"]
    assert read_artifact(made).manifest.metrics["doctor"] == {"duplicate": 1, "contradiction": 2}


def test_a_rewardbench_file_is_all_held_out(folder: Path) -> None:
    row = {"prompt": "q", "chosen": "Good.", "rejected": "Bad.", "subset": "xstest", "id": 3}
    write_rows(folder / "d.jsonl", [row, {**row, "prompt": "r", "id": 4}])
    made = prepare(folder, "kind: preferences, path: d.jsonl, holdout: all")
    metrics = read_artifact(made).manifest.metrics
    assert (metrics["rows"], metrics["heldout_rows"]) == (0, 2)
    assert [f.name for f in sorted(made.glob("*.jsonl"))] == ["heldout.jsonl"]
    assert '"tags": ["xstest"]' in (made / "heldout.jsonl").read_text()


def test_preferences_that_are_equal_are_left_out(folder: Path) -> None:
    good = {"prompt": ask("a"), "chosen": demo("a")["messages"][1:], "rejected": demo("a", "No.")["messages"][1:]}  # type: ignore[index]
    write_rows(folder / "d.jsonl", [good, {**good, "prompt": ask("b"), "rejected": good["chosen"]}])
    said: list[str] = []
    made = prepare(folder, "kind: preferences, path: d.jsonl, broken: drop", said)
    assert said[0] == "data: 1 of 2 rows of d.jsonl left out (same-answers): chosen and rejected are equal"
    assert read_artifact(made).manifest.metrics["rows"] == 1


def test_held_out_rows_are_left_out_too(folder: Path) -> None:
    write_rows(folder / "h.jsonl", [demo("other", ""), demo("more")])
    said: list[str] = []
    made = prepare(folder, "kind: demonstrations, path: d.jsonl, heldout: h.jsonl, broken: drop", said)
    assert said == ["data: 1 of 2 rows of h.jsonl left out (empty-answer): the answer is empty"]
    assert read_artifact(made).manifest.metrics["heldout_rows"] == 1


def test_nothing_is_left(folder: Path) -> None:
    write_rows(folder / "d.jsonl", [demo("a", "")])
    with pytest.raises(DataError, match="every row has an error, so nothing is left"):
        prepare(folder, "kind: demonstrations, path: d.jsonl, broken: drop")


def test_a_line_that_cannot_be_read_is_never_left_out(folder: Path) -> None:
    with (folder / "d.jsonl").open("a") as out:
        out.write("not JSON\n")
    with pytest.raises(DataError, match="JSON") as caught:
        prepare(folder, "kind: demonstrations, path: d.jsonl")
    assert "broken: drop" not in str(caught.value)
    with pytest.raises(DataError, match="`broken: drop` is for rows that can be read") as caught:
        prepare(folder, "kind: demonstrations, path: d.jsonl, broken: drop")
    assert caught.value.where.endswith("d.jsonl:9")
    copied = f"align data convert {folder / 'd.jsonl'} OUT.jsonl --kind demonstrations --drop-broken"
    assert caught.value.remedy == f"mend it, or name a copy without it, made by: {copied}"


def test_the_copy_is_in_our_own_format(folder: Path) -> None:
    """The recipe's `format:` is that of the file; under it the copy that the remedy makes would be refused."""
    rows: list[dict[str, object]] = [{"instruction": "q", "output": "a"}, {"instruction": "r"}]
    write_rows(folder / "d.jsonl", rows)
    source = "kind: demonstrations, path: d.jsonl, format: alpaca, broken: drop"
    with pytest.raises(DataError) as caught:
        prepare(folder, source)
    _, _, command = caught.value.remedy.partition("made by: ")
    command, _, then = command.partition("; ")
    assert then == "delete `format: alpaca` then"
    words = shlex.split(command)
    copy = str(folder / "copy.jsonl")
    assert call(*[copy if word == "OUT.jsonl" else word for word in words[1:]]).code == 0
    named = source.replace("d.jsonl", "copy.jsonl")
    with pytest.raises(DataError):
        prepare(folder, named)
    prepare(folder, named.replace(", format: alpaca", ""))


SPACED = "kind: demonstrations, path: my data.jsonl"


@pytest.mark.parametrize(
    ("lines", "source"),
    [
        ([demo("a", ""), demo("b")], SPACED),
        ([demo("a", "")], f"{SPACED}, broken: drop"),
        (["not JSON", demo("b")], SPACED),
        (["not JSON", demo("b")], f"{SPACED}, broken: drop"),
    ],
)
def test_a_path_with_a_space_is_quoted_in_the_remedy(folder: Path, lines: list[object], source: str) -> None:
    path = folder / "my data.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    with pytest.raises(DataError) as caught:
        prepare(folder, source)
    remedy = caught.value.remedy
    assert f"'{path}'" in remedy
    assert remedy.count(str(path)) == remedy.count(f"'{path}'")


def test_broken_is_for_data(folder: Path) -> None:
    shutil.copytree(folder, folder / "m")
    outcome = call("check", load(folder, "kind: policy, path: m, broken: drop").path)
    assert outcome.code == 2
    assert "`broken` is for data sources, and this source is of kind policy" in outcome.err


# --- keys ----------------------------------------------------------------------------------------------------------

PLAIN = "kind: demonstrations, path: d.jsonl"


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        ("kind: demonstrations, path: ./d.jsonl", True),
        ("kind: demonstrations, path: same.jsonl", True),
        ("kind: demonstrations, path: d.jsonl, format: auto", True),
        ("kind: demonstrations, path: d.jsonl, format: align", False),
        ("kind: prompts, path: d.jsonl", False),
        ("kind: demonstrations, path: d.jsonl, holdout: 2", False),
        ("kind: demonstrations, path: d.jsonl, heldout: h.jsonl", False),
        ("kind: demonstrations, path: d.jsonl, broken: drop", False),
        ("kind: demonstrations, path: h.jsonl", False),
    ],
)
def test_what_a_key_depends_on(folder: Path, other: str, equal: bool) -> None:
    shutil.copy(folder / "d.jsonl", folder / "same.jsonl")
    assert (key(folder, PLAIN) == key(folder, other)) == equal


def test_the_seed_counts_only_where_rows_are_held_out_by_it(folder: Path) -> None:
    assert key(folder, PLAIN, seed=3) == key(folder, PLAIN, seed=4)
    assert key(folder, PLAIN + ", holdout: 2", seed=3) != key(folder, PLAIN + ", holdout: 2", seed=4)


def model_folder(folder: Path) -> Path:
    model = folder / "m"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    return model


def test_a_model_is_known_by_its_files_and_its_place(folder: Path) -> None:
    model = model_folder(folder)
    first = key(folder, "kind: policy, path: m")
    assert key(folder, f"kind: policy, path: {model}") == first
    shutil.copytree(model, folder / "n")
    assert key(folder, "kind: policy, path: n") != first
    (model / "model.safetensors").write_bytes(b"others")
    assert key(folder, "kind: policy, path: m") != first


def test_a_missing_revision_is_said_once(folder: Path) -> None:
    """By the check of the recipe, with which every run begins."""
    told: list[str] = []
    prepare(folder, "kind: policy, path: owner/model", told)
    assert told == []
    demos = "  demos: {kind: demonstrations, path: d.jsonl}"
    stage = "  - {name: sft, kind: sft, model: data, data: demos}"
    lines = ["name: tiny", "sources:", "  data: {kind: policy, path: owner/model}", demos, "stages:", stage]
    (folder / "r.yaml").write_text("\n".join(lines))
    (warning,) = check_recipe(load_recipe(folder / "r.yaml"))
    assert "on the hub; without `revision:`" in warning


def test_a_chat_template_is_known_by_its_text(folder: Path) -> None:
    model_folder(folder)
    template = folder / "t.jinja"
    template.write_text("one")
    source = "kind: policy, path: m, chat_template: t.jinja"
    first = key(folder, source)
    template.write_text("two")
    assert key(folder, source) != first
    made = prepare(folder, source)
    assert json.loads((made / "policy.json").read_text())["chat_template"] == str(template.resolve())
    assert key(folder, "kind: policy, path: m, chat_template: plain") != first


def test_a_home_folder_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert key(folder, "kind: demonstrations, path: ~/d.jsonl") == key(folder, PLAIN)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "config.json is missing"),
        (["model.safetensors"], "config.json is missing"),
        (["config.json", "tokenizer.json"], "holds no weights"),
        (["adapter_config.json"], "holds no weights"),
    ],
)
def test_a_folder_that_is_no_model(tmp_path: Path, files: list[str], found: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelError, match=found):
        check_model_folder("base", tmp_path, "policy")


SCORES = ({"architectures": ["LlamaForSequenceClassification"]}, {"task_type": "SEQ_CLS"})
SPEAKS = ({"architectures": ["LlamaForCausalLM"]}, {"task_type": "CAUSAL_LM"})


@pytest.mark.parametrize("adapter", [False, True])
def test_a_model_of_the_other_kind(tmp_path: Path, adapter: bool) -> None:
    """transformers would load it, and make up the head that is missing at random."""
    file, weights = ("adapter_config", "adapter_model") if adapter else ("config", "model")
    (tmp_path / f"{weights}.safetensors").write_text("")
    for said, right, wrong in ((SCORES, "reward_model", "policy"), (SPEAKS, "policy", "reward_model")):
        (tmp_path / f"{file}.json").write_text(json.dumps(said[adapter]))
        check_model_folder("base", tmp_path, right)
        with pytest.raises(ModelError, match=f"of kind {wrong} is") as caught:
            check_model_folder("base", tmp_path, wrong)
        assert f"kind: {right}" in caught.value.remedy


@pytest.mark.parametrize(
    "files",
    [
        ["config.json", "model-00001-of-00002.safetensors"],
        ["config.json", "pytorch_model.bin"],
        ["adapter_config.json", "adapter_model.safetensors"],
        ["policy.json"],
    ],
)
def test_a_folder_that_is_one(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    check_model_folder("base", tmp_path, "policy")


# --- artifacts of earlier runs -------------------------------------------------------------------------------------


def test_an_earlier_artifact_is_a_source_with_its_split(finished: Finished, folder: Path) -> None:
    made = prepare(folder, f"kind: rankings, path: {finished.run / 'rankings'}")
    earlier = read_artifact(finished.run / "rankings")
    for split in ("train.jsonl", "heldout.jsonl"):
        assert (made / split).read_text() == (earlier.path / split).read_text()
    assert read_artifact(made).manifest.content == earlier.manifest.content


def test_an_earlier_artifact_of_another_kind(finished: Finished, folder: Path) -> None:
    with pytest.raises(DataError, match="the artifact there is of kind answers") as caught:
        prepare(folder, f"kind: rankings, path: {finished.run / 'answers'}")
    assert caught.value.remedy.startswith("write `kind: answers`")


# --- the cache of hashes -------------------------------------------------------------------------------------------


def test_the_cache_reads_a_file_once(tmp_path: Path) -> None:
    file, store = tmp_path / "f", tmp_path / HASHES
    file.write_text("one")
    cache = HashCache(store)
    first = cache.of(file)
    cache.save()
    known = json.loads(store.read_text())
    known[str(file)][2] = "from the cache"
    store.write_text(json.dumps(known))
    assert HashCache(store).of(file) == "from the cache"
    file.write_text("three")
    assert HashCache(store).of(file) not in (first, "from the cache")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"a": 1}', '{"a": [1]}'])
def test_a_broken_cache_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / HASHES).write_text(text)
    assert HashCache(tmp_path / HASHES).known == {}


def test_the_cache_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("one")
    cache = HashCache(tmp_path / "none" / HASHES)
    cache.of(tmp_path / "f")
    cache.save()
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("")
    with pytest.raises(DataError, match="there is no such file") as caught:
        HashCache(tmp_path / HASHES).of(tmp_path / "date.jsonl")
    assert "data.jsonl" in caught.value.remedy


# --- splits --------------------------------------------------------------------------------------------------------


def test_a_second_file_is_all_held_out(folder: Path) -> None:
    source = load(folder, PLAIN + ", heldout: h.jsonl").recipe.sources["data"]
    parts = read_source(source, folder, 3, print)
    assert (len(parts.train.records), len(parts.heldout.records)) == (8, 1)


def test_a_source_that_cannot_be_written_leaves_no_partial(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("align.sources.write_records", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(folder, PLAIN)
    assert list((folder / "run").glob("*.partial")) == []
