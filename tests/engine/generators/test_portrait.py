"""The default generator as a whole: with the weights that ship, on a drawn head and on the data pack."""

import av
import numpy as np
import pytest

from engine.face.fit import fit_source, fit_state
from engine.face.landmarks import detect_face
from engine.generators import GeneratorError, load_generator
from engine.generators.mesh import MeshGenerator
from engine.generators.portrait import PortraitGenerator
from engine.quality import average_keypoint_distance, l1, ssim
from engine.quality.regions import FaceRegions
from engine.runtime import load_runtime


@pytest.fixture(scope="module")
def generator():
    return PortraitGenerator(256)


@pytest.fixture(scope="module")
def compiled(generator):
    return load_runtime("auto").compile(generator)


@pytest.fixture(scope="module")
def identity(compiled, head):
    return compiled.encode(head.frame[None], head.landmarks[None])


def test_is_found_by_its_name():
    assert isinstance(load_generator("portrait", 512), PortraitGenerator)
    with pytest.raises(GeneratorError, match="no size 300; it renders 256, 512"):
        load_generator("portrait", 300)


def test_own_motion_gives_nearly_the_source_again(generator, compiled, identity, head):
    frame = compiled.render(identity, generator.motion(head.person, head.state))[0]
    difference = np.abs(frame.astype(int) - head.frame)
    assert difference.mean() < 5
    assert np.median(difference) <= 3


def test_it_goes_where_the_mesh_goes(generator, compiled, identity, head, model, at_pose):
    turned = at_pose(model, rotation=(0.05, 0.2, 0.1), translation=(0.03, -0.05))
    mesh = MeshGenerator(256)
    drawn = mesh.render(mesh.encode(head.frame[None], head.landmarks[None]), mesh.motion(head.person, turned))[0]
    frame = compiled.render(identity, generator.motion(head.person, turned))[0]
    assert l1(frame, drawn) < 0.35 * l1(head.frame, drawn)


def test_a_batch_renders_each_row_as_alone(generator, compiled, head, model, at_pose):
    states = [at_pose(model, rotation=(0.0, yaw, 0.0)) for yaw in (-0.15, 0.2)]
    identity = compiled.encode(np.stack([head.frame] * 2), np.stack([head.landmarks] * 2))
    motions = [generator.motion(head.person, state)["landmarks"] for state in states]
    both = compiled.render(identity, {"landmarks": np.concatenate(motions)})
    for k, motion in enumerate(motions):
        alone = compiled.render({name: value[k : k + 1] for name, value in identity.items()}, {"landmarks": motion})
        assert np.abs(both[k].astype(int) - alone[0]).max() <= 1


def test_equal_sources_change_nothing(generator, compiled, identity, head, model, at_pose):
    motion = generator.motion(head.person, at_pose(model, rotation=(0.0, 0.1, 0.0)))
    one = compiled.render(identity, motion)[0]
    three = compiled.render(generator.merge([identity] * 3), motion)[0]
    assert np.abs(one.astype(int) - three).max() <= 3


def test_a_second_source_lends_what_the_first_lacks(generator, compiled, identity, head, drawn, with_open_mouth):
    """Shut and open mouth as sources: the open mouth looks more like the truth than with the shut one alone."""
    open_landmarks = with_open_mouth(head.landmarks, 0.05)
    truth = drawn(head.person, head.state, opened=0.05)
    second = compiled.encode(truth[None], open_landmarks[None])
    motion = {"landmarks": open_landmarks[None]}
    one = compiled.render(identity, motion)[0]
    two = compiled.render(generator.merge([identity, second]), motion)[0]
    mouth = slice(140, 220), slice(80, 176)
    assert l1(two[mouth], truth[mouth]) < 0.8 * l1(one[mouth], truth[mouth])


def test_wrong_motion_and_no_source_are_refused(generator, compiled, identity):
    with pytest.raises(GeneratorError, match=r"motion landmarks: expected \(1, 478, 3\) finite"):
        compiled.render(identity, {"landmarks": np.full((1, 478, 3), np.nan, np.float32)})
    with pytest.raises(GeneratorError, match="at least one source picture"):
        generator.merge([])


@pytest.mark.data
def test_better_than_the_mesh_on_people_it_never_saw(data_pack, generator, compiled, model):
    """Means over three test clips: the picture is closer to the truth, the face is where it should be."""
    rows = []
    for clip in ("p90_02", "p93_01", "p94_01"):
        with av.open(str(data_pack.clip(clip))) as container:
            frames = [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)][:61]
        landmarks = data_pack.landmarks(clip) - np.float32((0.5, 0.5, 0.0))
        person, state = fit_source(model, landmarks[0])
        own = person.landmarks(state).astype(np.float32)[None]
        mesh = MeshGenerator(256)
        identity, of_mesh = compiled.encode(frames[0][None], own), mesh.encode(frames[0][None], own)
        for k in range(20, 61, 20):
            motion = generator.motion(person, fit_state(model, person, landmarks[k]))
            truth, seen = frames[k], detect_face(frames[k]).landmarks
            regions = FaceRegions.of(seen, 256)
            rendered = (compiled.render(identity, motion)[0], mesh.render(of_mesh, motion)[0])
            rows.append(
                [
                    (
                        l1(frame, truth),
                        1 - ssim(frame, truth),
                        l1(frame[regions.mouth], truth[regions.mouth]),
                        average_keypoint_distance(detect_face(frame).landmarks, seen),
                    )
                    for frame in rendered
                ]
            )
    portrait, warped = np.mean(rows, axis=0)
    assert portrait[0] < 0.99 * warped[0]
    assert portrait[1] < 0.98 * warped[1]
    assert portrait[2] < 0.95 * warped[2]
    assert portrait[3] < 1.1 * warped[3]
