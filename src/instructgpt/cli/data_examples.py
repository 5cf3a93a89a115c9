"""Records drawn as a model meets them: what is context, what receives loss, where the end is.

On a terminal context is dim, what is learned is green in two shades that tell tokens apart, and the
end token is reversed. Elsewhere what is learned stands between « and ».
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from instructgpt.data.records import Demonstration, Document, Message, Prompt, Ranking, Record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from instructgpt.text.chat_template import ChatRenderer

_SHOWN = 600
_TAIL = 150
_STYLES = {
    "context": ("dim", "none"),
    "loss": ("green", "bright_green"),
    "end": ("reverse green", "reverse green"),
}


class Piece(NamedTuple):
    """A token, or without a tokenizer a stretch of text, and what it is for."""

    text: str
    role: Literal["context", "loss", "end"]


class Drawing(NamedTuple):
    """One example: what it is, how much of it is learned, and its pieces."""

    heading: str
    note: str
    pieces: list[Piece]


def draw(record: Record, renderer: ChatRenderer | None, loss_on: Any) -> list[Drawing]:
    """What a stage would train on, or sample from, of one record; two drawings for a ranking."""
    if isinstance(record, Document):
        return [Drawing("document", *_document(record, renderer))]
    if isinstance(record, Prompt):
        return [Drawing("prompt", *_prompt(record, renderer))]
    if isinstance(record, Demonstration):
        return [Drawing("demonstration", *_dialogue(record.messages, renderer, loss_on))]
    return [
        _candidate(record, rank, renderer)
        for rank in sorted({min(record.ranks), max(record.ranks)})
    ]


def _candidate(ranking: Ranking, rank: int, renderer: ChatRenderer | None) -> Drawing:
    completion = ranking.completions[ranking.ranks.index(rank)]
    messages = Demonstration(ranking.prompt, completion).messages
    heading = f"rank {rank} of {len(ranking.ranks)} completions"
    return Drawing(heading, *_dialogue(messages, renderer, "last"))


def _dialogue(
    messages: Sequence[Message], renderer: ChatRenderer | None, loss_on: Any
) -> tuple[str, list[Piece]]:
    if renderer is not None:
        ids, mask = renderer.dialogue_ids(messages, loss_on)
        return _as_tokens(renderer.tokenizer, ids, mask, renderer.stop_ids)
    pieces: list[Piece] = []
    for number, message in enumerate(messages):
        learned = message.role == "assistant" and message.weight > 0
        if loss_on == "last":
            learned = number == len(messages) - 1
        pieces.append(Piece(f"{message.role}: ", "context"))
        pieces.append(Piece(message.content, "loss" if learned else "context"))
        pieces.append(Piece("<end>" if learned else "", "end" if learned else "context"))
        pieces.append(Piece("\n", "context"))
    return _as_text(pieces[:-1])


def _prompt(prompt: Prompt, renderer: ChatRenderer | None) -> tuple[str, list[Piece]]:
    if renderer is None:
        _note, pieces = _dialogue(prompt.messages, None, "none")
        return _as_text([*pieces, Piece("\nassistant: ", "context")])
    ids = renderer.prompt_ids(prompt.messages)
    return _as_tokens(renderer.tokenizer, ids, [False] * len(ids), ())


def _document(document: Document, renderer: ChatRenderer | None) -> tuple[str, list[Piece]]:
    if renderer is None:
        return _as_text([Piece(document.text, "loss"), Piece("<end>", "end")])
    from instructgpt.text.encoding import TextEncoder, document_separator

    tokenizer = renderer.tokenizer
    end = tokenizer.convert_tokens_to_ids(document_separator(tokenizer))
    ids = [*TextEncoder(tokenizer).plain(document.text, first=True), end]
    return _as_tokens(tokenizer, ids, [True] * len(ids), (end,))


def _as_text(pieces: list[Piece]) -> tuple[str, list[Piece]]:
    learned = sum(len(piece.text) for piece in pieces if piece.role == "loss")
    return f"{learned} characters learned", pieces


def _as_tokens(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    mask: Sequence[bool],
    stops: Sequence[int],
) -> tuple[str, list[Piece]]:
    # The first token has nothing before it that could predict it.
    note = f"{len(ids)} tokens, {sum(mask[1:])} receive loss"
    return note, list(_tokens(tokenizer, ids, mask, stops))


def _tokens(
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    mask: Sequence[bool],
    stops: Sequence[int],
) -> Iterator[Piece]:
    """Tokens as text; those that are parts of one character are one piece."""
    shown = 0
    before = ""
    for number, token in enumerate(ids, start=1):
        text = tokenizer.decode(
            list(ids[shown:number]), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        if text.endswith("\ufffd") and number < len(ids) and mask[number] == mask[number - 1]:
            continue
        is_end = token in stops and mask[number - 1]
        yield Piece(text[len(before) :], _role(mask[number - 1], is_end))
        # The token before stays in view: alone, a tokenizer may take off a word's leading space.
        before = tokenizer.decode(
            [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        shown = number - 1
        if not text.endswith(before):
            before, shown = "", number


def _role(counts: bool, is_end: bool) -> Literal["context", "loss", "end"]:
    return "end" if is_end else "loss" if counts else "context"


def show(drawing: Drawing) -> None:
    """Print one example."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    text = Text(f"-- {drawing.heading}: {drawing.note}\n", style="bold")
    colors = console.is_terminal and not console.no_color
    for role, group in groupby(
        _shortened(drawing.pieces), key=lambda piece: piece.role != "context"
    ):
        if role and not colors:
            text.append("«")
        for number, piece in enumerate(group):
            text.append(visible(piece.text), style=_STYLES[piece.role][number % 2])
        if role and not colors:
            text.append("»")
    console.print(text)


def _shortened(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces without the middle of long ones, and of many."""
    cut = [
        piece
        if len(piece.text) <= 2 * _SHOWN
        else Piece(f"{piece.text[:_SHOWN]} [...] {piece.text[-_TAIL:]}", piece.role)
        for piece in pieces
    ]
    if len(cut) <= _SHOWN:
        return cut
    return [*cut[: _SHOWN - _TAIL], Piece(" [...] ", "context"), *cut[-_TAIL:]]


def visible(text: str) -> str:
    """Text with control characters drawn rather than sent to the terminal."""
    return "".join(_drawn(c) if ord(c) < 32 or 127 <= ord(c) < 160 else c for c in text)


def _drawn(character: str) -> str:
    if character in "\n\t":
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 32 else f"\\x{code:02x}"
