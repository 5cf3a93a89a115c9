from __future__ import annotations

import torch

from instructgpt.rollout.kv_cache import PromptBlock, SlotCache

LAYERS, HEADS, WIDTH = 2, 3, 4


def block(*lengths: int, dtype: torch.dtype = torch.float32) -> PromptBlock:
    shape = (LAYERS, len(lengths), HEADS, max(lengths), WIDTH)
    return PromptBlock(torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype))


def step(cache: SlotCache, positions: list[int]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """One decode step: (what was fed, what came back) as [N, H, 1 or W, D] keys of each layer."""
    cache.begin_step(torch.tensor(positions), max(positions) + 1)
    fed = [torch.randn(len(positions), HEADS, 1, WIDTH) for _ in range(LAYERS)]
    return fed, [cache.update(new, -new, layer)[0] for layer, new in enumerate(fed)]


def test_rows_keep_their_prompt_and_write_at_their_own_position() -> None:
    cache, prompts = SlotCache(max_slots=4), block(5, 2)
    cache.enter(prompts, [0, 1, 1], [0, 1, 2])
    fed, seen = step(cache, [5, 2, 2])
    for layer in range(LAYERS):
        assert seen[layer].shape == (3, HEADS, 6, WIDTH)
        for row, (source, length) in enumerate([(0, 5), (1, 2), (1, 2)]):
            expected = prompts.keys[layer, source, :, :length]
            assert torch.equal(seen[layer][row, :, :length], expected)
            assert torch.equal(seen[layer][row, :, length], fed[layer][row, :, 0])


def test_moving_carries_everything_and_growth_forgets_nothing() -> None:
    cache, prompts = SlotCache(max_slots=8), block(60)
    cache.enter(prompts, [0, 0], [0, 1])
    history = [step(cache, [60 + t, 60 + t])[0] for t in range(10)]  # past the first 64 positions
    cache.move([0], [1])
    cache.enter(block(3), [0, 0, 0], [1, 2, 3])  # past the first two slots
    fed, seen = step(cache, [70, 3, 3, 3])
    for layer in range(LAYERS):
        written = torch.cat([past[layer][1] for past in history], dim=1)
        expected = torch.cat([prompts.keys[layer, 0], written], dim=1)
        assert torch.equal(seen[layer][0, :, :70], expected)
        assert torch.equal(seen[layer][0, :, 70], fed[layer][0, :, 0])


def test_values_are_kept_apart_from_keys() -> None:
    cache, prompts = SlotCache(max_slots=1), block(3)
    cache.enter(prompts, [0], [0])
    cache.begin_step(torch.tensor([3]), 4)
    new = torch.randn(1, HEADS, 1, WIDTH)
    keys, values = cache.update(new, -new, 1)
    assert torch.equal(keys[0, :, :3], prompts.keys[1, 0])
    assert torch.equal(values[0, :, :3], prompts.values[1, 0])
    assert torch.equal(values[:, :, 3:], -new)


def test_mask_hides_what_lies_after_a_row() -> None:
    cache = SlotCache(max_slots=2)
    cache.enter(block(3), [0, 0], [0, 1])
    mask = cache.begin_step(torch.tensor([1, 3]), 4)
    hidden = [[False, False, True, True], [False, False, False, False]]
    assert (mask == -torch.inf)[:, 0, 0].tolist() == hidden
    assert (mask == 0)[:, 0, 0].tolist() == [[not h for h in row] for row in hidden]


def test_a_model_of_another_dtype_gets_new_buffers() -> None:
    cache = SlotCache(max_slots=2)
    cache.enter(block(3), [0], [0])
    prompts = block(2, dtype=torch.float64)
    cache.enter(prompts, [0], [0])
    assert cache.begin_step(torch.tensor([2]), 3).dtype == torch.float64
    new = torch.randn(1, HEADS, 1, WIDTH, dtype=torch.float64)
    keys, _ = cache.update(new, new, 0)
    assert torch.equal(keys[0, :, :2], prompts.keys[0, 0])


def test_masked_slots_are_finite() -> None:
    """0 x NaN is NaN: memory that was never written must not reach the attention."""
    cache = SlotCache(max_slots=4)
    cache.enter(block(1), [0, 0, 0], [0, 1, 3])
    _, seen = step(cache, [1, 40, 1, 1])
    assert all(keys.isfinite().all() for keys in seen)


def test_buffers_grow_once_for_the_sequences_that_are_expected() -> None:
    cache = SlotCache(max_slots=6)
    cache.expect(9)
    cache.enter(block(3), [0], [0])
    first = cache.layers[0].keys
    assert first.shape[0] == 6
    cache.enter(block(3), [0] * 5, [1, 2, 3, 4, 5])
    assert cache.layers[0].keys.data_ptr() == first.data_ptr()
