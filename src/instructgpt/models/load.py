"""Load checkpoints: a directory, a run directory with `model/` in it, or a hub name."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from instructgpt.errors import CheckpointError, ConfigError
from instructgpt.models.adapter_files import CONFIG
from instructgpt.models.causal_lm import CausalLM, sees_the_future
from instructgpt.models.classifier import classifier_class
from instructgpt.models.kernels import use_fast_kernels
from instructgpt.models.precision import choose_device, choose_dtype
from instructgpt.models.quiet import allow_right_padding, quiet_transformers
from instructgpt.models.scalar_model import ScalarModel, init_scalar_head, scalar_head
from instructgpt.models.trainable import TrainableModel
from instructgpt.text.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)

# Names that architectures give to dropout on the residual stream (paper section C.1).
_RESIDUAL_DROPOUT_KEYS = ("resid_pdrop", "hidden_dropout", "residual_dropout", "dropout")


def resolve_checkpoint(source: str | Path) -> str:
    """The directory (or hub name) that holds config.json and weights.

    Errors: CheckpointError when `source` looks like a path and holds no model.
    """
    path = Path(source)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file():
            return str(candidate)
    if (folder := soft_prompt_folder(path)) is not None:
        raise CheckpointError(
            f"'{source}' has soft prompts, and no model of its own to train or to export: train "
            f"the model under them, and hand on '{folder}', which peft loads"
        )
    if path.exists() or str(source).startswith((".", "/", "~")) or str(source).count("/") > 1:
        raise CheckpointError(
            f"no model at '{source}': expected a directory with config.json and model.safetensors"
        )
    return str(source)


def soft_prompt_folder(source: str | Path) -> Path | None:
    """Where the soft prompts of a run lie, or `source` itself if they lie there; else None."""
    path = Path(source)
    beside = (path.parent if path.name == "model" else path) / "adapter"
    for folder in (beside, path):
        for file in (folder / CONFIG, *sorted(folder.glob(f"*/{CONFIG}"))):
            if not file.is_file():
                continue
            if json.loads(file.read_text("utf-8")).get("peft_type") == "PROMPT_TUNING":
                return folder
    return None


def load_causal_lm(
    source: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    dropout: float = 0.0,
    chat_template: str | None = None,
    tokenizer: Path | None = None,
) -> CausalLM:
    """A causal LM with its tokenizer; float32 weights, computing dtype chosen for the device.

    The tokenizer lies with the model unless `tokenizer` names another directory.

    `dropout` is residual dropout during training; all other dropout is off, because PPO's
    ratio of 1 and KL of 0 at the start hold only for a deterministic policy.
    """
    location = resolve_checkpoint(source)
    words = load_tokenizer(tokenizer or location, chat_template=chat_template)
    config = _load_config(location)
    _set_dropout(config, dropout)
    model = _from_pretrained(AutoModelForCausalLM, location, config=config)
    _fit_embeddings(model, len(words))
    _set_special_ids(model, words)
    where = choose_device(device)
    compute_dtype, _reason = choose_dtype(dtype, where)
    use_fast_kernels(model.to(where))
    if sees_the_future(model):
        raise CheckpointError(
            f"'{source}' ({type(model).__name__}) lets a token see those after it; choose a "
            "decoder (a causal language model)"
        )
    return CausalLM(model, words, compute_dtype)


def load_reward_model(
    source: str | Path, *, device: str = "auto", dtype: str = "auto"
) -> ScalarModel:
    """A trained reward model (or critic) saved as a one-label sequence classifier.

    Errors: CheckpointError when the checkpoint holds no trained scalar head.
    """
    location = resolve_checkpoint(source)
    config = _load_config(location)
    if not is_reward_model(location):
        raise CheckpointError(
            f"'{source}' is not a reward model (architectures: {config.architectures}); train one "
            "with `instructgpt reward-model`"
        )
    return _load_scalar(location, config, device, dtype, new="")


def is_reward_model(source: str | Path) -> bool:
    """Whether a checkpoint says that it classifies sequences rather than continues them."""
    config = _load_config(resolve_checkpoint(source))
    return any("SequenceClassification" in name for name in config.architectures or [])


def new_reward_model(
    source: str | Path,
    *,
    seed: int,
    device: str = "auto",
    dtype: str = "auto",
    chat_template: str | None = None,
) -> ScalarModel:
    """A causal LM's backbone with a fresh scalar head in place of its unembedding (paper C.2)."""
    location = resolve_checkpoint(source)
    scalar = _load_scalar(
        location, _load_config(location), device, dtype, chat_template, new="score."
    )
    init_scalar_head(scalar.head, torch.Generator().manual_seed(seed))
    return scalar


def copy_scalar_model(scalar: ScalarModel, *, copy_backbone: bool = True) -> ScalarModel:
    """An independent copy: the critic that starts from the reward model (paper section 3.5).

    Without `copy_backbone` only the head is a copy: both models read the same, frozen backbone.
    """
    backbone = scalar.model.base_model
    shared = {} if copy_backbone else {id(backbone): backbone}
    return ScalarModel(copy.deepcopy(scalar.model, shared), scalar.tokenizer, scalar.dtype)


def scalar_model_on(lm: CausalLM, source: str | Path) -> ScalarModel:
    """The classifier of `source` on the backbone of `lm`, with an empty head and no adapter yet."""
    config = _load_config(resolve_checkpoint(source))
    with torch.device("meta"):
        kind = classifier_class(config)
        is_automatic = hasattr(kind, "from_config")
        model = kind.from_config(config) if is_automatic else kind._from_config(config)
    setattr(model, model.base_model_prefix, lm.model.base_model)
    scalar = ScalarModel(model, load_tokenizer(resolve_checkpoint(source)), lm.dtype)
    scalar.head.to_empty(device=lm.device)
    return scalar


def freeze(model: PreTrainedModel) -> None:
    """No gradients, evaluation mode: for the reference policy and the reward model."""
    model.requires_grad_(False)
    model.eval()


def freeze_for_good(model: TrainableModel) -> None:
    """`freeze` for a model that only ever runs in its computing type, and is never saved.

    Layers whose weights every pass would cast to that type keep nothing but the cast: the results
    are the same, bit for bit. Embeddings stay as they are, as does an output layer that shares
    their weights, and the scalar head, which computes in float32.
    """
    freeze(model.model)
    _ = model.padding_free  # is seen in float32, and remembered
    if model.dtype == torch.float32:
        return
    wide = [model.model.get_input_embeddings().weight, getattr(model, "head", None)]
    for layer in model.model.modules():
        if type(layer) not in (nn.Linear, Conv1D):
            continue
        if any(layer is one or layer.weight is one for one in wide):
            continue
        for name, parameter in list(layer.named_parameters(recurse=False)):
            narrow = nn.Parameter(parameter.detach().to(model.dtype), requires_grad=False)
            setattr(layer, name, narrow)


def _load_scalar(
    location: str,
    config: PreTrainedConfig,
    device: str,
    dtype: str,
    chat_template: str | None = None,
    *,
    new: str,
) -> ScalarModel:
    tokenizer = load_tokenizer(location, chat_template=chat_template)
    _set_dropout(config, 0.0)
    config.num_labels = 1
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    # without this, pipelines squash a one-label score through a sigmoid
    config.problem_type = "regression"
    model = _from_pretrained(classifier_class(config), location, new, config=config)
    _fit_embeddings(model, len(tokenizer))
    _set_special_ids(model, tokenizer)
    where = choose_device(device)
    compute_dtype, _reason = choose_dtype(dtype, where)
    use_fast_kernels(model.to(where))
    return ScalarModel(model, tokenizer, compute_dtype)


def _load_config(location: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(location)
    except (OSError, ValueError) as error:
        raise CheckpointError(_one_line(location, error)) from error


def _from_pretrained(auto: Any, location: str, new: str = "", **kwargs: Any) -> PreTrainedModel:
    """Load float32 weights; `new` names the prefix of parameters that may be missing.

    Errors: CheckpointError when the files are broken or any other parameter is missing, which
    transformers would fill with random numbers.
    """
    try:
        with quiet_transformers():
            model, found = auto.from_pretrained(
                location, dtype=torch.float32, output_loading_info=True, **kwargs
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(_one_line(location, error)) from error
    allow_right_padding(model)
    if auto is not AutoModelForCausalLM:
        scalar_head(model)  # before its weights: without a head their names would say little
    missing = [key for key in sorted(found["missing_keys"]) if not (new and key.startswith(new))]
    if missing:
        raise CheckpointError(
            f"'{location}' lacks {len(missing)} weights of a {type(model).__name__}, such as "
            f"'{missing[0]}'; the checkpoint is incomplete or of another kind"
        )
    loaded: PreTrainedModel = model
    return loaded


def _one_line(location: str, error: Exception) -> str:
    return f"cannot load '{location}': {' '.join(str(error).split())[:300]}"


def _fit_embeddings(model: PreTrainedModel, num_tokens: int) -> None:
    """Grow the embedding when the tokenizer had to gain a pad token; never shrink it.

    New rows are the mean of the others, so that a new token is about as likely as the average one.
    A row of zeros has logit 0, which is far above all others where they are negative, as GPT-2's.
    """
    have = model.get_input_embeddings().weight.shape[0]
    if num_tokens > have:
        # mean_resizing would draw random numbers around it: policy and reference must be equal
        model.resize_token_embeddings(num_tokens, mean_resizing=False)
        with torch.no_grad():
            for rows in (model.get_input_embeddings(), model.get_output_embeddings()):
                if rows is not None:
                    rows.weight[have:] = rows.weight[:have].mean(0, dtype=torch.float64)
        logger.info("embedding grown from %d to %d rows for added tokens", have, num_tokens)


def _set_special_ids(model: PreTrainedModel, tokenizer: Any) -> None:
    text_config = model.config.get_text_config()
    for config in {id(c): c for c in (model.config, text_config)}.values():
        config.pad_token_id = tokenizer.pad_token_id
        config.eos_token_id = tokenizer.eos_token_id


def _set_dropout(config: PreTrainedConfig, residual: float) -> None:
    text = config.get_text_config()
    for key in vars(text):
        if ("dropout" in key or "pdrop" in key) and isinstance(getattr(text, key), float):
            setattr(text, key, 0.0)
    if residual == 0.0:
        return
    for key in _RESIDUAL_DROPOUT_KEYS:
        if hasattr(text, key):
            setattr(text, key, residual)
            return
    raise ConfigError(
        f"dropout={residual}: {config.model_type} has no residual dropout; set dropout to 0"
    )
