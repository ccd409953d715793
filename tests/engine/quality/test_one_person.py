"""Pictures of one person, and of two."""

import numpy as np
import pytest

from engine.face.landmarks import FaceError
from engine.quality import one_person
from engine.quality.one_person import DifferentPeopleError, require_one_person


@pytest.fixture(scope="module")
def pictures(data_pack):
    """Two frames of one person and one of another, with landmarks."""
    import av

    found = []
    for clip, number in (("p88_01", 0), ("p88_01", 60), ("p91_01", 0)):
        with av.open(str(data_pack.clip(clip))) as container:
            frame = next(f for k, f in enumerate(container.decode(video=0)) if k == number)
        landmarks = data_pack.landmarks(clip)[number] - np.float32((0.5, 0.5, 0.0))
        found.append((np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), landmarks))
    return found


@pytest.mark.data
def test_another_person_is_named(pictures):
    pytest.importorskip("dlib", reason="dlib is part of the optional extra 'bench'")
    frames, landmarks = zip(*pictures, strict=True)
    assert require_one_person(frames[:2], landmarks[:2])
    with pytest.raises(DifferentPeopleError, match=r"^picture 3 shows another person than picture 1 .*leave it out$"):
        require_one_person(frames, landmarks)
    with pytest.raises(FaceError, match=r"^c\.jpg shows another person than a\.jpg"):
        require_one_person(frames, landmarks, ("a.jpg", "b.jpg", "c.jpg"))


def test_without_dlib_it_says_that_it_cannot_tell(monkeypatch):
    monkeypatch.setattr(one_person, "_embedder", lambda: None)
    frame, landmarks = np.zeros((64, 64, 3), np.uint8), np.zeros((478, 3), np.float32)
    assert not require_one_person([frame, frame], [landmarks, landmarks])
    assert require_one_person([frame], [landmarks])
