"""Every kind of stage can be found, configured and run."""

from __future__ import annotations

import inspect

import pytest

from instructgpt.config.base import Config
from instructgpt.errors import ConfigError
from instructgpt.pipeline.stages import STAGES, Stage, find_stage


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.stem)
def test_the_addresses_of_a_stage_lead_somewhere(stage: Stage) -> None:
    assert issubclass(stage.config_class(), Config)
    assert list(inspect.signature(stage.function()).parameters) == ["config", "run"]


def test_stems_are_those_of_the_issue() -> None:
    assert set(STAGES) == {
        *("microworld", "data", "pretrain", "sft", "label", "reward_model"),
        *("ppo", "dpo", "best_of_n", "evaluate", "report"),
    }


def test_an_unknown_kind_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^r.yaml:3: .*'reward'; did you mean 'reward_model'"):
        find_stage("reward", "r.yaml:3")
