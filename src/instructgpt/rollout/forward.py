"""One forward pass of a causal language model for generation, and the state it must be in."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instructgpt.models.attention import use_cpu_attention
from instructgpt.models.compiled import as_written
from instructgpt.models.gpu_kernels import use_gpu_kernels
from instructgpt.models.precision import autocast
from instructgpt.models.products import PackedWeights, generation_kernels


class ForwardPass:
    """Calls `model` on token ids and returns logits, never more of them than asked for.

    dtype: compute in it (autocast) when given, else as the model is.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
        self.model = model
        self.dtype = dtype
        self._arguments = frozenset(inspect.signature(model.forward).parameters)
        self._held_by: int | None = None  # the thread inside `ready`
        use_cpu_attention(model)
        use_gpu_kernels(model)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def accepts(self, argument: str) -> bool:
        """Whether the model's forward names this argument."""
        return argument in self._arguments

    @property
    def vocab_size(self) -> int:
        """How many token ids the model can write."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    @property
    def readable_ids(self) -> int:
        """How many it can read: virtual tokens come after the vocabulary."""
        embedding = self.model.get_input_embeddings()
        return max(self.vocab_size, getattr(embedding, "num_embeddings", 0))

    def logits_at(self, ids_BT: Tensor, last_B: Tensor, **kwargs: Any) -> Tensor:
        """Logits of one position per row, BV: `last_B` are the positions."""
        rows_B = torch.arange(len(last_B), device=last_B.device)
        head = self.model.get_output_embeddings()
        thread = threading.get_ident()

        # The output layer is by far the widest; it must see no more states than are asked for.
        def pick(_head: nn.Module, states: tuple[Tensor]) -> tuple[Tensor] | None:
            ours = threading.get_ident() == thread  # another engine may share the model
            whole = ours and states[0].shape[:2] == ids_BT.shape
            return (states[0][rows_B, last_B][:, None],) if whole else None

        hook = None if head is None else head.register_forward_pre_hook(pick)
        try:
            logits_BXV = self.model(input_ids=ids_BT, **kwargs).logits
        finally:
            if hook is not None:
                hook.remove()
        picked = logits_BXV.shape[1] == 1
        return logits_BXV[:, 0] if picked else logits_BXV[rows_B, last_B]

    def last_logits(self, ids_NT: Tensor, **kwargs: Any) -> Tensor:
        """Logits of the last position, NV."""
        if self.accepts("logits_to_keep"):
            kwargs["logits_to_keep"] = 1
        return self.model(input_ids=ids_NT, **kwargs).logits[:, -1]

    def uncached_logits(self, ids: Sequence[int]) -> Tensor:
        """Logits V of the token after `ids`, by reading all of them and nothing else."""
        ids_1T = torch.tensor([list(ids)], device=self.device)
        # ones, or some models suspect padding when a sampled token happens to be their pad token
        mask = {"attention_mask": torch.ones_like(ids_1T)} if self.accepts("attention_mask") else {}
        return self.last_logits(ids_1T, use_cache=False, **mask)[0]

    def fingerprint(self) -> Hashable:
        """What recorded kernels depend on: where the weights lie, and which adapters are on."""
        addresses = tuple(parameter.data_ptr() for parameter in self.model.parameters())
        adapters = tuple(
            (module.disable_adapters, tuple(module.active_adapters))
            for module in self.model.modules()
            if isinstance(getattr(module, "disable_adapters", None), bool)  # a layer of peft
        )
        return addresses, adapters

    @contextmanager
    def ready(self, packed: PackedWeights | None = None) -> Iterator[None]:
        """Evaluation mode, no autograd, the computing dtype; the model's mode comes back after.

        Free inside itself: whoever takes many small steps may hold it around all of them, or give
        the same `packed` each time, which would else be made anew and end with the block. A model
        that several threads share must be in evaluation mode before: whoever leaves first would
        put it back into training under the others.
        """
        thread = threading.get_ident()
        if self._held_by == thread:
            yield
            return
        training = [module for module in self.model.modules() if module.training]
        if training:
            self.model.eval()
        try:
            with (
                torch.inference_mode(),
                as_written(self.model),
                generation_kernels(self.model, PackedWeights() if packed is None else packed),
                self._computing(),
            ):
                self._held_by = thread
                yield
        finally:
            self._held_by = None
            for module in training:
                module.training = True

    def _computing(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype is None else autocast(self.device, self.dtype)
