#!/usr/bin/env python3
"""Run the quickstart for some seeds and write docs/results.md and docs/zh/results.md from them.

    python docs/generate_results.py --seeds 0 1 2          runs what is not done yet, then writes
    python docs/generate_results.py --runs runs/quickstart  writes from finished runs alone

Every seed is its own world, models, labels and policies. All runs are shown, failures included.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from instructgpt.pipeline.run import run_recipe
from instructgpt.progress import show_progress

DOCS = Path(__file__).resolve().parent
RECIPE = DOCS.parent / "recipes" / "quickstart.yaml"
MODELS = ("base", "sft", "best_of_n", "dpo", "ppo", "ppo_ptx")

WORDS: dict[str, dict[str, str]] = {
    "en": {
        "language": "English | [简体中文](zh/results.md)",
        "title": "Results of the quickstart",
        "intro": "Written by `python docs/generate_results.py`; every number comes from the run's "
        "`report.json`. Win rates are against the same seed's SFT model, by gold score, on "
        "prompts that no training draw contains; ties count half; 95 % intervals are clustered "
        "by prompt. `sft` against itself is a second draw and should be 0.5.",
        "claims": "What was claimed, and what was reached",
        "models": "Models",
        "model_head": "| seed | model | wins, sampled | wins, greedy | gold ok, sampled | "
        "gold ok, greedy | pretraining loss | KL | length |",
        "rm": "Reward model",
        "rm_head": "| seed | pair accuracy on held-out prompts | labeler agreement | "
        "mean score of demonstrations |",
        "time": "Time",
        "time_head": "| seed | total seconds | slowest stages | machine |",
        "claim_head": "| claim | reached on seeds |",
    },
    "zh": {
        "language": "[English](../results.md) | 简体中文",
        "title": "快速上手的结果",
        "intro": "由 `python docs/generate_results.py` 生成；每个数字都来自该次运行的 "
        "`report.json`。胜率按金标分数与同一种子的 SFT 模型比较，提示从未出现在任何训练抽样中；"
        "平局计半；95 % 区间按提示聚类。`sft` 与自身比较是第二次抽样，应为 0.5。",
        "claims": "目标与实际",
        "models": "模型",
        "model_head": "| 种子 | 模型 | 采样胜率 | 贪心胜率 | 采样全对率 | 贪心全对率 | "
        "预训练损失 | KL | 长度 |",
        "rm": "奖励模型",
        "rm_head": "| 种子 | 留出提示上的成对准确率 | 标注者一致率 | 示范的平均分 |",
        "time": "时间",
        "time_head": "| 种子 | 总秒数 | 最慢的阶段 | 机器 |",
        "claim_head": "| 目标 | 达到的种子 |",
    },
}
CLAIMS: dict[str, tuple[str, str]] = {
    "base_below": ("base loses to SFT (interval below 0.5)", "基座输给 SFT（区间低于 0.5）"),
    "sampled": (
        "PPO and PPO-ptx sampled: at least 0.68, interval above 0.5",
        "PPO 与 PPO-ptx 采样：不低于 0.68，区间高于 0.5",
    ),
    "greedy": (
        "PPO and PPO-ptx greedy: at least 0.60, interval above 0.5",
        "PPO 与 PPO-ptx 贪心：不低于 0.60，区间高于 0.5",
    ),
    "tax": (
        "pretraining loss: PPO-ptx at or below SFT, PPO above",
        "预训练损失：PPO-ptx 不高于 SFT，PPO 更高",
    ),
    "chance": (
        "reward model above chance (interval above 0.5)",
        "奖励模型高于随机（区间高于 0.5）",
    ),
    "agreement": ("labelers agree on 73-77 % of pairs", "标注者在 73-77 % 的配对上一致"),
}


def check_claims(report: dict[str, Any]) -> dict[str, bool]:
    """Which of `CLAIMS` this run reached."""
    models, reward = report["models"], report["reward_model"]
    rates = {name: models[name]["win_rate_vs_sft"] for name in MODELS}
    loss = {name: models[name]["pretraining_loss"] for name in MODELS}
    policies = ("ppo", "ppo_ptx")

    def reached(condition: str, least: float) -> bool:
        found = [rates[name][condition] for name in policies]
        return all(rate["value"] >= least and rate["low"] > 0.5 for rate in found)

    return {
        "base_below": all(rates["base"][c]["high"] < 0.5 for c in ("sampled", "greedy")),
        "sampled": reached("sampled", 0.68),
        "greedy": reached("greedy", 0.60),
        "tax": loss["ppo_ptx"] <= loss["sft"] < loss["ppo"],
        "chance": reward["low"] > 0.5,
        "agreement": 0.73 <= reward["labeler_agreement"] <= 0.77,
    }


def write_page(reports: dict[int, dict[str, Any]], language: str) -> str:
    """The page in one language, from seed -> report.json."""
    words, which = WORDS[language], 0 if language == "en" else 1
    checks = {seed: check_claims(report) for seed, report in reports.items()}
    lines = [words["language"], "", f"# {words['title']}", "", words["intro"], ""]
    lines += [f"## {words['claims']}", "", words["claim_head"], "| --- | --- |"]
    for key, text in CLAIMS.items():
        seeds = [str(seed) for seed, found in checks.items() if found[key]]
        reached = f"{len(seeds)}/{len(checks)} ({', '.join(seeds) or '-'})"
        lines.append(f"| {text[which]} | {reached} |")
    lines += ["", f"## {words['models']}", "", words["model_head"], "| --- " * 9 + "|"]
    lines += [row for seed, report in reports.items() for row in _model_rows(seed, report)]
    lines += ["", f"## {words['rm']}", "", words["rm_head"], "| --- " * 4 + "|"]
    for seed, report in reports.items():
        reward = report["reward_model"]
        lines.append(
            f"| {seed} | {_interval({**reward, 'value': reward['accuracy']})} | "
            f"{reward['labeler_agreement']:.3f} | {reward['demonstration_mean']:.1e} |"
        )
    lines += ["", f"## {words['time']}", "", words["time_head"], "| --- " * 4 + "|"]
    lines += [_time_row(seed, report) for seed, report in reports.items()]
    return "\n".join(lines) + "\n"


def _model_rows(seed: int, report: dict[str, Any]) -> list[str]:
    rows = []
    for name in MODELS:
        model = report["models"][name]
        wins, gold = model["win_rate_vs_sft"], model["gold"]
        cells = [
            str(seed),
            name,
            _interval(wins["sampled"]),
            _interval(wins["greedy"]),
            *(f"{gold[c]['ok']:.2f}" if c in gold else "-" for c in ("sampled", "greedy")),
            f"{model['pretraining_loss']:.3f}",
            "-" if model["kl"] is None else f"{_value(model['kl']):.2f}",
            f"{_value(model['length']):.1f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _time_row(seed: int, report: dict[str, Any]) -> str:
    seconds = {name: stage["seconds"] for name, stage in report["stages"].items()}
    slow = sorted(seconds, key=lambda name: -seconds[name])[:4]
    machine = report["environment"]
    return (
        f"| {seed} | {sum(seconds.values()):.0f} | "
        + ", ".join(f"{name} {seconds[name]:.0f}" for name in slow)
        + f" | {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads |"
    )


def _interval(rate: dict[str, Any]) -> str:
    return f"{rate['value']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"


def _value(found: Any) -> float:
    """A plain number, or the sampled condition's."""
    if isinstance(found, dict):
        return _value(found["sampled"] if "sampled" in found else found["value"])
    return float(found)


def main() -> None:
    """Run, read, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--runs", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    show_progress()
    roots = list(arguments.runs)
    for seed in arguments.seeds:
        roots.append(Path("runs", f"quickstart-seed-{seed}"))
        run_recipe(RECIPE, roots[-1], [f"seed={seed}"])
    reports = {}
    for number, root in enumerate(roots):
        report = json.loads((root / "report" / "report.json").read_text(encoding="utf-8"))
        reports[arguments.seeds[number] if arguments.seeds else number] = report
    for language, page in (("en", DOCS / "results.md"), ("zh", DOCS / "zh" / "results.md")):
        page.write_text(write_page(reports, language), encoding="utf-8")


if __name__ == "__main__":
    main()
