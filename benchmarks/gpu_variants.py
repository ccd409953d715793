"""The ways to execute a network that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.networks import Reference
from engine.generators.neural import NeuralGenerator
from engine.runtime.mixed_precision import MixedPrecision, Precision, PrecisionConfig
from engine.runtime.static_network import Capture, StaticConfig, StaticNetwork


@dataclass(frozen=True)
class Variant:
    """One way, but for TensorRT."""

    name: str
    precision: Precision
    reference: bool = False
    "As the module is, by torch's operators; else converted, with our kernels."
    compiled: bool = False
    "By torch.compile."
    recorded: bool = False
    "As a CUDA graph."


REFERENCE = Variant("eager fp32", "fp32", reference=True)
"What the others' speed and frames are compared with."

VARIANTS = (
    REFERENCE,
    Variant("eager fp16", "fp16"),
    Variant("compile fp16", "fp16", compiled=True),
    Variant("graph fp16", "fp16", recorded=True),
    Variant("graph bf16", "bf16", recorded=True),
    Variant("graph of compile fp16", "fp16", compiled=True, recorded=True),
)


def network_of(
    variant: Variant,
    generator: NeuralGenerator,
    device: str,
    batches: tuple[int, ...],
    capture: Capture | None,
    kernels: bool = True,
) -> StaticNetwork:
    """The render network of a generator in one of the ways.

    capture: used where the variant is recorded. kernels: whether ours can run here; else torch samples.
    """
    spec = generator.network_specs()["render"]
    config = StaticConfig(batches=batches, shapes_kept=len(batches) + 1)  # and batch 1 for the types
    if variant.reference:
        return StaticNetwork(Reference(generator.torch_module("render")), spec, device, config=config)
    precision = PrecisionConfig(variant.precision, kernels=kernels)
    module: nn.Module = MixedPrecision(generator.torch_module("render"), precision)
    if variant.compiled:
        module.compile(dynamic=False)
    return StaticNetwork(
        module,
        spec,
        device,
        types=_encoded_types(generator, device, precision),
        capture=capture if variant.recorded else None,
        config=config,
    )


def _encoded_types(generator: NeuralGenerator, device: str, precision: PrecisionConfig) -> Mapping[str, torch.dtype]:
    """In which the other half makes what `render` takes."""
    specs: Mapping[Any, Any] = generator.network_specs()
    if "encode" not in specs:
        return {}
    encode = StaticNetwork(MixedPrecision(generator.torch_module("encode"), precision), specs["encode"], device)
    return encode.output_types()
