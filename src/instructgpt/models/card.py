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

Trained by `instructgpt {{ facts.version }}`, stage `{{ facts.stage }}`
{%- if facts.seed is not none %}, seed {{ facts.seed }}{% endif %}.

## Use

```python
{% if is_reward -%}
from transformers import pipeline

reward = pipeline("text-classification", model=".", function_to_apply="none")
{% if bias -%}
# add config.reward_bias ({{ "%.6f" % bias }}) so that demonstrations average 0
{% endif -%}
print(reward("..."))  # the dialogue as its chat template renders it, up to the end token
{% else -%}
from transformers import pipeline

chat = pipeline("text-generation", model=".")
print(chat([{"role": "user", "content": "..."}], max_new_tokens=64))
{% endif -%}
```

## Lineage

{% if facts.lineage is defined -%}
| made | by stage | from | fingerprint |
| --- | --- | --- | --- |
{% for row in facts.lineage -%}
| {{ row.name }} | {{ row.stage or "a file" }} | {{ row.made_from | join(", ") or "-" }} |
{#- one row of the table #} `{{ row.fingerprint[:16] }}` |
{% endfor %}
{% else -%}
| parent | fingerprint |
| --- | --- |
{% for name, fingerprint in facts.parents.items() -%}
| {{ name }} | `{{ fingerprint }}` |
{% endfor %}
{% endif -%}
{% if facts.scores is defined and facts.scores -%}
## Scores on held-out prompts, with 95 % intervals

| score | value |
| --- | --- |
{% for name, value in facts.scores.items() -%}
| {{ name }} | {{ value }} |
{% endfor %}
{% endif -%}
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
