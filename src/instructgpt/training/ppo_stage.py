"""What surrounds the PPO trainer: loading the four models, evaluation samples, exports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from instructgpt.config.ppo import PPOConfig
from instructgpt.data.jsonl import write_jsonl
from instructgpt.data.readers import load_prompts, stream_records
from instructgpt.data.records import Prompt
from instructgpt.distributed.world import World
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import compile_models
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import Rollout
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.training.completion_scorer import CompletionScorer
from instructgpt.training.examples import tokenize_prompts
from instructgpt.training.finish import finish_model
from instructgpt.training.memory import memory_parts, watched_memory
from instructgpt.training.ppo import PPOTrainer
from instructgpt.training.ppo_models import load_ppo_models
from instructgpt.training.rollouts import longest_prompt, sampling_params
from instructgpt.training.runner import drive
from instructgpt.training.sequence_kl import sequence_log_ratios
from instructgpt.training.token_data import TokenData


def run(config: PPOConfig, run: RunDir) -> dict[str, Any]:
    """Run PPO; export the averaged policy as `model/` and the critic as `critic/`."""
    world = World.from_launcher()
    hardware = config.hardware
    models = load_ppo_models(config)
    policy, reference, reward_model, critic = models
    renderer = ChatRenderer(policy.tokenizer)
    scorer = CompletionScorer(
        reward_model, renderer, max_tokens=hardware.tokens_per_microbatch, world=world
    )
    engine = Engine(
        policy.model,
        renderer.stop_ids,
        policy.pad_id,
        config.sampling.max_slots,
        dtype=policy.dtype,
    )
    prompts, prompt_ids = tokenize_prompts(
        stream_records(config.prompts, Prompt),
        renderer,
        _longest_prompt(config, policy),
        folder=run.root,
    )
    data = TokenData(run, world, policy.tokenizer)
    documents = config.documents if config.ptx_coef > 0 else None
    trainer = PPOTrainer(
        config,
        policy=policy,
        reference=reference,
        critic=critic,
        engine=engine,
        score=lambda indices, rollouts: scorer([prompts[i] for i in indices], rollouts),
        prompts=prompt_ids,
        pretraining=(
            data.documents("documents", documents, config.ptx_row_tokens) if documents else []
        ),
        heldout=(
            data.documents("documents_heldout", config.documents_heldout, config.ptx_row_tokens)
            if config.documents_heldout
            else []
        ),
        sample_for_evaluation=(
            _evaluation_sampler(config, run, policy, reference, engine, scorer, world)
            if config.prompts_eval
            else None
        ),
        world=world,
    )
    longest = max(map(len, prompt_ids)) + config.sampling.max_new_tokens
    parts = memory_parts(
        models._asdict(),
        hardware.tokens_per_microbatch,
        items=config.minibatch_size,
        largest=longest,
        slots=min(config.sampling.max_slots, config.batch_size),
        positions=longest,
        averaged=config.ema_decay > 0,
    )
    compile_models(models._asdict(), config.compile)
    with watched_memory(run, world, models._asdict(), parts):
        drive(
            trainer,
            run,
            world,
            name="ppo-ptx" if config.ptx_coef > 0 else "ppo",
            checkpoint_every=config.checkpoint_every,
            eval_every=config.eval_every,
        )
        return _finish(trainer, run, world)


def _longest_prompt(config: PPOConfig, policy: CausalLM) -> int:
    room = longest_prompt(policy.context, config.sampling)
    return min(room, config.max_prompt_tokens or room)


def _finish(trainer: PPOTrainer, run: RunDir, world: World) -> dict[str, Any]:
    last = run.read_metrics()[-3:] if world.is_main else []
    summary: dict[str, Any] = {}
    for row in last:
        summary |= {k: v for k, v in row.items() if k != "step"}
    finish_model(run, world, trainer.critic, summary, folder="critic")
    trainer.average.swap()  # the paper evaluates the average (appendix C.4)
    finish_model(run, world, trainer.policy, summary)
    trainer.average.swap()
    return summary


def _evaluation_sampler(
    config: PPOConfig,
    run: RunDir,
    policy: CausalLM,
    reference: CausalLM,
    engine: Engine,
    scorer: CompletionScorer,
    world: World,
) -> Callable[[int, float], dict[str, float]]:
    """Answers to fixed prompts with score and KL, written to samples/ for whoever judges later."""
    assert config.prompts_eval is not None
    records = load_prompts(config.prompts_eval, limit=config.num_eval_prompts).records
    prompts, prompt_ids = tokenize_prompts(
        records, scorer.policy_renderer, _longest_prompt(config, policy), run.root
    )

    def sample(step: int, kl_coef: float) -> dict[str, float]:
        params = sampling_params(config.sampling, config.seed + 1)
        rollouts = [r[0] for r in engine.generate(prompt_ids, params)]
        scores = scorer(prompts, rollouts)
        kls = sequence_log_ratios(
            policy,
            reference,
            rollouts,
            config.sampling.temperature,
            max_tokens=config.hardware.tokens_per_microbatch,
            world=world,
        )
        if world.is_main:
            path = run.path("samples", f"step-{step:08d}.jsonl")
            write_jsonl(path, _sample_rows(prompts, rollouts, scores, kls, scorer))
        return {
            "eval_score": sum(scores) / len(scores),
            "eval_kl": sum(kls) / len(kls),
            "eval_length": sum(len(r.completion_ids) for r in rollouts) / len(rollouts),
        }

    return sample


def _sample_rows(
    prompts: Sequence[Prompt],
    rollouts: list[Rollout],
    scores: list[float],
    kls: list[float],
    scorer: CompletionScorer,
) -> list[dict[str, Any]]:
    return [
        {
            **prompt.to_dict(),
            "completion": scorer.policy_renderer.decode(rollout.completion_ids),
            "score": score,
            "kl": kl,
            "has_eos": rollout.has_eos,
        }
        for prompt, rollout, score, kl in zip(prompts, rollouts, scores, kls, strict=True)
    ]
