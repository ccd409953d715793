import pytest
import torch

from engine.kernels.dense_motion import dense_motion
from engine.kernels.dense_motion_reference import dense_motion_reference
from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.first_order import FirstOrderConfig, FirstOrderGenerator
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig

TOLERANCE = {
    torch.float32: {"atol": 5e-5, "rtol": 1e-5},
    torch.float16: {"atol": 2e-3, "rtol": 1e-3},
    torch.bfloat16: {"atol": 1.6e-2, "rtol": 8e-3},
}
SHAPES = {  # features, keypoints, height and width of the motion map
    "same size": ((2, 16, 8, 9), 10, (8, 9)),
    "odd": ((1, 5, 7, 33), 3, (7, 33)),
    "larger": ((1, 24, 12, 20), 4, (5, 7)),
    "smaller": ((2, 3, 4, 5), 2, (9, 11)),
    "one side": ((1, 8, 6, 9), 2, (6, 3)),
    "no keypoints": ((1, 8, 3, 4), 0, (3, 4)),
    "two chunks": ((1, 136, 3, 11), 1, (3, 11)),
}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
layouts = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])


def random_motion(shape, dtype=torch.float32, layout=torch.contiguous_format):
    """The arguments of `dense_motion`."""
    (batch, channels, height, width), keypoints, size = shape
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(batch, channels, height, width, generator=draw).to(dtype).contiguous(memory_format=layout)
    return (
        features,
        (3.0 * torch.randn(batch, keypoints + 1, *size, generator=draw)).to(dtype),
        torch.randn(batch, 1, *size, generator=draw).to(dtype),
        torch.rand(batch, keypoints, 2, generator=draw) * 2.0 - 1.0,
        torch.rand(batch, keypoints, 2, generator=draw) * 2.0 - 1.0,
        torch.eye(2) + 0.3 * torch.randn(batch, keypoints, 2, 2, generator=draw),
    )


@pytest.mark.parametrize("align_corners", [False, True])
@layouts
@dtypes
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernel_equals_reference(target, shape, dtype, layout, align_corners):
    arguments = random_motion(shape, dtype, layout)
    moved = target.run(dense_motion, *arguments, align_corners)
    torch.testing.assert_close(moved, dense_motion_reference(*arguments, align_corners), **TOLERANCE[dtype])


@pytest.mark.parametrize("down_blocks", [1, 2], ids=["features larger", "same size"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("occlusion", [True, False])
def test_reference_is_what_the_networks_do(down_blocks, align_corners, occlusion):
    torch.manual_seed(0)
    hourglass = HourglassConfig(width=4, blocks=2, limit=16)
    config = FirstOrderConfig(
        KeypointConfig(keypoints=3, hourglass=hourglass),
        DenseMotionConfig(hourglass=hourglass, occlusion=occlusion),
        width=4,
        limit=16,
        down_blocks=down_blocks,
        residual_blocks=0,
        align_corners=align_corners,
    )
    generator = FirstOrderGenerator(config).double().eval()
    source = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    _, _, _, source_points, points, matrices = random_motion(((2, 1, 1, 1), 3, (2, 2)))
    source_points, points, matrices = source_points.double(), points.double(), matrices.double()
    with torch.no_grad():
        encoded = generator.encode(source, source_points)
        moved = generator.move(encoded, points, matrices)
    logits = moved.motion.mask_logits, moved.motion.occlusion_logits
    kept = dense_motion_reference(encoded.features, *logits, source_points, points, matrices, align_corners)
    torch.testing.assert_close(kept, moved.kept)


def test_strides_are_followed(target):
    features, masks, occlusion, *keypoints = random_motion(((2, 10, 9, 12), 3, (9, 12)))
    features, masks, occlusion = (part.transpose(2, 3)[..., ::2] for part in (features, masks, occlusion))
    arguments = (features[:, ::3], masks, occlusion, *keypoints)
    torch.testing.assert_close(
        target.run(dense_motion, *arguments), dense_motion_reference(*arguments), **TOLERANCE[torch.float32]
    )


def test_logits_may_be_finer_than_the_features(target):
    features, masks, occlusion, *keypoints = random_motion(SHAPES["larger"])
    for logits in ((masks, occlusion.half()), (masks.half(), occlusion), (masks.double(), occlusion.bfloat16())):
        arguments = (features.half(), *logits, *keypoints)
        torch.testing.assert_close(
            target.run(dense_motion, *arguments), dense_motion_reference(*arguments), **TOLERANCE[torch.float16]
        )


def test_without_occlusion_all_is_kept(target):
    features, masks, _, *keypoints = random_motion(SHAPES["larger"])
    moved = target.run(dense_motion, features, masks, None, *keypoints)
    expected = dense_motion_reference(features, masks, None, *keypoints)
    torch.testing.assert_close(moved, expected, **TOLERANCE[torch.float32])
    seen = dense_motion_reference(features, masks, torch.full_like(masks[:, :1], 50.0), *keypoints)
    torch.testing.assert_close(expected, seen)


def test_large_logits_do_not_overflow(target):
    features, masks, occlusion, *keypoints = random_motion(SHAPES["odd"])
    arguments = (features, 3e4 * masks, 3e4 * occlusion, *keypoints)
    moved = target.run(dense_motion, *arguments)
    assert moved.isfinite().all()
    torch.testing.assert_close(moved, dense_motion_reference(*arguments), **TOLERANCE[torch.float32])


def test_no_frames(target):
    assert target.run(dense_motion, *random_motion(((0, 4, 3, 3), 2, (3, 3)))).shape == (0, 4, 3, 3)


def test_threads_need_no_order_beyond_the_barrier(host, backwards):
    arguments = random_motion(SHAPES["larger"])
    assert torch.equal(dense_motion(*arguments, launcher=host), dense_motion(*arguments, launcher=backwards))


def test_what_does_not_fit_is_refused():
    features, masks, occlusion, source_points, points, matrices = random_motion(SHAPES["odd"])
    with pytest.raises(ValueError, match="matrices: expected"):
        dense_motion(features, masks, occlusion, source_points, points, matrices[:, 1:])
    with pytest.raises(ValueError, match="occlusion_logits: expected"):
        dense_motion(features, masks, masks, source_points, points, matrices)
    with pytest.raises(ValueError, match="features: expected"):
        dense_motion(features[:0], masks, occlusion, source_points, points, matrices)
