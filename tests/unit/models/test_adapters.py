"""A LoRA adapter changes what it should and nothing else; peft itself is the oracle."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from instructgpt.config.adapter import AdapterConfig
from instructgpt.config.shared import OptimConfig
from instructgpt.errors import ConfigError
from instructgpt.models.adapter_files import adapter_beside, belongs_to, read_adapter, save_adapter
from instructgpt.models.adapters import merged_model
from instructgpt.models.batch import TokenBatch
from instructgpt.models.causal_lm import CausalLM, head_is_separable
from instructgpt.models.export import export_model
from instructgpt.models.load import load_causal_lm, load_reward_model, new_reward_model
from instructgpt.models.lora import attach_lora, without_adapter
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams
from instructgpt.text.tokenizer import train_bpe
from instructgpt.training.optimizer import Optimizer

LORA = AdapterConfig(type="lora", rank=3, alpha=12.0)
TEXTS = ["the whale swims in the sea", "a fox runs", "鲸鱼在海里游"]
FACTS = {"name": "t", "stage": "sft", "version": "0", "seed": 0, "parents": {}, "summary": {}}


def _gpt2(vocabulary: int) -> GPT2LMHeadModel:
    """Conv1D layers, tied embeddings."""
    sizes = {"n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, **sizes))


def _llama(vocabulary: int) -> LlamaForCausalLM:
    """Linear layers, an output layer of its own."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    config = LlamaConfig(vocab_size=vocabulary, tie_word_embeddings=False, **sizes, **heads)
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module", params=[_gpt2, _llama])
def base(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    tokenizer = train_bpe(TEXTS, 300)
    torch.manual_seed(0)
    model = request.param(len(tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    export_model(model, tokenizer, folder, FACTS)
    return folder


def _load(folder: Path) -> CausalLM:
    return load_causal_lm(folder, device="cpu", dtype="float32")


def _batch(lm: CausalLM) -> TokenBatch:
    return TokenBatch.from_completions([[5, 6, 7], [8]], [[9, 10], [11, 12, 13]], lm.pad_id)


def _adapted(folder: Path, config: AdapterConfig = LORA, steps: int = 3) -> CausalLM:
    """A few steps away from its base."""
    lm = _load(folder)
    attach_lora(lm, config, base=str(folder), seed=1)
    optimizer = Optimizer(lm.trained, OptimConfig(lr=3e-2))
    for _ in range(steps):
        (-lm.logprobs(_batch(lm)).sum()).backward()
        optimizer.step(1.0)
    lm.model.eval()
    return lm


def _logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[5, 6, 7, 8, 9]])).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reference_is_the_base_bit_for_bit(base, dtype):
    policy, separate = _adapted(base), _load(base)
    policy.dtype = separate.dtype = dtype
    reference = without_adapter(policy)
    with torch.no_grad():
        before = policy.logprobs(_batch(policy))
        assert torch.equal(reference.logprobs(_batch(policy)), separate.logprobs(_batch(policy)))
        assert not torch.equal(before, separate.logprobs(_batch(policy)))
        assert torch.equal(policy.logprobs(_batch(policy)), before)  # it is on again


def test_only_the_adapter_moves_and_it_starts_as_the_base(base):
    start, separate = _adapted(base, steps=0), _load(base)
    assert torch.equal(start.logprobs(_batch(start)), separate.logprobs(_batch(start)))
    lm = _adapted(base)
    frozen = separate.model.state_dict()
    seen = 0
    for key, tensor in lm.model.state_dict().items():
        if ".lora_" not in key:
            assert torch.equal(tensor, frozen[key.replace(".base_layer.", ".")]), key
            seen += 1
    assert seen == len(frozen)
    assert {key.split(".")[-2] for key in lm.state_dict()} == {"lora_A", "lora_B"}
    assert all(p.abs().sum() > 0 for p in lm.state_dict().values())


def test_all_linear_means_every_layer_but_the_output(base):
    lm = _adapted(base, steps=0)
    layers = {path for path, _ in lm.adapter.trunk.layers()}
    per_block = 4 if isinstance(lm.model, GPT2LMHeadModel) else 7
    assert len(layers) == 2 * per_block
    assert head_is_separable(lm.model)


def test_merged_model_is_plain_and_says_the_same(base, tmp_path):
    lm = _adapted(base)
    export_model(merged_model(lm.model, lm.adapter), lm.tokenizer, tmp_path / "model", FACTS)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(plain) is type(lm.model)
    torch.testing.assert_close(_logits(plain), _logits(lm.model), atol=1e-5, rtol=0)
    tied = plain.get_input_embeddings().weight is plain.get_output_embeddings().weight
    assert tied == lm.model.config.tie_word_embeddings


def test_peft_loads_the_adapter_and_merges_it_alike(base, tmp_path):
    from peft import PeftModel

    lm = _adapted(base)
    save_adapter(lm.model, lm.adapter, tmp_path / "adapter", FACTS)
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter"
    )
    # ours may run another kernel of GELU, which differs by a rounding on some processors
    torch.testing.assert_close(_logits(loaded), _logits(lm.model), atol=1e-6, rtol=0)
    theirs = loaded.merge_and_unload().state_dict()
    for key, tensor in merged_model(lm.model, lm.adapter).state_dict().items():
        torch.testing.assert_close(tensor, theirs[key], atol=1e-6, rtol=0)


def test_peft_loads_a_reward_model_with_its_head(base, tmp_path):
    from peft import PeftModel

    scalar = new_reward_model(base, seed=0, device="cpu", dtype="float32")
    attach_lora(scalar, LORA, base=str(base), seed=1)
    with torch.no_grad():
        for parameter in scalar.trained.parameters():
            parameter.add_(0.05)
    save_adapter(scalar.model, scalar.adapter, tmp_path / "adapter", FACTS)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    loaded = PeftModel.from_pretrained(plain, tmp_path / "adapter")
    expected = _logits(scalar.model)
    assert torch.equal(_logits(loaded), expected)
    export_model(
        merged_model(scalar.model, scalar.adapter), scalar.tokenizer, tmp_path / "model", FACTS
    )
    merged = load_reward_model(tmp_path / "model", device="cpu", dtype="float32")
    torch.testing.assert_close(_logits(merged.model), expected, atol=1e-5, rtol=0)


def test_engine_samples_from_the_adapted_policy(base):
    lm = _adapted(base)
    engine = Engine(lm.model, [2], lm.pad_id, max_slots=4)
    prompts = [[5, 6, 7], [8], [9, 10]]
    for group in engine.generate(prompts, SamplingParams(max_new_tokens=6, seed=3), n=2):
        for rollout in group:
            batch = TokenBatch.from_completions(
                [rollout.prompt_ids], [rollout.completion_ids], lm.pad_id
            )
            with torch.no_grad():
                again = lm.logprobs(batch)[batch.mask_BT].tolist()
                base_says = without_adapter(lm).logprobs(batch)[batch.mask_BT].tolist()
            assert rollout.logprobs == pytest.approx(again, abs=1e-4)
            assert rollout.logprobs != pytest.approx(base_says, abs=1e-2)


def test_two_adapters_on_one_trunk_do_not_touch_each_other(base, tmp_path):
    lm = _adapted(base)
    save_adapter(lm.model, lm.adapter, tmp_path / "adapter", FACTS)
    config, state = read_adapter(tmp_path / "adapter", lm.model)
    before = lm.logprobs(_batch(lm)).detach()
    trunk = lm.adapter.trunk
    other = trunk.add("other", config, seed=7, trained=True)
    second = CausalLM(lm.model, lm.tokenizer, lm.dtype, other)
    assert not torch.equal(second.logprobs(_batch(lm)), before)
    other.load_state_dict(state)
    assert torch.equal(second.logprobs(_batch(lm)), before)
    # backward runs after the other one was switched on; the gradient must not get lost there
    loss = second.logprobs(_batch(lm)).sum()
    lm.logprobs(_batch(lm))
    loss.backward()
    assert all(p.grad is not None for p in other.parameters.values())
    assert all(p.grad is None for p in lm.adapter.parameters.values())


def test_state_comes_back_in_place_and_only_into_its_like(base):
    lm, fresh = _adapted(base), _adapted(base, steps=0)
    fresh.load_state_dict(lm.state_dict())
    assert torch.equal(fresh.logprobs(_batch(lm)), lm.logprobs(_batch(lm)))
    other = _adapted(base, AdapterConfig(type="lora", target_modules=_some(base)), steps=0)
    with pytest.raises(KeyError):
        other.load_state_dict(lm.state_dict())


def _some(base: Path) -> tuple[str, ...]:
    return ("c_attn",) if isinstance(_load(base).model, GPT2LMHeadModel) else ("q_proj", "v_proj")


def test_adapter_knows_its_base(base, tmp_path):
    lm = _adapted(base)
    facts = {**FACTS, "fingerprint": "f"}
    save_adapter(lm.model, lm.adapter, tmp_path / "adapter", facts)
    export_model(merged_model(lm.model, lm.adapter), lm.tokenizer, tmp_path / "model", facts)
    folder = adapter_beside(tmp_path / "model")
    assert folder == tmp_path / "adapter"
    assert belongs_to(folder, _load(base).model.base_model)
    assert belongs_to(folder, lm.adapter.trunk.module)
    assert not belongs_to(folder, _load(tmp_path / "model").model.base_model)
    export_model(lm.model.base_model, lm.tokenizer, tmp_path / "model", {**facts, "fingerprint": 1})
    assert adapter_beside(tmp_path / "model") is None


def test_the_same_seed_makes_the_same_adapter_and_leaves_the_generator_alone(base):
    torch.manual_seed(5)
    expected = torch.rand(())
    torch.manual_seed(5)
    first = _adapted(base, steps=0)
    assert torch.rand(()) == expected
    for key, tensor in _adapted(base, steps=0).state_dict().items():
        assert torch.equal(tensor, first.state_dict()[key])


def test_unknown_layer_names_those_that_exist(base):
    with pytest.raises(ConfigError, match=r"'query' is no linear layer .*it has .*(c_attn|q_proj)"):
        _adapted(base, AdapterConfig(type="lora", target_modules=("query",)))
    with pytest.raises(ConfigError, match="'lm_head' is no linear layer inside"):
        _adapted(base, AdapterConfig(type="lora", target_modules=("lm_head",)))


def test_without_peft_the_error_says_how_to_get_it(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'instructgpt\[lora\]'"):
        _adapted(base)


def test_settings_without_an_adapter_are_refused():
    with pytest.raises(ValueError, match="rank is set, but type = none trains no adapter"):
        AdapterConfig(rank=4)
