"""The model card: what this checkpoint is, where it came from, how to use it."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined
from transformers import PreTrainedConfig

_TEMPLATE = """---
library_name: transformers
pipeline_tag: {{ "text-classification" if is_reward else "text-generation" }}
tags: [instructgpt, {{ facts.stage }}]
---

# {{ facts.name }} ({{ facts.stage }})

Trained by `instructgpt {{ facts.version }}`, stage `{{ facts.stage }}`, seed {{ facts.seed }}.

## Use

```python
{% if is_reward -%}
from transformers import pipeline

reward = pipeline("text-classification", model=".", function_to_apply="none")
# add config.reward_bias ({{ "%.6f" % bias }}) so that demonstrations average 0
{% else -%}
from transformers import pipeline

chat = pipeline("text-generation", model=".")
print(chat([{"role": "user", "content": "..."}], max_new_tokens=64))
{% endif -%}
```

## Lineage

| parent | fingerprint |
| --- | --- |
{% for name, fingerprint in facts.parents.items() -%}
| {{ name }} | `{{ fingerprint }}` |
{% endfor %}
## Numbers of the run

| metric | value |
| --- | --- |
{% for name, value in facts.summary.items() -%}
| {{ name }} | {{ value }} |
{% endfor -%}
"""


def model_card(config: PreTrainedConfig, facts: dict[str, Any]) -> str:
    """Markdown with the YAML header the hub reads; every number comes from `facts`."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    is_reward = getattr(config, "problem_type", None) == "regression"
    return environment.from_string(_TEMPLATE).render(
        facts=facts, is_reward=is_reward, bias=getattr(config, "reward_bias", 0.0)
    )
