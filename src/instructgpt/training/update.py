"""One optimizer step: accumulate, sum over ranks, check, clip, step; done nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from instructgpt.distributed.world import World
from instructgpt.errors import NonFiniteError
from instructgpt.training.optimizer import Optimizer

Metrics = dict[str, Tensor]
Microbatch = Callable[[], tuple[Tensor, Metrics]]


class Update:
    """Steps an optimizer from microbatches, each a call that returns `(loss, metrics)`.

    Losses and metrics are parts of sums over the whole step (they were divided by global counts),
    so they add up over microbatches and ranks whatever the split; metrics named `*_max` combine by
    maximum.
    """

    def __init__(self, optimizer: Optimizer, max_grad_norm: float, world: World) -> None:
        self.optimizer = optimizer
        self.max_grad_norm = max_grad_norm
        self.world = world

    def __call__(
        self,
        groups: Mapping[str, Sequence[Microbatch]],
        lr_factor: float,
        measure_groups: bool = False,
    ) -> dict[str, float]:
        """Accumulate the gradients of all groups in the same buffers, then step once.

        Returns the metrics of the step, `<group>_loss` per group and `grad_norm` (before
        clipping), the same on every rank; with `measure_groups` also `<group>_grad_norm`, each
        group's own. Errors: NonFiniteError before any parameter moves.
        """
        metrics: Metrics = {}
        group_norms: dict[str, float] = {}
        shared = {name: self.world.share(microbatches) for name, microbatches in groups.items()}
        with cast_once(self.optimizer.parameters, sum(map(len, shared.values()))):
            for group, microbatches in shared.items():
                apart = measure_groups and len(groups) > 1
                before = self._snapshot() if apart else []
                for microbatch in microbatches:
                    loss, parts = microbatch()
                    torch.autograd.backward(loss)
                    _add(metrics, {f"{group}_loss": loss.detach(), **parts})
                if apart:
                    group_norms[f"{group}_grad_norm"] = self._norm_since(before)
        numbers = combine_metrics(metrics, self.world)
        for group in groups:
            if not math.isfinite(numbers[f"{group}_loss"]):
                self._stop(f"the {group} loss is {numbers[f'{group}_loss']}")
        gradients = self._gradients()
        self.world.sum_tensors(gradients)
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            self._stop(f"the gradient norm is {norm}")
        if norm > self.max_grad_norm:
            torch._foreach_mul_(gradients, self.max_grad_norm / (norm + 1e-6))
        if measure_groups and not group_norms:
            group_norms = {f"{group}_grad_norm": norm for group in groups}  # there is one
        self.optimizer.step(lr_factor)
        return {**numbers, **group_norms, "grad_norm": norm}

    def _snapshot(self) -> list[Tensor | None]:
        return [None if p.grad is None else p.grad.clone() for p in self.optimizer.parameters]

    def _norm_since(self, before: list[Tensor | None]) -> float:
        """Norm of what has been added to the gradients since `before`, over all ranks.

        One parameter at a time: all of them would be as much memory as the gradients once more.
        """
        norms = []
        for parameter, old in zip(self.optimizer.parameters, before, strict=True):
            now = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            added = now.clone() if old is None else now - old
            self.world.sum_tensors([added])
            norms.append(torch.linalg.vector_norm(added))
        return float(torch.linalg.vector_norm(torch.stack(norms)))

    def _gradients(self) -> list[Tensor]:
        if self.world.size > 1:
            for parameter in self.optimizer.parameters:
                if parameter.grad is None:  # this rank had no microbatch; the sum needs a term
                    parameter.grad = torch.zeros_like(parameter)
        return [p.grad for p in self.optimizer.parameters if p.grad is not None]

    def _stop(self, what: str) -> None:
        for parameter in self.optimizer.parameters:
            parameter.grad = None
        raise NonFiniteError(
            f"{what}; stopped before any weight moved. Lower the learning rate, or look at the "
            "batch of this step for broken text"
        )


def cast_once(parameters: Sequence[Tensor], passes: int) -> AbstractContextManager[object]:
    """A block of so many forward passes under autocast that share one cast of every weight.

    Autocast forgets its casts when the outermost context is left: this one, in which it is off. A
    single pass is better off without: backward frees each cast behind itself. Weights must not
    move inside.
    """
    if passes < 2:
        return nullcontext()
    return torch.autocast(parameters[0].device.type, enabled=False)


def combine_metrics(metrics: Metrics, world: World) -> dict[str, float]:
    """Metrics of this rank's microbatches, combined over ranks, as numbers."""
    shares = world.gather_shares([{name: float(value) for name, value in metrics.items()}])
    combined: dict[str, float] = {}
    for share in shares:
        for name, value in share.items():
            if name.endswith("_max"):
                combined[name] = max(combined.get(name, value), value)
            else:
                combined[name] = combined.get(name, 0.0) + value
    return combined


def _add(total: Metrics, parts: Metrics) -> None:
    for name, value in parts.items():
        if name not in total:
            total[name] = value.detach()
        elif name.endswith("_max"):
            total[name] = torch.maximum(total[name], value.detach())
        else:
            total[name] = total[name] + value.detach()
