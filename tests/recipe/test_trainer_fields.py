"""The committed list of trainer arguments is what the installed TRL and transformers have."""

from __future__ import annotations

import inspect
import re

from align.recipe.check import SMOOTHED
from align.recipe.schema import Learning
from align.recipe.trainer_arguments import ALLOWED_ANYWAY, CONFIGS, FIELDS_FILE, GONE, OURS, dpo_loss_types, fields_of
from align.recipe.wiring import STAGES
from align.trainers.make_trainer_fields import render, trainer_fields


def test_the_list_is_true() -> None:
    now = render(trainer_fields())
    remedy = "the trainers' arguments changed: run python -m align.trainers.make_trainer_fields and read the diff"
    assert FIELDS_FILE.read_text("utf-8") == now, remedy


def test_the_loss_types_are_those_the_trainer_computes() -> None:
    from trl.trainer import dpo_trainer

    computed = re.findall(r'loss_type == "(\w+)"', inspect.getsource(dpo_trainer))
    assert sorted(set(computed)) == sorted(dpo_loss_types())


def test_the_divergences_are_those_the_trainer_computes() -> None:
    from trl.trainer import dpo_trainer

    computed = re.findall(r'f_divergence_type == "(\w+)"', inspect.getsource(dpo_trainer))
    assert sorted(set(computed)) == fields_of("dpo")["f_divergence_type"]["choices"]


def test_the_losses_that_label_smoothing_changes() -> None:
    from trl.trainer import dpo_trainer

    parts = re.split(r'loss_type == "(\w+)"', inspect.getsource(dpo_trainer.DPOTrainer._compute_loss))
    blocks = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert {name for name, block in blocks.items() if "self.label_smoothing" in block} == SMOOTHED


def test_every_kind_that_trains_with_a_config_has_its_list() -> None:
    training = {kind for kind, settings in STAGES.items() if issubclass(settings, Learning)}
    assert training == set(CONFIGS) == {kind for kind in STAGES if fields_of(kind)}


def test_what_is_ours_exists_and_what_is_gone_is_gone_or_renamed() -> None:
    every = {name for kind in CONFIGS for name in fields_of(kind)}
    assert set(OURS) <= every
    renamed = {"gradient_checkpointing", "gradient_checkpointing_kwargs"}
    assert set(GONE) & every == renamed
    for old in renamed:
        assert old.replace("gradient", "activation") in every
    for kind, name in ALLOWED_ANYWAY:
        assert name in OURS and name in fields_of(kind)


def test_types_are_as_the_configs_say() -> None:
    assert fields_of("dpo")["beta"] == {"types": ["float"]}
    assert fields_of("dpo")["loss_weights"] == {"types": ["list", "null"]}
    assert fields_of("pretrain")["optim_target_modules"] == {"types": ["list", "null", "str"]}
    scheduler = fields_of("sft")["lr_scheduler_type"]
    assert scheduler["types"] == ["str"] and "cosine" in scheduler["choices"]
    assert fields_of("sft")["packing_strategy"]["choices"] == ["bfd", "bfd_split", "wrapped"]
