"""A generator's half as TensorRT takes it: the exported graph, prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.generators.neural import Half, NetworkSpec, NeuralGenerator
from engine.runtime.network_runtime import unreadable
from trt_plans.eight_bit import eight_bit_at_border
from trt_plans.fusion import with_plugins
from trt_plans.operators import require_supported
from trt_plans.plugin_nodes import plugins_in, without_functions
from trt_plans.plugin_source import plugin_source
from trt_plans.precision import Precision, with_precision
from trt_plans.simplify import simplified

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class AxisRange:
    """The lengths of an open axis that a plan is for."""

    least: int
    best: int
    "The one that it is tuned for."
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise ValueError(
                f"an axis from {self.least} over {self.best} to {self.most}; wanted: 1 <= least <= best <= most"
            )

    def __str__(self) -> str:
        return f"{self.least}:{self.best}:{self.most}"


@dataclass(frozen=True)
class PreparedNetwork:
    """A network ready to be built."""

    name: str
    "For people: generator, half and size."
    model: ModelProto
    "With plugins as functions, so that any runtime executes it."
    spec: NetworkSpec
    precision: Precision
    axes: Mapping[str, AxisRange]
    "The open axes: `batch`, and those that `spec` names."

    @property
    def plan_bytes(self) -> bytes:
        """The ONNX file that TensorRT reads."""
        return bytes(without_functions(self.model).SerializeToString(deterministic=True))

    @property
    def identity(self) -> bytes:
        """What a plan depends on: the same and the sources of its plugins."""
        return b"\0".join((self.plan_bytes, *(plugin_source(plugin).encode() for plugin in plugins_in(self.model))))

    @property
    def profile(self) -> str:
        """The axes in one line."""
        return " ".join(f"{name}={axis}" for name, axis in sorted(self.axes.items()))

    def shapes(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """Of every input the least, best and most shape."""
        batch = self.axes["batch"]

        def shape(lengths: tuple[int | str, ...], kind: str) -> tuple[int, ...]:
            open_axes = (getattr(self.axes[n], kind) if isinstance(n, str) else n for n in lengths)
            return (getattr(batch, kind), *open_axes)

        return {
            entry.name: (shape(entry.shape, "least"), shape(entry.shape, "best"), shape(entry.shape, "most"))
            for entry in self.spec.inputs
        }


BATCH = AxisRange(1, 1, 8)
"One frame is the usual thing, several are several participants of a call."
SOURCES = AxisRange(1, 1, 4)
"Pictures of one person."


def prepared(model: ModelProto, precision: Precision) -> ModelProto:
    """An exported graph with pictures of 8 bits at its border, our kernels in it, and its precision written into it.

    Raises UnsupportedOperatorError for what TensorRT cannot do even so.
    """
    ready = with_precision(with_plugins(eight_bit_at_border(simplified(model))), precision)
    require_supported(ready)
    return ready


def prepare_half(
    generator: NeuralGenerator, half: Half, precision: Precision, batch: AxisRange = BATCH, named: AxisRange = SOURCES
) -> PreparedNetwork:
    """The half of a generator. named: of every other open axis.

    Raises GeneratorError where it was not exported, GraphError where the file is damaged, UnsupportedOperatorError.
    """
    path = generator.graph_path(half)
    spec = generator.network_specs()[half]
    open_axes = {length for entry in spec.inputs for length in entry.shape if isinstance(length, str)}
    return PreparedNetwork(
        f"{generator.name}-{half}-{generator.size}",
        prepared(_read(path), precision),
        spec,
        precision,
        {"batch": batch, **dict.fromkeys(sorted(open_axes), named)},
    )


def _read(path: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise unreadable(path, "tensorrt", error) from error
    return model
