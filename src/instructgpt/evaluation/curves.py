"""Measured over-optimisation curves: from a PPO run's samples, and from best-of-n candidates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructgpt.data.jsonl import read_jsonl
from instructgpt.data.records import Prompt
from instructgpt.errors import DataError
from instructgpt.evaluation.best_of_n import best_of_n_estimate, best_of_n_kl, powers_of_two
from instructgpt.evaluation.gold import GoldJudge
from instructgpt.evaluation.overoptimization import CurvePoint, describe_curve

_PROMPT_KEYS = ("prompt", "id", "user", "meta")
_SAMPLES = re.compile(r"step-(\d+)\.jsonl")


def ppo_curve(run_dir: str | Path, gold: GoldJudge) -> dict[str, Any]:
    """Gold against proxy over KL along a PPO run: one point per file of its `samples/`.

    A file `step-N.jsonl` holds answers to fixed prompts after N iterations, each with its reward
    model score and its KL from the start. Errors: DataError when there are none.
    """
    folder = Path(run_dir) / "samples"
    files = {int(m[1]): f for f in _files(folder) if (m := _SAMPLES.fullmatch(f.name))}
    if not files:
        raise DataError(
            f"'{folder}' holds no step-N.jsonl; give the PPO stage prompts_eval to have samples"
        )
    points = [_sample_point(files[step], step, gold) for step in sorted(files)]
    return describe_curve(points, "rl")


def best_of_n_curve(
    proxy: Sequence[Sequence[float]], gold: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Gold against proxy over KL for best-of-1, 2, 4, ... N of the same N candidates per prompt.

    `proxy[i][j]` and `gold[i][j]` score candidate j of prompt i; expectations over subsets are
    exact, so every n uses all candidates.
    """
    total = min(len(scores) for scores in proxy)
    points = []
    for n in powers_of_two(total):
        pairs = list(zip(proxy, gold, strict=True))
        points.append(
            CurvePoint(
                best_of_n_kl(n),
                sum(best_of_n_estimate(p, p, n) for p, _ in pairs) / len(pairs),
                sum(best_of_n_estimate(p, g, n) for p, g in pairs) / len(pairs),
                f"n={n}",
            )
        )
    return describe_curve(points, "bon")


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _sample_point(path: Path, step: int, gold: GoldJudge) -> CurvePoint:
    kls, proxies, golds = [], [], []
    for number, row in read_jsonl(path):
        try:
            prompt = Prompt.from_dict({key: row[key] for key in _PROMPT_KEYS if key in row})
            kls.append(float(row["kl"]))
            proxies.append(float(row["score"]))
            golds.append(gold.assess(prompt, row["completion"]).score)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}:{number}: not a PPO sample ({error!r})") from error
    if not kls:
        raise DataError(f"{path}: holds no samples")
    return CurvePoint(
        sum(kls) / len(kls), sum(proxies) / len(proxies), sum(golds) / len(golds), f"step {step}"
    )
