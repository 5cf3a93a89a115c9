"""PPO learns as fast as a straightforward program: one episode at a time, nothing shared.

The plain program below is written from the paper and uses transformers and torch alone. Both sample
their own episodes, so curves are compared over seeds, not number by number.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

RECIPE = Path(__file__).parents[1] / "e2e" / "tiny.yaml"
SEEDS = range(4)
STEPS, EPISODES, MINIBATCH, NEW_TOKENS = 16, 32, 8, 12
LR, BETA, LAM, CLIP = 2e-3, 0.05, 0.95, 0.2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe's policy, reward model and prompts."""
    out = tmp_path_factory.mktemp("world")
    _cli("run", RECIPE, "--out", out, "--until", "reward_model")
    return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_learning_curve_is_that_of_the_straightforward_program(world: Path) -> None:
    """Reward (score, less what a missing end and the KL cost) and KL at the start, in the middle
    and at the end differ by no more than seeds do (Welch's t, 99.9 %), and both programs learn.
    """
    ours = [_ours(world, seed) for seed in SEEDS]
    plain = [_plain(world, seed) for seed in SEEDS]
    quarter = STEPS // 4
    for part in (slice(0, quarter), slice(quarter, -quarter), slice(-quarter, None)):
        for name in ("reward", "kl"):
            a, b = (
                [statistics.mean(row[name] for row in curve[part]) for curve in curves]
                for curves in (ours, plain)
            )
            assert stats.ttest_ind(a, b, equal_var=False).pvalue > 1e-3, (part, name, a, b)
    for curves in (ours, plain):
        rises = [_rise(curve, quarter) for curve in curves]
        # three standard errors above nothing learned
        assert statistics.mean(rises) > 3 * statistics.stdev(rises) / len(rises) ** 0.5, rises


def _rise(curve: list[dict[str, float]], quarter: int) -> float:
    first, last = curve[:quarter], curve[-quarter:]
    return statistics.mean(r["reward"] for r in last) - statistics.mean(r["reward"] for r in first)


def _cli(*arguments: object) -> None:
    command = [sys.executable, "-m", "instructgpt", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr


def _ours(world: Path, seed: int) -> list[dict[str, float]]:
    out = world / f"ppo-{seed}"
    _cli(
        "ppo", "--out", out, "--seed", seed, "--model", world / "sft/model",
        "--reward_model", world / "reward_model/model",
        "--prompts", world / "world/prompts_ppo.jsonl",
        "--episodes", STEPS * EPISODES, "--batch_size", EPISODES, "--minibatch_size", MINIBATCH,
        "--sampling.max_new_tokens", NEW_TOKENS, "--kl.coef", BETA, "--kl.controller", "fixed",
        "--optim.lr", LR, "--critic_optim.lr", LR, "--warmup_iterations", 0, "--ema_decay", 0,
        "--missing_eos_value", 1, "--hardware.dtype", "float32",
    )  # fmt: skip
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _plain(world: Path, seed: int) -> list[dict[str, float]]:
    """Mean reward and KL of every iteration's episodes."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(world / "sft/model")
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(world / "sft/model").eval() for _ in range(2)
    )
    reward_model, critic = (
        AutoModelForSequenceClassification.from_pretrained(world / "reward_model/model").eval()
        for _ in range(2)
    )
    policy_adam, critic_adam = (
        torch.optim.AdamW(m.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
        for m in (policy, critic)
    )
    prompts = _shuffled(_prompt_ids(world, tokenizer), seed)
    curve = []
    for _ in range(STEPS):
        models = (policy, reference, reward_model, critic)
        episodes = [_episode(next(prompts), *models, tokenizer) for _ in range(EPISODES)]
        every = torch.cat([e["advantages"] for e in episodes])
        for e in episodes:
            e["advantages"] = (e["advantages"] - every.mean()) / (every.var() + 1e-8).sqrt()
        order = torch.randperm(EPISODES).tolist()
        for start in range(0, EPISODES, MINIBATCH):
            minibatch = [episodes[i] for i in order[start : start + MINIBATCH]]
            _update(minibatch, policy, critic, policy_adam, critic_adam)
        curve.append(
            {name: statistics.mean(e[name] for e in episodes) for name in ("reward", "kl")}
        )
    return curve


def _prompt_ids(world: Path, tokenizer: object) -> list[Tensor]:
    lines = (world / "world/prompts_ppo.jsonl").read_text(encoding="utf-8").splitlines()
    how = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": False}
    return [tokenizer.apply_chat_template(json.loads(line)["prompt"], **how) for line in lines]


def _shuffled(items: list[Tensor], seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for i in torch.randperm(len(items), generator=generator).tolist():
            yield items[i]


@torch.no_grad()
def _episode(
    prompt: Tensor,
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel,
    critic: PreTrainedModel,
    tokenizer: object,
) -> dict[str, object]:
    """Sample one completion; score it, take the KL, and turn both into advantages and returns."""
    ends = policy.generation_config.eos_token_id  # the end of a turn, and of a document
    ids = policy.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0, top_p=1.0,
        temperature=1.0, max_new_tokens=NEW_TOKENS, eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    start = prompt.shape[1]
    ended = ids[0, -1].item() in ends
    text = ids[:, :-1] if ended else ids
    finished = torch.cat([text, torch.tensor([[tokenizer.eos_token_id]])], dim=1)
    raw = reward_model(finished).logits.item() + reward_model.config.reward_bias
    old, ref = _logprobs(policy, ids, start), _logprobs(reference, ids, start)
    values = _values(critic, ids, start)
    rewards = (-BETA * (old - ref)).tolist()
    rewards[-1] += raw if ended else raw - 1.0
    advantages = [0.0] * len(rewards)
    following = 0.0
    for t in reversed(range(len(rewards))):
        after = values[t + 1].item() if t + 1 < len(rewards) else 0.0
        following = rewards[t] + after - values[t].item() + LAM * following
        advantages[t] = following
    return {
        "ids": ids,
        "start": start,
        "old": old,
        "values": values,
        "advantages": torch.tensor(advantages),
        "returns": torch.tensor(advantages) + values,
        "reward": sum(rewards),
        "kl": (old - ref).sum().item(),
    }


def _logprobs(model: PreTrainedModel, ids: Tensor, start: int) -> Tensor:
    logprobs = model(ids).logits[0, start - 1 : -1].float().log_softmax(-1)
    return logprobs.gather(1, ids[0, start:, None])[:, 0]


def _values(critic: PreTrainedModel, ids: Tensor, start: int) -> Tensor:
    hidden = critic.base_model(ids).last_hidden_state[0, start - 1 : -1]
    return critic.score(hidden)[:, 0] + critic.config.reward_bias


def _update(
    episodes: list[dict[str, object]],
    policy: PreTrainedModel,
    critic: PreTrainedModel,
    policy_adam: torch.optim.Optimizer,
    critic_adam: torch.optim.Optimizer,
) -> None:
    tokens = sum(len(e["old"]) for e in episodes)
    policy_loss = value_loss = torch.zeros(())
    for e in episodes:
        ratio = (_logprobs(policy, e["ids"], e["start"]) - e["old"]).exp()
        gain = torch.minimum(
            ratio * e["advantages"], ratio.clamp(1 - CLIP, 1 + CLIP) * e["advantages"]
        )
        policy_loss = policy_loss - gain.sum() / tokens
        values = _values(critic, e["ids"], e["start"])
        held = e["values"] + (values - e["values"]).clamp(-CLIP, CLIP)
        worse = torch.maximum((values - e["returns"]) ** 2, (held - e["returns"]) ** 2)
        value_loss = value_loss + 0.5 * worse.sum() / tokens
    for model, adam, loss in (
        (policy, policy_adam, policy_loss),
        (critic, critic_adam, value_loss),
    ):
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
