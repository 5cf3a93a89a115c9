"""Every stage with an adapter: on a tiny world, killed and resumed, on fewer copies of weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from instructgpt.config.load import load_config
from instructgpt.config.ppo import PPOConfig
from instructgpt.models.batch import TokenBatch
from instructgpt.pipeline.run import run_recipe, run_stage
from instructgpt.training.ppo_models import load_ppo_models

RECIPE = Path(__file__).parents[2] / "e2e" / "tiny.yaml"
STAGES = {
    "sft": "instructgpt.training.sft.SFTTrainer",
    "reward_model": "instructgpt.training.reward_model.RewardModelTrainer",
    "dpo": "instructgpt.training.dpo.DPOTrainer",
    "ppo": "instructgpt.training.ppo.PPOTrainer",
}


class _Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "tiny"
    flags = [f"{name}.adapter.type=lora" for name in STAGES]
    flags += [f"{name}.adapter.rank=4" for name in STAGES]
    flags += [f"{name}.adapter.dropout=0.1" for name in ("sft", "reward_model", "dpo")]
    flags += ["ppo.ptx_coef=0.5", "ppo.ptx_ratio=0.25", "world.documents=100"]
    flags += ["base.tokens=1024", "sft.epochs=1"]
    flags += [f"{name}.hardware.dtype=float32" for name in STAGES]
    run_recipe(RECIPE, out, flags, until="ppo")
    return out


def _result(folder: Path) -> dict[str, bytes]:
    files = [folder / "metrics.jsonl", *folder.glob("*/*.safetensors")]
    files += folder.glob("*/adapter_config.json")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", STAGES)
def test_resumed_is_uninterrupted(root, tmp_path, monkeypatch, name):
    original = STAGES[name]
    module, cls = original.rsplit(".", 1)
    step = getattr(__import__(module, fromlist=[cls]), cls).step

    def dying(self, number):
        if number == 2:
            raise _Killed
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(f"{original}.step", dying)
        with pytest.raises(_Killed):
            run_stage(name, tmp_path / name, [root / name / "config.yaml"])
    run_stage(name, tmp_path / name, [root / name / "config.yaml"])
    assert _result(tmp_path / name) == _result(root / name)


@pytest.mark.parametrize("name", STAGES)
def test_checkpoints_hold_what_is_trained_and_model_is_plain(root, name):
    run = root / name
    whole = (run / "model" / "model.safetensors").stat().st_size
    state = max(run.glob("checkpoints/*/state.pt")).stat().st_size
    base = max((root / "base").glob("checkpoints/*/state.pt")).stat().st_size
    assert state < base
    auto = AutoModelForSequenceClassification if name == "reward_model" else AutoModelForCausalLM
    model, found = auto.from_pretrained(run / "model", output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert sum(p.numel() for p in model.parameters()) * 4 <= whole
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_peft_rebuilds_each_policy_from_its_base(root):
    from peft import PeftModel

    for name in ("dpo", "ppo"):
        merged = AutoModelForCausalLM.from_pretrained(root / name / "model")
        base = AutoModelForCausalLM.from_pretrained(root / "sft" / "model")
        adapted = PeftModel.from_pretrained(base, root / name / "adapter")
        ids = torch.tensor([[5, 6, 7, 8]])
        with torch.no_grad():
            torch.testing.assert_close(adapted(ids).logits, merged(ids).logits, atol=1e-5, rtol=0)


def _models(root: Path, *flags: str):
    config = load_config(PPOConfig, [root / "ppo" / "config.yaml"], flags)
    return load_ppo_models(config)


def _looks(models) -> list[torch.Tensor]:
    batch = TokenBatch.from_completions([[5, 6, 7], [8]], [[9, 10], [11, 12, 13]], 0)
    with torch.no_grad():
        return [
            models.policy.logprobs(batch),
            models.reference.logprobs(batch),
            models.reward_model.scores(batch),
            models.critic.values(batch),
        ]


def test_one_trunk_says_what_separate_models_say(root):
    shared, separate = _models(root), _models(root, "--share_trunk=false")
    trunks = {id(m.model.base_model) for m in shared}
    assert len(trunks) == 1
    assert len({id(m.model.base_model) for m in separate}) == 3  # policy and reference are one
    for ours, theirs in zip(_looks(shared), _looks(separate), strict=True):
        assert ours.abs().max() > 0
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert shared.reward_model.bias == separate.reward_model.bias != 0


def test_critic_and_policy_train_their_own_weights_only(root):
    models = _models(root)
    before = _looks(models)
    optimizer = torch.optim.SGD(models.critic.trained.parameters(), lr=0.1)
    batch = TokenBatch.from_completions([[5, 6, 7]], [[9, 10]], 0)
    loss = models.critic.values(batch).sum()
    models.policy.logprobs(batch)
    loss.backward()
    optimizer.step()
    policy, reference, scores, values = _looks(models)
    assert torch.equal(policy, before[0])
    assert torch.equal(reference, before[1])
    assert torch.equal(scores, before[2])
    assert not torch.equal(values, before[3])


def test_reward_model_of_another_base_takes_a_second_trunk_and_says_so(root, caplog):
    models = _models(root, f"--model={root / 'dpo' / 'model'}")
    assert "trained on another model than the policy's" in caplog.text
    assert len({id(m.model.base_model) for m in models}) == 2
    assert models.reward_model.model.base_model is models.critic.model.base_model
    batch = TokenBatch.from_completions([[5, 6, 7]], [[9, 10]], 0)
    with torch.no_grad():
        score = models.reward_model.scores(batch)
        for parameter in models.critic.trained.parameters():
            parameter.add_(0.1)
        assert torch.equal(models.reward_model.scores(batch), score)


def test_first_iteration_equals_that_of_separate_models(root, tmp_path):
    """Samples, scores, KL and values of iteration 1 do not depend on how weights are shared."""
    run_stage(
        "ppo",
        tmp_path / "separate",
        [root / "ppo" / "config.yaml"],
        ["--share_trunk=false", "--episodes=16"],
    )
    ours, theirs = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[1])
        for folder in (root / "ppo", tmp_path / "separate")
    )
    for name in ("score", "kl", "entropy", "length", "explained_variance", "first_approx_kl"):
        assert ours[name] == pytest.approx(theirs[name], abs=2e-4), name
