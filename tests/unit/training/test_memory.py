"""Memory by part, counted by hand on a model whose numbers are easy to add up."""

from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from instructgpt.config.adapter import AdapterConfig
from instructgpt.distributed.world import World
from instructgpt.errors import ConfigError
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.lora import attach_lora, without_adapter
from instructgpt.models.memory import cache_bytes, weight_bytes
from instructgpt.models.memory_meter import (
    available_bytes,
    make_resident,
    peak_bytes,
    restart_peak,
    used_bytes,
)
from instructgpt.progress import show_progress
from instructgpt.training import memory
from instructgpt.training.memory import memory_parts, watched_memory

CPU = torch.device("cpu")


class Tokenizer:
    pad_token_id = 0


class Run:
    def __init__(self) -> None:
        self.facts = {}

    def record_environment(self, **facts) -> None:
        self.facts |= facts


def _lm() -> CausalLM:
    config = GPT2Config(vocab_size=100, n_layer=2, n_embd=16, n_head=2, n_positions=32)
    return CausalLM(GPT2LMHeadModel(config).eval(), Tokenizer())


# Embeddings 100 x 16 (tied) and 32 x 16; per block two norms, 16 x 48, 16 x 16, 16 x 64, 64 x 16,
# all with biases; a last norm.
_BLOCK = 2 * 2 * 16 + (16 * 48 + 48) + (16 * 16 + 16) + (16 * 64 + 64) + (64 * 16 + 16)
_WEIGHTS = 4 * (100 * 16 + 32 * 16 + 2 * _BLOCK + 2 * 16)
# rank 2: in x 2 and 2 x out for each of the four layers of a block
_LORA = 4 * 2 * 2 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))


def test_full_training_has_gradients_and_two_moments_of_every_weight():
    parts = memory_parts({"model": _lm()}, 64, items=8, largest=16)
    assert parts["model"] == _WEIGHTS
    assert parts["gradients"] == _WEIGHTS
    assert parts["optimizer"] == 2 * _WEIGHTS
    assert "average" not in parts
    assert "key-value cache" not in parts


def test_with_an_adapter_only_its_weights_have_them_and_the_reference_is_free():
    lm = _lm()
    attach_lora(lm, AdapterConfig(type="lora", rank=2), base="hub-name", seed=0)
    models = {"policy": lm, "reference": without_adapter(lm)}
    assert weight_bytes(models) == {"policy": _WEIGHTS + _LORA, "reference": 0}
    parts = memory_parts(models, 64, items=8, largest=16, averaged=True, slots=3, positions=10)
    assert parts["gradients"] == parts["average"] == _LORA
    assert parts["optimizer"] == 2 * _LORA
    # keys and values, 2 layers, 3 slots, 10 positions, 2 heads of 8, 4 bytes
    assert parts["key-value cache"] == 2 * 2 * 3 * 10 * 16 * 4


def test_cache_of_shared_heads_and_another_type(tiny_model):
    tiny_model.config.num_key_value_heads = 1
    assert cache_bytes(tiny_model, 1, 7, torch.bfloat16) == 2 * 2 * 7 * 16 * 2


def test_activations_grow_with_the_microbatch_and_stop_at_the_step():
    def activations(budget: int, items: int = 8, largest: int = 16) -> int:
        return memory_parts({"m": _lm()}, budget, items=items, largest=largest)["activations"]

    assert activations(128) == 2 * activations(64)
    assert activations(4096) == activations(128)  # a step has no more than 8 x 16 tokens
    assert activations(8) == activations(16)  # one item does not get smaller


def test_estimate_and_peak_are_printed_and_recorded(capfd):
    show_progress(True)
    run, lm = Run(), _lm()
    models = {"model": lm}
    parts = memory_parts(models, 64, items=8, largest=16)
    with watched_memory(run, World(), models, parts):
        held = torch.ones(300 * 2**20 // 4)
    del held
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("memory    about ")
    assert "free" in lines[0]
    assert "at the peak (" in lines[1]
    recorded = run.facts["memory"]
    assert recorded["estimate"].items() >= parts.items()
    if recorded["peak_is_stage's"]:
        assert recorded["peak"] >= recorded["estimate"]["program"] + 250 * 2**20


def test_what_cannot_fit_is_refused_and_what_may_not_is_warned_of(monkeypatch, caplog):
    lm = _lm()
    parts = memory_parts({"model": lm}, 64, items=8, largest=16)
    certain = parts["gradients"] + parts["optimizer"]
    monkeypatch.setattr(memory, "available_bytes", lambda device: certain - 1)
    with (
        pytest.raises(ConfigError, match=r"gradients and optimizer need .* adapter.type = lora"),
        watched_memory(Run(), World(), {"model": lm}, parts),
    ):
        raise AssertionError("it must not start")
    monkeypatch.setattr(memory, "available_bytes", lambda device: certain + 1)
    with (
        caplog.at_level(logging.WARNING),
        watched_memory(Run(), World(), {"model": lm}, parts),
    ):
        pass
    assert "this will probably not fit" in caplog.text


def test_weights_that_were_only_mapped_count_as_used(tmp_path):
    """What the program itself takes came out as 0: the loaded weights were not in memory yet."""
    before = used_bytes(CPU)
    if before is None:
        pytest.skip("this system does not say what a process uses")
    save_file({"weight": torch.ones(2**25)}, tmp_path / "m.safetensors")
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(load_file(tmp_path / "m.safetensors")["weight"])
    make_resident(module)
    assert used_bytes(CPU) - before >= 0.9 * module.weight.nbytes


def test_meter_reads_this_process():
    free = available_bytes(CPU)
    assert free is None or free > 2**20
    restart_peak(CPU)
    held = torch.ones(2**26)
    assert peak_bytes(CPU) >= held.nbytes
    used = used_bytes(CPU)
    assert used is None or used >= held.nbytes
