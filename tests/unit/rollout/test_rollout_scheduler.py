from __future__ import annotations

import random

import pytest

from instructgpt.rollout.scheduler import Scheduler


def waiting(lengths: list[int], max_slots: int, prefill_tokens: int) -> Scheduler:
    """A scheduler with prompts of these lengths, numbered from 0."""
    scheduler = Scheduler(max_slots, prefill_tokens)
    scheduler.add(range(len(lengths)), lengths)
    return scheduler


def test_prompts_are_read_longest_first_within_the_token_budget() -> None:
    scheduler = waiting([3, 10, 4, 9, 10], max_slots=8, prefill_tokens=20)
    assert scheduler.next_prompts() == [1, 4]
    scheduler.make_ready([1, 4])
    assert scheduler.next_prompts() == [3, 2]  # 2 x 9 fits, 3 x 9 does not
    scheduler.make_ready([3, 2])
    assert scheduler.next_prompts() == [0]
    scheduler.make_ready([0])
    assert scheduler.next_prompts() == []


def test_a_prompt_above_the_budget_is_read_alone() -> None:
    scheduler = waiting([50, 2, 60], max_slots=8, prefill_tokens=20)
    assert scheduler.next_prompts() == [2]
    assert scheduler.next_prompts() == [0]
    assert scheduler.next_prompts() == [1]


def test_no_prompt_is_read_while_enough_are_ready() -> None:
    scheduler = waiting([5] * 4, max_slots=2, prefill_tokens=5)
    assert scheduler.next_prompts() == [0]
    scheduler.make_ready([0, 1, 2, 3])
    assert scheduler.next_prompts() == []
    assert scheduler.settle().entering == [(0, 0), (1, 1)]
    assert scheduler.next_prompts() == []
    scheduler.release([0])
    assert scheduler.next_prompts() == []  # sequence 2 takes the slot
    assert scheduler.settle().entering == [(0, 2)]
    assert scheduler.live == [2, 1]


def test_exactly_enough_ready_is_enough() -> None:
    scheduler = waiting([5] * 2, max_slots=3, prefill_tokens=5)
    assert scheduler.next_prompts() == [0]
    scheduler.make_ready([0, 1, 2])
    assert scheduler.next_prompts() == []
    scheduler.settle()
    assert scheduler.next_prompts() == []


def test_gaps_are_filled_by_the_last_rows_when_nothing_waits() -> None:
    scheduler = waiting([1], max_slots=6, prefill_tokens=8)
    scheduler.next_prompts()
    scheduler.make_ready(range(6))
    scheduler.settle()
    scheduler.release([0, 1, 4])
    changes = scheduler.settle()
    assert changes.entering == []
    assert changes.moving == [(0, 5), (1, 3)]
    assert scheduler.live == [5, 3, 2]


def test_any_life_keeps_the_promises() -> None:
    """Random lives: a model of the slots as a plain list must agree with the scheduler's moves."""
    for seed in range(300):
        rng = random.Random(seed)
        n, slots = rng.randint(1, 5), rng.randint(1, 7)
        lengths = [rng.randint(1, 9) for _ in range(rng.randint(1, 12))]
        scheduler = waiting(lengths, slots, prefill_tokens=rng.randint(4, 30))
        memory: dict[int, int] = {}  # slot -> sequence whose keys lie there
        read: list[int] = []
        ended: list[int] = []
        for _ in range(1000):
            if scheduler.finished:
                break
            if prompts := scheduler.next_prompts():
                assert len(prompts) <= slots
                read += prompts
                first = [p * n + k for p in prompts for k in range(n)]
                gone = [q for q in first if rng.random() < 0.2]
                ended += gone
                scheduler.make_ready([q for q in first if q not in gone])
                continue
            changes = scheduler.settle()
            touched = [s for pair in changes.moving for s in pair]
            touched += [slot for slot, _ in changes.entering]
            assert len(touched) == len(set(touched))
            memory.update(changes.entering)
            for to_slot, from_slot in changes.moving:
                memory[to_slot] = memory[from_slot]
            assert 0 < len(scheduler.live) <= slots
            assert [memory[s] for s in range(len(scheduler.live))] == scheduler.live
            done = [row for row in range(len(scheduler.live)) if rng.random() < 0.3]
            ended += [scheduler.live[row] for row in done]
            scheduler.release(done)
        assert sorted(ended) == list(range(len(lengths) * n)), seed
        assert sorted(read) == list(range(len(lengths)))  # every prompt once, whatever n


@pytest.mark.parametrize("n", [1, 3])
def test_slots_stay_full_while_anything_waits(n: int) -> None:
    scheduler = waiting([4] * 20, max_slots=5, prefill_tokens=12)
    served = 0
    while not scheduler.finished:
        if prompts := scheduler.next_prompts():
            scheduler.make_ready([p * n + k for p in prompts for k in range(n)])
            continue
        scheduler.settle()
        assert len(scheduler.live) == min(5, 20 * n - served)
        scheduler.release([0])
        served += 1
