from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from instructgpt.text.streaming import Detokenizer, StopStrings
from instructgpt.text.tokenizer import train_bpe

TEXT = "Hello there, 你好世界! Emoji: 🙂👩‍👩‍👧 and naïve café — done.\n"


@pytest.fixture(scope="module")
def decode_and_encode() -> tuple[Callable[..., str], Callable[[str], list[int]]]:
    tokenizer = train_bpe(["Hello there, and done.", "hello world"], 300)  # bytes for the rest

    def decode(ids: list[int]) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    return decode, lambda text: tokenizer.encode(text, add_special_tokens=False)


def test_pieces_are_whole_characters_and_make_up_the_text(decode_and_encode) -> None:
    decode, encode = decode_and_encode
    detokenizer = Detokenizer(decode)
    pieces = [detokenizer.push(token) for token in encode(TEXT)]
    assert "".join(pieces) == TEXT
    assert detokenizer.rest() == ""
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces  # a character of several tokens was held back


def test_a_character_that_is_cut_off_is_left_out(decode_and_encode) -> None:
    decode, encode = decode_and_encode
    ids = encode("ab世")
    detokenizer = Detokenizer(decode)
    assert "".join(detokenizer.push(token) for token in ids[:-1]) == "ab"
    assert detokenizer.rest() == ""


def test_bytes_that_are_no_text_are_shown_once_they_are_passed(decode_and_encode) -> None:
    """A lone continuation byte never becomes a character; what follows it must still appear."""
    decode, encode = decode_and_encode
    ids = [*encode("a"), encode("世")[1], *encode("bc")]
    detokenizer = Detokenizer(decode)
    assert "".join(detokenizer.push(token) for token in ids) + detokenizer.rest() == "a\ufffdbc"


def test_any_ids_give_the_text_that_decoding_them_at_once_gives(decode_and_encode) -> None:
    decode, _encode = decode_and_encode
    for seed in range(100):
        rng = random.Random(seed)
        ids = [rng.randrange(6, 290) for _ in range(30)]
        detokenizer = Detokenizer(decode)
        text = "".join(detokenizer.push(token) for token in ids) + detokenizer.rest()
        assert text.rstrip("\ufffd") == decode(ids).rstrip("\ufffd")


def stream(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    matcher, shown = StopStrings(stops), []
    for piece in pieces:
        shown.append(matcher.push(piece))
        if matcher.found:
            return shown, True
    return [*shown, matcher.rest()], False


def test_a_stop_string_over_several_pieces_is_never_shown() -> None:
    assert stream(["END"], ["ab", "cE", "N", "D more"]) == (["ab", "c", "", ""], True)
    assert stream(["END"], ["abE", "Nx"]) == (["ab", "ENx", ""], False)
    assert stream(["END"], ["abEN"]) == (["ab", "EN"], False)
    assert stream(["aab"], ["aaab!"]) == (["a"], True)
    assert stream(["aab"], ["a", "a", "a", "b"]) == (["", "", "a", ""], True)


def test_the_first_of_several_stop_strings_counts() -> None:
    assert stream(["yz", "x"], ["wxyz"]) == (["w"], True)
    assert stream([], ["wx", "yz"]) == (["wx", "yz", ""], False)


def test_any_split_of_a_text_stops_at_the_same_place() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        text = "".join(rng.choice("ab") for _ in range(20))
        stops = ["".join(rng.choice("ab") for _ in range(rng.randint(1, 4))) for _ in range(2)]
        at = [text.find(stop) for stop in stops if stop in text]
        pieces, rest = [], text
        while rest:
            cut = rng.randint(1, 4)
            pieces, rest = [*pieces, rest[:cut]], rest[cut:]
        shown, found = stream(stops, pieces)
        # Of two stops in one piece the earlier counts; over pieces, the one that is complete first.
        assert found == bool(at)
        assert text.startswith("".join(shown))
        assert not any(stop in "".join(shown) for stop in stops)
        if not found:
            assert "".join(shown) == text
