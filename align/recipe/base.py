"""What recipes are made of: strict records, sources, and what stages have in common. No torch in here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")]
DataKind = Literal["corpus", "prompts", "demonstrations", "answers", "rankings", "preferences", "feedback"]
SourceKind = Literal["policy", "reward_model", DataKind]
Pairs = Literal["all", "best_vs_rest", "best_vs_worst", "adjacent"]
"""Which comparisons of a ranking count: every strict one, those that the best answers win, the widest one, or those
between neighbouring ranks. A preference is one comparison under each."""
RewardLoss = Literal["bradley_terry", "plackett_luce"]
Ties = Literal["davidson", "rao_kupper", "drop"]
Format = Literal["auto", "align", "alpaca", "sharegpt", "messages", "hh-rlhf", "trl", "ultrafeedback", "kto", "text"]


class Strict(BaseModel):
    """Unknown keys are errors, values do not change after loading, docstrings become the schema's descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Source(Strict):
    """Something the recipe starts from: a model, or a data file. The only place with paths, hub ids and revisions."""

    kind: SourceKind
    """Artifact kind."""
    path: str
    """A local file or folder, relative to the recipe, or a hub id such as `Qwen/Qwen3-0.6B` (models only)."""
    revision: str | None = None
    """Commit of a hub model. Without it the newest is taken and the run says which."""
    format: Format = "auto"
    """Format of a data file; `auto` looks at its first record."""
    holdout: Annotated[float | int, Field(ge=0)] | Literal["all"] = 0
    """Rows kept out of training: a share below 1, a number of rows, or `all` for a file that only measures. Split by
    prompt, so none lands on both sides."""
    heldout: str | None = None
    """Path of a second data file whose rows are all held out, in place of `holdout`; `path` is then all training."""
    broken: Literal["error", "drop"] = "error"
    """Data only: what to do with rows that cannot be used (empty answer, chosen equal to rejected): stop, or leave
    them out and say how many."""
    chat_template: str | None = None
    """Models only: `chatml`, `plain`, or a path to a Jinja file; for tokenizers that bring none."""
    pad_token: str | None = None
    """Models only: an existing token to pad with, distinct from EOS; for tokenizers that have none."""

    @model_validator(mode="after")
    def _one_way_to_hold_out(self) -> Source:
        if self.heldout and self.holdout:
            raise ValueError("holdout: and heldout: are both set; give a share (or number) of rows, or a second file")
        return self


class Lora(Strict):
    """LoRA (Hu et al. 2021): low-rank adapters on the linear layers, the base frozen."""

    r: int = Field(default=16, ge=1)
    """Rank of the update."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: Annotated[str | list[str], Field(min_length=1, json_schema_extra={"minItems": 1})] = "all-linear"
    """Names of the layers to adapt, linear ones or embeddings, in a list; those that a model lacks are passed over. Or
    `all-linear`, or one pattern of whole paths."""

    @field_validator("targets")
    @classmethod
    def _no_empty_name(cls, targets: str | list[str]) -> str | list[str]:
        if "" in targets and not isinstance(targets, str):
            raise ValueError("one of the `targets` is an empty text, which is no layer's name")
        return targets


class People(Strict):
    """People rank, in the browser, and the run waits for them. `{}` asks one person for every item."""

    rankings: int | None = Field(default=None, ge=1)
    """Rankings needed, of items that `overlap` people have ranked. Default: every item by `overlap` people."""
    overlap: int = Field(default=1, ge=1, le=1000)
    """People who rank each item."""
    agreement: float | None = Field(default=None, gt=0, le=1)
    """Least share of one annotator's preferences that another's confirm; the run waits until it is reached."""
    project: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """The project in the label database. Default: RUN/STAGE, which shows people this stage's items and no others."""
    labels: str | None = None
    """The label database: a SQLite file, relative to the recipe, or `postgresql://USER@HOST/DATABASE`. Default: the
    user's own, or what ALIGN_LABELS names."""
    gold_share: float | None = Field(default=None, ge=0, le=0.5)
    """Share of turns that are test questions, where the project has some. Default: as the project has it, or 0.1."""
    guidelines: str | None = None
    """A Markdown file, relative to the recipe, that is shown beside each item."""

    @model_validator(mode="after")
    def _others_to_agree_with(self) -> People:
        if self.agreement is not None and self.overlap < 2:
            raise ValueError("agreement: needs people who rank the same items; write overlap: 2 or more")
        return self


class StageBase(Strict):
    """What every stage has."""

    name: Name
    """The artifact's name, and the folder it is saved in."""


class Learning(StageBase):
    """What every stage that changes weights has."""

    epochs: float = Field(default=1, gt=0)
    """Passes over the training rows."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; stops before the epochs are through."""
    batch_size: int = Field(default=16, ge=1)
    """Sequences (or pairs) per optimizer step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of AdamW."""
    lora: Lora | Literal["none"] | None = None
    """LoRA settings, `none` for full fine-tuning, or nothing for the recipe's default."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of this stage's trainer config, by their own names."""


def in_memory(batch_size: int, micro_batch: int | None) -> int:
    """Sequences in memory at once: as asked, or the largest divisor of the batch that is at most 8."""
    return micro_batch or max(n for n in range(1, min(8, batch_size) + 1) if batch_size % n == 0)


class Training(Learning):
    """What every stage has that trains on rows of a file. Batch sizes count sequences (or pairs)."""

    micro_batch: int | None = Field(default=None, ge=1)
    """Sequences in memory at once; a divisor of batch_size. Default: the whole batch up to 8."""
    max_length: int = Field(default=1024, ge=8)
    """Longest sequence in tokens; longer rows are cut, or refused where cutting would lose what is compared."""

    @model_validator(mode="after")
    def _micro_divides(self) -> Training:
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}")
        return self
