"""In which number format the networks compute."""

from __future__ import annotations

import torch

from engine.training.recipe import Precision


def choose_precision(wanted: Precision, device: torch.device) -> torch.dtype:
    """float32 or bfloat16. `auto` takes bfloat16 only where the machine has instructions for it.

    On a processor without AVX512_BF16 or AMX, bfloat16 convolutions are emulated: 10 to 40 times slower than float32.
    """
    if wanted == "auto":
        return torch.bfloat16 if _native_bfloat16(device) else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
