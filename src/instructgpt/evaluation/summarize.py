"""From answers to numbers: means with intervals, accuracy by group, win rates, text metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from instructgpt.data.records import Prompt
from instructgpt.evaluation.answers import Answer
from instructgpt.evaluation.metrics import (
    classification_scores,
    corpus_translation_scores,
    detect_language,
    exact_match,
    rouge_l,
    token_f1,
)
from instructgpt.evaluation.win_rate import WinRate, scored_win_rate
from instructgpt.judging.intervals import mean_interval, proportion_interval

Preference = Literal["gold", "judge_reward_model", "reward_model"]
Summary = dict[str, Any]

# Group name -> its members' names, from a prompt's meta; None leaves the prompt out.
_GROUPINGS: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "by_task": lambda meta: meta.get("task"),
    "by_kind": lambda meta: meta.get("kind"),
    "by_language": lambda meta: meta.get("language"),
    "by_phrasing": lambda meta: _novelty(meta.get("phrasing_held_out")),
    "by_fact": lambda meta: _novelty(meta.get("fact_held_out")),
    "by_both": lambda meta: _both(meta.get("phrasing_held_out"), meta.get("fact_held_out")),
}


def describe_answers(prompts: Sequence[Prompt], answers: Sequence[Answer]) -> Summary:
    """All numbers about one model's answers under one condition; what is unknown is None."""
    keys = [prompts[a.prompt].key for a in answers]
    about = [prompts[a.prompt] for a in answers]
    gold = [a.gold for a in answers if a.gold is not None]
    known = len(gold) == len(answers)
    return {
        "n": len(answers),
        "length": mean_interval([float(a.num_tokens) for a in answers], keys).to_dict(),
        "eos_rate": proportion_interval([float(a.ended) for a in answers], keys).to_dict(),
        "kl": _mean_if_known([a.kl for a in answers], keys),
        "reward": _mean_if_known([a.reward for a in answers], keys),
        "judge_reward": _mean_if_known([a.judge_reward for a in answers], keys),
        "gold": _mean_if_known([g.score for g in gold], keys) if known else None,
        "components": _component_means(answers) if known else None,
        "accuracy": grouped_rates([float(g.correct) for g in gold], about) if known else None,
        "ok": grouped_rates([float(g.ok) for g in gold], about) if known else None,
        "classes": _class_scores(answers) if known else None,
    }


def grouped_rates(values: Sequence[float], prompts: Sequence[Prompt]) -> Summary:
    """Mean of outcomes in [0, 1], overall and by every grouping that the prompts' meta allow."""
    keys = [prompt.key for prompt in prompts]
    rates: Summary = {"overall": proportion_interval(values, keys).to_dict()}
    for grouping, member_of in _GROUPINGS.items():
        members: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            member = member_of(prompt.meta)
            if member is not None:
                members.setdefault(member, []).append(i)
        rates[grouping] = {
            name: proportion_interval([values[i] for i in rows], [keys[i] for i in rows]).to_dict()
            for name, rows in sorted(members.items())
        }
    return rates


def preferred_by(answer: Answer, preference: Preference) -> float | None:
    """The score that decides win rates; None where nobody gave one."""
    if preference == "gold":
        return None if answer.gold is None else answer.gold.score
    return answer.judge_reward if preference == "judge_reward_model" else answer.reward


def answer_win_rate(
    prompts: Sequence[Prompt],
    first: Sequence[Answer],
    second: Sequence[Answer],
    preference: Preference,
) -> WinRate:
    """Win rate of `first` over `second`, paired by prompt."""
    opponent = {a.prompt: a for a in second}
    return scored_win_rate(
        [preferred_by(a, preference) for a in first],
        [preferred_by(opponent[a.prompt], preference) for a in first],
        [prompts[a.prompt].key for a in first],
        preference,
    )


def text_metrics(
    prompts: Sequence[Prompt], answers: Sequence[Answer], references: dict[str, str]
) -> Summary | None:
    """Exact match, F1 and ROUGE-L overall and by task; BLEU and chrF by language.

    `references`: prompt key -> reference text. BLEU and chrF are of translations where the prompts
    name their task, else of everything. None when no prompt has a reference text.
    """
    rows = [
        (a.completion, references[prompts[a.prompt].key], prompts[a.prompt].meta.get("task"))
        for a in answers
        if prompts[a.prompt].key in references
    ]
    if not rows:
        return None
    tasks = sorted({task for _, _, task in rows if task is not None})
    return {
        "overall": _overlap_metrics(rows),
        "by_task": {t: _overlap_metrics([r for r in rows if r[2] == t]) for t in tasks},
        "translation": _translation_metrics(
            [r for r in rows if r[2] == "translation"] if tasks else rows
        ),
    }


def _overlap_metrics(rows: Sequence[tuple[str, str, str | None]]) -> Summary:
    languages = [detect_language(reference) for _, reference, _ in rows]
    texts = [(p, r, language) for (p, r, _), language in zip(rows, languages, strict=True)]
    outcomes = {
        "exact_match": [float(exact_match(p, r)) for p, r, _ in texts],
        "f1": [token_f1(*t) for t in texts],
        "rouge_l": [rouge_l(*t) for t in texts],
    }
    return {name: proportion_interval(values).to_dict() for name, values in outcomes.items()}


def _translation_metrics(rows: Sequence[tuple[str, str, str | None]]) -> Summary:
    scores = {}
    for language in ("en", "zh"):
        chosen = [(p, r) for p, r, _ in rows if detect_language(r) == language]
        if chosen:
            predictions, wanted = zip(*chosen, strict=True)
            scores[language] = {
                **corpus_translation_scores(predictions, wanted, language),
                "n": len(chosen),
            }
    return scores


def _mean_if_known(values: Sequence[float | None], keys: Sequence[str]) -> Summary | None:
    known = [(v, k) for v, k in zip(values, keys, strict=True) if v is not None]
    if not known or len(known) < len(values):
        return None  # a mean over some of the answers would be of other prompts than its neighbours
    return mean_interval([v for v, _ in known], [k for _, k in known]).to_dict()


def _component_means(answers: Sequence[Answer]) -> dict[str, float]:
    components = [a.gold.components for a in answers if a.gold is not None]
    return {name: sum(c[name] for c in components) / len(components) for name in components[0]}


def _class_scores(answers: Sequence[Answer]) -> Summary:
    classes = [a.gold.classes for a in answers if a.gold is not None]
    return {
        name: classification_scores(
            [c[name][0] for c in classes], [c[name][1] for c in classes], positive=True
        ).to_dict()
        for name in classes[0]
    }


def _novelty(held_out: bool | None) -> str | None:
    return None if held_out is None else ("held_out" if held_out else "seen")


def _both(phrasing: bool | None, fact: bool | None) -> str | None:
    if phrasing is None or fact is None or phrasing != fact:
        return None
    return _novelty(phrasing)
