"""Stage `evaluate` on tiny untrained models and a real microworld: identities and recomputation."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from instructgpt.config.evaluate import EvaluateConfig
from instructgpt.config.microworld import MicroworldConfig
from instructgpt.config.pretrain import ModelShape
from instructgpt.config.shared import HardwareConfig, SamplingConfig
from instructgpt.data.jsonl import read_jsonl, write_jsonl
from instructgpt.data.readers import load_documents, load_prompts
from instructgpt.data.records import Demonstration, Prompt
from instructgpt.distributed.world import World
from instructgpt.errors import ConfigError, DataError
from instructgpt.evaluation import answering, evaluate
from instructgpt.evaluation.conditions import Condition
from instructgpt.evaluation.gold import MicroworldGold
from instructgpt.microworld import stage as microworld_stage
from instructgpt.models.create import create_causal_lm
from instructgpt.models.export import export_model
from instructgpt.models.load import load_causal_lm, load_reward_model, new_reward_model
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.types import SamplingParams
from instructgpt.storage.run_dir import RunDir
from instructgpt.text.tokenizer import train_bpe
from instructgpt.training.scoring import score_texts
from instructgpt.training.sequence_kl import sequence_log_ratios

NUM_PROMPTS = 8
FACTS: dict[str, Any] = {
    "stage": "test",
    "name": "tiny",
    "version": "0",
    "seed": 0,
    "parents": {},
    "summary": {},
}
SMALL_WORLD = MicroworldConfig(
    people=6,
    unknown=2,
    documents=60,
    documents_heldout=12,
    demonstrations=20,
    demonstrations_valid=5,
    prompts_rank=5,
    prompts_ppo=5,
    prompts_eval=40,
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """world/, sft/, other/ (moved weights), rm/: everything that an evaluation reads."""
    root = tmp_path_factory.mktemp("parts")
    with RunDir.open(root / "world", "microworld", {}, 0, {}) as run:
        run.finish(microworld_stage.run(SMALL_WORLD, run))
    documents = load_documents(root / "world" / "documents.jsonl").records
    tokenizer = train_bpe((d.text for d in documents), 300)
    shape = ModelShape(layers=1, width=32, heads=2, context=512)
    model = create_causal_lm(shape, tokenizer, seed=0)
    with torch.no_grad():
        # an untrained head is nearly uniform: sharpen it so that models differ
        model.get_input_embeddings().weight.mul_(10)
    export_model(model, tokenizer, root / "sft", FACTS)
    other = copy.deepcopy(model)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in other.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    export_model(other, tokenizer, root / "other", FACTS)
    reward_model = new_reward_model(root / "sft", seed=3)
    export_model(reward_model.model, reward_model.tokenizer, root / "rm", FACTS)
    return root


def settings(parts: Path, **changes: Any) -> EvaluateConfig:
    models: dict[str, Any] = {
        "other": str(parts / "other"),
        "sft": str(parts / "sft"),
        "twin": str(parts / "sft"),
        "best_of_n": {"model": str(parts / "sft"), "reward_model": str(parts / "rm"), "n": 4},
    }
    values = {
        "models": models,
        "prompts": str(parts / "world" / "prompts_eval.jsonl"),
        "num_prompts": NUM_PROMPTS,
        "gold": "microworld",
        "world": str(parts / "world"),
        "reward_model": str(parts / "rm"),
        "documents_heldout": str(parts / "world" / "documents_heldout.jsonl"),
        "row_tokens": 32,
        "sampling": SamplingConfig(max_new_tokens=10),
        "hardware": HardwareConfig(device="cpu", dtype="float32"),
    }
    return EvaluateConfig(**(values | changes))


def run_stage(path: Path, config: EvaluateConfig) -> dict[str, Any]:
    with RunDir.open(path, "evaluate", config.model_dump(mode="json"), config.seed, {}) as run:
        summary = evaluate.run(config, run)
        run.finish(summary)
    return summary


@pytest.fixture(scope="module")
def finished(parts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "evaluate"
    run_stage(path, settings(parts))
    return path


@pytest.fixture(scope="module")
def evaluation(finished) -> dict[str, Any]:
    return json.loads((finished / "evaluation.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def rows(finished) -> list[dict[str, Any]]:
    return [row for _, row in read_jsonl(finished / "completions.jsonl")]


def test_equal_weights_are_equal_greedily_and_have_no_kl(evaluation):
    twin = evaluation["models"]["twin"]
    assert (twin["win_rate"]["greedy"]["value"], twin["win_rate"]["greedy"]["ties"]) == (0.5, 1.0)
    assert twin["kl"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert twin["pretraining_loss"] == evaluation["models"]["sft"]["pretraining_loss"]
    assert evaluation["models"]["other"]["kl"]["value"] > 0
    assert (
        evaluation["models"]["other"]["pretraining_loss"]
        != evaluation["models"]["sft"]["pretraining_loss"]
    )


def test_models_draw_their_own_random_numbers(rows):
    """Same weights, same prompts: sampled answers must not be coupled, greedy ones are equal."""
    texts = {
        (model, condition): [
            r["completion"] for r in rows if (r["model"], r["condition"]) == (model, condition)
        ]
        for model in ("sft", "twin")
        for condition in ("sampled", "greedy", "resampled")
    }
    assert texts["sft", "greedy"] == texts["twin", "greedy"]
    assert texts["sft", "sampled"] != texts["twin", "sampled"]
    assert texts["sft", "sampled"] != texts["sft", "resampled"]
    params = [
        Condition("sampled", 1.0).params(SamplingConfig(), model, seed).seed
        for model in ("a", "b")
        for seed in (0, 1)
    ]
    assert len(set(params)) == 4


def test_every_model_answers_every_prompt_under_every_condition(rows):
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row["model"], row["condition"]
        counts[key] = counts.get(key, 0) + 1
    controls = {("sft", "resampled"), ("sft", "temperature-0.7")}
    plain = {(m, c) for m in ("other", "sft", "twin") for c in ("sampled", "greedy")}
    assert counts == dict.fromkeys(plain | controls | {("best_of_n", "sampled")}, NUM_PROMPTS)


def test_gold_equals_recomputation(parts, rows):
    gold = MicroworldGold(parts / "world" / "world.json")
    for row in rows:
        prompt = Prompt.from_dict({k: row[k] for k in ("prompt", "id", "meta") if k in row})
        assert row["gold"] == gold.assess(prompt, row["completion"]).to_dict()


def test_log_ratios_equal_whole_forward_passes(parts):
    """Against the bare models, one sequence at a time, without masks or padding."""
    policy, reference = (
        load_causal_lm(parts / name, device="cpu", dtype="float32") for name in ("other", "sft")
    )
    engine = Engine(policy.model, [1], policy.pad_id)
    prompts = [[5, 6, 7], [9], [4, 4, 4, 4, 8]]
    groups = engine.generate(prompts, SamplingParams(max_new_tokens=9, seed=1))
    rollouts = [group[0] for group in groups]
    found = sequence_log_ratios(policy, reference, rollouts, 0.8, max_tokens=16, world=World())
    for rollout, ratio in zip(rollouts, found, strict=True):
        tokens = torch.tensor([[*rollout.prompt_ids, *rollout.completion_ids]])
        totals = []
        for lm in (policy, reference):
            with torch.no_grad():
                logs = (lm.model(tokens).logits[0] / 0.8).log_softmax(-1)
            places = range(len(rollout.prompt_ids), tokens.shape[1])
            totals.append(sum(float(logs[t - 1, tokens[0, t]]) for t in places))
        assert ratio == pytest.approx(totals[0] - totals[1], abs=1e-4)
        assert abs(ratio) > 1e-3


def test_best_of_n_picks_by_reward_and_reports_its_curve(evaluation):
    best = evaluation["models"]["best_of_n"]
    assert best["kl"]["value"] == pytest.approx(0.6362943611)  # log 4 - 3/4, reference file
    curve = evaluation["curves"]["best_of_n"]
    assert [p["label"] for p in curve["points"]] == ["n=1", "n=2", "n=4"]
    proxies = [p["proxy"] for p in curve["points"]]
    assert proxies == sorted(proxies)
    assert best["conditions"]["sampled"]["reward"]["value"] == pytest.approx(proxies[-1])
    assert "greedy" not in best["conditions"]
    assert best["win_rate"]["greedy"] == best["win_rate"]["sampled_vs_greedy"]


def test_controls_and_groups(evaluation):
    assert set(evaluation["controls"]) == {"greedy", "resampled", "temperature-0.7"}
    accuracy = evaluation["models"]["sft"]["conditions"]["sampled"]["accuracy"]
    assert accuracy["by_phrasing"]["seen"]["n"] == accuracy["by_phrasing"]["held_out"]["n"] == 4
    assert evaluation["judge"] == "gold"
    assert "no model saw it" in evaluation["judge_note"]


def test_an_interrupted_evaluation_goes_on_where_it_was(parts, finished, tmp_path, monkeypatch):
    asked: list[str] = []
    original = answering.Answering.__call__

    def stumbling(self, name):
        asked.append(name)
        if name == "twin" and asked.count("twin") == 1:
            raise KeyboardInterrupt
        return original(self, name)

    monkeypatch.setattr(answering.Answering, "__call__", stumbling)
    path = tmp_path / "evaluate"
    with pytest.raises(KeyboardInterrupt):
        run_stage(path, settings(parts))
    run_stage(path, settings(parts))
    assert asked == ["other", "sft", "twin", "twin", "best_of_n"]
    for name in ("evaluation.json", "completions.jsonl"):
        assert (path / name).read_bytes() == (finished / name).read_bytes()


def test_prompts_that_training_saw_are_left_out_and_counted(parts, tmp_path):
    prompts = load_prompts(parts / "world" / "prompts_eval.jsonl").records
    seen = tmp_path / "seen.jsonl"
    write_jsonl(seen, [Demonstration(p, "answer").to_dict() for p in prompts[:3]])
    models = {"sft": str(parts / "sft")}
    config = settings(parts, training_files=(str(seen),), models=models, num_prompts=5)
    run_stage(tmp_path / "evaluate", config)
    evaluation = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text("utf-8"))
    left_out = evaluation["prompts"]["left_out"]
    assert left_out == {"seen_in_training": 3, "beyond_num_prompts": 32, "too_long": 0}
    keys = {
        Prompt.from_dict({"prompt": row["prompt"]}).key
        for _, row in read_jsonl(tmp_path / "evaluate" / "completions.jsonl")
    }
    assert keys == {p.key for p in prompts[3:8]}
    write_jsonl(seen, [p.to_dict() for p in prompts])
    with pytest.raises(DataError, match="no prompt is left"):
        run_stage(tmp_path / "again", config)


def test_real_data_has_no_gold_and_says_who_judges(parts, tmp_path):
    """Prompts without meta, references from demonstrations, judged by the reward model."""
    prompts = [Prompt.from_text(f"Name a city in country {i}.") for i in range(4)]
    write_jsonl(tmp_path / "prompts.jsonl", [p.to_dict() for p in prompts])
    write_jsonl(tmp_path / "demos.jsonl", [Demonstration(p, "Paris").to_dict() for p in prompts])
    config = settings(
        parts,
        models={"sft": str(parts / "sft"), "other": str(parts / "other")},
        prompts=str(tmp_path / "prompts.jsonl"),
        demonstrations=str(tmp_path / "demos.jsonl"),
        gold=None,
        world=None,
        documents_heldout=None,
    )
    summary = run_stage(tmp_path / "evaluate", config)
    evaluation = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text("utf-8"))
    assert (evaluation["judge"], summary["judge"]) == ("reward_model", "reward_model")
    assert "flatters" in evaluation["judge_note"]
    other = evaluation["models"]["other"]
    assert other["pretraining_loss"] is None
    assert other["conditions"]["greedy"]["accuracy"] is None
    assert other["conditions"]["greedy"]["text"]["overall"]["exact_match"]["n"] == 4
    assert other["win_rate"]["sampled"]["value"] is not None


def test_judges_decide_win_rates_blind_in_both_orders_and_are_not_paid_twice(
    parts, endpoint, tmp_path
):
    """An AI that prefers length, a reward model and the gold score side by side."""
    endpoint.script = endpoint.prefers(len)
    config = settings(
        parts,
        models={"sft": str(parts / "sft"), "other": str(parts / "other")},
        judges=(
            endpoint.config(name="gpt", price_in=1.0, price_out=1.0),
            {"type": "reward_model", "model": str(parts / "rm"), "name": "rm"},
            {"type": "simulated", "count": 1},
        ),
        documents_heldout=None,
    )
    path = tmp_path / "evaluate"
    with RunDir.open(path, "evaluate", {}, config.seed, {}) as run:
        evaluate.run(config, run)
        asked = len(endpoint.asked)
        evaluate.run(config, run)  # as after a kill: the answers and the replies are there
        assert len(endpoint.asked) == asked
    evaluation = json.loads((path / "evaluation.json").read_text("utf-8"))
    rows = [row for _, row in read_jsonl(path / "completions.jsonl")]
    texts = {(r["model"], r["condition"], r["prompt_index"]): r["completion"] for r in rows}
    pairs = [(texts["other", "sampled", i], texts["sft", "sampled", i]) for i in range(NUM_PROMPTS)]
    expected = sum(0.5 + 0.5 * ((len(a) > len(b)) - (len(a) < len(b))) for a, b in pairs)
    gpt, rm, labeler = evaluation["judges"]
    assert evaluation["judge"] == "gpt"
    assert "not whose they were" in evaluation["judge_note"]
    rate = evaluation["models"]["other"]["win_rate"]["sampled"]
    assert rate == gpt["win_rate"]["other"]["sampled"]
    assert rate["value"] == expected / NUM_PROMPTS
    assert gpt["order_consistency"] == 1.0
    assert gpt["first_shown_wins"]["value"] == 0.5
    assert gpt["questions"] == len(set(endpoint.asked)) == asked
    assert gpt["cost"] == pytest.approx(asked * 107 / 1e6)
    assert (rm["kind"], rm["order_consistency"]) == ("reward_model", None)
    assert labeler["name"] == "labeler-1"
    reward_model = load_reward_model(parts / "rm", device="cpu", dtype="float32")
    prompts = [Prompt.from_dict({"prompt": rows[i]["prompt"]}) for i in range(NUM_PROMPTS)]
    ours, theirs = (
        score_texts(reward_model, prompts, [pair[side] for pair in pairs], max_tokens=4096)
        for side in (0, 1)
    )
    by_reward = sum(
        0.5 + 0.5 * ((a > b) - (a < b)) if one != other else 0.5
        for a, b, (one, other) in zip(ours, theirs, pairs, strict=True)
    )
    assert rm["win_rate"]["other"]["sampled"]["value"] == by_reward / NUM_PROMPTS
    kinds = {(e["a"], e["b"]) for e in evaluation["agreement"]["kinds"]}
    assert {("ai", "gold"), ("ai", "reward_model"), ("gold", "simulated")} <= kinds
    for question in endpoint.asked:
        assert not set(re.findall(r"\b(sft|other|greedy|sampled)\b", question)), "it is blind"


def test_curves_of_a_ppo_run(parts, tmp_path):
    """Gold of hand-written answers: a polite right answer scores 5, silence 0."""
    prompts = load_prompts(parts / "world" / "prompts_eval.jsonl").records[:2]
    for step, kl, score in ((0, 0.0, 0.1), (20, 1.5, 0.9)):
        write_jsonl(
            tmp_path / "ppo" / "samples" / f"step-{step:08d}.jsonl",
            [{**p.to_dict(), "completion": "", "score": score, "kl": kl} for p in prompts],
        )
    config = settings(
        parts, models={"sft": str(parts / "sft")}, ppo_runs={"ppo": str(tmp_path / "ppo")}
    )
    run_stage(tmp_path / "evaluate", config)
    evaluation = json.loads((tmp_path / "evaluate" / "evaluation.json").read_text("utf-8"))
    assert [(p["kl"], p["proxy"], p["gold"]) for p in evaluation["curves"]["ppo"]["points"]] == [
        (0.0, pytest.approx(0.1), 0.0),
        (1.5, pytest.approx(0.9), 0.0),
    ]
    empty = settings(parts, models={"sft": str(parts / "sft")}, ppo_runs={"ppo": str(tmp_path)})
    with pytest.raises(DataError, match="prompts_eval"):
        run_stage(tmp_path / "evaluate2", empty)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "sftt"}, "reference 'sftt'"),
        ({"world": None}, "go together"),
        ({"gold": None, "world": None, "reward_model": None}, "nobody judges"),
        (
            {"gold": None, "world": None, "judges": ({"type": "simulated"},)},
            "simulated judges need gold",
        ),
        ({"sampling": SamplingConfig(temperature=0)}, "greedy condition"),
        ({"control_temperatures": (0.0,)}, "above 0"),
        ({"gold": None, "world": None, "ppo_runs": {"ppo": "x"}}, "need gold"),
        ({"models": {"a/b": "x", "sft": "y"}}, "model name 'a/b'"),
        ({"reference": "best_of_n"}, "reference 'best_of_n'"),
    ],
)
def test_settings_that_contradict_each_other(parts, changes, words):
    with pytest.raises(ValidationError, match=words):
        settings(parts, **changes)


def test_a_context_without_room_is_refused_in_one_line(parts, tmp_path):
    config = settings(parts, sampling=SamplingConfig(max_new_tokens=512))
    with pytest.raises(ConfigError, match="leaves no room"):
        run_stage(tmp_path / "evaluate", config)


def test_a_world_that_is_not_there_or_not_a_world_is_one_line(tmp_path):
    with pytest.raises(DataError, match="cannot read the world"):
        MicroworldGold(tmp_path)
    (tmp_path / "world.json").write_text("{", "utf-8")
    with pytest.raises(DataError, match="not JSON"):
        MicroworldGold(tmp_path)
    (tmp_path / "world.json").write_text("{}", "utf-8")
    with pytest.raises(DataError, match="not a microworld"):
        MicroworldGold(tmp_path / "world.json")


def test_saying_that_one_does_not_know_is_a_class(parts):
    """Stranger asked about: "I do not know." is right; about somebody known it is a false claim."""
    gold = MicroworldGold(parts / "world")
    prompts = load_prompts(parts / "world" / "prompts_eval.jsonl").records
    stranger = next(p for p in prompts if p.meta["kind"] == "qa_unknown")
    known = next(p for p in prompts if p.meta["kind"] == "qa")
    text = {"en": "I do not know.", "zh": "我不知道。"}
    said = gold.assess(stranger, text[stranger.meta["answer_language"]])
    assert said.classes == {"says_unknown": (True, True)}
    assert said.correct
    assert gold.assess(known, text[known.meta["answer_language"]]).classes == {
        "says_unknown": (True, False)
    }
