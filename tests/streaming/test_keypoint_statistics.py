"""Tables for keypoints: their axes, their files, and what learning them saves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.motion import Keypoints
from streaming.codec import CodecConfig, MotionDecoder, MotionEncoder, StreamHeader
from streaming.keypoint_statistics import (
    JACOBIAN_RADIUS,
    LEARNED_NAME,
    GeneralStatistics,
    coordinate_classes,
    general_transform,
    keypoint_metric,
    keypoint_statistics,
)
from streaming.motion_kind import KEYPOINTS
from streaming.motion_statistics import UNITS, MotionStatistics
from streaming.motion_training import TrainingConfig, learn_general_statistics, learn_keypoint_statistics
from streaming.range_coder import CodecError

COUNT = 4
DIGEST = b"weights1"
MakeMotions = Callable[..., list[Keypoints]]


@pytest.mark.parametrize("count", [1, 2, 10, 64])
def test_general_axes_keep_the_length_that_counts(count: int):
    statistics = keypoint_statistics(count, DIGEST)
    gram = statistics.transform.T @ statistics.transform
    np.testing.assert_allclose(gram, keypoint_metric(count), atol=1e-9)


def test_what_all_keypoints_do_together_is_in_the_first_six_coordinates():
    count = 10
    axes = np.eye(6)
    transform = general_transform(count, axes, axes)
    classes = coordinate_classes(count)
    shift = np.concatenate([np.tile([1.0, 0.0], count), np.zeros(4 * count)])
    together = transform @ shift
    assert together[0] == pytest.approx(np.sqrt(count))
    np.testing.assert_allclose(together[1:], 0, atol=1e-12)
    apart = np.zeros(6 * count)
    apart[2 * count + 4 * 3 + 2] = 1.0  # one entry of one Jacobian
    where = np.abs(transform @ apart) > 1e-9
    assert set(classes[where]) == {4, 10}
    assert np.linalg.norm(transform @ apart) == pytest.approx(JACOBIAN_RADIUS)


def test_general_tables_expect_keypoints_in_the_middle_and_local_frames_as_they_are():
    statistics = keypoint_statistics(10, DIGEST)
    usual = statistics.motion(statistics.mean.astype(np.int64), 1.0, 0.0, 1.0)
    assert np.abs(usual.points - usual.points[0]).max() < 1e-3
    assert np.abs(usual.points).max() < 0.5
    np.testing.assert_allclose(usual.jacobians, np.tile(np.eye(2), (10, 1, 1)), atol=0.05)


def test_equal_tables_have_equal_digests_and_others_do_not():
    both = (DIGEST, DIGEST, b"weights2")
    digests = {keypoint_statistics(count, weights).digest for count in (10, 10, 15) for weights in both}
    assert len(digests) == 4


def keypoints_that_follow_two_movements(frames: int) -> list[Keypoints]:
    """Every number follows the same two movements, each in its own direction and as far as it likes."""
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(2, 6 * COUNT)) * np.repeat((0.05, 0.15), (2 * COUNT, 4 * COUNT))
    usual = np.concatenate([rng.uniform(-0.5, 0.5, 2 * COUNT), np.tile([1.0, 0.0, 0.0, 1.0], COUNT)])
    times = np.arange(frames)[:, None] / 25
    movements = np.concatenate([np.sin(5 * times), np.sin(8 * times + 1)], axis=1)
    noise = 0.001 * rng.normal(size=(frames, 6 * COUNT))
    return [
        KEYPOINTS.motion(numbers, 1.0, frame / 25, 1.0)
        for frame, numbers in enumerate(usual + movements @ directions + noise)
    ]


@pytest.fixture(scope="module")
def learned() -> MotionStatistics:
    track = np.stack([KEYPOINTS.parameters(motion, 1.0) for motion in keypoints_that_follow_two_movements(50)])
    return learn_keypoint_statistics([track, track], DIGEST, TrainingConfig(step=0.005, rounds=1, frames=18))


def test_learned_tables_save_bits_and_survive_a_file(learned: MotionStatistics, tmp_path):
    path = tmp_path / LEARNED_NAME
    learned.save(path)
    loaded = keypoint_statistics(COUNT, DIGEST, path)
    assert loaded.digest == learned.digest
    assert loaded.kind is KEYPOINTS
    general = keypoint_statistics(COUNT, DIGEST, tmp_path / "no such file")
    assert general.digest != learned.digest
    motions = keypoints_that_follow_two_movements(150)[50:]
    assert steady_bytes(loaded, motions) < 0.6 * steady_bytes(general, motions)
    np.testing.assert_allclose(loaded.transform.T @ loaded.transform, keypoint_metric(COUNT), atol=1e-9)


def steady_bytes(statistics: MotionStatistics, motions: list[Keypoints]) -> float:
    header = StreamHeader.begin(motions[0], CodecConfig(), statistics)
    encoder, decoder = MotionEncoder(header, statistics), MotionDecoder(header, statistics)
    sizes = []
    for tick, motion in enumerate(motions):
        packet = encoder.encode(motion, tick)
        sizes.append(len(packet))
        decoder.decode(packet)
        encoder.acknowledge(decoder.acknowledgement())
    return float(np.mean(sizes[5:]))


def test_learned_tables_of_other_weights_are_refused(learned: MotionStatistics, tmp_path):
    path = tmp_path / LEARNED_NAME
    learned.save(path)
    with pytest.raises(CodecError, match=r"the network has 4 keypoints \(weights .* learn them again"):
        keypoint_statistics(COUNT, b"weights2", path)
    with pytest.raises(CodecError, match="the network has 5 keypoints"):
        keypoint_statistics(5, DIGEST, path)
    MotionStatistics.load().save(path)
    with pytest.raises(CodecError, match="tables of 24 face states"):
        keypoint_statistics(COUNT, DIGEST, path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(CodecError, match="no motion statistics"):
        keypoint_statistics(COUNT, DIGEST, path)


def test_general_tables_are_learned_and_survive_a_file(moving_keypoints: MakeMotions, tmp_path):
    tracks = [np.stack([KEYPOINTS.parameters(m, 1.0) for m in moving_keypoints(3, 45, seed)]) for seed in (0, 1)]
    general = learn_general_statistics(tracks, TrainingConfig(step=0.01, rounds=1, frames=13))
    general.save(tmp_path / "general.npz")
    loaded = GeneralStatistics.load(tmp_path / "general.npz")
    for count in (1, 3, 12):
        assert loaded.expanded(count, DIGEST).digest == general.expanded(count, DIGEST).digest
    expanded = loaded.expanded(3, DIGEST)
    # Coordinates of one class are interchangeable.
    classes = coordinate_classes(3)
    for number in range(12):
        assert len(np.unique(expanded.scale[:, classes == number], axis=1).T) == 1
    (tmp_path / "bad.npz").write_bytes((tmp_path / "general.npz").read_bytes()[:-200])
    with pytest.raises(CodecError, match="install again"):
        GeneralStatistics.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("count", [0, 65])
def test_a_count_out_of_range_is_told(count: int):
    with pytest.raises(CodecError, match="expected 1 to 64"):
        keypoint_statistics(count, DIGEST)


def test_coordinates_clamp_what_is_far_outside(moving_keypoints: MakeMotions):
    statistics = keypoint_statistics(10, DIGEST)
    motion = moving_keypoints(10, 1)[0]
    far = KEYPOINTS.from_columns({"points": motion.points * 1e6, "jacobians": motion.jacobians * 1e6}, 0.0, 1.0)
    decoded = statistics.motion(statistics.coordinates(far, 1.0), 1.0, 0.0, 1.0)
    np.testing.assert_allclose(decoded.points, np.clip(far.points, -4, 4), atol=40 / UNITS)
    np.testing.assert_allclose(decoded.jacobians, np.clip(far.jacobians, -16, 16), atol=40 / UNITS)
