"""The chat templates that come with the project, and the tokens that they need.

Every template marks what the assistant says, its end token included, with `{% generation %}`; a
prompt rendered for generation is the exact beginning of the finished dialogue.

    compact   <|user|>Hi<|end|><|assistant|>Hello<|end|>   four special tokens of one id each
    chatml    <|im_start|>user\\nHi<|im_end|>\\n...         Qwen's and many others' format
    alpaca    ### Instruction:\\nHi\\n\\n### Response:\\nHello EOS          headings in plain text
    plain     Hi\\n\\nHello EOS     InstructGPT's own: prompt and completion, no names for speakers

`alpaca` and `plain` need no special token but the tokenizer's EOS, which ends every answer: a
model without a chat format learns them without a single new embedding.
"""

from __future__ import annotations

COMPACT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}"
    "{{ message['content'] + '<|im_end|>' }}"
    "{% endif %}"
    "{{ '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

ALPACA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '### Response:\\n' }}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{{ '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}"
    "{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}"
    "{% else %}"
    "{{ message['content'] + '\\n\\n' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"
)

PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}"
    "{{ message['content'] + '\\n\\n' }}"
    "{% endif %}"
    "{% endfor %}"
)

TEMPLATES: dict[str, str] = {
    "compact": COMPACT,
    "chatml": CHATML,
    "alpaca": ALPACA,
    "plain": PLAIN,
}

TEMPLATE_TOKENS: dict[str, tuple[str, ...]] = {
    "compact": ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
    "chatml": ("<|im_end|>", "<|im_start|>"),
    "alpaca": (),
    "plain": (),
}
"""Special tokens that a template writes, the one that ends a turn first; () where it is EOS."""


def template_name(template: str) -> str | None:
    """The name of one of ours, with or without a BOS in front; None for any other template."""
    return next((name for name, ours in TEMPLATES.items() if template.endswith(ours)), None)
