"""A stage's result for other people: a plain directory in the dtype they want, checked by loading.

B sequences, T positions, V vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from instructgpt import __version__
from instructgpt.errors import CheckpointError, ConfigError
from instructgpt.models.export import export_model
from instructgpt.models.load import (
    is_reward_model,
    load_causal_lm,
    load_reward_model,
    resolve_checkpoint,
)
from instructgpt.models.quiet import quiet_transformers
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.storage.lineage import find_lineage, find_scores
from instructgpt.storage.manifest import MANIFEST

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PROBE = "The quick brown fox, 42 times: 敏捷的棕色狐狸跳过懒狗。"


@dataclass(frozen=True, slots=True)
class Published:
    """An export. `rounding` is the largest change of a log-prob or score that the dtype made on a
    probe text; `reward_bias` is what a reward model's plain pipeline leaves out (0: nothing).
    """

    path: Path
    kind: str
    dtype: str
    rounding: float
    reward_bias: float
    lineage: int
    scores: int


def publish(source: str | Path, out: Path, dtype: str = "float32") -> Published:
    """Write `source` (a run directory, a model directory or a hub name) to directory `out`.

    The files are loaded back with plain transformers before they appear: their logits must equal
    those of the model that was written. Errors: CheckpointError when there is no model or the
    check fails, ConfigError for a dtype that the weights do not fit, RunDirError for `out`.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype {dtype}: use one of {', '.join(DTYPES)}")
    location = resolve_checkpoint(source)
    model, tokenizer = _load(location)
    facts = describe(Path(location))
    exact = _probe(model, tokenizer)
    for parameter in model.parameters():
        # not model.to(): that would also round the rotary frequencies, which loading computes anew
        parameter.data = parameter.data.to(DTYPES[dtype])
    rounded = _probe(model, tokenizer)
    if not rounded.isfinite().all():
        raise ConfigError(f"--dtype {dtype}: '{source}' overflows in it; use bfloat16 or float32")

    def check(folder: Path) -> None:
        again = _probe(*_load_plainly(folder, reward=not model.can_generate()))
        if not torch.allclose(again, rounded, atol=1e-5, rtol=0):
            raise CheckpointError(
                f"the export of '{source}' does not load as it was written (logits differ by "
                f"{float((again - rounded).abs().max()):.3g}); its architecture saves too little"
            )

    export_model(model, tokenizer, out, facts, check=check)
    return Published(
        path=out,
        kind="policy" if model.can_generate() else "reward model",
        dtype=dtype,
        rounding=float((rounded - exact).abs().max()),
        reward_bias=float(getattr(model.config, "reward_bias", 0.0)),
        lineage=len(facts.get("lineage", ())),
        scores=len(facts.get("scores", ())),
    )


def describe(location: Path) -> dict[str, Any]:
    """The facts of a model directory, with its run's lineage and scores where it lies in a run."""
    file = location / "instructgpt.json"
    facts: dict[str, Any] = {
        "name": location.name,
        "stage": "model",
        "version": __version__,
        "seed": None,
        "parents": {},
        "summary": {},
    }
    if file.exists():
        facts |= json.loads(file.read_text(encoding="utf-8"))
    run = location.parent
    if (run / MANIFEST).exists():
        facts |= {"lineage": find_lineage(run), "scores": find_scores(run)}
    return facts


def fold_reward_bias(reward_model: ScalarModel) -> bool:
    """Move the bias into the last norm's own, where there is one, so that any tool applies it.

    score = w . norm(h) + c, and norm(h) + (c / |w|^2) w adds exactly c to it. RMSNorm has no bias:
    there the constant stays in the config, and this returns False.
    """
    norm = _last_norm_with_bias(reward_model.model)
    if norm is None or reward_model.bias == 0.0:
        return reward_model.bias == 0.0
    weight_D = reward_model.head.weight.detach()[0]
    with torch.no_grad():
        norm.bias += reward_model.bias / weight_D.square().sum() * weight_D
    reward_model.bias = 0.0
    return True


def _last_norm_with_bias(model: PreTrainedModel) -> nn.LayerNorm | None:
    """The module whose output is the backbone's output, if it is a LayerNorm with a bias."""
    outputs: dict[int, nn.LayerNorm] = {}
    keep: list[Tensor] = []  # alive, so that ids stay different
    hooks = [
        module.register_forward_hook(
            lambda m, _, out: (keep.append(out), outputs.update({id(out): m}))[0]
        )
        for module in model.base_model.modules()
        if isinstance(module, nn.LayerNorm) and module.bias is not None
    ]
    try:
        with torch.no_grad():
            ids = torch.zeros(1, 2, dtype=torch.long, device=model.device)
            hidden = model.base_model(ids, use_cache=False)[0]
    finally:
        for hook in hooks:
            hook.remove()
    # GPT-2 views its output into its own shape, which is another tensor of the same storage
    same = [
        n for n, t in zip(outputs.values(), keep, strict=True) if t.data_ptr() == hidden.data_ptr()
    ]
    return same[-1] if same else None


def _load(location: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if is_reward_model(location):
        reward_model = load_reward_model(location, device="cpu", dtype="float32")
        reward_model.model.eval()
        fold_reward_bias(reward_model)
        return reward_model.model, reward_model.tokenizer
    lm = load_causal_lm(location, device="cpu", dtype="float32")
    lm.model.eval()
    return lm.model, lm.tokenizer


def _load_plainly(folder: Path, reward: bool) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """As somebody without this package would."""
    auto: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM
    with quiet_transformers():
        model = auto.from_pretrained(folder, dtype="auto").eval()
    return model, AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def _probe(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Scores B, or log-probs BTV, of the probe text in float32."""
    logits = model(**tokenizer(PROBE, return_tensors="pt")).logits.float()
    return logits.log_softmax(-1) if model.can_generate() else logits
