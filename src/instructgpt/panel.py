"""The judges that a stage's settings name, ready to judge: one panel for labels and win rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from instructgpt.config.judges import AIJudgeConfig, JudgeConfig, RewardModelJudgeConfig
from instructgpt.config.shared import HardwareConfig
from instructgpt.data.records import Prompt
from instructgpt.errors import ConfigError
from instructgpt.judging.ai_judge import AIJudge
from instructgpt.judging.protocol import Judge
from instructgpt.judging.scores import RewardModelJudge
from instructgpt.microworld.gold import Gold
from instructgpt.microworld.labelers import hire_labelers
from instructgpt.models.load import freeze, load_reward_model
from instructgpt.storage.judge_calls import JudgeCalls
from instructgpt.training.scoring import score_texts


def seat_judges(
    configs: Sequence[JudgeConfig],
    *,
    gold: Gold | None,
    seed: int,
    hardware: HardwareConfig,
    calls: JudgeCalls,
) -> list[tuple[Judge, int]]:
    """Every judge with its share, in the order of `configs`; `seed` gives simulated ones tastes.

    Errors: ConfigError for two judges of one name, and whatever opening a judge raises.
    """
    seated = [
        (judge, config.share)
        for config in configs
        for judge in _open(config, gold, seed, hardware, calls)
    ]
    for name, count in Counter(judge.name for judge, _ in seated).items():
        if count > 1:
            raise ConfigError(f"{count} judges are called '{name}'; give each a `name`")
    return seated


def _open(
    config: JudgeConfig, gold: Gold | None, seed: int, hardware: HardwareConfig, calls: JudgeCalls
) -> Iterator[Judge]:
    if isinstance(config, AIJudgeConfig):
        yield AIJudge(config, calls)
    elif isinstance(config, RewardModelJudgeConfig):
        yield _reward_model(config, hardware)
    else:
        assert gold is not None  # the settings ask for a world
        yield from hire_labelers(gold, config.count, seed)


def _reward_model(config: RewardModelJudgeConfig, hardware: HardwareConfig) -> RewardModelJudge:
    model = load_reward_model(config.model, device=hardware.device, dtype=hardware.dtype)
    freeze(model.model)

    def score(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        return score_texts(model, prompts, completions, max_tokens=hardware.tokens_per_microbatch)

    return RewardModelJudge(config.name or "reward_model", score, config.tie_width)
