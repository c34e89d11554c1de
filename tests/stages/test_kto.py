"""KTO: from thumbs, from rankings and from preferences; the reference is the policy it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.data.records import Feedback, Record
from align.errors import DataError, TrainingError
from align.models.load import load_merged, resolve
from align.recipe.schema import KTO
from align.stages import kto
from tests import tiny
from tests.stages.test_dpo import gain, logged, sft_of
from tests.tiny import BAD, GOOD, QUESTIONS, talk

pytestmark = tiny.THIRD_PARTY


def settings(**changes: Any) -> KTO:
    values: dict[str, Any] = {"name": "kto", "kind": "kto", "model": "sft", "data": "thumbs", "batch_size": 4,
                              "max_steps": 4, "max_length": 128, "learning_rate": 1e-2}  # fmt: skip
    return KTO(**(values | changes))


def feedback() -> list[Record]:
    """Eight good answers with a thumb up, and four bad ones with a thumb down."""
    said = [(q, a, True) for q, a in zip(QUESTIONS, GOOD, strict=True)]
    said += [(q, a, False) for q, a in zip(QUESTIONS[:4], BAD[:4], strict=True)]
    return [Feedback(prompt=talk(q), completion=talk("", a)[1:], label=liked) for q, a, liked in said]


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("lora", ["continued", "none"])
def test_it_starts_at_its_reference_and_parts_from_it(lora: str, loss: str, tmp_path: Path) -> None:
    """At step 1 every answer is as likely as in the reference: each side's loss is 1/2, and no side is rewarded."""
    sft = sft_of(tmp_path)
    data = tiny.data_artifact(tmp_path, "thumbs", "feedback", feedback(), feedback()[:4])
    chosen: dict[str, Any] = {"lora": "none"} if lora == "none" else {}
    made = tiny.run_in(tmp_path, settings(loss=loss, **chosen), {"model": [sft], "data": [data]})
    figures, rows = made.manifest.metrics, logged(made)
    wanted = "the adapter of sft continued, r 4" if lora == "continued" else "full fine-tuning, adapter merged first"
    assert figures["lora"] == wanted
    assert (figures["thumbs"], figures["thumbs_up"]) == (12, 8)
    assert figures["reference_gap"] < 1e-3
    assert 0.5 - 1e-4 <= rows[0]["loss"] <= 1 + 1e-4, "between weight 1 and weight 2 for the rarer thumb down"
    assert rows[0].get("rewards/chosen", 0) == pytest.approx(0, abs=1e-4)
    assert gain(sft, made) > 0.1, "what was liked has gained on what was not"


def test_rankings_give_their_ends_and_preferences_their_sides() -> None:
    ranking = tiny.rankings()[0].model_copy(update={"ranks": [2, 3, 1]})
    tied = tiny.rankings()[1].model_copy(update={"ranks": [1, 1, 1]})
    found = kto.thumbs([ranking, tied, tiny.preferences()[0], feedback()[-1]])
    assert [(answer[0].content, liked) for _, answer, liked in found] == [
        ("It is so.", True), (BAD[0], False), (GOOD[0], True), (BAD[0], False), (BAD[3], False)
    ]  # fmt: skip


@pytest.mark.parametrize(("ups", "downs", "wanted"), [(8, 4, (1.0, 2.0)), (2, 5, (2.5, 1.0)), (3, 3, (1.0, 1.0))])
def test_the_rarer_side_weighs_more(ups: int, downs: int, wanted: tuple[float, float]) -> None:
    given = [(talk("a"), talk("", "b")[1:], i < ups) for i in range(ups + downs)]
    assert kto.balance(given, "kto") == wanted


@pytest.mark.parametrize(("liked", "said"), [(True, "none of them a thumb down(.|\n)*kind: sft"),
                                             (False, "none of them a thumb up")])  # fmt: skip
def test_one_side_alone_teaches_nothing(liked: bool, said: str) -> None:
    with pytest.raises(DataError, match=said):
        kto.balance([(talk("a"), talk("", "b")[1:], liked)] * 3, "kto")


def test_another_reference_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sft = sft_of(tmp_path)
    data = tiny.data_artifact(tmp_path, "thumbs", "feedback", feedback())
    base = resolve(tiny.base_of(tmp_path, "llama", "other"))
    monkeypatch.setattr(kto, "load_merged", lambda ref, dtype: load_merged(base, dtype))
    changes: dict[str, Any] = {"lora": "none", "trainer": {"precompute_ref_log_probs": False}}
    with pytest.raises(TrainingError, match=r"reference is not the policy this stage starts from: .* differ by \d"):
        tiny.run_in(tmp_path, settings(**changes), {"model": [sft], "data": [data]})


def test_one_answer_in_memory_measures_no_drift() -> None:
    with pytest.raises(ValueError, match="batch_size 11 leaves one"):
        settings(batch_size=11)
    assert settings(batch_size=11, loss="apo_zero_unpaired").batch_size == 11
