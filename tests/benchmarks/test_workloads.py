"""What both sides of a benchmark work on is the same, and is what the pages say."""

from __future__ import annotations

from argparse import Namespace
from itertools import combinations

import torch


def test_the_fingerprint_does_not_see_the_order_but_every_token(benchmark_module):
    """Of `printf '[4, 5]\\n[6]' | sha256sum`."""
    fingerprint = benchmark_module("token_ids").fingerprint
    assert fingerprint([[6], [4, 5]]) == fingerprint([[4, 5], [6]]) == "9cd553371d57583e"
    assert fingerprint([[4], [5, 6]]) != fingerprint([[4, 5], [6]])


def test_lengths_are_those_of_the_pages(benchmark_module):
    token_ids = benchmark_module("token_ids")
    rows = token_ids.demonstrations(2000, vocab=300)
    assert {len(p) for p, _ in rows} == set(range(8, 65))
    assert {len(c) - 1 for _, c in rows} == set(range(1, 65))
    assert all(c[-1] == token_ids.EOS for _, c in rows)
    assert {t for p, c in rows for t in [*p, *c[:-1]]} == set(range(token_ids.FIRST_WORD, 300))


def test_six_completions_are_fifteen_pairs_the_better_first(benchmark_module):
    ranking = benchmark_module("token_ids").RankedPrompt([4], [[i] for i in range(6)])
    assert ranking.pairs() == [([i], [j]) for i, j in combinations(range(6), 2)]
    assert len(ranking.pairs()) == 15


def test_our_trainers_get_the_pairs_that_the_peer_gets(benchmark_module):
    """The peer's side of the fingerprint, from its own list of pairs."""
    token_ids = benchmark_module("token_ids")
    rankings = benchmark_module("rankings")
    arguments = Namespace(rankings=3, completions=6, vocab=300)
    ours = rankings.work(rankings.token_rankings(arguments))
    pairs = [
        ([*r.prompt, *better], [*r.prompt, *worse])
        for r in token_ids.ranked_prompts(3, 300, 6)
        for better, worse in r.pairs()
    ]
    assert ours == {"pairs": 45, "work": token_ids.pairs_fingerprint(pairs)}


def test_words_become_the_ids_that_they_name(benchmark_module):
    """A peer that takes text. "2" is the end, and 25 must not become the end and a 5."""
    models = benchmark_module("models")
    tokenizer = models.word_tokenizer(300)
    ids = [25, 222, 4, 2]
    assert tokenizer(" ".join(map(models.word, ids)))["input_ids"] == ids


def test_ends_come_as_often_as_asked(benchmark_module):
    """6 % of 4,096 entries' probability, at every position of random text."""
    models = benchmark_module("models")
    torch.manual_seed(0)
    arguments = Namespace(layers=2, width=64, vocab=4096, context=64)
    model = models.language_model(arguments, eos=0.06).eval()
    with torch.no_grad():
        logits_BTV = model(torch.randint(4, 4096, (4, 32))).logits
    chance_BT = logits_BTV.softmax(-1)[..., models.EOS]
    assert 0.04 < float(chance_BT.mean()) < 0.09


def test_needed_arithmetic_by_hand(benchmark_module):
    """One block of width 2, vocabulary 5, a row of 3 tokens of which 1 is predicted.

    Matrices of the block: 12 x 2 x 2 = 48 weights, 6 x 48 x 3 = 864. Output: 6 x 2 x 5 x 1 = 60.
    Attention forward, full square: 2 products x 2 x 3 x 3 x 2 = 72; causal half 36; backward twice
    that: 108 in all.
    """
    training_flops = benchmark_module("measure").training_flops
    shape = Namespace(layers=1, width=2, vocab=5)
    assert training_flops(shape, [(3, 1)]) == 864 + 60 + 108
