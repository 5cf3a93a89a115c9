"""Steps of few sizes over fixed buffers: on a CPU with a recorder that calls the function again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from instructgpt.rollout import slot_decoder
from instructgpt.rollout.engine import Engine
from instructgpt.rollout.recorded_step import (
    GREEDY,
    PLAIN,
    RecordedStep,
    Size,
    recorded_choice,
    size_for,
)
from instructgpt.rollout.slow_engine import SlowEngine
from instructgpt.rollout.types import SamplingParams

CPU = torch.device("cpu")


class Tape:
    """A recorder: counts what it records and what is repeated."""

    made: list[Tape] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.recorded = self.repeated = 0
        self.made.append(self)

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def again() -> None:
            self.repeated += 1
            run()

        return again


@pytest.fixture
def tapes() -> list[Tape]:
    """The recorders of this test."""
    Tape.made = []
    return Tape.made


def test_sizes_are_few_and_hold_what_they_are_for() -> None:
    rows = [size_for(n, 1, 100).rows for n in range(1, 101)]
    assert sorted(set(rows)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100]
    assert all(n <= size <= max(n, 1.5 * n) for n, size in enumerate(rows, 1))
    widths = [size_for(1, w, 1).width for w in range(1, 2001)]
    assert sorted(set(widths))[:9] == [64, 128, 192, 256, 320, 384, 448, 512, 640]
    assert all(w <= size <= max(w + 64, 1.25 * w) for w, size in enumerate(widths, 1))


def compute(ids_R: Tensor, positions_R: Tensor, width: int) -> Tensor:
    """Two logits: id + width, position."""
    return torch.stack([ids_R + width, positions_R], dim=1).float()


def run(step: RecordedStep, ids: list[int], size: Size) -> list[list[float]]:
    return step.logits(ids, [10 * i for i in ids], size).tolist()


def test_warm_up_then_record_then_repeat_each_size(tapes: list[Tape]) -> None:
    step = RecordedStep(compute, 4, CPU, Tape)
    small, large = Size(2, 64), Size(4, 128)
    assert run(step, [5], small) == [[69, 50]]
    assert (tapes[0].recorded, tapes[0].repeated) == (0, 0)
    assert run(step, [6, 7], small) == [[70, 60], [71, 70]]
    assert (tapes[0].recorded, tapes[0].repeated) == (1, 1)
    assert run(step, [1, 2, 3], large) == [[129, 10], [130, 20], [131, 30]]
    assert run(step, [8], small) == [[72, 80]]
    assert (tapes[0].recorded, tapes[0].repeated) == (1, 2)


def test_padding_rows_are_token_0_at_position_0() -> None:
    seen: list[list[int]] = []

    def note(ids_R: Tensor, positions_R: Tensor, width: int) -> Tensor:
        seen.append([*ids_R.tolist(), *positions_R.tolist()])
        return compute(ids_R, positions_R, width)

    step = RecordedStep(note, 4, CPU, Tape)
    run(step, [5, 6, 7, 8], Size(4, 64))
    run(step, [9], Size(4, 64))
    assert seen == [[5, 6, 7, 8, 50, 60, 70, 80], [9, 0, 0, 0, 90, 0, 0, 0]]


def test_recordings_are_forgotten_when_what_they_depend_on_changes(tapes: list[Tape]) -> None:
    step = RecordedStep(compute, 2, CPU, Tape)
    for state in ("here", "here", "there"):
        step.keep_while(state)
        run(step, [1], Size(1, 64))
    assert [tape.recorded for tape in tapes if tape.recorded] == [1]
    run(step, [1], Size(1, 64))
    assert tapes[-1].recorded == 1


def test_choices_are_recorded_apart_from_logits(tapes: list[Tape]) -> None:
    """Logits (id + 64, 10 id): far apart, the second is larger from id 8 on."""
    step, size = RecordedStep(compute, 2, CPU, Tape), Size(2, 64)
    for _ in range(3):
        for how in (GREEDY, PLAIN):
            ids, logprobs = step.choose([3, 10], [30, 100], [0.0, 0.999], size, how)
            assert ids.tolist() == [0, 1]
            assert logprobs.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
        assert run(step, [3, 10], size) == [[67, 30], [74, 100]]
    assert (tapes[0].recorded, tapes[0].repeated) == (3, 6)
    assert recorded_choice([GREEDY, SamplingParams(max_new_tokens=9, temperature=0.0)]) is GREEDY
    assert recorded_choice([PLAIN, SamplingParams(max_new_tokens=9)]) is PLAIN
    assert recorded_choice([PLAIN, GREEDY]) is None
    assert recorded_choice([SamplingParams(max_new_tokens=9, top_p=0.9)]) is None


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_the_engine_through_recorded_steps_equals_the_slow_one(
    tiny_model: LlamaForCausalLM,
    tapes: list[Tape],
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
) -> None:
    """Rows enter, leave and move; buffers grow; padded rows must disturb nobody."""
    monkeypatch.setattr(slot_decoder, "recorder_for", lambda device: Tape)
    prompts = [[3 + i, 5, 7 + i][: 1 + i % 3] for i in range(11)]
    params = SamplingParams(max_new_tokens=20, temperature=temperature, seed=2)
    expected = SlowEngine(tiny_model, [2]).generate(prompts, params, n=2)
    engine = Engine(tiny_model, [2], 0, max_slots=7)
    for _ in range(2):
        got = engine.generate(prompts, params, n=2)
        for ours, theirs in zip(got, expected, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert a.completion_ids == b.completion_ids
                assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
    assert sum(tape.repeated for tape in tapes) > 20
    with torch.no_grad():
        for parameter in tiny_model.parameters():
            parameter.data = 1.1 * parameter.data  # elsewhere, and another model
    count = len(tapes)
    moved = SlowEngine(tiny_model, [2]).generate(prompts, params)
    assert [g[0].completion_ids for g in engine.generate(prompts, params)] == [
        group[0].completion_ids for group in moved
    ]
    assert len(tapes) > count


def test_a_model_that_cannot_be_recorded_is_not_and_says_so(
    tiny_model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(run: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(slot_decoder, "recorder_for", lambda device: lambda: refuse)
    engine = Engine(tiny_model, [2], 0)
    params = SamplingParams(max_new_tokens=5, temperature=0.0)
    expected = SlowEngine(tiny_model, [2]).generate([[3, 4]], params)
    for _ in range(2):
        assert engine.generate([[3, 4]], params)[0][0].completion_ids == (
            expected[0][0].completion_ids
        )
    (record,) = caplog.records
    assert "without CUDA graphs" in record.getMessage()
    assert "not permitted when stream is capturing" in record.getMessage()
