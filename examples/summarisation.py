"""Summarisation: a judge that is a plain function, and best-of-n against what it prefers.

python examples/summarisation.py
"""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory

from instructgpt import InstructGPT

STORIES = [
    ("Anna went to the market and bought red apples for her mother.", "Anna bought apples."),
    ("Ben walked to the lake in the morning and saw a white swan.", "Ben saw a swan."),
    ("Clara sat in the garden all day and read a long book.", "Clara read a book."),
    ("小明早上去市场，给妈妈买了红苹果。", "小明买了苹果。"),
    ("小红在湖边散步，看见了一只白天鹅。", "小红看见了天鹅。"),
    ("老王整天坐在花园里，读了一本厚书。", "老王读了书。"),
]
PROMPTS = [f"Summarise: {text}" for text, _ in STORIES]


def brief(question: str, answers: Sequence[str]) -> list[float]:
    """Shorter is better, and saying nothing is worst."""
    return [1 / len(answer) if answer.strip() else 0.0 for answer in answers]


def main() -> None:
    # Half of the demonstrations summarise and half repeat: the model is undecided.
    rows = [{"prompt": p, "completion": s} for p, (_, s) in zip(PROMPTS, STORIES, strict=True)]
    rows += [{"prompt": p, "completion": t} for p, (t, _) in zip(PROMPTS, STORIES, strict=True)]
    model = InstructGPT.create([" ".join(story) for story in STORIES] + PROMPTS, seed=1)
    print(model.fit(rows))
    with TemporaryDirectory() as folder:
        model.save(f"{folder}/undecided")
        before = InstructGPT.load(f"{folder}/undecided")
    print(model.align(prompts=PROMPTS * 4, method="best_of_n", judge=brief, n=8))
    found = model.evaluate(rows[: len(STORIES)], against=before, judge=brief)
    print(found)
    for (text, _), summary in zip(STORIES, found.answers, strict=True):
        print(f"{text}  ->  {summary}")


if __name__ == "__main__":
    main()
