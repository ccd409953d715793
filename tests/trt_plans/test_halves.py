"""Every half of every generator: what TensorRT lacks of it, what stands for that, and that the whole agrees with torch.

What is compared is the very graph that TensorRT gets, with our plugins in it, executed in ONNX Runtime: in 32 bits as
it is, in 16 with every rounding that it asks for: `portrait` as it ships by the bounds that plans are held to, the
others, narrow and with random weights, on the average.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference is torch's (extra: torch)")
pytest.importorskip("onnxscript", reason="export needs onnxscript (extra: export)")

import onnx  # noqa: E402

from engine.export import export_network, measured_deviations  # noqa: E402
from engine.generators import ENTRY_POINT  # noqa: E402
from engine.generators.keypoint_generator import KeypointGenerator  # noqa: E402
from engine.generators.neural import NetworkSpec, NeuralGenerator, TensorSpec, torch_network  # noqa: E402
from engine.generators.portrait import PortraitGenerator  # noqa: E402
from engine.nets import adaat, dagan, first_order, iplap, lsr, lsr_halves, rhythmic  # noqa: E402
from engine.nets.dense_motion import DenseMotionConfig  # noqa: E402
from engine.nets.face_depth import FaceDepthConfig  # noqa: E402
from engine.nets.hourglass import HourglassConfig  # noqa: E402
from engine.nets.keypoint_detector import KeypointConfig  # noqa: E402
from engine.nets.merged_modulation import merged_for_inference  # noqa: E402
from trt_plans.network import prepared  # noqa: E402
from trt_plans.operators import REPLACEMENTS, obstacles  # noqa: E402
from trt_plans.plugin_nodes import plugins_in, without_functions  # noqa: E402
from trt_plans.precision import ELEMENT_TYPES, Precision, in_emulated_precision  # noqa: E402
from trt_plans.verify import TOLERANCES, compare  # noqa: E402

pytestmark = pytest.mark.slow

SIZE = 64
HOURGLASS = HourglassConfig(8, 32, 2)
FIRST_ORDER = first_order.FirstOrderConfig(
    detector=KeypointConfig(keypoints=4, hourglass=HOURGLASS),
    motion=DenseMotionConfig(hourglass=HOURGLASS),
    width=8,
    limit=32,
    residual_blocks=2,
)
DAGAN = dagan.DaGANConfig(
    replace(FIRST_ORDER, detector=replace(FIRST_ORDER.detector, channels=4)), FaceDepthConfig(width=4)
)
ADAAT = adaat.AdaATConfig(divisor=16, transform_blocks=3)
RHYTHMIC = rhythmic.RhythmicConfig(width=2, references=2, spare=False)
LSR = lsr.LSRConfig(size=SIZE, width=4, limit=16, latent=12, hidden=8)
IPLAP = iplap.RendererConfig(side=SIZE, shallow=4, deep=8, hidden=2, head=3, audio=1, shared=5)

Half = tuple[Any, list[Any]]
"A network and what goes into it, as torch tensors of batch 2."


def frames() -> Any:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8))


def moved(points: Any) -> list[Any]:
    """A frame's points, and what leads from its local frames to the source's."""
    torch.manual_seed(0)
    return [points + 0.05 * torch.randn_like(points), torch.eye(2) + 0.2 * torch.randn(*points.shape, 2)]


@pytest.fixture(scope="module")
def halves(random_first_order, random_network, random_adaat) -> dict[str, Half]:
    """By the name of the generator and the half."""
    found: dict[str, Half] = {}
    with torch.no_grad():  # inference mode would send the exporter the long way round
        model = random_first_order(FIRST_ORDER)
        found["fomm detect"] = (first_order.DetectHalf(model), [frames()])
        found["fomm encode"] = (first_order.EncodeHalf(model), [frames()])
        features, small, heatmaps, points, _ = found["fomm encode"][0](frames())
        found["fomm render"] = (
            first_order.RenderHalf(model),
            [features, small, heatmaps, points, *moved(points)],
        )
        for decoder in ("residual", "spade"):
            model = random_network(lambda kind=decoder: dagan.DaGANModel(replace(DAGAN, decoder=kind)))
            if decoder == "residual":
                found["dagan detect"] = (dagan.DetectHalf(model), [frames()])
                found["dagan encode"] = (dagan.EncodeHalf(model), [frames()])
            features, small, heatmaps, queries, points, _ = dagan.EncodeHalf(model)(frames())
            inputs = [features, small, heatmaps, queries, points, *moved(points)]
            if decoder == "spade":
                inputs.append(frames())
            found[f"dagan render {decoder}"] = (dagan.RenderHalf(model), inputs)
        network = random_adaat(ADAAT)
        for module in network.modules():
            if isinstance(module, torch.nn.Linear):
                # Turns of half a radian, as faces need. Of whole turns of noise, 16 bits are tens of levels.
                module.weight.mul_(0.2)
        landmarks = torch.rand(2, ADAAT.landmarks, 2) * 1.6 - 0.8
        found["adaat encode"] = (adaat.EncodeHalf(network), [frames(), landmarks])
        found["adaat render"] = (adaat.RenderHalf(network), [found["adaat encode"][0](frames(), landmarks), landmarks])
        renderer = random_network(lambda: iplap.IPLAPRenderer(IPLAP))
        references = [frames(), torch.rand(2, SIZE, SIZE)]
        found["iplap encode"] = (iplap.EncodeHalf(renderer), references)
        features = [
            feature[:, None].expand(-1, 2, *feature.shape[1:]) for feature in iplap.EncodeHalf(renderer)(*references)
        ]
        found["iplap render"] = (
            iplap.RenderHalf(merged_for_inference(renderer)),
            [
                frames(),
                torch.rand(2, 5, SIZE, SIZE),
                torch.randn(2, 80, 16),
                *features,
                frames()[:, None].repeat(1, 2, 1, 1, 1),
            ],
        )
        painter = random_network(lambda: lsr.LSRNetwork(LSR))
        contours = frames().flip(1)
        found["lsr encode"] = (lsr_halves.LSREncodeHalf(painter), [frames(), contours])
        found["lsr render"] = (
            lsr_halves.LSRRenderHalf(painter),
            [*found["lsr encode"][0](frames(), contours), contours],
        )
        torch.manual_seed(0)  # weights as training begins with: of others its predicted weights make millions
        composer = rhythmic.RhythmicNetwork(RHYTHMIC).eval()
        edges = frames()[..., :1]
        found["rhythmic encode"] = (rhythmic.EncodeHalf(composer), [frames(), edges])
        *joined, pictures, labels = found["rhythmic encode"][0](frames(), edges)
        found["rhythmic render"] = (
            rhythmic.RenderHalf(composer),
            [
                *(edges, frames(), edges, frames().flip(1), edges.flip(1)),
                *(one[:, None].repeat(1, RHYTHMIC.references, 1, 1, 1) for one in joined),
                *(pictures.sum(dim=1), labels.sum(dim=1)),
            ],
        )
    return found


LACKING = {"uint8 inside the graph"}
"""What TensorRT lacks of each half as it is exported, beside nothing: rank-5 samples and matrix inverses are not in our
networks, which have exact equals of two dimensions and closed forms instead."""

PLUGINS = {
    "fomm detect": {},
    "fomm encode": {},
    "fomm render": {"dense_motion": 1, "grid_sample_2d_zeros": 1},
    "dagan detect": {},
    "dagan encode": {},
    "dagan render residual": {"dense_motion": 1, "grid_sample_2d_zeros": 1},
    "dagan render spade": {"dense_motion": 2, "grid_sample_2d_zeros": 1},
    "adaat encode": {},
    "adaat render": {"affine_sample": 2},
    "rhythmic encode": {},
    "rhythmic render": {"grid_sample_2d_border": 2},
    "lsr encode": {},
    "lsr render": {},
    "iplap encode": {},
    "iplap render": {"grid_sample_2d_zeros": 3},
}


def test_halves_of_every_generator_are_here() -> None:
    """portrait's are compared as they ship, below. A generator that joins has to be added to `halves` and `PLUGINS`."""
    for point in entry_points(group=ENTRY_POINT):
        kind = point.load()
        if point.name == PortraitGenerator.name or not issubclass(kind, NeuralGenerator):
            continue
        of_keypoints = ("detect",) if issubclass(kind, KeypointGenerator) else ()
        for half in (*of_keypoints, "encode", "render"):
            assert any(key.startswith(f"{point.name} {half}") for key in PLUGINS), f"{point.name}: {half} is missing"


def spec_of(half: Half) -> NetworkSpec:
    module, inputs = half
    with torch.no_grad():
        outputs = module(*inputs)
    outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)

    def specs(name: str, tensors: list[Any]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(f"{name}_{k}", tuple(tensor.shape[1:]), tensor.numpy().dtype.type)
            for k, tensor in enumerate(tensors)
        )

    return NetworkSpec(specs("in", inputs), specs("out", outputs))


@pytest.mark.parametrize("name", PLUGINS)
def test_half_is_all_tensorrts_or_ours_and_agrees_with_torch(
    name: str, halves: dict[str, Half], execute: Callable[..., Any], tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    module, inputs = halves[name]
    spec = spec_of(halves[name])
    arrays = {entry.name: tensor.numpy() for entry, tensor in zip(spec.inputs, inputs, strict=True)}
    path = tmp_path / "half.onnx"
    export_network(module, spec, [arrays], path)
    check(onnx.load(path), name, torch_network(module, spec), arrays, execute, PLUGINS[name])


@pytest.mark.parametrize("half", ["encode", "render"])
@pytest.mark.parametrize("size", [256, 512])
def test_portrait_as_it_ships(half: Any, size: int, execute: Callable[..., Any]) -> None:
    from engine.export import example_inputs, example_motions
    from engine.face.fit import fit_source
    from engine.face.images import load_image
    from engine.face.landmarks import detect_face
    from engine.face.model import FaceModel
    from visavis.demo import PORTRAIT

    torch.set_num_threads(1)
    generator = PortraitGenerator(size)
    picture = load_image(PORTRAIT)
    side = min(picture.shape[:2])
    import cv2

    frame = cv2.resize(picture[:side, :side], (size, size), interpolation=cv2.INTER_AREA)
    person, state = fit_source(FaceModel.load(), detect_face(frame).landmarks)
    modules = {name: generator.torch_module(name) for name in generator.network_specs()}
    landmarks = person.landmarks(state)[None].astype(np.float32)
    motions = example_motions(generator, frame, person, state)[1:2]
    arrays = example_inputs(generator, modules, frame[None], landmarks, motions)[half][0]
    reference = torch_network(modules[half], generator.network_specs()[half])
    wanted = {"grid_sample_2d_zeros": 1, "grid_sample_2d_border": 7} if half == "render" else {}
    check(onnx.load(generator.graph_path(half)), f"portrait {half}", reference, arrays, execute, wanted, True)


def check(
    exported: Any,
    name: str,
    reference: Any,
    arrays: Any,
    execute: Callable[..., Any],
    plugins: dict[str, int],
    shipped: bool = False,
) -> None:
    lacking = {entry.what for entry in obstacles(exported)}
    assert lacking <= LACKING
    assert lacking <= set(REPLACEMENTS)
    for precision in ELEMENT_TYPES:
        ready = prepared(exported, precision)
        assert obstacles(ready) == []
        nodes = Counter(node.op_type for node in ready.graph.node if node.domain)
        assert nodes == plugins, name
        assert {plugin.name for plugin in plugins_in(ready)} == set(plugins)
        assert not without_functions(ready).functions
        executed = ready if precision == "fp32" else in_emulated_precision(ready, precision)

        def plan(inputs: Any, model: Any = executed) -> Any:
            return execute(model, inputs)

        if shipped or precision == "fp32":
            compare(plan, reference, [arrays], precision, name)
        else:
            require_close_on_average(plan, reference, arrays, precision)


def require_close_on_average(plan: Any, reference: Any, arrays: Any, precision: Precision) -> None:
    """For random weights, under which a rounded logit may turn a single pixel into any other."""
    wanted, tolerance = reference(arrays), TOLERANCES[precision]
    for name, deviation in measured_deviations(plan, [arrays], [wanted]).items():
        most = tolerance.mean_levels if wanted[name].dtype == np.uint8 else tolerance.relative / 10
        assert deviation.mean <= most, f"{name} in {precision}: {deviation}"
