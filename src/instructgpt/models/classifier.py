"""The sequence classifier of an architecture, also where `transformers` has none.

The classifiers of its decoders are one generic class over the backbone. Architectures that lack
one (Granite, LFM2, Cohere, OLMoE, ...) get the same class here, under the name that
`transformers` would give it: weights and config are what they would be there.
"""

from __future__ import annotations

from functools import cache
from inspect import signature
from typing import Any

from transformers import AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    MODEL_MAPPING,
)

from instructgpt.errors import CheckpointError


def classifier_class(config: PreTrainedConfig) -> Any:
    """What loads `config` as a sequence classifier: `transformers`' automatic class, or ours.

    Errors: CheckpointError for a backbone that the generic classifier cannot read: one that is
    unknown, or keeps a state of its own instead of a cache (Mamba, RWKV).
    """
    kind = type(config)
    if kind in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return AutoModelForSequenceClassification
    backbone = MODEL_MAPPING.get(kind, None)
    if backbone is None or "past_key_values" not in signature(backbone.forward).parameters:
        raise CheckpointError(
            f"transformers has no sequence classifier for '{config.model_type}'; start the reward "
            "model from another decoder (Llama, Qwen, GPT-2, ...): its tokenizer need not be the "
            "policy's"
        )
    return _generic_classifier(backbone)


@cache
def _generic_classifier(backbone: type[PreTrainedModel]) -> type[PreTrainedModel]:
    family = next(c for c in backbone.__mro__ if PreTrainedModel in c.__bases__)
    return type(
        backbone.__name__.removesuffix("Model") + "ForSequenceClassification",
        (GenericForSequenceClassification, family),
        {
            # the attribute under which checkpoints keep the backbone; Llama 4's family has none
            "base_model_prefix": backbone.base_model_prefix,
            # every layer is transformers' own: it may fill what no checkpoint holds (Falcon H1's
            # multipliers), which it leaves alone in other people's classes
            "is_custom_code": classmethod(lambda cls: False),
            "__module__": __name__,
        },
    )
