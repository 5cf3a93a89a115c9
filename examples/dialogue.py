"""Dialogue: answers that depend on an earlier turn, streamed.

python examples/dialogue.py
"""

from __future__ import annotations

from instructgpt import InstructGPT

NAMES = ["Anna", "Ben", "Clara", "David"]
名字 = ["小明", "小红", "老王", "阿丽"]


def conversation(*turns: str) -> dict[str, list[dict[str, str]]]:
    """User and assistant in turn, as the messages format of chat models has it."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": t} for i, t in enumerate(turns)]}


def main() -> None:
    rows = [conversation(f"I am {n}.", "Hello!", "Who am I?", f"You are {n}.") for n in NAMES]
    rows += [conversation(f"我是{n}。", "你好！", "我是谁？", f"你是{n}。") for n in 名字]
    texts = [m["content"] for row in rows for m in row["messages"]]
    model = InstructGPT.create(texts, seed=1)
    print(model.fit(rows))
    for row in (rows[1], rows[-1]):
        history: list[dict[str, str]] = []
        for said in row["messages"][::2]:
            history.append(said)
            print("user:     ", said["content"])
            print("assistant: ", end="")
            answer = ""
            for piece in model.stream(history, max_new_tokens=20):
                print(piece, end="", flush=True)
                answer += piece
            print()
            history.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main()
