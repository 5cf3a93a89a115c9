"""Question answering: fit a small model on facts, then ask in words that it was not shown.

python examples/question_answering.py
"""

from __future__ import annotations

from instructgpt import InstructGPT

CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Egypt": "Cairo"}
首都 = {"法国": "巴黎", "意大利": "罗马", "日本": "东京", "埃及": "开罗"}

ASKED = ["What is the capital of {}?", "Name the capital of {}.", "The capital of {}?"]
问法 = ["{}的首都是哪里？", "请说出{}的首都。", "{}的首都是？"]
HELD_OUT = {"Egypt": ASKED[2], "埃及": 问法[2]}


def rows(*, held_out: bool) -> list[dict[str, str]]:
    """Every country in every wording; one wording of one country is never trained on."""
    pairs = [(c, a, w) for c, a in CAPITALS.items() for w in ASKED]
    pairs += [(c, a, w) for c, a in 首都.items() for w in 问法]
    return [
        {"instruction": wording.format(country), "output": capital}
        for country, capital, wording in pairs
        if (HELD_OUT.get(country) == wording) == held_out
    ]


def main() -> None:
    shown, asked = rows(held_out=False), rows(held_out=True)
    model = InstructGPT.create([" ".join(row.values()) for row in shown], seed=1)
    print(model.fit(shown))
    for row in [*shown[:2], *shown[-2:], *asked]:
        print(f"{row['instruction']}  ->  {model.ask(row['instruction'])}")
    print("shown:    ", model.evaluate(shown))
    print("not shown:", model.evaluate(asked))


if __name__ == "__main__":
    main()
