"""`InstructGPT.align`: rankings become files, typed settings, and runs of the ordinary stages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from instructgpt.api_adapter import learning_rate
from instructgpt.api_results import AlignResult
from instructgpt.config.adapter import AdapterConfig
from instructgpt.config.base import merge
from instructgpt.config.load import build
from instructgpt.config.yaml12 import Settings
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_prompts, load_rankings
from instructgpt.data.records import Prompt, Ranking
from instructgpt.errors import ConfigError, DataError
from instructgpt.judging.intervals import Interval
from instructgpt.judging.protocol import Judge, Ranks
from instructgpt.judging.scores import ranks_of_scores
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import load_causal_lm
from instructgpt.pipeline.run import Outcome, run_config
from instructgpt.pipeline.stages import find_stage
from instructgpt.rollout.types import SamplingParams

if TYPE_CHECKING:
    from instructgpt.api import InstructGPT

Method = Literal["ppo", "dpo", "best_of_n"]
ScoreFunction = Callable[[str, Sequence[str]], Sequence[float] | None]
"""judge(question, answers): one score per answer, higher is better; None when it cannot tell."""

_HELD_OUT = 0.1
# A scalar head starts from noise; on a few rankings the paper's one pass would leave it there.
_REWARD_MODEL_BATCH = 16
_REWARD_MODEL_STEPS = 60


class ScoreJudge(Judge):
    """A plain function as a judge: its scores become ranks, equal scores a tie."""

    kind: ClassVar[str] = "function"
    order_matters: ClassVar[bool] = True  # nothing is known of the function

    def __init__(self, score: ScoreFunction) -> None:
        self.score = score
        self.name = getattr(score, "__name__", type(score).__name__)

    def rank(self, prompt: Prompt, completions: Sequence[str]) -> Ranks | None:
        """Ranks from 1, the best. Errors: DataError for another number of scores."""
        scores = self.score(prompt.text, list(completions))
        if scores is None:
            return None
        if len(scores) != len(completions):
            raise DataError(
                f"judge {self.name}: {len(completions)} answers got {len(scores)} scores"
            )
        return list(ranks_of_scores(scores))


class Alignment:
    """One call of `align`: where its files lie, and the settings of its stages."""

    def __init__(
        self,
        model: InstructGPT,
        method: Method,
        max_new_tokens: int,
        seed: int,
        reward_model: Mapping[str, Any],
        settings: Mapping[str, Any],
        adapter: AdapterConfig,
    ) -> None:
        if method not in get_args(Method):
            raise ConfigError(f"align: method is one of ppo, dpo, best_of_n, got {method!r}")
        self.model = model
        self.method = method
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.reward_model = reward_model
        self.settings = settings
        self.adapter = adapter
        self.root = Path()
        self.kept: Path | None = None

    @contextmanager
    def workspace(self, directory: str | Path | None) -> Iterator[None]:
        """`directory`, or a temporary one that is gone afterwards; the model is saved in it."""
        with tempfile.TemporaryDirectory(prefix="instructgpt-") as temporary:
            self.kept = None if directory is None else Path(directory)
            self.root = self.kept or Path(temporary)
            self.model.save(self.root / "start")
            yield

    def label(
        self,
        prompts: str | Path | Sequence[Prompt | Mapping[str, Any] | str],
        judge: ScoreJudge,
        answers: int,
    ) -> list[Ranking]:
        """Rankings of sampled answers; identical answers count once, an abstention gives none."""
        if answers < 2:
            raise ConfigError(f"align: answers={answers}; a judge needs at least 2 to compare")
        records = load_prompts(self._file("prompts", prompts)).records
        session = self.model.session
        ids = [list(session.renderer.prompt_ids(prompt.messages)) for prompt in records]
        params = SamplingParams(max_new_tokens=self.max_new_tokens, seed=self.seed)
        rankings = []
        groups = session.engine.generate(ids, params, n=answers)
        for prompt, group in zip(records, groups, strict=True):
            texts = list(dict.fromkeys(session.renderer.decode(r.completion_ids) for r in group))
            ranks = judge.rank(prompt, texts) if len(texts) > 1 else None
            if ranks is not None:
                rankings.append(Ranking(prompt, tuple(texts), tuple(ranks), judge.name))
        if not rankings:
            raise DataError(f"judge {judge.name} ranked no prompt, of {len(records)}")
        return rankings

    def run(
        self,
        rankings: str | Path | Sequence[Ranking | Mapping[str, Any]],
        prompts: str | Path | Sequence[Prompt | Mapping[str, Any] | str] | None,
    ) -> tuple[AlignResult, CausalLM | None]:
        """The stages of the method; the aligned model, or None where it was changed in place."""
        records = load_rankings(self._file("rankings_given", rankings)).records
        files = self._split(records)
        asked = self._file("prompts", records if prompts is None else prompts)
        accuracy = None
        extra: dict[str, Any] = {}
        if self.method == "dpo":
            extra = {"optim": {"lr": self._lr(0.1)}, "adapter": self.adapter.model_dump(), **files}
        else:
            wanted = _REWARD_MODEL_STEPS * _REWARD_MODEL_BATCH
            own = {
                "optim": {"lr": self._lr(0.5)},
                "batch_size": _REWARD_MODEL_BATCH,
                "epochs": max(1, -(-wanted // len(records))),
                "adapter": self.adapter.model_dump(),
            }
            trained = self._stage("reward_model", {**merge(own, self.reward_model), **files})
            accuracy = _interval(trained.summary["heldout"])
            extra = {"reward_model": str(trained.path / "model"), "prompts": str(asked)}
            extra["sampling"] = {"max_new_tokens": self.max_new_tokens}
        if self.method == "ppo":
            extra |= {"episodes": 512, "batch_size": 64, "minibatch_size": 16}
            extra |= {"optim": {"lr": self._lr(0.1)}, "critic_optim": {"lr": self._lr(0.1)}}
            extra["adapter"] = self.adapter.model_dump()
        done = self._stage(self.method, merge(extra, self.settings))
        lm = None
        if self.method == "best_of_n":
            chosen = done.path / "demonstrations.jsonl"
            self.model.fit(chosen, adapter=self.adapter, seed=self.seed)
        else:
            lm = load_causal_lm(done.path / "model", **self._hardware())
        result = AlignResult(
            method=self.method,
            rankings=len(records),
            prompts=len({record.prompt.key for record in records})
            if prompts is None
            else len(load_prompts(asked).records),
            reward_accuracy=accuracy,
            summary=done.summary,
            directory=self.kept,
        )
        return result, lm

    def _stage(self, stem: str, settings: Mapping[str, Any]) -> Outcome:
        stage = find_stage(stem)
        common = {
            "model": str(self.root / "start"),
            "seed": self.seed,
            "hardware": self._hardware(),
        }
        config = build(stage.config_class(), Settings({**common, **settings}))
        return run_config(stage, config, self.root / stem)

    def _split(self, records: Sequence[Ranking]) -> dict[str, str]:
        """Every tenth prompt is held out, to see whether the ranking was learned."""
        keys = list(dict.fromkeys(record.prompt.key for record in records))
        if len(keys) < 2:
            raise DataError("align: rankings of at least 2 prompts are needed, one is held out")
        heldout = set(keys[:: round(1 / _HELD_OUT)])
        files = {}
        for name, side in (("rankings", False), ("rankings_heldout", True)):
            rows = [r.to_dict() for r in records if (r.prompt.key in heldout) == side]
            write_jsonl(self.root / f"{name}.jsonl", rows)
            files[name] = str(self.root / f"{name}.jsonl")
        return files

    def _file(self, name: str, given: Any) -> Path:
        """`given` as a file that the readers take: itself, or its rows as JSON lines."""
        if isinstance(given, str | Path):
            return Path(given)
        if not given:
            raise DataError(f"{name}: no rows")
        rows = [Prompt.from_text(row) if isinstance(row, str) else row for row in given]
        path = self.root / f"{name}.jsonl"
        write_jsonl(path, [dict(r) if isinstance(r, Mapping) else r.to_dict() for r in rows])
        return path

    def _lr(self, factor: float) -> float:
        return learning_rate(self.model.lm, factor, self.adapter)

    def _hardware(self) -> dict[str, str]:
        lm = self.model.lm
        return {"device": str(lm.device), "dtype": str(lm.dtype).removeprefix("torch.")}


def _interval(measured: Mapping[str, Any]) -> Interval:
    pairs = int(measured.get("n") or measured["pairs"])
    return Interval(measured["accuracy"], measured["low"], measured["high"], pairs)
