"""Translation between English and Chinese: demonstrations, then DPO on which answer is preferred.

python examples/translation.py
"""

from __future__ import annotations

from instructgpt import InstructGPT

WORDS = {"cat": "猫", "dog": "狗", "bird": "鸟", "horse": "马"}
COLOURS = {"red": "红", "white": "白", "black": "黑"}

PAIRS = [
    (f"the {colour} {animal}", f"{色}色的{物}")
    for colour, 色 in COLOURS.items()
    for animal, 物 in WORDS.items()
]
LITERAL = {zh: zh.replace("色的", "") for _, zh in PAIRS}


def main() -> None:
    rows = [{"instruction": f"译成中文：{en}", "output": LITERAL[zh]} for en, zh in PAIRS]
    rows += [{"instruction": f"译成中文：{en}", "output": zh} for en, zh in PAIRS]
    rows += [{"instruction": f"Translate: {zh}", "output": en} for en, zh in PAIRS]
    model = InstructGPT.create([text for pair in PAIRS for text in pair], seed=1)
    print(model.fit(rows))
    print("before:", model.ask("译成中文：the red cat"), "|", model.ask("Translate: 红色的猫"))
    wanted = [{"instruction": f"译成中文：{en}", "output": zh} for en, zh in PAIRS]
    print(model.evaluate(wanted))
    # The demonstrations show both forms of the Chinese; readers prefer the full one.
    rankings = [
        {"prompt": f"译成中文：{en}", "chosen": zh, "rejected": LITERAL[zh]} for en, zh in PAIRS
    ]
    print(model.align(rankings, method="dpo", epochs=20, batch_size=12))
    print("after: ", model.ask("译成中文：the red cat"), "|", model.ask("Translate: 红色的猫"))
    print(model.evaluate(wanted))


if __name__ == "__main__":
    main()
