"""The kinds of stage, and where each one's settings and code live; nothing is imported early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from instructgpt.errors import ConfigError

if TYPE_CHECKING:
    from instructgpt.config.base import Config
    from instructgpt.storage.run_dir import RunDir


@dataclass(frozen=True)
class Stage:
    """One kind of stage.

    `config` and `run` are "module:name"; run(config, run_dir) returns the summary, JSON values.
    """

    stem: str
    purpose: str
    config: str
    run: str
    shares_work: bool = False
    """Whether all ranks of a distributed run work on it; otherwise the first does it alone."""
    has_steps: bool = False
    """Whether it works step by step, a few of which --profile can record."""
    reads_all: bool = False
    """Whether it reads every earlier stage of its recipe, named in its settings or not."""

    def config_class(self) -> type[Config]:
        """The class of its settings; importing it needs no torch."""
        cls: type[Config] = _load(self.config)
        return cls

    def function(self) -> Callable[[Config, RunDir], dict[str, Any]]:
        """The function that does the work; importing it may take seconds."""
        function: Callable[[Config, RunDir], dict[str, Any]] = _load(self.run)
        return function


def _training(stem: str, class_name: str, purpose: str, shares_work: bool = True) -> Stage:
    return Stage(
        stem,
        purpose,
        f"instructgpt.config.{stem}:{class_name}",
        f"instructgpt.training.{stem}:run",
        shares_work=shares_work,
        has_steps=shares_work,
    )


_ALL = (
    Stage(
        "microworld",
        "Generate the small bilingual world: documents, prompts, demonstrations.",
        "instructgpt.config.microworld:MicroworldConfig",
        "instructgpt.microworld.stage:run",
    ),
    Stage(
        "data",
        "Read real files of many formats into records, with held-out splits.",
        "instructgpt.config.data:DataConfig",
        "instructgpt.pipeline.data:run",
    ),
    _training("pretrain", "PretrainConfig", "Train a tokenizer and a language model on raw text."),
    _training("sft", "SFTConfig", "Fine-tune a model on demonstrations."),
    Stage(
        "label",
        "Sample K completions per prompt and have judges rank them.",
        "instructgpt.config.label:LabelConfig",
        "instructgpt.labeling.label:run",
    ),
    _training("reward_model", "RewardModelConfig", "Train a reward model on rankings."),
    Stage(
        "ppo",
        "Train a policy against a reward model; PPO-ptx with ptx_coef above 0.",
        "instructgpt.config.ppo:PPOConfig",
        "instructgpt.training.ppo_stage:run",
        shares_work=True,
        has_steps=True,
    ),
    _training("dpo", "DPOConfig", "Train a policy on rankings directly."),
    _training("best_of_n", "BestOfNConfig", "Sample n answers, keep the best-scored.", False),
    Stage(
        "evaluate",
        "Win rates and task metrics of several models on held-out prompts.",
        "instructgpt.config.evaluate:EvaluateConfig",
        "instructgpt.evaluation.evaluate:run",
        shares_work=True,
    ),
    Stage(
        "report",
        "One HTML page and one JSON file about a recipe's runs.",
        "instructgpt.config.report:ReportConfig",
        "instructgpt.evaluation.report:run",
        reads_all=True,
    ),
)

STAGES: dict[str, Stage] = {stage.stem: stage for stage in _ALL}


def find_stage(stem: str, where: str = "") -> Stage:
    """The kind of stage called `stem`. Errors: ConfigError, starting with `where`."""
    if stem not in STAGES:
        from instructgpt.config.load import did_you_mean

        start = f"{where}: " if where else ""
        raise ConfigError(
            f"{start}there is no kind of stage called '{stem}'{did_you_mean(stem, STAGES)} "
            f"(kinds: {', '.join(STAGES)})"
        )
    return STAGES[stem]


def _load(address: str) -> Any:
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)
