"""Log-probabilities of tokens: the one place where logits are shifted against the tokens.

Shapes: B rows, T positions, V vocabulary; N tokens flattened from any rows, D hidden width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from instructgpt.losses.precision import at_least_float32

# On a processor logits are widened to float32 this many at a time: the 4 MB stay in its cache, and
# the allocator hands out the same memory again.
_CPU_BLOCK = 1 << 20

# (hidden [n, D], targets [n], temperature, with entropy) -> (log-probs [n], entropies [n] or None)
OfChunk = Callable[[Tensor, Tensor, float, bool], tuple[Tensor, Tensor | None]]


def token_logprobs(logits_BTV: Tensor, token_ids_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of every token given the ones before it, in nats, at least float32.

    Returns logprobs_BT, where ``[:, t]`` belongs to token t and comes from the logits at t - 1.
    Position 0 has no prediction and is 0.0. ``temperature`` must be the one that the tokens were
    sampled at, or the PPO ratio does not start at 1.
    """
    logprobs_BT = logprobs_of(logits_BTV[:, :-1], token_ids_BT[:, 1:], temperature)
    return F.pad(logprobs_BT, (1, 0))


def logprobs_of(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of ``targets [...]`` under the ``logits [..., V]`` beside them, unshifted."""
    logits_NV, targets_N = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    rows = _rows_of_a_block(logits_NV)
    blocks = zip(torch.split(logits_NV, rows), torch.split(targets_N, rows), strict=True)
    # No target is ignored: a label such as -100 that strays in here is an error, not a 0.
    losses = [
        F.cross_entropy(
            _scaled(logits_RV, temperature),
            targets_R,
            reduction="none",
            ignore_index=torch.iinfo(torch.int64).min,
        )
        for logits_RV, targets_R in blocks
    ]
    return -torch.cat(losses).view(targets.shape)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy in nats of each distribution in ``logits [..., V]``; forbidden tokens may be -inf."""
    logits_NV = logits.reshape(-1, logits.shape[-1])
    blocks = torch.split(logits_NV, _rows_of_a_block(logits_NV))
    probs = (_scaled(logits_RV, temperature).softmax(dim=-1) for logits_RV in blocks)
    return torch.cat([-torch.xlogy(p, p).sum(dim=-1) for p in probs]).view(logits.shape[:-1])


def token_entropy(logits_BTV: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of the distribution that token t was drawn from: entropy_BT, position 0 is 0.0."""
    return F.pad(entropy(logits_BTV[:, :-1], temperature), (1, 0))


def chunked_token_logprobs(
    hidden_ND: Tensor,
    head: Callable[[Tensor], Tensor],
    targets_N: Tensor,
    temperature: float = 1.0,
    chunk_size: int = 1024,
    with_entropy: bool = True,
    of_chunk: OfChunk | None = None,
) -> tuple[Tensor, Tensor | None]:
    """``logprobs_of`` without ever holding N x V logits: (logprobs_N, entropy_N or None).

    ``head`` maps hidden [n, D] to logits [n, V]; hidden row i is the state that predicts
    ``targets_N[i]``. At most ``chunk_size`` rows of logits live at a time, also in backward, which
    computes them anew but for those of the last chunk: it begins with them, and needs no more
    memory for having them. ``entropy_N`` is a metric and carries no gradient. ``of_chunk`` does
    what head and log-softmax do for a chunk, where somebody knows a better way.
    """

    def one_chunk(hidden_CD: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor | None]:
        if of_chunk is not None:
            return of_chunk(hidden_CD, targets_C, temperature, with_entropy)
        logits_CV = head(hidden_CD)
        logprobs_C = logprobs_of(logits_CV, targets_C, temperature)
        if not with_entropy:
            return logprobs_C, None
        # Last on purpose: recomputation stops at the last tensor that backward needs, above.
        with torch.no_grad():
            entropy_C = entropy(logits_CV, temperature)
        return logprobs_C, entropy_C

    full, rest = divmod(hidden_ND.shape[0], chunk_size)
    sizes = [rest] * (rest > 0 or not full) + [chunk_size] * full  # the last is a full one
    chunks = list(zip(torch.split(hidden_ND, sizes), torch.split(targets_N, sizes), strict=True))
    parts = [
        checkpoint(one_chunk, *chunk, use_reentrant=False, preserve_rng_state=False)  # no dropout
        for chunk in chunks[:-1]
    ]
    parts.append(one_chunk(*chunks[-1]))
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies) if with_entropy else None


def _rows_of_a_block(logits_NV: Tensor) -> int:
    rows, vocabulary = logits_NV.shape
    if logits_NV.device.type != "cpu":
        return max(1, rows)
    return max(1, _CPU_BLOCK // vocabulary)


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    logits = at_least_float32(logits)
    return logits if temperature == 1.0 else logits / temperature
