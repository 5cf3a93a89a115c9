"""A frozen trunk with named LoRA adapters beside its layers (Hu et al. 2021), through peft.

Several named adapters may lie on one trunk, of which at most one is on. The first one is on at
rest, so that the engine, which reads live weights, samples from it; every other model that shares
the trunk switches to its own for the length of a forward pass and back.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from instructgpt.errors import ConfigError

if TYPE_CHECKING:
    from peft import LoraConfig


def import_peft() -> ModuleType:
    """The package, or the line that installs it. Errors: ConfigError."""
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            "adapters need peft: pip install 'instructgpt[lora]', or set adapter.type = none"
        ) from error
    return peft


class Trunk:
    """A frozen backbone with named adapters beside its linear layers."""

    def __init__(self, module: nn.Module) -> None:
        module.requires_grad_(False)
        self.module = module
        self.current: str | None = None
        self.configs: dict[str, LoraConfig] = {}
        self._trained: list[nn.Parameter] = []

    def add(self, name: str, config: LoraConfig, seed: int, *, trained: bool) -> Adapter:
        """A new adapter, off unless it is the first; the same seed gives the same weights."""
        inject = import_peft().inject_adapter_in_model
        at_rest = self.current if self.configs else name
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # peft comments on transposed layers and on a second adapter; both are meant
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            inject(copy.deepcopy(config), self.module, name)
        self.module.train(self.module.training)  # the new layers, too
        self.configs[name] = config
        parameters = {
            key.replace(f".{name}.", "."): parameter
            for key, parameter in self.module.named_parameters()
            if ".lora_" in key and f".{name}." in key
        }
        if trained:
            self._trained += parameters.values()
        self.switch(at_rest)
        return Adapter(self, name, parameters)

    def layers(self) -> Iterator[tuple[str, Any]]:
        """Path and module of every layer that has an adapter."""
        from peft.tuners.lora import LoraLayer

        for path, module in self.module.named_modules():
            if isinstance(module, LoraLayer):
                yield path, module

    def switch(self, name: str | None) -> None:
        """Only this adapter is on from now; None: the bare trunk."""
        for _, layer in self.layers():
            if name is not None:
                layer.set_adapter(name)
            layer.enable_adapters(name is not None)
        # peft freezes what is off, but a backward pass may still be on its way there
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self.current = name

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """`switch` for the length of a block."""
        before = self.current
        if name == before:
            yield
            return
        self.switch(name)
        try:
            yield
        finally:
            self.switch(before)


class Adapter:
    """One named adapter of a trunk, and the head that is trained with it, if any.

    `name` is None for the bare trunk, which has nothing to train.
    """

    def __init__(self, trunk: Trunk, name: str | None, parameters: dict[str, nn.Parameter]) -> None:
        self.trunk = trunk
        self.name = name
        self.parameters = parameters

    @property
    def config(self) -> LoraConfig:
        """peft's description of it."""
        assert self.name is not None
        return self.trunk.configs[self.name]

    @property
    def trained(self) -> nn.Module:
        """What an optimizer may move, as a module that holds nothing else."""
        return nn.ParameterList(self.parameters.values())

    def train_head(self, head: nn.Linear | None) -> None:
        """Train a scalar model's head, if it is one, with the adapter."""
        if head is not None:
            self.parameters["score.weight"] = head.weight.requires_grad_(True)

    def on(self) -> AbstractContextManager[None]:
        """A block in which the trunk computes with this adapter and no other."""
        return self.trunk.using(self.name)

    def state_dict(self) -> dict[str, Tensor]:
        """The trained weights; the frozen ones are where they came from."""
        return {key: parameter.detach() for key, parameter in self.parameters.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse, in place. Errors: KeyError when it is another adapter's state."""
        if state.keys() != self.parameters.keys():
            raise KeyError(f"other weights than this adapter's: {sorted(state)[:3]}")
        for key, parameter in self.parameters.items():
            parameter.copy_(state[key])


def merged_model(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """A plain model of the same class with the adapter added into the weights.

    Weights that no adapter touches are shared with `model`, not copied.
    """
    prefix = "" if model.base_model is model else f"{model.base_model_prefix}."
    layers = {f"{prefix}{path}": layer for path, layer in adapter.trunk.layers()}
    state = {
        key.replace(".base_layer.", "."): tensor
        for key, tensor in model.state_dict().items()
        if ".lora_" not in key
    }
    with torch.no_grad():
        for path, layer in layers.items():
            if adapter.name in layer.lora_A:
                weight = layer.get_base_layer().weight
                state[f"{path}.weight"] = weight + layer.get_delta_weight(adapter.name)
    with torch.device("meta"):
        plain = type(model)(copy.deepcopy(model.config))
    plain.load_state_dict(state, assign=True)
    plain.tie_weights()
    return plain.eval()


def merge_in_place(model: PreTrainedModel, adapter: Adapter) -> None:
    """Add the only adapter of `model` into its weights; it is then plain, and trained whole."""
    backbone = adapter.trunk.module
    for path, layer in list(adapter.trunk.layers()):
        plain = layer.get_base_layer()
        with torch.no_grad():
            plain.weight += layer.get_delta_weight(adapter.name)
        backbone.set_submodule(path, plain)
    model.requires_grad_(True)
