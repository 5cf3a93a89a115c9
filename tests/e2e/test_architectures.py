"""Tiny checkpoints of many architectures through SFT, reward model and PPO, each by its own way.

Random weights, one or two layers; what matters is that a model's positions, masks, caches, heads
and classifiers are handled as its authors meant them. docs/models.md shows the same table.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from instructgpt.data.records import Message, Prompt
from instructgpt.errors import CheckpointError
from instructgpt.models.batch import TokenBatch
from instructgpt.models.classifier import classifier_class
from instructgpt.models.load import load_causal_lm, load_reward_model, new_reward_model
from instructgpt.pipeline.run import run_stage
from instructgpt.rollout.types import Rollout
from instructgpt.text.chat_template import ChatRenderer
from instructgpt.text.tokenizer import load_tokenizer, train_bpe
from instructgpt.training.completion_scorer import CompletionScorer

WIDE: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
GROUPED = {**WIDE, "num_key_value_heads": 1}
HEADS = {**GROUPED, "head_dim": 8}
LINEAR = {
    "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
SMALL = {"n_layer": 2, "n_head": 2, "initializer_range": 0.3}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {**SMALL, "n_embd": 16, "n_positions": 64},
    "llama": {**GROUPED, "tie_word_embeddings": False},
    "qwen2": {**GROUPED, "tie_word_embeddings": True},
    "qwen3": HEADS,
    "qwen3_moe": {**HEADS, **EXPERTS},
    "mistral": {**GROUPED, "sliding_window": 8},
    "gemma2": {**HEADS, "sliding_window": 8},
    "gemma3_text": {**HEADS, "sliding_window": 64},
    "phi": WIDE,
    "phi3": {**GROUPED, "pad_token_id": 1},
    "olmo2": GROUPED,
    "granite": {**GROUPED, "logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "gpt_neox": WIDE,
    "opt": {
        "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 64, "word_embed_proj_dim": 16, "init_std": 0.3,
    },
    "bloom": {**SMALL, "hidden_size": 16},
    "qwen3_next": {
        **HEADS, **LINEAR, **EXPERTS, "shared_expert_intermediate_size": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "lfm2": {**GROUPED, "layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "llama4_text": {
        **HEADS, "intermediate_size_mlp": 24, "num_local_experts": 2, "num_experts_per_tok": 1,
        "attention_chunk_size": 64,
    },
    "falcon_h1": {
        **HEADS, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_n_groups": 1,
        "mamba_d_state": 4, "mamba_chunk_size": 8, "ssm_multipliers": [0.5, 2.0, 1.0, 1.5, 0.7],
    },
    "mamba": {
        "hidden_size": 16, "num_hidden_layers": 1, "state_size": 4, "initializer_range": 0.3
    },
}  # fmt: skip

NO_CACHE = "it has layers without a plain key-value cache"
SLOWER = {
    "mistral": r"of equal length: sequences of \d+ tokens exceed its attention window of 8",
    "gemma2": r"of equal length: sequences of \d+ tokens exceed its attention window of 8",
    "bloom": r"of equal length: its forward pass takes no position_ids",
    "qwen3_next": rf"of equal length: {NO_CACHE} \(linear_attention\)",
    "lfm2": rf"of equal length: {NO_CACHE} \(conv\)",
    "falcon_h1": rf"of equal length: {NO_CACHE} \(hybrid\)",
    "mamba": rf"one full forward pass per token \(very slow\): {NO_CACHE}",
}
"""What the engine's one line says; architectures that are not here go through slots."""

WITHOUT_CLASSIFIER = {"granite", "lfm2", "llama4_text", "falcon_h1"}
REFUSED_AS_REWARD_MODEL = {"mamba"}  # their policy is trained under GPT-2's reward

ROWS = [
    ("What is a cat?", "A cat sat."), ("你好吗？", "很好。"), ("Hello", "Hello there, you."),
    ("And the mat?", "no"),
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    prompts = [{"prompt": [{"role": "user", "content": question}]} for question, _ in ROWS]
    files = {
        "prompts": prompts,
        "demonstrations": [
            {**p, "completion": answer} for p, (_, answer) in zip(prompts, ROWS, strict=True)
        ],
        "rankings": [
            {**p, "completions": [answer, "the mat", "?"], "ranks": [1, 2, 3]}
            for p, (_, answer) in zip(prompts, ROWS, strict=True)
        ],
    }
    for name, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def make_checkpoint(kind: str, folder: Path, vocabulary: int = 290) -> Path:
    tokenizer = train_bpe(["The cat sat on the mat. 猫坐在垫子上。 Hello there!"] * 4, vocabulary)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos")}
    shape = {**ARCHITECTURES[kind], "vocab_size": len(tokenizer), "bos_token_id": None, **ids}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(stem: str, out: Path, **settings: Any) -> list[dict[str, float]]:
    """Run a stage in float32 on the CPU; its metrics."""
    hardware = {"hardware.device": "cpu", "hardware.dtype": "float32"}
    run_stage(stem, out, [], [f"{key}={value}" for key, value in {**hardware, **settings}.items()])
    lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def ppo_settings(data: Path) -> dict[str, Any]:
    sizes = {"episodes": 8, "batch_size": 4, "minibatch_size": 2, "sampling.max_new_tokens": 8}
    return {"prompts": data / "prompts.jsonl", **sizes}


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_every_stage(
    kind: str, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="instructgpt")
    base = make_checkpoint(kind, tmp_path / "base")
    demonstrations, rankings = data / "demonstrations.jsonl", data / "rankings.jsonl"
    sft = run("sft", tmp_path / "sft", model=base, demonstrations=demonstrations, epochs=1,
              batch_size=2)  # fmt: skip
    start = tmp_path / "sft"
    if kind in REFUSED_AS_REWARD_MODEL:
        with pytest.raises(CheckpointError, match=f"no sequence classifier for '{kind}'; start"):
            new_reward_model(start, seed=0, device="cpu")
        start = make_checkpoint("gpt2", tmp_path / "gpt2")
    reward = run("reward_model", tmp_path / "reward", model=start, rankings=rankings,
                 rankings_heldout=rankings, demonstrations=demonstrations,
                 batch_size=2)  # fmt: skip
    ppo = run("ppo", tmp_path / "ppo", model=tmp_path / "sft", reward_model=tmp_path / "reward",
              **ppo_settings(data))  # fmt: skip
    for rows in (sft, reward, ppo):
        assert max(row["step"] for row in rows) >= 1  # two steps each
        assert all(torch.tensor([v for v in row.values() if v is not None]).isfinite().all()
                   for row in rows)  # fmt: skip
    assert max(row.get("rollout_logprob_gap_max", 0.0) for row in ppo) < 1e-4
    slower = [r.getMessage() for r in caplog.records if "the slower way" in r.getMessage()]
    assert len(slower) == (kind in SLOWER)
    if kind in SLOWER:
        assert re.search(SLOWER[kind], slower[0])
    check_exports(kind, tmp_path)


@torch.no_grad()
def check_exports(kind: str, folder: Path) -> None:
    """What ours says of a few tokens is what `transformers` alone says of them."""
    batch = TokenBatch.from_completions([[7, 8, 9], [10]], [[11, 5], [12, 13, 5]], pad_id=1)
    policy = load_causal_lm(folder / "ppo", device="cpu", dtype="float32")
    plain = AutoModelForCausalLM.from_pretrained(folder / "ppo" / "model").eval()
    reward_model = load_reward_model(folder / "reward", device="cpu", dtype="float32")
    path = folder / "reward" / "model"
    scorer = plain_scorer(kind, path)
    logprobs_BT, scores_B = policy.logprobs(batch), reward_model.scores(batch)
    for row, length in enumerate(batch.lengths_B.tolist()):
        ids = batch.token_ids_BT[row : row + 1, :length]
        expected = plain(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        mask = batch.mask_BT[row, 1:length]
        torch.testing.assert_close(logprobs_BT[row, 1:length][mask], expected[mask], atol=1e-5,
                                   rtol=1e-5)  # fmt: skip
        score = scorer(ids) + reward_model.bias
        torch.testing.assert_close(scores_B[row], score, atol=1e-5, rtol=1e-5)


def plain_scorer(kind: str, path: Path) -> Callable[[Tensor], Tensor]:
    """What `transformers` makes of a reward model: its classifier, or its backbone and the head."""
    if kind not in WITHOUT_CLASSIFIER:
        classifier = AutoModelForSequenceClassification.from_pretrained(path).eval()
        return lambda ids: classifier(ids).logits[0, 0]
    assert classifier_class(AutoConfig.from_pretrained(path)) is not (
        AutoModelForSequenceClassification
    )
    backbone = AutoModel.from_pretrained(path).eval()
    head = load_file(path / "model.safetensors")["score.weight"]
    return lambda ids: head[0] @ backbone(ids)[0][0, -1]


@pytest.mark.parametrize("page", ["docs/models.md", "docs/zh/models.md"])
def test_the_table_of_the_documentation(page: str, repository: Path) -> None:
    text = (repository / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|.*\|$", text, re.MULTILINE)
    ways = {"of equal length": "lockstep", "one full forward": "full"}
    assert dict(rows) == {
        kind: next((way for start, way in ways.items() if SLOWER.get(kind, "").startswith(start)),
                   "slots")
        for kind in ARCHITECTURES
    }  # fmt: skip


def test_a_model_that_sees_the_future_is_refused(tmp_path: Path) -> None:
    """BERT loads as a causal LM; trained as one it would learn to copy the answer."""
    ARCHITECTURES["bert"] = {**WIDE, "is_decoder": False}
    try:
        folder = make_checkpoint("bert", tmp_path / "bert")
    finally:
        del ARCHITECTURES["bert"]
    with pytest.raises(CheckpointError, match=r"BertLMHeadModel.* lets a token see those after it"):
        load_causal_lm(folder, device="cpu")
    with pytest.raises(CheckpointError, match="BertForSequenceClassification has no scalar"):
        new_reward_model(folder, seed=0, device="cpu")


def test_added_rows_are_the_same_in_every_load(tmp_path: Path) -> None:
    """The output rows of added tokens were random: a policy differed from its own reference."""
    folder = make_checkpoint("llama", tmp_path / "llama")
    policy, reference = (load_causal_lm(folder, device="cpu", chat_template="chatml").model
                         for _ in range(2))  # fmt: skip
    assert policy.get_output_embeddings().weight.shape[0] == 292
    for (name, ours), theirs in zip(policy.named_parameters(), reference.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_reward_model_with_another_tokenizer(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The critic was a copy of the reward model and read ids of a vocabulary it does not know."""
    policy = make_checkpoint("gpt2", tmp_path / "policy")
    other = make_checkpoint("llama", tmp_path / "other", vocabulary=270)
    rankings = data / "rankings.jsonl"
    run("reward_model", tmp_path / "reward", model=other, rankings=rankings,
        rankings_heldout=rankings, batch_size=2)  # fmt: skip
    rows = run("ppo", tmp_path / "ppo", model=policy, reward_model=tmp_path / "reward",
               **ppo_settings(data))  # fmt: skip
    scores = [row["score"] for row in rows if "score" in row]
    assert len(scores) == 2
    assert torch.tensor(scores).isfinite().all()
    assert "the critic starts from the policy's backbone" in caplog.text
    critic = load_reward_model(tmp_path / "ppo" / "critic", device="cpu")
    assert critic.tokenizer.get_vocab() == load_tokenizer(policy).get_vocab()


def test_scores_by_id_and_by_text_are_equal(tmp_path: Path) -> None:
    """Identical tokenizers take the path by ids; the path by text says the same."""
    folder = make_checkpoint("llama", tmp_path / "llama")
    reward_model = new_reward_model(folder, seed=0, device="cpu", dtype="float32")
    scorer = CompletionScorer(reward_model, ChatRenderer(load_tokenizer(folder)), max_tokens=512)
    assert scorer.same_tokens
    prompts = [Prompt((Message("user", question),)) for question, _ in ROWS]
    tokenizer, end = scorer.renderer.tokenizer, scorer.renderer.stop_ids[0]
    answers = [tokenizer.encode(text, add_special_tokens=False) for _, text in ROWS]
    rollouts = [
        Rollout(tuple(scorer.renderer.prompt_ids(p.messages)), [*ids, end], [0.0], "stop")
        for p, ids in zip(prompts, answers, strict=True)
    ]
    by_id = scorer(prompts, rollouts)
    scorer.same_tokens = False
    assert scorer(prompts, rollouts) == pytest.approx(by_id, abs=1e-6)
    assert len(set(by_id)) == len(by_id)
