"""Compiled blocks: who gets them, who is refused, and that generation leaves them alone."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from instructgpt.errors import ConfigError
from instructgpt.models.adapters import Adapter, Trunk
from instructgpt.models.causal_lm import CausalLM
from instructgpt.models.compiled import as_written, compile_models
from instructgpt.rollout.forward import ForwardPass


def test_nothing_is_compiled_unless_wanted(tiny_model: LlamaForCausalLM) -> None:
    compile_models({"model": CausalLM(tiny_model, None)}, wanted=False)
    assert isinstance(as_written(tiny_model), nullcontext)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_training_compiles_blocks_and_generation_does_not(
    tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instructgpt.models.compiled.require_compiler", lambda device: None)
    compiled: list[torch.fx.GraphModule] = []

    def note(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    ids = torch.arange(3, 20)[None]
    expected = tiny_model(ids).logits
    original = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **kwargs: original(self, backend=note, **kwargs)
    )
    compile_models({"model": CausalLM(tiny_model, None)}, wanted=True)
    with ForwardPass(tiny_model, None).ready():
        torch.testing.assert_close(tiny_model(ids).logits, expected)
    assert not compiled
    torch.testing.assert_close(tiny_model(ids).logits, expected)
    assert compiled


def test_a_plain_model_needs_no_compiler(tiny_model: LlamaForCausalLM) -> None:
    with as_written(tiny_model):
        assert tiny_model(torch.tensor([[3]])).logits.isfinite().all()


def test_without_a_compiler_it_is_one_line(
    tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was 166 lines of traceback, at the first step."""
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    with pytest.raises(ConfigError, match=r"nothing can be compiled here \(.*apt install g\+\+"):
        compile_models({"model": CausalLM(tiny_model, None)}, wanted=True)


def test_adapters_and_unknown_blocks_are_refused(tiny_model: LlamaForCausalLM) -> None:
    adapted = CausalLM(tiny_model, None)
    adapted.adapter = Adapter(Trunk(tiny_model), None, {})
    with pytest.raises(ConfigError, match="compile=true is for full fine-tuning"):
        compile_models({"policy": adapted}, wanted=True)
    plain = CausalLM(tiny_model, None)
    plain.model = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="no blocks are known of the model"):
        compile_models({"model": plain}, wanted=True)
