"""Which ways of decoding a model can take: first what its configuration says, then a measurement.

Nothing in `transformers` promises that a model honours a foreign cache, explicit positions or a
four-dimensional mask, and a model that ignores one of them still produces text. So a short decode
with every trick in it is compared with full forward passes before the first token is served.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from instructgpt.errors import EngineError
from instructgpt.models.attention import NAME as CPU_ATTENTION
from instructgpt.models.causal_lm import context_length
from instructgpt.models.gpu_attention import NAME as GPU_ATTENTION
from instructgpt.rollout.forward import ForwardPass
from instructgpt.rollout.lockstep_decoder import LockstepDecoder
from instructgpt.rollout.slot_decoder import SlotDecoder
from instructgpt.rollout.slots import Slots

_MASKED_ATTENTION = ("sdpa", "eager", CPU_ATTENTION, GPU_ATTENTION)  # additive masks
_WINDOW_NAMES = ("sliding_window", "attention_chunk_size", "window_size")
_WINDOWED_LAYERS = ("sliding_attention", "chunked_attention")
_PROBE_TOKENS = 8

# What foreign code raises when it is handed something it was not written for.
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError)


def slot_obstacle(decoder: SlotDecoder) -> str | None:
    """Why the model cannot be decoded through slots; None when it can."""
    forward = decoder.forward
    config = forward.model.config.get_text_config()
    layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
    unknown = layer_types - {"full_attention", *_WINDOWED_LAYERS}
    attention = getattr(config, "_attn_implementation", None)
    if unknown or getattr(forward.model, "_is_stateful", False):
        kinds = ", ".join(sorted(unknown)) or "a state of its own"
        return f"it has layers without a plain key-value cache ({kinds})"
    if attention not in _MASKED_ATTENTION:
        return f"its attention implementation '{attention}' takes no custom mask"
    missing = [a for a in ("position_ids", "past_key_values") if not forward.accepts(a)]
    if missing:
        return f"its forward pass takes no {' and no '.join(missing)}"
    return _disagreement(forward, lambda prompts: _slot_logits(decoder, prompts, recorded=False))


def recording_obstacle(decoder: SlotDecoder) -> str | None:
    """Why steps of a model that decodes through slots cannot be recorded; None when they can."""
    return _disagreement(
        decoder.forward, lambda prompts: _slot_logits(decoder, prompts, recorded=True)
    )


def lockstep_obstacle(decoder: LockstepDecoder, forward: ForwardPass) -> str | None:
    """Why the model cannot be decoded with its own cache; None when it can."""
    if not forward.accepts("past_key_values"):
        return "its forward pass takes no past_key_values"
    return _disagreement(forward, lambda prompts: _lockstep_logits(decoder, prompts))


def attention_window(forward: ForwardPass) -> int | None:
    """The narrowest attention window of any layer, in tokens; None when all see everything."""
    config = forward.model.config.get_text_config()
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None and not set(layer_types) & set(_WINDOWED_LAYERS):
        return None
    windows = [getattr(config, name, None) for name in _WINDOW_NAMES]
    return min((int(window) for window in windows if window), default=None)


def _disagreement(
    forward: ForwardPass, cached: Callable[[list[list[int]]], list[tuple[list[int], Tensor]]]
) -> str | None:
    """Compare the (sequence, next-token logits V) of `cached` with full forward passes."""
    if context_length(forward.model) < _PROBE_TOKENS:
        return f"its context is too short ({context_length(forward.model)} tokens) to check this"
    prompts = [[(7 * i + 3 * j + 1) % forward.vocab_size for i in range(4)] for j in range(3)]
    try:
        pairs = cached(prompts)
    except torch.OutOfMemoryError:
        raise
    except _REFUSALS as error:
        reason = " ".join(str(error).split())[:200]
        return f"its forward pass refuses this ({type(error).__name__}: {reason})"
    worst = max(_difference(forward, ids, logits_V) for ids, logits_V in pairs)
    if worst <= _tolerance(forward, pairs[0][1]):
        return None
    return f"cached decoding differs from a full forward pass ({worst:.1e} of the logits' spread)"


def _difference(forward: ForwardPass, ids: Sequence[int], logits_V: Tensor) -> float:
    expected_V = forward.uncached_logits(ids).float()
    if not expected_V.isfinite().all():
        raise EngineError("the model's logits are not finite: its weights are broken")
    error = (logits_V.float() - expected_V).square().mean().sqrt()
    return float(error / expected_V.std().clamp(min=1e-6))


def _tolerance(forward: ForwardPass, logits_V: Tensor) -> float:
    """Rounding, far below what a wrong position or a visible pad does to the logits."""
    if logits_V.dtype != torch.float32:
        return 0.1
    return 3e-4 if forward.device.type == "cpu" else 5e-3  # accelerators may multiply in TF32


def _slot_logits(
    decoder: SlotDecoder, prompts: list[list[int]], recorded: bool
) -> list[tuple[list[int], Tensor]]:
    """Ragged prompts, a shared one, a row that leaves and one that moves into its slot.

    A recording is made by the second step of a size; the third repeats it with other numbers.
    """
    first, second, third = prompts[0][:3], prompts[1][:1], prompts[2][:2]
    logits, block = decoder.read_prompts([first, second, third])
    pairs = list(zip([first, second, third], logits, strict=True))
    slots = Slots(decoder.forward, 4, decoder.new_recorder if recorded else None)
    slots.cache.enter(block, [1, 0, 2, 0], [0, 1, 2, 3])
    rows = [[*second, *prompts[0][:1]], [*first, 1], [*third, 2], [*first, 3]]
    pairs += _fed(slots, rows)
    slots.cache.move([1], [3])
    rows = [[*rows[0], 2], [*rows[3], 1], [*rows[2], 0]]
    for token in (1, 2, 0):
        pairs += _fed(slots, rows)
        rows = [[*row, token] for row in rows]
    return pairs


def _fed(slots: Slots, rows: list[list[int]]) -> list[tuple[list[int], Tensor]]:
    """Feed the last token of each row; the tokens before it are in the cache."""
    last, positions = [row[-1] for row in rows], [len(row) - 1 for row in rows]
    logits_NV = slots.advance(last, positions).clone()
    return list(zip(rows, logits_NV, strict=True))


def _lockstep_logits(
    decoder: LockstepDecoder, prompts: list[list[int]]
) -> list[tuple[list[int], Tensor]]:
    """Equal prompts, one of them twice, and a row that leaves."""
    rows = [prompts[0], prompts[1], prompts[1]]
    logits_NV, cache = decoder.read_prompts(prompts[:2], [0, 1, 1])
    pairs = list(zip(rows, logits_NV, strict=True))
    for going in ([0, 1, 2], [0, 2]):
        rows = [[*rows[row], row + 1] for row in going]
        fed_N1 = torch.tensor([[row[-1]] for row in rows], device=logits_NV.device)
        if len(going) < len(logits_NV):
            decoder.select(cache, logits_NV, going)
        logits_NV = decoder.advance(cache, fed_N1, len(rows[0]))
        pairs += list(zip(rows, logits_NV, strict=True))
    return pairs
