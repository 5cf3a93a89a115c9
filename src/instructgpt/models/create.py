"""New models from nothing, for pretraining: stock `transformers` architectures only.

Stock, because then every other tool (vLLM, GGUF converters, adapters) already knows them.
"""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from instructgpt.config.pretrain import ModelShape


def create_causal_lm(
    shape: ModelShape, tokenizer: PreTrainedTokenizerBase, seed: int
) -> PreTrainedModel:
    """A freshly initialised causal LM; the same seed gives the same weights."""
    config = _config(shape, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _config(shape: ModelShape, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    if shape.architecture == "gpt2":
        return GPT2Config(
            n_layer=shape.layers,
            n_embd=shape.width,
            n_head=shape.heads,
            n_positions=shape.context,
            # the same function as gelu_new, in one fused kernel
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            **common,
        )
    return LlamaConfig(
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        # 8/3 x width as in Llama, rounded to a multiple of 32 for the matrix kernels
        intermediate_size=max(32, round(shape.width * 8 / 3 / 32) * 32),
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads or shape.heads,
        max_position_embeddings=shape.context,
        initializer_range=0.02,
        **common,
    )
