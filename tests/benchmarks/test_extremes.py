"""Hard poses on one sheet."""

import cv2
import numpy as np
import pytest

from benchmarks.evaluation.sheets import CELL_PX, LABEL_PX
from benchmarks.extremes import POSES, render_extremes
from engine.avatar import Avatar
from engine.face.fit import lid_gaps
from engine.face.model import FaceModel
from visavis.demo import PORTRAIT


@pytest.fixture(scope="module")
def avatar():
    return Avatar.from_image(PORTRAIT, generator="mesh", size=256)


def test_poses_are_what_they_say(avatar):
    model, source = FaceModel.load(), avatar.source_state
    rest = POSES[0].of(model, source)
    np.testing.assert_allclose(rest.expression, source.expression, atol=1e-6)
    states = [pose.of(model, source) for pose in POSES]
    assert any(state.scale < source.scale for state in states)
    assert any(abs(state.rotation[1] - source.rotation[1]) > 0.6 for state in states)
    gaps = [lid_gaps(avatar.person.landmarks(state)[:, :2]).mean() for state in states]
    assert min(gaps) < 0.4 * gaps[0]


def test_every_pose_is_on_the_sheet(tmp_path):
    render_extremes([PORTRAIT], ["mesh"], 256).write(tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * CELL_PX, LABEL_PX + len(POSES) * CELL_PX, 3)
    faces = np.split(sheet[:CELL_PX, LABEL_PX:].astype(int), len(POSES), axis=1)
    for pose, face in zip(POSES[1:], faces[1:], strict=True):
        assert np.abs(face - faces[0]).mean() > 0.2, pose
