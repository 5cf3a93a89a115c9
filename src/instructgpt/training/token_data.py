"""What a run trains on, tokenised once into its directory and read from there by index.

tokens/NAME/    a TokenStore; for rankings also ranks.npy and firsts.npy
    about.json  the fingerprint of what it was made from, and which rows of the data were left out

A run that is started again finds them there; when it is finished, they go.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from instructgpt.data.problems import collect_problems, note_problems, problems_from_json
from instructgpt.data.readers import stream_records
from instructgpt.data.records import Demonstration, Ranking
from instructgpt.distributed.world import World
from instructgpt.storage.atomic import publish_directory
from instructgpt.storage.fingerprint import fingerprint_json
from instructgpt.storage.manifest import read_json, write_json
from instructgpt.storage.run_dir import TOKENS, RunDir
from instructgpt.storage.token_store import TokenSequence, TokenStore, write_tokens
from instructgpt.text.chat_template import ChatRenderer, TrainOn
from instructgpt.training.examples import (
    TokenRanking,
    tokenize_demonstrations,
    tokenize_rankings,
)
from instructgpt.training.language_modeling import document_rows, sequence_lengths

_ABOUT = "about.json"
_LAYOUT = 1
_WAIT_SECONDS = 0.1


class StoredRankings(Sequence[TokenRanking]):
    """Rankings in a folder: the sequences of all completions in order, and who belongs together."""

    def __init__(self, folder: Path) -> None:
        self.sequences = TokenStore(folder)
        self._ranks = np.load(folder / "ranks.npy")
        self._firsts = np.load(folder / "firsts.npy")

    def __len__(self) -> int:
        return len(self._firsts) - 1

    @property
    def sizes(self) -> list[int]:
        """K of every ranking."""
        return np.diff(self._firsts).tolist()

    def __getitem__(self, index: int) -> TokenRanking:
        place = range(len(self))[index]
        first, last = map(int, self._firsts[place : place + 2])
        return TokenRanking(self.sequences[first:last], tuple(self._ranks[first:last].tolist()))


class TokenData:
    """The data of one run as token ids, by name; rank 0 tokenises, the others wait for the files.

    One record is in memory while they are made, and a few numbers per record afterwards.
    """

    def __init__(self, run: RunDir, world: World, tokenizer: PreTrainedTokenizerBase) -> None:
        self.run = run
        self.world = world
        self.tokenizer = tokenizer

    def documents(self, name: str, path: str, row_tokens: int) -> TokenStore:
        """Documents as rows of up to `row_tokens` token ids, every token learned."""

        def write(folder: Path) -> None:
            write_tokens(folder, document_rows(path, self.tokenizer, row_tokens))

        return TokenStore(self._made(name, [path, row_tokens], write))

    def demonstrations(
        self, name: str, path: str, renderer: ChatRenderer, loss_on: TrainOn, max_tokens: int
    ) -> TokenStore:
        """Demonstrations with their loss masks."""

        def write(folder: Path) -> None:
            records = stream_records(path, Demonstration)
            write_tokens(folder, tokenize_demonstrations(records, renderer, loss_on, max_tokens))

        return TokenStore(self._made(name, [path, loss_on, max_tokens], write))

    def rankings(
        self, name: str, path: str, renderer: ChatRenderer, max_tokens: int
    ) -> StoredRankings:
        """Rankings with masks on the completions."""

        def write(folder: Path) -> None:
            records = stream_records(path, Ranking)
            _write_rankings(folder, tokenize_rankings(records, renderer, max_tokens))

        return StoredRankings(self._made(name, [path, max_tokens], write))

    def _made(self, name: str, how: list[Any], write: Callable[[Path], None]) -> Path:
        """The folder that `write` fills, unless it was filled from the same before."""
        folder = self.run.path(TOKENS, name)
        fingerprint = self._fingerprint(how)
        if self.world.is_main and _about(folder).get("fingerprint") != fingerprint:
            with publish_directory(folder, marker=None) as temporary:
                with collect_problems() as found:
                    write(temporary)
                about = {"fingerprint": fingerprint, "problems": found.to_json()}
                write_json(temporary / _ABOUT, about)
        # a barrier would give up where tokenising takes more than half an hour
        while _about(folder).get("fingerprint") != fingerprint:
            time.sleep(_WAIT_SECONDS)
        note_problems(problems_from_json(_about(folder)["problems"]))
        return folder

    def _fingerprint(self, how: list[Any]) -> str:
        """Of the run, which stands for its data and settings, and of what a hub can change."""
        tokenizer = [self.tokenizer.backend_tokenizer.to_str(), self.tokenizer.chat_template]
        return fingerprint_json([_LAYOUT, self.run.fingerprint, tokenizer, how])


def ranking_sizes(rankings: Sequence[TokenRanking]) -> list[int]:
    """K of every ranking."""
    if isinstance(rankings, StoredRankings):
        return rankings.sizes
    return [len(ranking.ranks) for ranking in rankings]


def largest_ranking(rankings: Sequence[TokenRanking]) -> int:
    """Padded tokens of the ranking that takes the most, whose completions stay together."""
    lengths = iter(sequence_lengths(flat_sequences(rankings)))
    return max(size * max(islice(lengths, size)) for size in ranking_sizes(rankings))


def flat_sequences(rankings: Sequence[TokenRanking]) -> Sequence[TokenSequence]:
    """The sequences of all completions of all rankings, in order."""
    if isinstance(rankings, StoredRankings):
        return rankings.sequences
    return [sequence for ranking in rankings for sequence in ranking.sequences]


def _write_rankings(folder: Path, rankings: Iterable[TokenRanking]) -> None:
    ranks, firsts = array("q"), array("q", [0])

    def sequences() -> Iterator[TokenSequence]:
        for ranking in rankings:
            ranks.extend(ranking.ranks)
            firsts.append(len(ranks))
            yield from ranking.sequences

    write_tokens(folder, sequences())
    np.save(folder / "ranks.npy", np.asarray(ranks))
    np.save(folder / "firsts.npy", np.asarray(firsts))


def _about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    return read_json(path) if path.exists() else {}
