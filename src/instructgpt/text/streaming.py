"""Text from tokens as they come: whole characters only, and never past a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"

# Tokens that were given out and are decoded again with a new one. Few, or decoding takes long; but
# forgetting takes a decoding, too.
_REMEMBERED = 8


class Detokenizer:
    """Turns the ids of one answer into pieces of its text.

    A Chinese character or an emoji may span tokens, and decodes to U+FFFD until it is whole: it is
    held back until then. Only the last few tokens are decoded again for a new one.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []  # the last ones
        self._given = 0  # of these ids, how many have been given out
        self._text = ""  # of those

    def push(self, token_id: int) -> str:
        """The text that this token completes; "" while a character is unfinished."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        new = text[len(self._text) :]
        if not new or new.endswith(REPLACEMENT):
            return ""
        given, self._given, self._text = self._given, len(self._ids), text
        if given >= _REMEMBERED:
            self._forget(given)
        return new

    def rest(self) -> str:
        """What is still held back at the end, without the bytes of an unfinished character."""
        text = self._decode(self._ids)[len(self._text) :].rstrip(REPLACEMENT)
        self._forget(len(self._ids))
        return text

    def _forget(self, count: int) -> None:
        """The first ids. Some stay: a token's text can depend on those before (a leading space)."""
        del self._ids[:count]
        self._given = len(self._ids)
        self._text = self._decode(self._ids)


class StopStrings:
    """Ends a text before the first of `stops`, and holds back what may yet become one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that may be shown now; `found` tells whether a stop string has come."""
        if not self._stops:
            return text
        text = self._held + text
        starts = [start for start in (text.find(stop) for stop in self._stops) if start >= 0]
        if starts:
            self.found, self._held = True, ""
            return text[: min(starts)]
        held = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def rest(self) -> str:
        """What was held back and, the text being over, is no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The longest end of `text` that is a beginning of `stop`, but not all of it."""
    lengths = range(min(len(text), len(stop) - 1), 0, -1)
    return next((length for length in lengths if stop.startswith(text[-length:])), 0)
