"""A neural generator's networks to ONNX, the form in which they ship; checked against torch before they are written."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.face.model import Person
from engine.generators.base import FaceGenerator, GeneratorError, Tensors
from engine.generators.keypoint_generator import KeypointGenerator
from engine.generators.neural import Half, Network, NetworkSpec, NeuralGenerator, TensorSpec, torch_network
from engine.keypoint_motion import KeypointTransfer
from engine.motion import FaceState, Keypoints
from engine.runtime.base import RuntimeConfig, RuntimeUnavailableError
from engine.runtime.network_runtime import GraphRuntime
from engine.runtime.onnx_runtime import OnnxRuntime
from engine.runtime.openvino_runtime import OpenVinoRuntime
from engine.weights import graph_name

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto
    from torch import nn

OPSET = 20
"The first whose GridSample has the modes and ranks that the exporter writes."

_CHECKED_BY: tuple[type[GraphRuntime], ...] = (OnnxRuntime, OpenVinoRuntime)
_SMALL = 256
"Values below which a constant stays in float32: the cast would cost more than it saves."


class ExportError(RuntimeError):
    """A network could not be exported, or computes something else than torch does; no file was written."""


@dataclass(frozen=True)
class Tolerance:
    """How far an exported network may be from torch, for any runtime and example."""

    largest_levels: float = 2.0
    "Of a uint8 output, the largest difference."
    mean_levels: float = 0.02
    "Of a uint8 output, the mean absolute difference."
    relative: float = 1e-3
    "Of any other output, the largest difference as a share of the output's largest magnitude."


DEFAULT_TOLERANCE = Tolerance()


@dataclass(frozen=True)
class Deviation:
    """How far an exported network is from torch: the worst of its examples."""

    largest: float
    "uint8 outputs: in levels; others: share of the output's largest magnitude."
    mean: float
    "In the same unit."


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    deviations: Mapping[str, Mapping[str, Deviation]]
    "By the name of the runtime, then of the output."


def export_generator(
    generator: NeuralGenerator,
    frames: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    motions: Sequence[Tensors],
    folder: Path,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
) -> dict[Half, Exported]:
    """Write the networks of a generator, `<half>_<size>.onnx`, into a folder.

    frames, landmarks, motions: what `encode` and `render` take, as in a call; the networks are compared on what the
    generator makes of them. Raises GeneratorError without torch or weights, ExportError, RuntimeUnavailableError where
    no runtime is installed that could check.
    """
    specs = generator.network_specs()
    modules = {half: generator.torch_module(half) for half in specs}
    examples = example_inputs(generator, modules, frames, landmarks, motions)
    return {
        half: export_network(modules[half], spec, examples[half], folder / graph_name(half, generator.size), tolerance)
        for half, spec in specs.items()
    }


def example_motions(
    generator: NeuralGenerator, frame: NDArray[np.uint8], person: Person, state: FaceState
) -> list[Tensors]:
    """Motions for one source: its own, and the head turned, tilted and nearer, with other expressions.

    frame: (size, size, 3) RGB, the source. person, state: fitted to it.
    """
    turns = ((0.0, 0.4, 0.0), (0.3, -0.3, 0.1), (-0.2, 0.0, -0.3))
    if isinstance(generator, KeypointGenerator):
        found = generator.detect(frame[None])[0]
        transfer = KeypointTransfer(found)
        moved_points = (found, *(_turned(found, turn[2]) for turn in turns))
        return [generator.motion(transfer.transfer(one)) for one in moved_points]
    assert isinstance(generator, FaceGenerator)
    directions = np.random.default_rng(0).standard_normal((3, state.expression.size)).astype(np.float32)
    moved = [
        replace(
            state,
            rotation=state.rotation + np.array(turn),
            scale=state.scale * 1.1,
            expression=state.expression + 0.5 * direction,
        )
        for turn, direction in zip(turns, directions, strict=True)
    ]
    return [generator.motion(person, one) for one in (state, *moved)]


def _turned(keypoints: Keypoints, angle: float) -> Keypoints:
    """In the picture's plane, and nearer."""
    cosine, sine = 1.1 * math.cos(angle), 1.1 * math.sin(angle)
    matrix = np.array(((cosine, -sine), (sine, cosine)), np.float32)
    return Keypoints(keypoints.points @ matrix.T, matrix @ keypoints.jacobians)


def export_network(
    module: nn.Module,
    spec: NetworkSpec,
    examples: Sequence[Tensors],
    path: Path,
    tolerance: Tolerance = DEFAULT_TOLERANCE,
) -> Exported:
    """Write a network as one ONNX file that runs for batches and named axes of any length.

    Weights that float16 represents exactly are stored so and widened when the file is loaded: half the size, the same
    numbers. examples: inputs to compare on. Raises as `export_generator`.
    """
    runtimes = _installed_runtimes()
    model = _to_onnx(module, spec)
    _store_exact_halves(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    candidate = path.with_suffix(".part.onnx")
    try:
        candidate.write_bytes(model.SerializeToString())
        reference = torch_network(module, spec)
        expected = [reference(inputs) for inputs in examples]
        deviations = {
            runtime.name: measured_deviations(runtime.load(candidate, spec), examples, expected) for runtime in runtimes
        }
        _require_agreement(path, spec, deviations, tolerance)
        os.replace(candidate, path)
    finally:
        candidate.unlink(missing_ok=True)
    return Exported(path, deviations)


def _installed_runtimes() -> list[GraphRuntime]:
    runtimes: list[GraphRuntime] = []
    for kind in _CHECKED_BY:
        try:
            runtimes.append(kind(RuntimeConfig(threads=1)))
        except RuntimeUnavailableError as error:
            missing = error
    if not runtimes:
        raise missing
    return runtimes


def example_inputs(
    generator: NeuralGenerator,
    modules: Mapping[Half, nn.Module],
    frames: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    motions: Sequence[Tensors],
) -> dict[Half, list[Tensors]]:
    """What goes into the networks while the generator renders: one source and two (K-shot), one frame and a batch."""
    seen: dict[Half, list[Tensors]] = {half: [] for half in modules}

    def recording(half: Half) -> Network | None:
        if half not in modules:
            return None
        reference = torch_network(modules[half], generator.network_specs()[half])

        def run(inputs: Tensors) -> Tensors:
            seen[half].append(inputs)
            return reference(inputs)

        return run

    if isinstance(generator, KeypointGenerator):
        detect = recording("detect")
        assert detect is not None
        for frame in frames:
            generator.detect_with(detect, frame[None])
    encode, render = recording("encode"), recording("render")
    identity = generator.encode_with(encode, frames[:1], landmarks[:1])
    for motion in motions:
        generator.render_with(render, identity, motion)
    for inputs in seen.values():
        if inputs:
            pair = (inputs[0], inputs[-1])
            inputs.append({name: np.concatenate([entry[name] for entry in pair]) for name in pair[0]})
    try:
        several = generator.merge([identity, identity])
    except GeneratorError:
        return seen  # animates one picture only
    generator.render_with(render, several, motions[0])
    return seen


def _to_onnx(module: nn.Module, spec: NetworkSpec) -> ModelProto:
    import torch

    lengths = {name: 3 + k for k, name in enumerate(_named_axes(spec))}
    dimensions = {name: torch.export.Dim(name, min=1, max=64) for name in ("batch", *lengths)}

    def example(entry: TensorSpec) -> torch.Tensor:
        shape = [2, *(lengths[length] if isinstance(length, str) else length for length in entry.shape)]
        return torch.from_numpy(np.zeros(shape, entry.dtype))

    def dynamic(entry: TensorSpec) -> dict[int, Any]:
        named = {axis: dimensions[name] for axis, name in enumerate(entry.shape, 1) if isinstance(name, str)}
        return {0: dimensions["batch"], **named}

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it names every optional package that it misses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        try:
            program = torch.onnx.export(
                module.eval(),
                tuple(example(entry) for entry in spec.inputs),
                input_names=[entry.name for entry in spec.inputs],
                output_names=[entry.name for entry in spec.outputs],
                dynamic_shapes=tuple(dynamic(entry) for entry in spec.inputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch cannot export this network: {error}") from error
    assert program is not None
    model: ModelProto = program.model_proto
    _forget_origin(model)
    return model


def _named_axes(spec: NetworkSpec) -> list[str]:
    return sorted({length for entry in spec.inputs for length in entry.shape if isinstance(length, str)})


def _forget_origin(model: ModelProto) -> None:
    """Take out what the exporter noted for each node: stack traces, with the paths of this machine."""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    graph.doc_string = ""
    for entry in (*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del entry.metadata_props[:]
        entry.doc_string = ""


def _store_exact_halves(model: ModelProto) -> None:
    """Store every large float32 constant that float16 represents exactly as float16, followed by a cast."""
    from onnx import TensorProto, helper, numpy_helper

    stored: list[TensorProto] = []
    casts = []
    for constant in model.graph.initializer:
        values = numpy_helper.to_array(constant)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16) if values.dtype == np.float32 else None
        if halves is None or values.size < _SMALL or not np.array_equal(halves.astype(np.float32), values):
            stored.append(constant)
            continue
        name = f"{constant.name}_float16"
        stored.append(numpy_helper.from_array(halves, name))
        casts.append(helper.make_node("Cast", [name], [constant.name], f"widen_{constant.name}", to=TensorProto.FLOAT))
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def measured_deviations(
    network: Network, examples: Sequence[Tensors], expected: Sequence[Tensors]
) -> dict[str, Deviation]:
    worst: dict[str, Deviation] = {}
    for inputs, results in zip(examples, expected, strict=True):
        outputs = network(inputs)
        for name, wanted in results.items():
            if outputs[name].shape != wanted.shape:
                raise ExportError(f"output {name} has the shape {outputs[name].shape}, from torch {wanted.shape}")
            unit = 1.0 if wanted.dtype == np.uint8 else float(np.abs(wanted).max()) or 1.0
            difference = np.abs(outputs[name].astype(np.float64) - wanted) / unit
            so_far = worst.get(name, Deviation(0.0, 0.0))
            worst[name] = Deviation(
                # np.maximum, unlike max, keeps a NaN.
                float(np.maximum(so_far.largest, difference.max())),
                float(np.maximum(so_far.mean, difference.mean())),
            )
    return worst


def _require_agreement(
    path: Path, spec: NetworkSpec, deviations: Mapping[str, Mapping[str, Deviation]], tolerance: Tolerance
) -> None:
    levels = {entry.name for entry in spec.outputs if entry.dtype == np.uint8}
    for runtime, outputs in deviations.items():
        for name, deviation in outputs.items():
            if name in levels:
                agrees = deviation.largest <= tolerance.largest_levels and deviation.mean <= tolerance.mean_levels
            else:
                agrees = deviation.largest <= tolerance.relative
            if not agrees:  # also for NaN
                raise ExportError(
                    f"{path.name} in {runtime}: output {name} differs from torch by {deviation.largest:.3g} "
                    f"(mean {deviation.mean:.3g}), more than {tolerance}; not written"
                )
