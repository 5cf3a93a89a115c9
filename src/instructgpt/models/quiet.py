"""What transformers would say of loading, saving and padding, where it is checked elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from transformers.utils import logging


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no warnings of transformers inside the block.

    What its warnings would say (weights that are missing) the caller checks and raises.
    """
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def allow_right_padding(model: nn.Module) -> None:
    """Keep a model from looking for padding in every pass, and from warning of it.

    Rows are padded on the right only, where no mask is needed (docs/adr/0004).
    """
    for module in model.modules():
        if hasattr(module, "warn_if_padding_and_no_attention_mask"):
            module.warn_if_padding_and_no_attention_mask = _say_nothing


def _say_nothing(*_inputs: Any) -> None:
    pass
