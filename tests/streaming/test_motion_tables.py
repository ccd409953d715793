"""Which tables a generator's motion is coded with."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="weights are made with torch (extra: torch)")

from engine.generators import load_generator
from engine.nets.dense_motion import DenseMotionConfig
from engine.nets.first_order import FirstOrderConfig, FirstOrderModel
from engine.nets.first_order_weights import save_model
from engine.nets.hourglass import HourglassConfig
from engine.nets.keypoint_detector import KeypointConfig
from streaming.codec import MotionDecoder, MotionEncoder, StreamHeader
from streaming.keypoint_statistics import LEARNED_NAME, keypoint_statistics
from streaming.motion_tables import motion_tables
from streaming.range_coder import CodecError

SMALL = FirstOrderConfig(
    KeypointConfig(keypoints=3, hourglass=HourglassConfig(4, 8, 2)),
    DenseMotionConfig(HourglassConfig(4, 8, 2)),
    width=4,
    limit=8,
    residual_blocks=0,
)


@pytest.fixture
def fomm(monkeypatch, tmp_path):
    """Weights of a small FOMM where the generator looks for them."""
    save_model(FirstOrderModel(SMALL), tmp_path / "fomm" / "fomm.safetensors", {"size": "128"})
    monkeypatch.setenv("VISAVIS_WEIGHTS", str(tmp_path))
    return tmp_path / "fomm"


def test_faces_need_none():
    assert motion_tables("mesh", 256) is None


def test_keypoints_have_those_of_their_weights_and_arrive(fomm):
    tables = motion_tables("fomm", 128)
    generator = load_generator("fomm", 128)
    assert tables.model_digest.tobytes() == generator.digest
    frame = np.random.default_rng(0).integers(0, 255, (1, 128, 128, 3), np.uint8)
    found = generator.detect(frame)[0]
    header = StreamHeader.begin(found, statistics=tables)
    encoder, decoder = MotionEncoder(header, tables), MotionDecoder(header, tables)
    _, arrived = decoder.decode(encoder.encode(found, 0))
    np.testing.assert_allclose(arrived.points, found.points, atol=0.01)
    np.testing.assert_allclose(arrived.jacobians, found.jacobians, atol=0.08)


def test_learned_tables_beside_the_weights_are_taken_if_they_are_for_them(fomm):
    keypoint_statistics(3, b"anothers").save(fomm / LEARNED_NAME)
    with pytest.raises(CodecError, match="learn them again"):
        motion_tables("fomm", 128)
    own = keypoint_statistics(3, load_generator("fomm", 128).digest)
    own.save(fomm / LEARNED_NAME)
    assert motion_tables("fomm", 128).digest == own.digest
