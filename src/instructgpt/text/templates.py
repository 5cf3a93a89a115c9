"""Chat templates for models that come without one.

Each marks the assistant's text and its end token with `generation`, which other tools read; our
own renderer does not need the markers.
"""

from __future__ import annotations

COMPACT = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' %}"
    "<|assistant|>{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{% else %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""One special token per turn border: for tokenizers that we train (see `tokenizer.train_bpe`)."""

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|im_end|>{% endif %}"
    "{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Qwen's markers; for tokenizers that hold them as special tokens."""

# Line breaks stand inside expressions: the template engine drops one that follows a block.
PLAIN = (
    "{% for m in messages %}"
    "{{ m.role | capitalize + ':\n' }}"
    "{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}"
    "{{ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}"
)
"""Ordinary words as turn markers and the tokenizer's own EOS as the end: works with any base model
and needs no new token; the default."""

ALPACA = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ m.content }}"
    "{% elif m.role == 'user' %}{{ '### Instruction:\n' + m.content }}"
    "{% else %}{{ '### Response:\n' }}"
    "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% endif %}"
    "{{ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
"""The headings of Alpaca, again with the tokenizer's own EOS."""

TEMPLATES = {"compact": COMPACT, "chatml": CHATML, "plain": PLAIN, "alpaca": ALPACA}
DEFAULT_TEMPLATE = "plain"

REQUIRED_TOKENS = {
    "compact": ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
}
"""Tokens that a template needs in the vocabulary, or its markers would be spelled in pieces."""
