"""A setting that would have no effect is refused, not ignored."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from instructgpt.config.dpo import DPOConfig
from instructgpt.config.pretrain import PretrainConfig


def test_label_smoothing_without_the_loss_that_has_it() -> None:
    with pytest.raises(ValidationError, match="label_smoothing applies to loss sigmoid only"):
        DPOConfig(model="m", rankings="r", loss="ipo", label_smoothing=0.1)
    assert DPOConfig(model="m", rankings="r", label_smoothing=0.1).label_smoothing == 0.1


@pytest.mark.parametrize("setting", [{"vocab_size": 512}, {"shape": {"width": 96}}])
def test_the_shape_of_a_model_that_is_there_already(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=f"{next(iter(setting))} describes a new model"):
        PretrainConfig(documents="d", model="m", **setting)
    assert PretrainConfig(documents="d", model="m").model == "m"


def test_compiled_blocks_and_adapters() -> None:
    """It was refused when the model was loaded and the data read."""
    with pytest.raises(ValidationError, match="compile is for full fine-tuning"):
        DPOConfig(model="m", rankings="r", compile=True, adapter={"type": "lora"})
    assert DPOConfig(model="m", rankings="r", compile=True).compile
