"""The person apart from the background."""

import numpy as np

from engine.generators import matte as matte_module
from engine.generators.matte import person_layer, person_matte, still_plate


def test_finds_the_drawn_head(head):
    found = person_matte(head.frame, head.points)
    assert found is not None
    assert found.shape == (256, 256)
    x, y = head.points[4, :2].astype(int)
    assert found[y, x] > 0.99
    assert found[:40, :20].max() < 0.01


def test_gives_up_where_the_face_is_not_found(monkeypatch, head):
    monkeypatch.setattr(matte_module, "_segment", lambda frame: np.zeros((256, 256), np.float32))
    assert person_matte(head.frame, head.points) is None


def test_layer_over_plate_is_the_frame(head):
    found = person_matte(head.frame, head.points)
    plate = still_plate(head.frame, found, head.points)
    layer = person_layer(head.frame, found, plate, head.points).astype(float)
    composed = layer[..., :3] + (1 - layer[..., 3:] / 255) * plate
    difference = np.abs(composed - head.frame).mean(axis=2)
    assert (difference < 2).mean() > 0.9
    assert (layer[..., :3] <= layer[..., 3:] + 1).all()  # premultiplied


def test_plate_shows_background_where_the_head_was(head):
    found = person_matte(head.frame, head.points)
    plate = still_plate(head.frame, found, head.points).astype(int)
    x, y = head.points[10, :2].astype(int)
    skin, background = np.array((205, 155, 130)), np.array((70, 110, 150))
    assert np.abs(plate[y, x] - background).sum() < np.abs(plate[y, x] - skin).sum()
    assert np.array_equal(plate[:40, :20], head.frame[:40, :20])
