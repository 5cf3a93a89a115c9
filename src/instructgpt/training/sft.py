"""Stage `sft`: supervised fine-tuning on demonstrations (Ouyang et al. 2022, section 3.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from instructgpt.config.sft import SFTConfig
from instructgpt.data.readers import stream_records
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.distributed.world import World
from instructgpt.models.adapter_files import read_adapter
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import compile_models
from instructgpt.models.load import load_causal_lm, load_reward_model
from instructgpt.models.lora import attach_lora
from instructgpt.models.soft_prompt_files import read_soft_prompts
from instructgpt.models.soft_prompt_start import attach_soft_prompts
from instructgpt.models.soft_prompts import SoftPrompts
from instructgpt.rollout.engine import Engine
from instructgpt.storage.run_dir import RunDir
from instructgpt.storage.token_store import TokenSequence
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.batches import ShuffledStream
from instructgpt.training.examples import tokenize_prompts
from instructgpt.training.finish import finish_model
from instructgpt.training.language_modeling import (
    count_targets,
    language_model_microbatches,
    mean_length,
    mean_nll,
    sequence_lengths,
)
from instructgpt.training.memory import memory_parts, watched_memory
from instructgpt.training.optimizer import Optimizer, lr_factor
from instructgpt.training.rollouts import longest_prompt, sampling_params
from instructgpt.training.runner import PhaseClock, drive
from instructgpt.training.scoring import score_texts
from instructgpt.training.token_data import TokenData
from instructgpt.training.update import Update


def run(config: SFTConfig, run: RunDir) -> dict[str, Any]:
    """Fine-tune and export `model/`; returns the summary."""
    world = World.from_launcher()
    lm = load_causal_lm(
        config.model,
        device=config.hardware.device,
        dtype=config.hardware.dtype,
        dropout=config.dropout,
        chat_template=config.chat_template,
    )
    if config.adapter.type == "lora":
        attach_lora(lm, config.adapter, base=config.model, seed=config.seed)
    elif config.adapter.type == "soft_prompt":
        attach_soft_prompts(lm, config.adapter, base=config.model, seed=config.seed)
    renderer = lm.renderer()
    max_tokens = min(config.max_tokens or lm.context, lm.context)

    data = TokenData(run, world, lm.tokenizer)

    def demonstrations(name: str, path: str | None) -> Sequence[TokenSequence]:
        if path is None:
            return []
        return data.demonstrations(name, path, renderer, config.loss_on, max_tokens)

    trainer = SFTTrainer(
        config,
        lm,
        train=demonstrations("demonstrations", config.demonstrations),
        valid=demonstrations("demonstrations_valid", config.demonstrations_valid),
        pretraining=(
            data.documents(
                "pretraining_documents",
                config.pretraining_documents,
                config.pretraining_row_tokens,
            )
            if config.pretraining_documents
            else []
        ),
        score=_reward_scorer(config, run, lm, renderer) if config.reward_model else None,
        keep=lambda summary: finish_model(run, world, lm, summary, "best"),
        world=world,
    )
    models = {"model": lm}
    parts = memory_parts(
        models,
        config.hardware.tokens_per_microbatch,
        items=config.batch_size,
        largest=max(sequence_lengths(trainer.train)),
    )
    compile_models(models, config.compile)
    with watched_memory(run, world, models, parts):
        drive(
            trainer,
            run,
            world,
            name="sft",
            checkpoint_every=config.checkpoint_every,
            eval_every=config.eval_every,
        )
        chosen = lm if config.select == "last" else _best(run, lm)
        return finish_model(run, world, chosen, trainer.summary())


def _best(run: RunDir, lm: CausalLM) -> CausalLM:
    """The model of the chosen evaluation."""
    if lm.adapter is None:
        return load_causal_lm(run.path("best"), device="cpu", dtype="float32")
    folder = run.path("best_adapter")
    if isinstance(lm.adapter, SoftPrompts):
        lm.adapter.load_state_dict(read_soft_prompts(folder))
    else:
        lm.adapter.load_state_dict(read_adapter(folder, lm.model)[1])
    return lm


def _reward_scorer(
    config: SFTConfig, run: RunDir, lm: CausalLM, renderer: ChatRenderer
) -> Callable[[], float]:
    """Mean reward-model score of the current model's answers to validation prompts."""
    assert config.reward_model is not None
    reward_model = load_reward_model(
        config.reward_model, device=config.hardware.device, dtype=config.hardware.dtype
    )
    asked: Iterable[Prompt]
    if config.prompts_valid:
        asked = stream_records(config.prompts_valid, Prompt)
    else:
        assert config.demonstrations_valid is not None
        asked = (d.prompt for d in stream_records(config.demonstrations_valid, Demonstration))
    prompts, prompt_ids = tokenize_prompts(
        asked, renderer, longest_prompt(lm.context, config.sampling), run.root
    )
    engine = Engine(
        lm.model, renderer.stop_ids, lm.pad_id, config.sampling.max_slots, dtype=lm.dtype
    )

    def score() -> float:
        rollouts = engine.generate(prompt_ids, sampling_params(config.sampling, config.seed))
        texts = [renderer.decode(r[0].completion_ids) for r in rollouts]
        scores = score_texts(
            reward_model, prompts, texts, max_tokens=config.hardware.tokens_per_microbatch
        )
        return sum(scores) / len(scores)

    return score


class SFTTrainer:
    """Cross-entropy on the assistant's tokens, optionally with pretraining rows mixed in."""

    def __init__(
        self,
        config: SFTConfig,
        lm: CausalLM,
        *,
        train: Sequence[TokenSequence],
        valid: Sequence[TokenSequence],
        pretraining: Sequence[TokenSequence],
        score: Callable[[], float] | None,
        keep: Callable[[dict[str, Any]], Any],
        world: World,
    ) -> None:
        self.config = config
        self.lm = lm
        self.train = train
        self.valid = valid
        self.pretraining = pretraining
        self.score = score
        self.keep = keep
        self.world = world
        self.clock = PhaseClock()
        self.heldout: dict[str, float] = {}
        self.best: dict[str, float] = {}
        self.total_steps = max(1, -(-len(train) * config.epochs // config.batch_size))
        self.stream = ShuffledStream(len(train), config.seed, "demonstrations")
        self.optimizer = Optimizer(lm.trained, config.optim)
        self.update = Update(self.optimizer, config.optim.max_grad_norm, world)
        if pretraining:
            self.pretraining_stream = ShuffledStream(len(pretraining), config.seed + 1)
            self.rows_per_step = self._rows_per_step()
        lm.model.train()

    def _rows_per_step(self) -> int:
        """Pretraining rows that make up the wanted share of an average step's tokens."""
        share = self.config.pretraining_fraction
        wanted = mean_length(self.train) * self.config.batch_size * share / (1 - share)
        return max(1, round(wanted / mean_length(self.pretraining)))

    @property
    def arithmetic(self) -> str:
        """Where the number of steps comes from."""
        config = self.config
        mixed = f" with {self.rows_per_step} pretraining rows" if self.pretraining else ""
        demonstrations = f"{len(self.train)} demonstrations x {config.epochs} epochs"
        return f"{demonstrations}, {config.batch_size} a step{mixed}"

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step over `batch_size` demonstrations and their pretraining rows."""
        size = min(
            self.config.batch_size,
            len(self.train) * self.config.epochs - step * self.config.batch_size,
        )
        start = step * self.config.batch_size
        chosen = [self.train[i] for i in self.stream.indices(start, size)]
        rows: list[TokenSequence] = []
        if self.pretraining:
            first = step * self.rows_per_step
            picks = self.pretraining_stream.indices(first, self.rows_per_step)
            rows = [self.pretraining[i] for i in picks]
        # One mean over the tokens of both kinds: the mix is of data, not of two losses (paper C.3).
        num_tokens = count_targets(chosen) + count_targets(rows)
        budget = self.config.hardware.tokens_per_microbatch
        factor = lr_factor(step, self.total_steps, self.config.optim)
        groups = {
            "sft": language_model_microbatches(
                self.lm, chosen, max_tokens=budget, num_tokens=num_tokens, metric="nll"
            )
        }
        if rows:
            groups["pretraining"] = language_model_microbatches(
                self.lm, rows, max_tokens=budget, num_tokens=num_tokens, metric="pretraining_nll"
            )
        with self.clock.phase("update"):
            stats = self.update(groups, factor)
        self.clock.tokens += sum(len(ids) for ids, _ in [*chosen, *rows])
        metrics = {"loss": stats["nll"], "grad_norm": stats["grad_norm"]}
        if rows:
            metrics["pretraining_loss"] = stats["pretraining_nll"]
        return {**metrics, "lr": self.config.optim.lr * factor}

    def evaluate(self, step: int) -> dict[str, float]:
        """Validation loss and, if asked for, reward-model score; keeps the best model so far."""
        budget = self.config.hardware.tokens_per_microbatch
        if self.valid:
            loss = mean_nll(self.lm, self.valid, max_tokens=budget, world=self.world)
            self.heldout["valid_loss"] = loss
        if self.score is not None:
            self.heldout["reward_score"] = self.score()
        if self.config.select != "last" and step > 0:
            self._keep_if_best(step)
        return self.heldout

    def _keep_if_best(self, step: int) -> None:
        value = self.heldout[self.config.select]
        rank = -value if self.config.select == "valid_loss" else value
        if not self.best or rank > self.best["rank"]:
            self.best = {"rank": rank, "step": float(step), self.config.select: value}
            self.keep(self.summary())

    def summary(self) -> dict[str, Any]:
        """Held-out numbers, those of the chosen step when one was chosen."""
        chosen = {k: v for k, v in self.best.items() if k != "rank"}
        return {**self.heldout, "demonstrations": len(self.train), **chosen}

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.lm.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.lm.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
