"""Soft prompts: trained embeddings before a conversation, over a frozen model (Lester et al. 2021).

A virtual token is a token id behind the vocabulary. Trainers, engine and applications treat it as
any other id; the embedding knows its row, and the output layer does not know it: it is read, never
written. Shapes: N virtual tokens of all prompts together, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instructgpt.errors import CheckpointError
from instructgpt.models.adapter_files import fingerprint_weights

if TYPE_CHECKING:
    from instructgpt.models.causal_lm import CausalLM

EVERYTHING = ""
"""The name of a soft prompt that is there for every task."""

# What foreign code raises for ids or embeddings that it was not written for.
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)


class SoftEmbedding(nn.Module):
    """A frozen embedding with trained rows behind its own."""

    def __init__(self, embedding: nn.Module, rows_ND: Tensor) -> None:
        super().__init__()
        self.embedding = embedding
        self.rows = nn.Parameter(rows_ND)

    @property
    def weight(self) -> Tensor:
        """The rows of the vocabulary, which the model can write."""
        return self.embedding.weight

    @property
    def num_embeddings(self) -> int:
        """All rows, which the model can read."""
        return len(self.weight) + len(self.rows)

    def forward(self, ids: Tensor) -> Tensor:
        virtual = ids >= len(self.weight)
        words = self.embedding(ids.masked_fill(virtual, 0))
        soft = nn.functional.embedding((ids - len(self.weight)).clamp(min=0), self.rows)
        return torch.where(virtual.unsqueeze(-1), soft.to(words.dtype), words)


class SoftPrompts:
    """The soft prompts of one model, by task; what of the model is trained.

    `prefixes` are the virtual token ids that begin a conversation, by task. `base` is where the
    frozen model came from, `base_weights` its fingerprint.
    """

    def __init__(self, lm: CausalLM, rows: Mapping[str, Tensor], base: str) -> None:
        model = lm.model
        self.base = base
        self.base_weights = fingerprint_weights(model.base_model)
        model.requires_grad_(False)
        embedding = model.get_input_embeddings()
        start = len(embedding.weight)
        self.prefixes: dict[str, tuple[int, ...]] = {}
        for task, rows_ND in rows.items():
            self.prefixes[task] = tuple(range(start, start + len(rows_ND)))
            start += len(rows_ND)
        together = torch.cat(list(rows.values())).detach().float().clone()
        self.embedding = SoftEmbedding(embedding, together.to(model.device))
        model.set_input_embeddings(self.embedding)
        _check_reading(model, self.prefixes)

    @property
    def trained(self) -> nn.Module:
        """What an optimizer may move, as a module that holds nothing else."""
        return nn.ParameterList([self.embedding.rows])

    def detach(self, model: PreTrainedModel) -> None:
        """Leave `model` as it was, all of it trained again."""
        model.set_input_embeddings(self.embedding.embedding)
        model.requires_grad_(True)

    def rows(self, task: str) -> Tensor:
        """The embeddings of one task's virtual tokens, ND."""
        start = len(self.embedding.weight)
        first, last = self.prefixes[task][0], self.prefixes[task][-1]
        return self.embedding.rows.detach()[first - start : last - start + 1]

    def on(self) -> AbstractContextManager[None]:
        """They are always there; whether they are read, the token ids say."""
        return nullcontext()

    def state_dict(self) -> dict[str, Tensor]:
        """The trained weights, by task."""
        return {task: self.rows(task) for task in self.prefixes}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse, in place. Errors: KeyError when it is another model's state."""
        if state.keys() != self.prefixes.keys():
            raise KeyError(f"soft prompts for other tasks: {sorted(state)}")
        for task, rows_ND in state.items():
            self.rows(task).copy_(rows_ND)


@torch.no_grad()
def _check_reading(model: PreTrainedModel, prefixes: Mapping[str, Sequence[int]]) -> None:
    """Whether virtual tokens do what embeddings put in their place do, as peft puts them."""
    training = model.training
    model.eval()
    ids_1T = torch.tensor([[*next(iter(prefixes.values()))[:2], 1, 2]], device=model.device)
    try:
        by_id = model(ids_1T, use_cache=False).logits
        embedded = model.get_input_embeddings()(ids_1T)
        by_embedding = model(inputs_embeds=embedded, use_cache=False).logits
        same = torch.allclose(by_id, by_embedding, atol=1e-4, rtol=1e-3)
    except _REFUSALS:
        same = False
    model.train(training)
    if not same:
        raise CheckpointError(
            f"{type(model).__name__} reads more of a token than its embedding, so that it cannot "
            "have soft prompts; set adapter.type = lora"
        )
