"""Models from artifacts: which base, which adapter, which tokenizer; and the checks that make a wrong one loud.

A policy artifact is one of three:
- full weights: the folder itself is a Hugging Face model;
- an adapter over a base: `policy.json` says where the base is (relative, if it lies in the same run);
- a source: only `policy.json`, which points to a local folder (a model or an adapter) or to a hub id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from align.artifacts import Artifact
from align.data.chat import stop_ids, template_text
from align.errors import ModelError
from align.models.heads import HEADS, as_scorer, saved_head

POLICY = "policy.json"


@dataclass(frozen=True)
class ModelRef:
    """Where a model is. base, tokenizer: a local folder or a hub id; merge: an adapter folded into the base first."""

    base: str
    tokenizer: str
    revision: str | None = None
    adapter: Path | None = None
    merge: Path | None = None
    chat_template: str | None = None
    pad_token: str | None = None

    @property
    def local(self) -> bool:
        return Path(self.base).is_dir()


def resolve(artifact: Artifact | Path) -> ModelRef:
    """Where the model of a policy or reward_model artifact is, or of a plain folder with a model or an adapter."""
    folder = artifact if isinstance(artifact, Path) else artifact.path
    file = folder / POLICY
    if not file.exists():
        lone = folder if (folder / "adapter_config.json").exists() else None
        return ModelRef(base=base_of_adapter(lone) if lone else str(folder), tokenizer=str(folder), adapter=lone)
    fields = json.loads(file.read_text("utf-8"))
    path = _absolute(fields["path"], folder)
    made_here = (folder / "adapter_config.json").exists()
    if made_here:
        merge = fields.get("merge")
        return ModelRef(
            base=path,
            tokenizer=str(folder),
            revision=fields.get("revision"),
            adapter=folder,
            merge=Path(_absolute(merge, folder)) if merge else None,
        )
    adapter = Path(path) if (Path(path) / "adapter_config.json").exists() else None
    base = base_of_adapter(adapter) if adapter else path
    return ModelRef(
        base=base,
        tokenizer=path if adapter is None or (adapter / "tokenizer_config.json").exists() else base,
        revision=fields.get("revision"),
        adapter=adapter,
        chat_template=fields.get("chat_template"),
        pad_token=fields.get("pad_token"),
    )


def base_of_adapter(adapter: Path) -> str:
    """The base an adapter folder names: a folder (relative names count from the adapter's) or a hub id.

    Raises ModelError if it names none, or a local folder that is not there.
    """
    config = adapter / "adapter_config.json"
    name = json.loads(config.read_text("utf-8")).get("base_model_name_or_path")
    if not name:
        raise ModelError(
            "the adapter does not say which base it belongs to",
            where=f"{config} base_model_name_or_path",
            remedy="write the base's folder or hub id there",
        )
    path = _absolute(name, adapter)
    if (name.startswith((".", "/")) or name.count("/") > 1) and not Path(path).is_dir():
        raise ModelError(
            f"the adapter's base is not there: {name}",
            where=f"{config} base_model_name_or_path",
            remedy="put the base back, or write its new path into adapter_config.json",
        )
    return path


def _absolute(path: str, folder: Path) -> str:
    return str((folder / path).resolve()) if path.startswith(".") else path


def load_tokenizer(ref: ModelRef) -> Any:
    """The tokenizer, with a chat template and a pad token of its own; pads on the left.

    Raises ModelError if either is missing, or if padding and end of answer share a token: a reward model then reads
    its score one token early, and a policy never learns to stop.
    """
    from transformers import AutoTokenizer

    where = ref.tokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, revision=ref.revision, padding_side="left")
    except (OSError, ValueError, KeyError) as error:
        if not Path(where).is_dir():
            raise ModelError(
                f"the hub's model {where} cannot be reached: {first_line(error)}",
                where=where,
                allowed="a hub id while there is a network, or a folder",
                remedy="check the id, or download the model where there is a network and give its folder",
            ) from error
        raise ModelError(
            f"the tokenizer cannot be loaded: {first_line(error)}",
            where=where,
            allowed="tokenizer.json and tokenizer_config.json, as save_pretrained writes them",
            remedy="copy the tokenizer's files into the model's folder",
        ) from error
    if ref.chat_template:
        tokenizer.chat_template = template_text(ref.chat_template)
    if not tokenizer.chat_template:
        raise ModelError(
            "the tokenizer has no chat template, so that conversations cannot become tokens",
            where=where,
            allowed="chatml, plain, or a path to a Jinja file",
            remedy="add to the model's source: chat_template: plain",
        )
    if tokenizer.eos_token is None:
        raise ModelError(
            "the tokenizer has no EOS token, so that no answer can end",
            where=where,
            remedy="name one of its tokens as eos_token in tokenizer_config.json",
        )
    _settle_padding(tokenizer, ref.pad_token, where)
    return tokenizer


def _settle_padding(tokenizer: Any, wanted: str | None, where: str) -> None:
    vocabulary = tokenizer.get_vocab()
    if wanted is not None:
        if wanted not in vocabulary:
            raise ModelError(
                f"pad_token {wanted!r} is not in the vocabulary",
                where=where,
                allowed="an existing token: " + ", ".join(pad_candidates(tokenizer)),
                remedy="name one of those in the model's source: pad_token:",
            )
        tokenizer.pad_token = wanted
    if tokenizer.pad_token is None:
        problem = "the tokenizer has no pad token"
    elif tokenizer.pad_token == tokenizer.eos_token:
        problem = f"the tokenizer has the EOS token {tokenizer.eos_token!r} as pad token"
    elif tokenizer.pad_token_id in stop_ids(tokenizer, None):
        problem = f"the pad token {tokenizer.pad_token!r} also closes an answer"
    else:
        return
    candidates = pad_candidates(tokenizer)
    raise ModelError(
        problem,
        where=where,
        allowed="an existing token that is not EOS, such as " + ", ".join(repr(c) for c in candidates),
        remedy=f"add to the model's source: pad_token: {json.dumps(candidates[0], ensure_ascii=False)}",
    )


def pad_candidates(tokenizer: Any) -> list[str]:
    """Up to three tokens to pad with: pad-like and reserved special tokens first, then unk, then the rarest of all.

    Tokens that mean something in a conversation are none: EOS, and those the chat template writes.
    """
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    written = str(tokenizer.chat_template)
    names = [name for name, _ in vocabulary if name != tokenizer.eos_token and name not in written]
    likely = [n for n in names if n.startswith("<") and any(w in n.lower() for w in ("pad", "reserved", "unused"))]
    unknown = [tokenizer.unk_token] if tokenizer.unk_token not in (None, tokenizer.eos_token) else []
    return [*likely, *unknown, *reversed(names)][:3]


def check_weights(folder: Path) -> None:
    """Raise ModelError unless a local model folder has a config.json and weights."""
    if not (folder / "config.json").exists():
        raise ModelError(
            "the folder holds no model: config.json is missing",
            where=str(folder),
            allowed="a folder with config.json, weights and tokenizer, as save_pretrained writes it",
            remedy="name the folder that holds them, or download the model into this one",
        )
    if not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin")):
        raise ModelError(
            "the model folder holds no weights",
            where=str(folder),
            allowed="model.safetensors, a sharded model-*.safetensors, or pytorch_model.bin",
            remedy="download or copy the weights into the folder",
        )


def load_causal(ref: ModelRef, dtype: torch.dtype, *, trainable: bool = False) -> Any:
    """The policy as a causal language model: a PeftModel if it has an adapter, else the plain model.

    trainable: whether the adapter's weights take gradients. Raises ModelError for a model that cannot be loaded, a
    tokenizer larger than the embedding, or an adapter made for another base.
    """
    from transformers import AutoModelForCausalLM

    model = _from_pretrained(AutoModelForCausalLM, ref, dtype)
    if ref.merge:
        model = attach(model, ref.merge).merge_and_unload()
    if ref.adapter:
        model = attach(model, ref.adapter, trainable=trainable)
        # Where it was found, not where its config says: a relative path there counts from the adapter's own folder.
        model.peft_config["default"].base_model_name_or_path = ref.base
    return model


def load_merged(ref: ModelRef, dtype: torch.dtype) -> Any:
    """The policy with its adapter folded into the weights, all of which take gradients (PEFT had frozen the base)."""
    model = load_causal(ref, dtype)
    return model.merge_and_unload().requires_grad_(True) if ref.adapter else model


def load_scorer(ref: ModelRef, dtype: torch.dtype) -> Any:
    """A reward model: sequence classification with one output, or one for each head of an ensemble; adapters attached.

    Raises ModelError for a model without a score head and for a classifier of several classes.
    """
    if ref.adapter is None:
        from transformers import AutoConfig, AutoModelForSequenceClassification

        scorer = _from_pretrained(AutoModelForSequenceClassification, ref, dtype, made_up=("score.", "classifier."))
        made = AutoConfig.from_pretrained(ref.base, revision=ref.revision).architectures or []
        heads = getattr(scorer.config, HEADS, 1)
        if scorer.config.num_labels != heads or not any("SequenceClassification" in name for name in made):
            raise ModelError(
                f"this is no reward model: {' '.join(made)} with {scorer.config.num_labels} outputs",
                where=ref.base,
                allowed="a ...ForSequenceClassification model with one output",
                remedy="train one with a stage of kind reward",
            )
        return scorer
    policy = ModelRef(base=ref.base, tokenizer=ref.tokenizer, revision=ref.revision, adapter=ref.merge)
    head = saved_head(ref.adapter)
    return attach(as_scorer(load_merged(policy, dtype), 1 if head is None else len(head)), ref.adapter)


def attach(model: Any, adapter: Path, *, trainable: bool = False) -> Any:
    """Put an adapter folder on a model, after checking that it was made for one of this shape."""
    from peft import PeftModel

    check_adapter(model, adapter)
    return PeftModel.from_pretrained(model, adapter, is_trainable=trainable)


def check_adapter(model: Any, adapter: Path) -> None:
    """Raise ModelError unless every LoRA matrix of the adapter finds its module, in its size, in the model."""
    from safetensors import SafetensorError, safe_open

    file = adapter / "adapter_model.safetensors"
    if not file.exists():
        raise ModelError(
            "the adapter folder holds no weights",
            where=str(adapter),
            allowed="adapter_model.safetensors",
            remedy="copy the weights into the folder, or make them again",
        )
    modules = dict(model.named_modules())
    try:
        with safe_open(file, framework="pt") as weights:
            shapes = {k: weights.get_slice(k).get_shape() for k in weights.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(
            f"the adapter's weights cannot be read: {first_line(error)}",
            where=str(file),
            remedy="copy them again, or make them again",
        ) from error
    for key, shape in shapes.items():
        for part, axis in ((".lora_A.", 1), (".lora_B.", 0)):
            if part not in key:
                continue
            name = key.split(part)[0].removeprefix("base_model.model.")
            sizes = _in_out(modules.get(name))
            found = shape[axis]
            if sizes is None or sizes[0 if axis else 1] != found:
                has = "no such module" if sizes is None else f"{sizes[0 if axis else 1]} there"
                raise ModelError(
                    f"the adapter was made for another base: {name} takes {found} numbers, the base has {has}",
                    where=str(adapter),
                    remedy="name the base it was trained on, or train the adapter again",
                )


def _in_out(module: Any) -> tuple[int, int] | None:
    """Width in and out of a linear layer (or GPT-2's Conv1D); None for anything else."""
    if hasattr(module, "in_features"):
        return int(module.in_features), int(module.out_features)
    if hasattr(module, "nx"):
        return int(module.nx), int(module.nf)
    return None


def _from_pretrained(auto: Any, ref: ModelRef, dtype: torch.dtype, made_up: tuple[str, ...] = ()) -> Any:
    """The model, all of whose weights were in its files: transformers makes up at random what is not there.

    made_up: beginnings of names that the caller looks at itself.
    """
    from safetensors import SafetensorError

    if ref.local:
        check_weights(Path(ref.base))
    try:
        model, found = auto.from_pretrained(ref.base, revision=ref.revision, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, EOFError, SafetensorError) as error:
        raise ModelError(
            f"the model cannot be loaded: {first_line(error)}",
            where=ref.base,
            allowed="a folder as save_pretrained writes it, or a hub id that is downloaded or can be",
            remedy=_where_to_get(ref),
        ) from error
    if missing := sorted(name for name in found["missing_keys"] if not name.startswith(made_up)):
        raise ModelError(
            f"{len(missing)} weights of {type(model).__name__} are not in its files, the first {missing[0]}",
            where=ref.base,
            allowed="a model with all its weights; what is missing would be random numbers",
            remedy="name a model that was saved whole, and of this kind: a reward model is no policy",
        )
    return model


def _where_to_get(ref: ModelRef) -> str:
    """What to do about a model that cannot be loaded: a folder is looked at, a hub id downloaded."""
    if ref.local:
        return "check the folder"
    if ref.base.count("/") != 1 or ref.base.startswith((".", "/", "~")):
        return f"there is no folder {ref.base}, and a hub id has the form owner/name"
    return f"there is no folder {ref.base}; if it is a hub id, download it once: hf download {ref.base}"


def check_vocabulary(model: Any, tokenizer: Any, where: str) -> None:
    """Raise ModelError if the tokenizer knows more tokens than the model has embeddings."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the model's embedding only {rows} rows",
            where=where,
            remedy="use the tokenizer that belongs to the model",
        )


def context_of(model: Any) -> int:
    """The longest sequence the model can read, in tokens; a very large number where its config names none."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 1 << 30)


def save_model(model: Any, tokenizer: Any, out: Path, ref: ModelRef, merge: Path | None = None) -> None:
    """Save weights (only the `default` adapter, if there is one), tokenizer and, for adapters, where the base is.

    ref: the model it was trained from. merge: an adapter that must be folded into the base before this one.
    """
    tokenizer.save_pretrained(out)
    if not hasattr(model, "peft_config"):
        model.save_pretrained(out)
        return
    model.save_pretrained(out, selected_adapters=["default"], save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty card; `export` writes a true one
    where = _relative(ref.base, out)
    config = out / "adapter_config.json"
    fields = json.loads(config.read_text("utf-8"))
    fields["base_model_name_or_path"] = where
    if isinstance(fields.get("target_modules"), list):
        fields["target_modules"] = sorted(fields["target_modules"])  # PEFT keeps a set, whose order varies
    config.write_text(json.dumps(fields, indent=2, sort_keys=True), "utf-8")
    pointer = {"path": where, "revision": ref.revision, "merge": _relative(str(merge), out) if merge else None}
    (out / POLICY).write_text(json.dumps(pointer, indent=1), "utf-8")


def _relative(path: str, out: Path) -> str:
    """`../NAME` for a folder of the same run, so that a run can be moved; other paths and hub ids as they are."""
    folder = Path(path)
    if folder.is_absolute() and folder.parent == out.parent.resolve():
        return f"../{folder.name}"
    return path


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
