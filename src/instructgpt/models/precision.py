"""Which floating-point type a device computes in, and why.

Weights are float32 masters always; bfloat16 is used for the matrix products (autocast) only where
the hardware has it, because elsewhere it is emulated and slower than float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from instructgpt.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """The device `name` ("auto", "cpu", "cuda", "cuda:1", "mps"), checked to exist."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device '{name}': this machine has no usable CUDA device; use device=cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps': not available on this machine; use device=cpu")
    return device


def choose_dtype(name: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The computing dtype for `name` ("auto", "float32", "bfloat16") and the reason in words."""
    if name == "float32":
        return torch.float32, "asked for"
    if name == "bfloat16":
        return torch.bfloat16, "asked for"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported():
            return torch.bfloat16, "the GPU has bfloat16 matrix units"
        return torch.float32, "the GPU has no bfloat16 matrix units"
    if device.type == "cpu" and cpu_has_bfloat16():
        return torch.bfloat16, "the CPU has bfloat16 instructions"
    return torch.float32, f"no fast bfloat16 on this {device.type}"


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware (AVX512-BF16 or AMX)."""
    return bool(
        torch.cpu._is_avx512_bf16_supported()  # no public query exists
        or torch.cpu._is_amx_tile_supported()
    )


def autocast(
    device: torch.device, dtype: torch.dtype, keep_casts: bool = True
) -> AbstractContextManager[object]:
    """The context in which forward passes run.

    keep_casts: cast each trained weight once, until the outermost such context is left.
    """
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype, cache_enabled=keep_casts)
