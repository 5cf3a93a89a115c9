"""Stage `dpo`: direct preference optimisation (Rafailov et al. 2023) on K-way rankings.

Shapes: N completions, P pairs of them, B rows, T positions.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from instructgpt.config.dpo import DPOConfig
from instructgpt.distributed.world import World
from instructgpt.losses.dpo import dpo_loss, ipo_loss
from instructgpt.losses.masked import masked_sum
from instructgpt.losses.reward_model import RankingPairs, ranking_pairs
from instructgpt.models.batch import TokenBatch, ask_by_length, token_budget_batches
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import compile_models
from instructgpt.models.load import load_causal_lm
from instructgpt.models.lora import attach_lora
from instructgpt.progress import progress
from instructgpt.storage.run_dir import RunDir
from instructgpt.storage.token_store import TokenSequence
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.batches import ShuffledStream
from instructgpt.training.examples import TokenRanking
from instructgpt.training.finish import finish_model
from instructgpt.training.language_modeling import sequence_lengths
from instructgpt.training.memory import memory_parts, watched_memory
from instructgpt.training.optimizer import Optimizer, lr_factor
from instructgpt.training.runner import PhaseClock, drive
from instructgpt.training.token_data import (
    TokenData,
    flat_sequences,
    largest_ranking,
    ranking_sizes,
)
from instructgpt.training.update import Metrics, Microbatch, Update, combine_metrics


def run(config: DPOConfig, run: RunDir) -> dict[str, Any]:
    """Train and export `model/`; returns the summary."""
    world = World.from_launcher()
    policy = load_causal_lm(
        config.model,
        device=config.hardware.device,
        dtype=config.hardware.dtype,
        chat_template=config.chat_template,
    )
    if config.adapter.type == "lora":
        attach_lora(policy, config.adapter, base=config.model, seed=config.seed)
    renderer = ChatRenderer(policy.tokenizer)
    max_tokens = min(config.max_tokens or policy.context, policy.context)

    data = TokenData(run, world, policy.tokenizer)

    def rankings(name: str, path: str | None) -> Sequence[TokenRanking]:
        return data.rankings(name, path, renderer, max_tokens) if path else []

    train = rankings("rankings", config.rankings)
    trainer = DPOTrainer(
        config,
        policy=policy,
        train=train,
        heldout=rankings("rankings_heldout", config.rankings_heldout),
        world=world,
    )
    models = {"policy": policy}
    parts = memory_parts(
        models,
        config.hardware.tokens_per_microbatch,
        items=config.batch_size,
        largest=largest_ranking(train),
    )
    compile_models(models, config.compile)
    with watched_memory(run, world, models, parts):
        drive(
            trainer,
            run,
            world,
            name="dpo",
            checkpoint_every=config.checkpoint_every,
            eval_every=config.eval_every,
        )
        summary = {**trainer.last_heldout, "rankings": len(trainer.train)}
        return finish_model(run, world, policy, summary)


class ReferenceRanking(NamedTuple):
    """A ranking and what the reference says of its completions: summed log-probs, in nats."""

    ranking: TokenRanking
    ref_logprobs: list[float]


class ReferenceRankings(Sequence[ReferenceRanking]):
    """Rankings, wherever they are kept, with the reference's log-probs of all their completions."""

    def __init__(self, rankings: Sequence[TokenRanking], logprobs: array[float]) -> None:
        self.rankings = rankings
        self.logprobs = logprobs
        self.firsts = array("q", accumulate(ranking_sizes(rankings), initial=0))

    def __len__(self) -> int:
        return len(self.rankings)

    def __getitem__(self, index: int) -> ReferenceRanking:
        place = range(len(self))[index]
        first, last = self.firsts[place : place + 2]
        return ReferenceRanking(self.rankings[place], self.logprobs[first:last].tolist())


class DPOTrainer:
    """All comparisons of a ranking in one batch element; a prompt counts once whatever its K.

    `policy` must come in with the reference's weights: the reference is what it says before the
    first step, asked once, so that no second model is held or run. A resumed run asks it again,
    before its checkpoint is loaded.
    """

    def __init__(
        self,
        config: DPOConfig,
        *,
        policy: CausalLM,
        train: Sequence[TokenRanking],
        heldout: Sequence[TokenRanking],
        world: World,
    ) -> None:
        self.config = config
        self.policy = policy
        self.world = world
        budget = config.hardware.tokens_per_microbatch
        self.train = with_reference(policy, train, max_tokens=budget, world=world)
        self.heldout = with_reference(policy, heldout, max_tokens=budget, world=world)
        self.clock = PhaseClock()
        self.last_heldout: dict[str, float] = {}
        self.total_steps = max(1, -(-len(train) * config.epochs // config.batch_size))
        self.stream = ShuffledStream(len(train), config.seed, "rankings")
        self.optimizer = Optimizer(policy.trained, config.optim)
        self.update = Update(self.optimizer, config.optim.max_grad_norm, world)

    @property
    def arithmetic(self) -> str:
        """Where the number of steps comes from."""
        config = self.config
        return f"{len(self.train)} rankings x {config.epochs} epochs, {config.batch_size} a step"

    def step(self, step: int) -> dict[str, float]:
        """One optimizer step over `batch_size` rankings."""
        start = step * self.config.batch_size
        size = min(self.config.batch_size, len(self.train) * self.config.epochs - start)
        chosen = [self.train[i] for i in self.stream.indices(start, size)]
        factor = lr_factor(step, self.total_steps, self.config.optim)
        self.policy.model.train()
        with self.clock.phase("update"):
            stats = self.update({"dpo": self._microbatches(chosen)}, factor)
        self.clock.tokens += sum(len(ids) for r in chosen for ids, _ in r.ranking.sequences)
        stats["loss"] = stats.pop("dpo_loss")
        return {**stats, "lr": self.config.optim.lr * factor}

    def _microbatches(self, rankings: Sequence[ReferenceRanking]) -> list[Microbatch]:
        groups = token_budget_batches(
            [max(len(ids) for ids, _ in r.ranking.sequences) for r in rankings],
            self.config.hardware.tokens_per_microbatch,
            self.policy.passes,
            rows=[len(r.ranking.sequences) for r in rankings],
        )
        return [
            partial(self._loss, [rankings[i] for i in group], len(rankings)) for group in groups
        ]

    def _loss(self, rankings: list[ReferenceRanking], num_prompts: int) -> tuple[Tensor, Metrics]:
        sequences = [sequence for r in rankings for sequence in r.ranking.sequences]
        logprobs_N = completion_logprobs(self.policy, sequences)
        ref_N = torch.tensor([x for r in rankings for x in r.ref_logprobs]).to(logprobs_N)
        pairs = ranking_pairs([r.ranking.ranks for r in rankings], device=self.policy.device)
        return self._pair_loss(logprobs_N, ref_N, pairs, num_prompts)

    def _pair_loss(
        self, logprobs_N: Tensor, ref_N: Tensor, pairs: RankingPairs, num_prompts: int
    ) -> tuple[Tensor, Metrics]:
        columns = (
            logprobs_N[pairs.winner_P],
            logprobs_N[pairs.loser_P],
            ref_N[pairs.winner_P],
            ref_N[pairs.loser_P],
        )
        if self.config.loss == "ipo":
            return ipo_loss(*columns, self.config.beta, num_prompts, weight_P=pairs.weight_P)
        return dpo_loss(
            *columns,
            self.config.beta,
            num_prompts,
            label_smoothing=self.config.label_smoothing,
            weight_P=pairs.weight_P,
        )

    @torch.no_grad()
    def evaluate(self, step: int) -> dict[str, float]:
        """Loss and implicit-reward accuracy on rankings of other prompts."""
        if not self.heldout:
            return {}
        self.policy.model.eval()
        totals: Metrics = {}
        for microbatch in self.world.share(self._microbatches(self.heldout)):
            loss, metrics = microbatch()
            for name, value in {"loss": loss, **metrics}.items():
                totals[name] = totals.get(name, torch.zeros(())) + value.cpu()
        combined = combine_metrics(totals, self.world)
        self.last_heldout = {f"heldout_{name}": value for name, value in combined.items()}
        return self.last_heldout

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def completion_logprobs(lm: CausalLM, sequences: Sequence[TokenSequence]) -> Tensor:
    """log pi(completion | prompt) of each sequence, summed over its counted tokens. N, in nats."""
    batch = TokenBatch.from_sequences(
        [ids for ids, _ in sequences], [mask for _, mask in sequences], lm.pad_id, lm.device
    )
    return masked_sum(lm.logprobs(batch), batch.mask_BT, dim=1)


@torch.no_grad()
def with_reference(
    reference: CausalLM, rankings: Sequence[TokenRanking], *, max_tokens: int, world: World
) -> ReferenceRankings:
    """Ask the reference once about every completion; microbatched by length, shared over ranks."""
    reference.model.eval()
    sequences = flat_sequences(rankings)
    lengths = sequence_lengths(sequences)
    with progress("reference", total=len(lengths), unit="completion") as bar:

        def ask(group: list[int]) -> list[float]:
            bar.advance(len(group) * world.size)
            return completion_logprobs(reference, [sequences[i] for i in group]).tolist()

        logprobs = ask_by_length(ask, lengths, max_tokens, reference.passes, world)
    return ReferenceRankings(rankings, array("d", logprobs))
