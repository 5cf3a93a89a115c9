"""One scalar per position: the reward model and the critic.

A `transformers` sequence classifier with one label, so that what we save loads with
`AutoModelForSequenceClassification`. Shapes: B sequences, T positions, D hidden width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from instructgpt.errors import CheckpointError
from instructgpt.models.adapters import Adapter
from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import context_length
from instructgpt.models.trainable import TrainableModel


class ScalarModel(TrainableModel):
    """Backbone plus linear head. As a reward model it scores, as a critic it values.

    `bias` is the constant that makes demonstrations score 0 on average (paper section 3.5). Most
    backbones end in a norm without bias and the classifier head has none, so the constant lives in
    the config as `reward_bias` and is added here.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        dtype: torch.dtype = torch.float32,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(model, tokenizer, dtype, adapter)
        self.head = scalar_head(model)

    @property
    def context(self) -> int:
        return context_length(self.model)

    @property
    def bias(self) -> float:
        return float(getattr(self.model.config, "reward_bias", 0.0))

    @bias.setter
    def bias(self, value: float) -> None:
        self.model.config.reward_bias = float(value)

    def scores(self, batch: TokenBatch) -> Tensor:
        """r(x, y): the head at each sequence's last real token, plus the bias. float32 B."""
        places_T = torch.arange(batch.token_ids_BT.shape[1], device=self.device)
        last_BT = places_T == batch.lengths_B[:, None] - 1
        with self.computing():
            last_BD = self.states_at(
                self.model.base_model, batch.token_ids_BT, batch.lengths_B, last_BT
            )
        return self._apply_head(last_BD) + self.bias

    def values(self, batch: TokenBatch) -> Tensor:
        """V before token t, where the mask counts, else 0. float32 BT.

        The state before token t is the hidden state at t - 1, which has not read token t.
        """
        with self.computing():
            states_ND = self.states_before(self.model.base_model, batch)
        return batch.spread(self._apply_head(states_ND) + self.bias)

    def _apply_head(self, hidden: Tensor) -> Tensor:
        # float32: a reward difference of 0.01 is meaningful and bfloat16 has 8 bits.
        return nn.functional.linear(hidden.float(), self.head.weight.float()).squeeze(-1)


def scalar_head(model: PreTrainedModel) -> nn.Linear:
    """The linear layer that reads the backbone's states.

    Errors: CheckpointError for a classifier that puts more between states and score, or reads
    another position than the last (BERT, BART, CTRL, ModernBERT, ...).
    """
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.out_features != 1:
        raise CheckpointError(
            f"{type(model).__name__} has no scalar `score` head; start the reward model from "
            "another decoder (Llama, Qwen, GPT-2, ...): its tokenizer need not be the policy's"
        )
    return head


def init_scalar_head(head: nn.Linear, generator: torch.Generator) -> None:
    """N(0, std = 1/sqrt(D + 1)), as in Ziegler et al. 2019 and Stiennon et al. 2020."""
    std = 1.0 / math.sqrt(head.in_features + 1)
    weights = torch.empty_like(head.weight, device="cpu", dtype=torch.float32)
    weights.normal_(0.0, std, generator=generator)
    with torch.no_grad():
        head.weight.copy_(weights)
