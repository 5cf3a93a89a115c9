"""What one PPO iteration promises, on models of two layers and an engine that reads from a script.

These are the checks that the trainer's mutants must break; they hold for the trainer as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from instructgpt.config.ppo import PPOConfig
from instructgpt.distributed.world import World
from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.load import freeze
from instructgpt.models.scalar_model import ScalarModel
from instructgpt.rollout.types import Rollout, SamplingParams
from instructgpt.training.experience import Experience
from instructgpt.training.ppo import PPOTrainer

PROMPTS = [[3, 4, 5], [6], [7, 8], [9, 10, 11, 12]]
SCORES = [0.5, -1.0, 2.0, 0.25]
SIZES = {"vocab_size": 40, "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 32}


class Tokenizer:
    pad_token_id = 0


class ScriptedEngine:
    """Gives ragged completions that depend on the key alone; the last of four has no EOS."""

    def __init__(self) -> None:
        self.keys: list[int] = []

    def generate(
        self, prompts: Sequence[list[int]], params: SamplingParams, *, keys: Sequence[int]
    ) -> list[list[Rollout]]:
        self.keys += keys
        return [[self._rollout(p, k)] for p, k in zip(prompts, keys, strict=True)]

    def _rollout(self, prompt: list[int], key: int) -> Rollout:
        generator = torch.Generator().manual_seed(key)
        length = [1, 3, 6, 8][key % 4]
        ids = torch.randint(3, 40, (length,), generator=generator).tolist()
        ends = key % 4 < 3
        if ends:
            ids[-1] = 2
        return Rollout(tuple(prompt), ids, [0.0] * length, "stop" if ends else "length")


def gpt2(seed: int, kind: type[PreTrainedModel] = GPT2LMHeadModel) -> PreTrainedModel:
    """A tiny model with dropout, in training mode, with weights large enough to be opinionated."""
    torch.manual_seed(seed)
    config = GPT2Config(**SIZES, num_labels=1, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model.train()


def trainer_of(reference_seed: int = 1, **settings: object) -> PPOTrainer:
    """A trainer whose policy is seed 1; a reference of another seed gives a KL to look at."""
    config = PPOConfig.model_validate(
        {
            "model": "-",
            "reward_model": "-",
            "prompts": "-",
            "documents": "-",
            "episodes": 12,
            "batch_size": 4,
            "minibatch_size": 2,
            "warmup_iterations": 0,
            "optim": {"lr": 1e-2, "schedule": "constant"},
            "critic_optim": {"lr": 1e-2, "schedule": "constant"},
            **settings,
        }
    )
    reference = gpt2(reference_seed).eval()
    freeze(reference)
    generator = torch.Generator().manual_seed(9)
    rows = torch.randint(3, 40, (6, 8), generator=generator).tolist()
    return PPOTrainer(
        config,
        policy=CausalLM(gpt2(1), Tokenizer()),
        reference=CausalLM(reference, Tokenizer()),
        critic=ScalarModel(gpt2(3, GPT2ForSequenceClassification), Tokenizer()),
        engine=ScriptedEngine(),
        score=lambda indices, rollouts: [SCORES[i] for i in indices],
        prompts=PROMPTS,
        pretraining=[(row, [True] * 8) for row in rows],
        heldout=[],
        sample_for_evaluation=None,
        world=World(),
    )


def counted_logprobs(
    model: PreTrainedModel, rollouts: Sequence[Rollout], temperature: float
) -> list[list[torch.Tensor]]:
    """Row by row, without padding: the log-softmax that each completion token was drawn from."""
    rows = []
    for rollout in rollouts:
        ids = [*rollout.prompt_ids, *rollout.completion_ids]
        logits = model(torch.tensor([ids])).logits[0].double() / temperature
        rows.append(list(logits.log_softmax(-1)[len(rollout.prompt_ids) - 1 : -1]))
    return rows


def first_rollouts(trainer: PPOTrainer) -> list[Rollout]:
    indices = trainer.prompt_stream.indices(0, 4)
    engine = ScriptedEngine()
    params = SamplingParams(max_new_tokens=8)
    prompts = [PROMPTS[i] for i in indices]
    return [r[0] for r in engine.generate(prompts, params, keys=range(4))]


def test_the_first_ratio_is_one_and_the_first_kl_zero() -> None:
    trainer = trainer_of(sampling={"temperature": 0.7})
    stats = trainer.step(0)
    assert stats["first_approx_kl"] == pytest.approx(0.0, abs=1e-9)
    assert stats["kl"] == pytest.approx(0.0, abs=1e-5)
    assert trainer.step(1)["kl"] != pytest.approx(0.0, abs=1e-3)


def test_metrics_are_those_of_the_completion_tokens() -> None:
    trainer = trainer_of(reference_seed=2, sampling={"temperature": 0.7})
    rollouts = first_rollouts(trainer)
    policy = counted_logprobs(trainer.policy.model.eval(), rollouts, 0.7)
    reference = counted_logprobs(trainer.reference.model, rollouts, 0.7)
    tokens = sum(len(r.completion_ids) for r in rollouts)
    entropy = sum(-(p.exp() * p).sum().item() for row in policy for p in row) / tokens
    kl = sum(
        (p[token] - q[token]).item()
        for rollout, row, ref_row in zip(rollouts, policy, reference, strict=True)
        for token, p, q in zip(rollout.completion_ids, row, ref_row, strict=True)
    )
    stats = trainer.step(0)
    assert stats["entropy"] == pytest.approx(entropy, rel=1e-4)
    assert stats["kl"] == pytest.approx(kl / 4, rel=1e-4)
    assert stats["length"] == tokens / 4
    assert stats["eos_rate"] == 3 / 4
    assert stats["score"] == pytest.approx(sum(SCORES) / 4)
    paid = stats["kl_coef"] * stats["kl"]
    assert stats["reward"] + paid == pytest.approx((sum(SCORES) - 1.0) / 4)


def looked_at(trainer: PPOTrainer) -> tuple[Experience, torch.Tensor]:
    """The first batch up to its advantages, and the KL per token that it was given."""
    batch = Experience.from_rollouts(first_rollouts(trainer), 0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(4)
    batch.values_BT = torch.randn(batch.tokens.mask_BT.shape, generator=generator)
    batch.score_B = torch.tensor(SCORES)
    kl_BT = torch.randn(batch.tokens.mask_BT.shape, generator=generator)
    trainer._set_advantages(batch, kl_BT)
    return batch, kl_BT


def test_returns_come_from_advantages_before_whitening() -> None:
    trainer = trainer_of(lam=1.0, kl={"coef": 0.1})
    batch, kl_BT = looked_at(trainer)
    for b, rollout in enumerate(first_rollouts(trainer)):
        first = len(rollout.prompt_ids)
        end = first + len(rollout.completion_ids)
        for t in range(first, end):
            # lambda = gamma = 1: what is still to come, score minus the KL penalty
            expected = SCORES[b] - 0.1 * sum(kl_BT[b, t:end].tolist())
            assert batch.returns_BT[b, t].item() == pytest.approx(expected, abs=1e-5)
    advantages_N = batch.advantages_BT[batch.tokens.mask_BT]
    assert advantages_N.mean().item() == pytest.approx(0.0, abs=1e-6)
    assert advantages_N.std(unbiased=False).item() == pytest.approx(1.0, abs=1e-5)


def test_whitened_rewards_keep_their_mean() -> None:
    plain, _ = looked_at(trainer_of(lam=1.0, kl={"coef": 0.1}))
    whitened, kl_BT = looked_at(trainer_of(lam=1.0, kl={"coef": 0.1}, whiten_rewards=True))
    mask_BT = plain.tokens.mask_BT
    rewards = [
        SCORES[b] * (t == int(row.nonzero().max())) - 0.1 * kl_BT[b, t].item()
        for b, row in enumerate(mask_BT)
        for t in row.nonzero().flatten().tolist()
    ]
    mean = sum(rewards) / len(rewards)
    std = (sum((r - mean) ** 2 for r in rewards) / len(rewards)) ** 0.5
    scale_B = 1 / std
    for b, row in enumerate(mask_BT):
        first, count = int(row.nonzero().min()), int(row.sum())
        expected = plain.returns_BT[b, first].item() * scale_B + count * mean * (1 - scale_B)
        assert whitened.returns_BT[b, first].item() == pytest.approx(expected, abs=1e-4)


def test_the_split_into_microbatches_changes_nothing() -> None:
    whole, split = (
        trainer_of(minibatch_size=4, ptx_coef=2.0, hardware={"tokens_per_microbatch": budget}).step(
            0
        )
        for budget in (4096, 8)
    )
    names = ("policy_loss", "value_loss", "ptx_loss", "grad_norm", "critic_grad_norm")
    for name in names:
        assert split[name] == pytest.approx(whole[name], rel=1e-3, abs=1e-6), name


def policy_gradients(trainer: PPOTrainer) -> list[torch.Tensor]:
    """The gradients that reach the policy's optimizer in the first update."""
    seen: list[list[torch.Tensor]] = []
    trainer.policy_optimizer.step = lambda factor: seen.append(
        [p.grad.clone() for p in trainer.policy_optimizer.parameters]
    )
    trainer.step(0)
    return seen[0]


def test_ptx_adds_gamma_times_the_pretraining_gradient() -> None:
    settings = {"minibatch_size": 4, "ptx_ratio": 1.5, "optim": {"lr": 1e-2, "max_grad_norm": 1e9}}
    without = policy_gradients(trainer_of(**settings))
    trainer = trainer_of(**settings, ptx_coef=2.5)
    together = policy_gradients(trainer)
    rows = [trainer.pretraining[i][0] for i in trainer.ptx_stream.indices(0, 6)]
    model = gpt2(1).eval()
    logits = model(torch.tensor(rows)).logits[:, :-1]
    targets = torch.tensor(rows)[:, 1:]
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    for ppo, both, ptx in zip(without, together, model.parameters(), strict=True):
        torch.testing.assert_close(both, ppo + 2.5 * ptx.grad, atol=1e-5, rtol=1e-4)


def test_every_update_reads_fresh_pretraining_rows() -> None:
    trainer = trainer_of(ptx_coef=1.0, ptx_ratio=1.5)
    read: list[int] = []
    indices = trainer.ptx_stream.indices
    trainer.ptx_stream.indices = lambda start, count: (
        read.extend(range(start, start + count)) or indices(start, count)
    )
    trainer.step(0)
    trainer.step(1)
    # Two updates per step, three rows for a minibatch of two: positions of the stream, in order.
    assert read == list(range(2 * 2 * 3))


def state_of(trainer: PPOTrainer) -> dict[str, torch.Tensor]:
    """Every number that the next step depends on, under a name."""
    state = {f"policy {k}": v for k, v in trainer.policy.model.state_dict().items()}
    state |= {f"critic {k}": v for k, v in trainer.critic.model.state_dict().items()}
    state |= {f"average {i}": a for i, a in enumerate(trainer.average.average)}
    return {**state, "kl": torch.tensor(trainer.kl.coef)}


def test_resumed_equals_uninterrupted() -> None:
    settings = {"ptx_coef": 1.0, "kl": {"controller": "adaptive", "coef": 0.3, "horizon": 40}}
    whole = trainer_of(**settings)
    for step in range(3):
        whole.step(step)
    first = trainer_of(**settings)
    first.step(0)
    saved = copy.deepcopy(first.state_dict())
    second = trainer_of(**settings)
    second.load_state_dict(saved)
    for step in (1, 2):
        second.step(step)
    resumed = state_of(second)
    for name, value in state_of(whole).items():
        assert torch.equal(resumed[name], value), name


def test_the_reference_does_not_move() -> None:
    trainer = trainer_of(ptx_coef=1.0)
    before = copy.deepcopy(trainer.reference.model.state_dict())
    trainer.step(0)
    for name, value in trainer.reference.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_every_episode_has_random_numbers_of_its_own() -> None:
    trainer = trainer_of()
    for step in range(3):
        trainer.step(step)
    assert trainer.engine.keys == list(range(12))


def test_each_epoch_uses_each_episode_once() -> None:
    trainer = trainer_of(epochs=3)
    batch = Experience.from_rollouts(first_rollouts(trainer), 0, torch.device("cpu"))
    for seed in range(3):
        minibatches = list(batch.minibatches(2, seed))
        assert [len(rows) for rows in minibatches] == [2, 2]
        assert sorted(row for rows in minibatches for row in rows) == [0, 1, 2, 3]
    updates: list[list[int]] = []
    whole = trainer._policy_microbatches
    trainer._policy_microbatches = lambda b, rows: updates.append(rows) or whole(b, rows)
    trainer.step(0)
    assert len(updates) == 3 * 2
    assert sorted(row for rows in updates for row in rows) == sorted([0, 1, 2, 3] * 3)


def test_a_missing_eos_costs_what_the_rule_says() -> None:
    # Row 3 of the script has no EOS; its prompt is whichever the stream put there.
    order = trainer_of().prompt_stream.indices(0, 4)
    in_order = [SCORES[i] for i in order]
    expected = {
        "none": sum(in_order),
        "penalty": sum(in_order) - 0.75,
        "fixed": sum(in_order[:3]) - 0.75,
    }
    for rule, total in expected.items():
        stats = trainer_of(missing_eos=rule, missing_eos_value=0.75).step(0)
        paid = stats["kl_coef"] * stats["kl"]
        assert stats["reward"] + paid == pytest.approx(total / 4), rule


def test_the_score_of_a_completion_does_not_depend_on_its_neighbours() -> None:
    reward_model = trainer_of().critic
    reward_model.model.eval()
    short, long = ([3, 4], [5, 2]), ([6, 7, 8], [9, 10, 11, 2])
    alone = reward_model.scores(TokenBatch.from_completions([short[0]], [short[1]], 0))
    both = reward_model.scores(TokenBatch.from_completions(*zip(short, long, strict=True), 0))
    assert both[0].item() == pytest.approx(alone.item(), abs=1e-5)
    assert both[1].item() != pytest.approx(alone.item(), abs=1e-3)


def test_evaluation_sees_the_average_and_leaves_the_weights_alone() -> None:
    trainer = trainer_of(ema_decay=0.5)
    trainer.step(0)
    live = [p.detach().clone() for p in trainer.policy.model.parameters()]
    seen: list[list[torch.Tensor]] = []

    def sample(step: int, kl_coef: float) -> dict[str, float]:
        seen.append([p.detach().clone() for p in trainer.policy.model.parameters()])
        return {}

    trainer.sample_for_evaluation = sample
    trainer.evaluate(1)
    for parameter, average, before, shown in zip(
        trainer.policy.model.parameters(), trainer.average.average, live, seen[0], strict=True
    ):
        assert torch.equal(shown, average)
        assert torch.equal(parameter, before)
    assert not all(torch.equal(a, b) for a, b in zip(seen[0], live, strict=True))


def test_advantages_do_not_depend_on_the_minibatch_size() -> None:
    """Whitened over the whole batch: a minibatch of 1 could not be whitened at all."""
    found = []
    for size in (1, 4):
        trainer = trainer_of(minibatch_size=size)
        trainer._optimise = lambda batch, step: found.append(batch.advantages_BT) or {}
        trainer.step(0)
    assert torch.equal(*found)
    assert found[0][0].abs().sum() > 0
