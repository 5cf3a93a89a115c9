"""`instructgpt chat` and `instructgpt generate`: a streamed conversation on standard output."""

from __future__ import annotations

import sys

from instructgpt.data.records import Message
from instructgpt.errors import DataError, EngineError
from instructgpt.serving.session import Session

_HELP = "/new starts a new conversation, /quit (or Ctrl-D) leaves"


def chat(
    model: str,
    *,
    system: str | None,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    device: str,
    task: str | None,
) -> None:
    """Read turns from standard input, stream the answers; every answer sees the turns before it."""
    session = Session.load(model, device=device)
    session.check_task(task)
    opening = [Message("system", system)] if system else []
    history = list(opening)
    sys.stdout.write(f"{model}: {_HELP}\n")
    turn = 0
    while True:
        question = _read_turn()
        if question is None or question == "/quit":
            sys.stdout.write("\n")
            return
        if question == "/new":
            history = list(opening)
            continue
        if not question:
            continue
        history.append(Message("user", question))
        try:
            answer = _stream(
                session,
                history,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed + turn,
                task=task,
            )
        except EngineError as error:
            history.pop()
            sys.stdout.write(f"({error}; {_HELP})\n")
            continue
        history.append(Message("assistant", answer))
        turn += 1


def generate(
    model: str,
    prompt: str,
    *,
    system: str | None,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    device: str,
    task: str | None,
) -> None:
    """Stream the answer to one prompt. Errors: DataError for an empty prompt."""
    if not prompt.strip():
        raise DataError("the prompt is empty; give it as an argument or on standard input")
    messages = [Message("system", system)] if system else []
    _stream(
        Session.load(model, device=device),
        [*messages, Message("user", prompt.strip())],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        task=task,
    )


def _read_turn() -> str | None:
    """One line from the user; None at the end of input."""
    sys.stdout.write("> ")
    sys.stdout.flush()
    line = sys.stdin.readline()
    return line.strip() if line else None


def _stream(
    session: Session,
    messages: list[Message],
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    task: str | None,
) -> str:
    pieces = []
    for piece in session.stream(
        messages,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        task=task,
    ):
        sys.stdout.write(piece)
        sys.stdout.flush()
        pieces.append(piece)
    sys.stdout.write("\n")
    return "".join(pieces)
