"""A causal language model that answers one question: how likely was each of these tokens?

Shapes: B sequences, T positions, N selected positions, D hidden width, V vocabulary.
Position t describes token t (DESIGN 4): its log-prob is read off the hidden state at t - 1.
"""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from instructgpt.losses.logprobs import chunked_token_logprobs
from instructgpt.models.adapters import Adapter
from instructgpt.models.batch import TokenBatch
from instructgpt.models.padding_free import spare_tokens
from instructgpt.models.sliced_logprobs import slices_of
from instructgpt.models.soft_prompts import SoftPrompts
from instructgpt.models.trainable import TrainableModel
from instructgpt.text.chat_template import ChatRenderer

logger = logging.getLogger(__name__)

# Logits alive at once: 64 M in float32 are 256 MB, forward and as much again backward.
_MAX_LOGITS = 1 << 26
# A GPU adds up the gradient of the output layer once per chunk: the fewer the better. With the
# gradient and the log-softmax, 12 bytes each, they take a twentieth of its memory.
_GPU_BYTES_PER_LOGIT = 256


class CausalLM(TrainableModel):
    """Policy or reference."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        dtype: torch.dtype = torch.float32,
        adapter: Adapter | SoftPrompts | None = None,
    ) -> None:
        super().__init__(model, tokenizer, dtype, adapter)
        vocabulary = model.get_input_embeddings().weight.shape[0]
        self._logit_rows = max(1, max_logits(model.device) // vocabulary)
        self._separable_head = head_is_separable(model)
        if not self._separable_head:
            logger.warning(
                "%s transforms its logits after the output layer: log-probs are computed from full "
                "logits (correct, but more memory)",
                type(model).__name__,
            )

    @property
    def context(self) -> int:
        """The longest sequence the model can read, prompt and completion together."""
        return context_length(self.model)

    def renderer(self) -> ChatRenderer:
        """What turns conversations into its token ids, its soft prompts included."""
        soft = self.adapter if isinstance(self.adapter, SoftPrompts) else None
        return ChatRenderer(self.tokenizer, soft.prefixes if soft else {})

    def logprobs(self, batch: TokenBatch, temperature: float = 1.0) -> Tensor:
        """log pi(token t | tokens before t) at `temperature` where the mask counts, else 0. BT."""
        logprobs_N, _ = self._predict(batch, temperature, with_entropy=False)
        return batch.spread(logprobs_N)

    def logprobs_and_entropy(
        self, batch: TokenBatch, temperature: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Log-probs and the (gradient-free) entropy in nats of each predicting distribution.

        Both are float32 BT and 0 where the mask does not count.
        """
        logprobs_N, entropy_N = self._predict(batch, temperature, with_entropy=True)
        return batch.spread(logprobs_N), batch.spread(entropy_N)

    def _predict(
        self, batch: TokenBatch, temperature: float, with_entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Log-probs and entropies of the predicted tokens.

        Logits exist only there, a chunk at a time.
        """
        targets_N = batch.token_ids_BT[batch.predicted_BT]
        with self.computing():
            if self._separable_head:
                backbone, head = self.model.base_model, self.model.get_output_embeddings()
            else:  # its first output are logits
                backbone, head = self.model, nn.Identity()
            states_ND = self.states_before(backbone, batch)
            count = len(targets_N)
            if self.padding_free and (spare := spare_tokens(count)):
                states_ND = F.pad(states_ND, (0, 0, 0, spare))
                targets_N = F.pad(targets_N, (0, spare))
            logprobs_N, entropy_N = chunked_token_logprobs(
                states_ND,
                head,
                targets_N,
                temperature,
                self._logit_rows,
                with_entropy,
                slices_of(head),
            )
        return logprobs_N[:count], None if entropy_N is None else entropy_N[:count]


def max_logits(device: torch.device) -> int:
    """How many logits a loss may hold at once on this device."""
    if device.type != "cuda":
        return _MAX_LOGITS
    return int(torch.cuda.get_device_properties(device).total_memory) // _GPU_BYTES_PER_LOGIT


def context_length(model: PreTrainedModel) -> int:
    """The model's limit on positions, from its configuration."""
    config = model.config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if (getattr(config, key, None) or 0) > 0:
            return int(getattr(config, key))
    return 1 << 20  # no limit of its own (ALiBi, recurrent state)


@torch.no_grad()
def sees_the_future(model: PreTrainedModel) -> bool:
    """Whether a later token changes what an earlier one predicts: an encoder, not a decoder.

    `transformers` loads BERT and its kin as causal LMs too; trained as one, it would learn to copy.
    """
    training = model.training
    model.eval()
    ids_BT = torch.tensor([[1, 2, 3, 1], [1, 2, 3, 2]], device=model.device)
    logits_BTV = model(ids_BT, use_cache=False).logits[:, :3].float()
    model.train(training)
    change = (logits_BTV[0] - logits_BTV[1]).abs().max()
    return bool(change > 1e-2 * logits_BTV.std())


@torch.no_grad()
def head_is_separable(model: PreTrainedModel) -> bool:
    """Whether logits are exactly `head(backbone(x))`: seen on a few tokens, not assumed.

    Some architectures scale or soft-cap logits in between; for those the short cut would be wrong.
    """
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        return False
    training = model.training
    model.eval()
    ids = torch.arange(1, 5, device=model.device)[None]
    expected = model(ids, use_cache=False).logits
    states = model.base_model(ids, use_cache=False)[0]
    model.train(training)
    if states.shape[-1] != head.weight.shape[-1]:
        return False
    return torch.allclose(head(states).float(), expected.float(), atol=1e-5, rtol=1e-4)
