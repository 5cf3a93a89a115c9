"""A model of about 1B parameters with the shape of Llama 3.2 1B and random weights, on the GPU."""

from __future__ import annotations

import torch
from token_ids import EOS, PAD
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

SHAPE = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
TINY = {
    **SHAPE,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
}


def llama(dtype: torch.dtype, tiny: bool = False) -> LlamaForCausalLM:
    """tiny: the same in small, for trying the program where there is no GPU."""
    config = LlamaConfig(
        **(TINY if tiny else SHAPE), bos_token_id=1, eos_token_id=EOS, pad_token_id=PAD
    )
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return LlamaForCausalLM(config).to(dtype)


def block_weights(model: nn.Module) -> int:
    """Weights of the matrices in the blocks: each is multiplied once per token."""
    return sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lm_head" not in name
    )


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
