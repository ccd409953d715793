"""Networks in 16 bits with our kernels make the frames of the reference; on the processor, and where there is a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from torch import nn  # noqa: E402

from engine.generators.base import Identity, Tensors  # noqa: E402
from engine.nets import dagan, first_order  # noqa: E402
from engine.nets.adaat import AdaATConfig, AdaATNetwork, EncodeHalf, RenderHalf  # noqa: E402
from engine.nets.dense_motion import DenseMotionConfig  # noqa: E402
from engine.nets.face_depth import FaceDepthConfig  # noqa: E402
from engine.nets.first_order import FirstOrderConfig, FirstOrderModel  # noqa: E402
from engine.nets.hourglass import HourglassConfig  # noqa: E402
from engine.nets.keypoint_detector import KeypointConfig  # noqa: E402
from engine.nets.portrait_halves import portrait_networks  # noqa: E402
from engine.nets.spade import Spade  # noqa: E402
from engine.runtime import RuntimeUnavailableError, load_runtime  # noqa: E402
from engine.runtime import cuda_runtime as cuda  # noqa: E402
from engine.runtime import kernel_operators as operators  # noqa: E402
from engine.runtime.auto_runtime import AutoRuntime  # noqa: E402
from engine.runtime.mixed_precision import DTYPES, MixedPrecision, PrecisionConfig  # noqa: E402
from engine.runtime.static_runtime import StaticRuntime  # noqa: E402

LANDMARKS = np.zeros((1, 478, 3), np.float32)
HOURGLASS = HourglassConfig(width=8, limit=32, blocks=2)
WARP = FirstOrderConfig(
    detector=KeypointConfig(keypoints=4, hourglass=HOURGLASS, downscale=2),
    motion=DenseMotionConfig(hourglass=HOURGLASS, downscale=2),
    width=8,
    limit=32,
    residual_blocks=2,
)

Halves = tuple[nn.Module, nn.Module, tuple[Any, ...], Any]
"Both halves, what goes into `encode`, and what `render` gets of its results and the driver."


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pictures(count: int, size: int, channels: int = 3) -> Any:
    """Smooth ones: noise is no picture, and in noise a hundredth of a pixel makes a difference."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand((count, channels, size // 8, size // 8), generator=draw)
    large = nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
    return (255 * large).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def points(count: int, number: int, seed: int) -> Any:
    return 1.6 * torch.rand((count, number, 2), generator=torch.Generator().manual_seed(seed)) - 0.8


def fomm_halves(random_network: Any, kind: str = "fomm") -> Halves:
    if kind == "fomm":
        model = random_network(lambda: FirstOrderModel(WARP), 0)
        encode, render = first_order.EncodeHalf(model), first_order.RenderHalf(model)
    else:
        detector = KeypointConfig(keypoints=4, channels=4, hourglass=HOURGLASS, downscale=2)
        config = dagan.DaGANConfig(
            warp=FirstOrderConfig(detector, WARP.motion, 8, 32, residual_blocks=2),
            depth=FaceDepthConfig(),
            decoder="spade" if kind == "dagan spade" else "residual",
        )
        model = random_network(lambda: dagan.DaGANModel(config), 0)
        nn.init.constant_(model.generator.AttnModule.gamma, 0.5)
        encode, render = dagan.EncodeHalf(model), dagan.RenderHalf(model)
    frames = pictures(2, 64)

    def render_inputs(encoded: tuple[Any, ...]) -> tuple[Any, ...]:
        *maps, own, _ = encoded
        matrices = torch.eye(2) + 0.1 * torch.randn((2, 4, 2, 2), generator=torch.Generator().manual_seed(3))
        own = own + 0.3 * points(2, 4, 5)  # random detectors put all keypoints in the middle
        source = (frames,) if kind == "dagan spade" else ()
        return (*maps, own, own + 0.05, matrices.to(own.device), *(one.to(own.device) for one in source))

    return encode, render, (frames,), render_inputs


def adaat_halves(random_network: Any) -> Halves:
    network = random_network(lambda: AdaATNetwork(AdaATConfig(landmarks=6, transform_blocks=3, divisor=8)), 0)
    source, target = points(2, 6, 1), points(2, 6, 2)
    return (
        EncodeHalf(network),
        RenderHalf(network),
        (pictures(2, 64), source),
        lambda part: (part, target.to(part.device)),
    )


def portrait_halves(random_network: Any) -> Halves:
    halves = random_network(portrait_networks, 0)
    for name, module in halves["render"].named_modules():
        if name.endswith((".flow", ".parameters_of")):
            nn.init.normal_(module.weight, 0.0, 0.02)
    size, draw = 256, torch.Generator().manual_seed(4)
    sources = pictures(2, size, 4), pictures(2, 96, 4), pictures(4, 64, 4).view(2, 2, 64, 64, 4)
    steps = (2 * torch.arange(64) + 1) / 64 - 1
    place = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).expand(2, 2, 64, 64, 2)
    place = place + 0.1 * torch.rand((2, 2, 1, 1, 2), generator=draw)
    weight = torch.full((2, 2, 64, 64), 0.5)

    def render_inputs(encoded: tuple[Any, ...]) -> tuple[Any, ...]:
        features, mouth, eyes = encoded
        moved = (sources[0].roll(3, 1), sources[0][..., :3], features[:, None].expand(-1, 2, -1, -1, -1), place, weight)
        windows = (sources[1].roll(2, 2), sources[1], mouth, sources[2].roll(1, 2), sources[2], eyes)
        return tuple(one.to(features.device) for one in (*moved, *windows))

    return halves["encode"], halves["render"], sources, render_inputs


MAKERS = {
    "portrait": portrait_halves,
    "adaat": adaat_halves,
    "fomm": fomm_halves,
    "dagan": lambda random: fomm_halves(random, "dagan"),
    "dagan spade": lambda random: fomm_halves(random, "dagan spade"),
}


def levels(halves: Halves, config: PrecisionConfig | None, device: str = "cpu") -> list[Any]:
    """What `render` makes, as whole numbers from 0 to 255; `encode` and all by `config`, or by the reference."""
    encode, render, sources, render_inputs = halves
    if config is not None:
        encode, render = (MixedPrecision(half, config).to(device) for half in (encode, render))
    with torch.inference_mode():
        encoded = encode.eval()(*(one.to(device) for one in sources))
        single = isinstance(encoded, tuple) and len(encoded) == 1
        frames = render.eval()(*render_inputs(encoded[0] if single else encoded))
    return [frame.cpu().int() for frame in (frames if isinstance(frames, tuple) else (frames,))]


@pytest.mark.parametrize(
    ("kind", "kernels"), [*((kind, True) for kind in MAKERS), ("portrait", False), ("fomm", False)]
)
def test_in_32_bits_frames_are_those_of_the_reference(random_network: Any, kind: str, kernels: bool) -> None:
    halves = MAKERS[kind](random_network)
    expected = levels(halves, None)
    for frame, wanted in zip(levels(halves, PrecisionConfig("fp32", kernels=kernels)), expected, strict=True):
        assert wanted.float().std() > 10  # there is something to compare
        assert (frame - wanted).abs().max() <= 1  # where the value before rounding is half way
        assert (frame - wanted).abs().float().mean() < 0.01


TOLERANCE = {
    "portrait": {"fp16": 0.5, "bf16": 3.0},
    "adaat": {"fp16": 1.5, "bf16": 8.0},  # random codes turn its channels by any angle
    "fomm": {"fp16": 0.2, "bf16": 1.0},
    "dagan": {"fp16": 0.2, "bf16": 1.0},
    "dagan spade": {"fp16": 1.0, "bf16": 8.0},
}
"Mean deviation in levels of 255, with random weights, which carry every rounding further than trained ones."


@pytest.mark.parametrize(
    ("kind", "precisions"),
    [*((kind, ("bf16", "fp16")) for kind in ("portrait", "adaat", "fomm", "dagan")), ("dagan spade", ("fp16",))],
)
def test_in_16_bits_they_are_near(random_network: Any, kind: str, precisions: tuple[Any, ...]) -> None:
    halves = MAKERS[kind](random_network)
    expected = levels(halves, None)
    means = []
    for precision in precisions:
        frames = levels(halves, PrecisionConfig(precision))
        differences = [(frame - wanted).abs().float() for frame, wanted in zip(frames, expected, strict=True)]
        assert max(one.mean() for one in differences) < TOLERANCE[kind][precision]
        means.append(differences[0].mean())
    assert 0 < means[-1] <= means[0]  # it was another precision, and float16 has 3 bits more than bfloat16


def test_what_keeps_its_32_bits(random_network: Any) -> None:
    _, render, _, _ = fomm_halves(random_network)
    converted = MixedPrecision(render, PrecisionConfig("bf16"))
    types = {name: parameter.dtype for name, parameter in converted.named_parameters()}
    assert types["network.generator.dense_motion_network.mask.weight"] == torch.float32
    assert types["network.generator.dense_motion_network.occlusion.weight"] == torch.bfloat16
    assert types["network.generator.bottleneck.r0.conv1.weight"] == torch.bfloat16
    assert types["network.generator.bottleneck.r0.norm1.weight"] == torch.float32
    assert not any("norm2" in name or "up_blocks.0.norm" in name for name in types)  # in their convolutions
    assert all(parameter.dtype == torch.float32 for parameter in render.parameters())  # the given one is as it was
    assert converted.network.generator.bottleneck.r0.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    adaat = MixedPrecision(adaat_halves(random_network)[1], PrecisionConfig("bf16"))
    linear = {parameter.dtype for name, parameter in adaat.named_parameters() if "commn_linear" in name}
    assert linear == {torch.float32}
    assert any("appearance_encoder.0.in_conv.norm" in name for name, _ in adaat.named_parameters())


def test_statistics_softmaxes_and_coordinates_are_computed_in_32_bits() -> None:
    class Parts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1, bias=False)
            nn.init.eye_(self.conv.weight.data.view(4, 4))

        def forward(self, x: Any, grid: Any) -> tuple[Any, ...]:
            narrow = self.conv(x)
            sampled = nn.functional.grid_sample(narrow, grid, align_corners=False)
            return narrow, torch.softmax(narrow, dim=1), nn.functional.instance_norm(narrow), sampled

    torch.manual_seed(0)
    x = 200 + torch.arange(2 * 4 * 16 * 16).view(2, 4, 16, 16).remainder(16).float()  # bfloat16 has all of these
    grid = (torch.rand(2, 8, 8, 2) * 2 - 1).mul(0.9)
    parts = MixedPrecision(Parts(), PrecisionConfig("bf16"))
    with torch.inference_mode():
        narrow, shares, normed, sampled = parts(x, grid)
    assert narrow.dtype == sampled.dtype == normed.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), x)
    torch.testing.assert_close(shares, torch.softmax(x, dim=1))
    # Were the mean of numbers around 200 rounded to 8 bits, these would be off by a tenth.
    torch.testing.assert_close(normed.float(), nn.functional.instance_norm(x), atol=0.008, rtol=0.008)
    # And had the grid 8 bits, by a sixteenth of a pixel; pixels beside each other differ by 1 or 15.
    wanted = nn.functional.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(sampled.float(), wanted, atol=0.51, rtol=0.0)


def test_spade_is_computed_with_our_rules() -> None:
    torch.manual_seed(0)
    module, x, condition = Spade(8, 7).eval(), torch.randn(1, 8, 8, 8) + 30, torch.randn(1, 7, 16, 16)
    with torch.inference_mode():
        [made] = MixedPrecision(module, PrecisionConfig("bf16"))(x, condition)
        torch.testing.assert_close(made, module(x, condition), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("kind", ["portrait", "fomm"])
def test_it_compiles_as_one_graph(random_network: Any, kind: str) -> None:
    """Our kernels are operators, and the rules of precision are traced, without a break."""
    encode, render, sources, render_inputs = MAKERS[kind](random_network)
    with torch.inference_mode():
        arguments = render_inputs(encode.eval()(*sources))
        if kind == "portrait":  # without its windows, which are more of the same
            render, arguments = render.frame, arguments[:5]
        module = MixedPrecision(render, PrecisionConfig("bf16"))
        compiled = torch.compile(module, backend="eager", fullgraph=True, dynamic=False)
        for made, wanted in zip(compiled(*arguments), module(*arguments), strict=True):
            torch.testing.assert_close(
                made.float(), wanted.float(), atol=1.0 if made.dtype == torch.uint8 else 0.01, rtol=0.0
            )


@pytest.mark.parametrize("together", [False, True], ids=["NCHW", "NHWC"])
def test_operators_keep_what_they_promise_to_the_compiler(together: bool) -> None:
    """The fake operators' shapes, types and strides are those of the real ones."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn((2, 4, 6, 5), generator=draw)
    volume = torch.randn((2, 4, 3, 6, 5), generator=draw)
    if together:
        maps = maps.to(memory_format=torch.channels_last)
        volume = volume.to(memory_format=torch.channels_last_3d)
    codes = torch.randn((2, 4, 4), generator=draw)
    keypoints = torch.randn((2, 3, 2), generator=draw)
    logits = torch.randn((2, 4, 3, 4), generator=draw)
    for operator, arguments in (
        (operators.grid_sample_2d, (maps, torch.randn((2, 7, 3, 2), generator=draw), "zeros", False)),
        (operators.grid_sample_3d, (volume, torch.randn((2, 2, 7, 3, 3), generator=draw), "border", True)),
        (operators.affine_sample, (maps, codes[..., 0], codes[..., 1], codes[..., 2:], False, True)),
        (
            operators.dense_motion,
            (maps, logits, logits[:, :1], keypoints, keypoints, torch.eye(2).expand(2, 3, 2, 2), False),
        ),
    ):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))


def rendered(compiled: Any, generator: Any) -> list[np.ndarray]:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    one = compiled.encode(frames[:1], LANDMARKS)
    several = generator.merge([one, compiled.encode(frames[1:], LANDMARKS)])
    return [
        *(compiled.render(one, generator.at((0.1 * k, 0.3))) for k in range(3)),
        compiled.render(several, generator.at((-0.2, 0.1))),
    ]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_runtime_agrees_with_the_reference(small_generator: Any, precision: Any) -> None:
    runtime = StaticRuntime(precision=PrecisionConfig(precision))
    expected = rendered(small_generator, small_generator)
    for frame, wanted in zip(rendered(runtime.compile(small_generator), small_generator), expected, strict=True):
        assert frame.dtype == np.uint8
        difference = np.abs(frame.astype(int) - wanted)
        assert difference.mean() < (0.01 if precision == "fp32" else 1.5)
    static = runtime.static_network(small_generator, "encode")
    assert static.output_types() == {"features": DTYPES[precision]}


def test_participants_who_render_at_once_get_their_own_frames(small_generator: Any) -> None:
    compiled = StaticRuntime().compile(small_generator)
    draw = np.random.default_rng(1)
    participants: list[tuple[Identity, Tensors]] = [
        (
            compiled.encode(draw.integers(0, 256, (1, 32, 32, 3), np.uint8), LANDMARKS),
            small_generator.at((0.05 * k, -0.1)),
        )
        for k in range(6)
    ]
    expected = [small_generator.render(*one) for one in participants]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            for frame, wanted in zip(pool.map(lambda one: compiled.render(*one), participants), expected, strict=True):
                assert np.abs(frame.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("name", ["cuda", "cuda-bf16", "cuda-fp32"])
def test_missing_gpu_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kinds = {kind.name: kind for kind in (cuda.CudaRuntime, cuda.CudaBf16Runtime, cuda.CudaFp32Runtime)}
    monkeypatch.setattr(cuda, "_driver_finds_gpu", lambda: False)
    with pytest.raises(RuntimeUnavailableError, match=f"runtime {name}: no NVIDIA GPU .*nvidia-smi.* runtime auto"):
        kinds[name]()
    monkeypatch.setattr(cuda, "_driver_finds_gpu", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeUnavailableError, match=f"runtime {name}: torch .* finds no GPU although"):
        kinds[name]()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'visavis\[torch,gpu\]'"):
        kinds[name]()


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, small_generator: Any) -> None:
    assert isinstance(AutoRuntime()._for(small_generator), cuda.CudaRuntime) == torch.cuda.is_available()
    monkeypatch.setattr("engine.runtime.auto_runtime.CudaRuntime", StaticRuntime)
    assert isinstance(AutoRuntime()._for(small_generator), StaticRuntime)


@pytest.fixture(scope="session")
def gpu() -> str:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no NVIDIA GPU")
    return "cuda"


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("kind", MAKERS)
def test_the_gpu_agrees_with_the_processor(random_network: Any, gpu: str, kind: str, precision: Any) -> None:
    halves = MAKERS[kind](random_network)
    expected = levels(halves, None)
    # torch's convolutions of float32 are TF32, which has the bits of float16.
    limit = TOLERANCE[kind]["fp16" if precision == "fp32" else precision]
    for frame, wanted in zip(levels(halves, PrecisionConfig(precision), gpu), expected, strict=True):
        assert (frame - wanted).abs().float().mean() < limit


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cuda", "cuda-bf16", "cuda-fp32", "auto"])
def test_graphs_replay_what_the_processor_computes(gpu: str, name: str, small_generator: Any) -> None:
    compiled = load_runtime(name).compile(small_generator)
    expected = rendered(small_generator, small_generator)
    for _ in range(2):  # the second time every graph is there
        for frame, wanted in zip(rendered(compiled, small_generator), expected, strict=True):
            assert np.abs(frame.astype(int) - wanted).mean() < 1.5


@pytest.mark.gpu
def test_networks_are_recorded_on_the_gpu(
    random_network: Any, gpu: str, small_generator: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runtime = cuda.CudaRuntime()
    rendered(runtime.compile(small_generator), small_generator)
    assert not [record for record in caplog.records if "cannot be recorded" in record.message]
