"""The rows behind `--help` and the configuration pages."""

from __future__ import annotations

import pytest

from instructgpt.config.describe import REQUIRED, Row, describe
from instructgpt.config.label import LabelConfig
from instructgpt.config.ppo import PPOConfig
from instructgpt.pipeline.stages import STAGES, Stage


def test_rows_of_ppo_show_types_limits_and_the_defaults_that_ppo_chose() -> None:
    rows = {row.key: row for row in describe(PPOConfig)}
    assert (rows["model"].type, rows["model"].default) == ("str", REQUIRED)
    assert rows["kl"].type == "section"
    assert rows["kl.controller"].type == "fixed | adaptive"
    assert rows["kl.coef"].type == "float >= 0"
    assert rows["kl.coef"].default == "0.02"
    # OptimConfig's own default is cosine, and lr has none
    assert rows["optim.schedule"].default == "constant"
    assert rows["optim.lr"].default == "1.18e-05"
    assert rows["optim.betas"] == Row(
        "optim.betas", "list of float", "[0.9, 0.95]", rows["optim.betas"].doc
    )
    assert rows["documents"].default == "none"


def test_what_an_entry_of_a_list_may_hold_follows_it() -> None:
    rows = {row.key: row for row in describe(LabelConfig)}
    assert rows["judges"].type == "list of simulated | ai | reward_model"
    assert rows["judges"].default == "[{type: simulated, count: 6, share: 1}]"
    assert rows["judges[ai]"].type == "section"
    assert rows["judges[ai].base_url"].default == REQUIRED
    assert rows["judges[ai].concurrency"].type == "int >= 1, <= 256"
    assert [key for key in rows if key.startswith("judges[simulated].")] == [
        f"judges[simulated].{name}" for name in ("type", "count", "share")
    ]


@pytest.mark.parametrize("stage", STAGES.values(), ids=lambda stage: stage.stem)
def test_every_setting_of_every_stage_is_documented(stage: Stage) -> None:
    assert [row.key for row in describe(stage.config_class()) if not row.doc] == []
