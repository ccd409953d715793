"""A plan beside torch, on what a generator's networks really get: used if they agree, else refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from engine.export import Deviation, Tolerance, measured_deviations
from engine.generators.base import Tensors
from engine.generators.neural import Network, NetworkSpec
from trt_plans.errors import PlanMismatchError
from trt_plans.precision import Precision

TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(largest_levels=4.0, mean_levels=0.05, relative=2e-3),
    "fp16": Tolerance(largest_levels=24.0, mean_levels=0.5, relative=2e-2),
    "bf16": Tolerance(largest_levels=64.0, mean_levels=2.0, relative=1e-1),
}
"""fp32: sums in another order. fp16, bf16: about four times what rounding alone makes of the shipped networks
(tests/trt_plans/test_halves.py); a wrong network is off by tens of levels in the mean."""


def compare(
    plan: Network, reference: Network, examples: Sequence[Tensors], precision: Precision, name: str
) -> dict[str, Deviation]:
    """How far a plan is from torch on these inputs, the worst of them. Raises PlanMismatchError if too far."""
    found = measured_deviations(plan, examples, [reference(inputs) for inputs in examples])
    tolerance = TOLERANCES[precision]
    eight_bit = {key for key, value in reference(examples[0]).items() if value.dtype == np.uint8}
    for output, deviation in found.items():
        if output in eight_bit:
            agrees = deviation.largest <= tolerance.largest_levels and deviation.mean <= tolerance.mean_levels
        else:
            agrees = deviation.largest <= tolerance.relative
        if not agrees:  # also for NaN
            raise PlanMismatchError(
                f"the plan {name} is refused: its output {output} differs from torch by {deviation.largest:.3g} "
                f"(mean {deviation.mean:.3g}), more than {precision} may ({tolerance})"
            )
    return found


def as_record(found: Mapping[str, Deviation]) -> dict[str, Any]:
    """For the cache."""
    return {output: asdict(deviation) for output, deviation in found.items()}


def worst(record: Mapping[str, Any]) -> str:
    """A record in one line."""
    return ", ".join(f"{output} {entry['largest']:.2g} ({entry['mean']:.2g})" for output, entry in record.items())


def check_inputs(spec: NetworkSpec, inputs: Mapping[str, Any]) -> None:
    """Raises PlanMismatchError for inputs that are missing, of another shape than the network's, or of batches of
    different lengths."""
    for entry in spec.inputs:
        if entry.name not in inputs:
            raise PlanMismatchError(f"input {entry.name} is missing; given: {', '.join(inputs)}")
        shape = tuple(inputs[entry.name].shape)
        if len(shape) != len(entry.shape) + 1 or any(
            isinstance(asked, int) and asked != length for asked, length in zip(entry.shape, shape[1:], strict=True)
        ):
            raise PlanMismatchError(
                f"input {entry.name}: expected (batch, {', '.join(map(str, entry.shape))}), got {shape}"
            )
    batches = {entry.name: int(inputs[entry.name].shape[0]) for entry in spec.inputs}
    if len(set(batches.values())) > 1:
        raise PlanMismatchError(
            "inputs of different batches: " + ", ".join(f"{name} {length}" for name, length in batches.items())
        )
