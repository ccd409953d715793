"""Ours beside the published First Order Motion Model: the same weights and pictures, the same outputs.

The fixture was made by the published classes; its weights come in through the importer.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.keypoint_motion import hull_area, movement_scale, relative_jacobians, relative_points
from engine.nets.dense_motion import DenseMotionNetwork
from engine.nets.first_order import FirstOrderModel, FirstOrderParts
from engine.nets.local_frames import Keypoints, frame_change
from engine.nets.patch_discriminator import KeypointDiscriminator
from engine.weights.importers.first_order import Unsaid, read_checkpoint

ATOL_FP64 = 1e-6


@dataclass(frozen=True)
class Published:
    """What the published classes made, and how near ours has to come to it."""

    model: FirstOrderModel
    aligned: FirstOrderModel
    "The same weights, sampling with align_corners."
    discriminator: KeypointDiscriminator
    arrays: dict[str, np.ndarray]
    "float32."
    exact: dict[str, np.ndarray]
    "float64, fewer of them."
    tolerances: dict[str, float]


@pytest.fixture(scope="module")
def published(parity_folder: Path) -> Published:
    folder = parity_folder / "fomm_a"
    checkpoint = folder / "checkpoint.pth.tar"
    read = read_checkpoint(checkpoint, keypoints=10)
    assert read.discriminator is not None
    tolerances = json.loads((folder / "tolerances.json").read_text())
    return Published(
        model=read.model,
        aligned=read_checkpoint(checkpoint, unsaid=Unsaid(align_corners=True)).model,
        discriminator=read.discriminator,
        arrays=dict(np.load(folder / "io.npz")),
        exact=dict(np.load(folder / "io_fp64.npz")),
        tolerances={name: entry["atol_fp32"] for name, entry in tolerances.items()},
    )


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def pictures(request: pytest.FixtureRequest, published: Published) -> dict[str, Tensor]:
    """The fixture's inputs; everything that is computed from them has their precision."""
    inputs = {name: value for name, value in published.arrays.items() if name.startswith("in.")}
    return {name.removeprefix("in."): torch.from_numpy(value).to(request.param) for name, value in inputs.items()}


@pytest.fixture
def compare(published: Published) -> Callable[[dict[str, Tensor]], None]:
    """Compares ours with what is published under the same names, as exactly as their precision asks for."""

    def check(ours: dict[str, Tensor]) -> None:
        compared = 0
        for name, value in ours.items():
            double = value.dtype == torch.float64
            wanted = (published.exact if double else published.arrays).get(name)
            if wanted is None:
                continue
            compared += 1
            assert value.shape == wanted.shape, name
            error = np.abs(value.numpy() - wanted).max()
            assert error <= (ATOL_FP64 if double else published.tolerances[name]), f"{name}: off by {error:.2g}"
        assert compared, "nothing of this is in the fixture"

    return check


def at(model, like: Tensor):
    return copy.deepcopy(model).to(like.dtype)


@torch.no_grad()
def composed(model: FirstOrderModel, source: Tensor, driving: Keypoints) -> FirstOrderParts:
    encoded, keypoints = model.encode(source)
    return model.generator.compose(encoded, driving.points, frame_change(keypoints.jacobians, driving.jacobians))


def all_parts(prefix: str, parts: FirstOrderParts) -> dict[str, Tensor]:
    motion = parts.moved.motion
    count, number, height, width, _ = motion.motions.shape
    seen = motion.seen.view(count, number, 4, height, width)
    assert motion.occlusion is not None
    assert motion.occlusion_logits is not None
    named = {
        "heatmap": seen[:, :, :1],
        "sparse_motion": motion.motions,
        "sparse_deformed": seen[:, :, 1:],
        "hourglass_in": motion.seen,
        "mask_logits": motion.mask_logits,
        "mask": motion.masks,
        "occlusion_logits": motion.occlusion_logits,
        "occlusion_map": motion.occlusion,
        "deformation": motion.flow,
        "warped_feature": parts.moved.warped,
        "bottleneck_in": parts.moved.kept,
        "bottleneck_out": parts.drawn,
        "prediction": parts.frame,
    }
    return {f"{prefix}.{name}": value for name, value in named.items()}


@torch.no_grad()
def test_keypoints(published, compare, pictures):
    model = at(published.model, pictures["source"])
    for name, kind in (("kp_source", "source"), ("kp_driving", "driving"), ("kp_initial", "driving_initial")):
        if name == "kp_initial" and pictures["source"].dtype == torch.float64:
            continue  # only there in float32
        parts = model.kp_detector.detect(pictures[kind])
        ours = {
            "down": parts.small,
            "features": parts.features,
            "logits": parts.logits,
            "jacobian_map": parts.jacobian_maps,
            "value": parts.keypoints.points,
            "jacobian": parts.keypoints.jacobians,
        }
        compare({f"{name}.{key}": value for key, value in ours.items()})


@torch.no_grad()
def test_frame_of_absolute_keypoints_and_all_that_leads_to_it(published, compare, pictures):
    model = at(published.model, pictures["source"])
    driving = model.detect(pictures["driving"])
    encoded, _ = model.encode(pictures["source"])
    parts = composed(model, pictures["source"], driving)
    own = {"abs.encoded": encoded.features, "abs.source_down": encoded.view.small}
    compare({**own, **all_parts("abs", parts)})
    torch.testing.assert_close(model(pictures["source"], pictures["driving"]), parts.frame, atol=0, rtol=0)


@torch.no_grad()
def test_frame_of_weights_that_sample_with_align_corners(published, compare, pictures):
    model = at(published.aligned, pictures["source"])
    assert replace(model.config, align_corners=False) == published.model.config
    assert all(one.align_corners for one in model.modules() if isinstance(one, DenseMotionNetwork))
    parts = composed(model, pictures["source"], model.detect(pictures["driving"]))
    compare(all_parts("abs_ac_true", parts))


@torch.no_grad()
def test_relative_motion(published, compare, pictures):
    model = at(published.model, pictures["source"])
    source, driving, initial = (model.detect(pictures[kind]) for kind in ("source", "driving", "driving_initial"))
    moved = transferred(source, driving, initial, scale=1.0)
    compare({"kp_rel.value": moved.points, "kp_rel.jacobian": moved.jacobians})
    parts = composed(model, pictures["source"], moved)
    compare(all_parts("rel", parts))
    # The source's Jacobian cancels in what the renderer is given.
    shorter = frame_change(initial.jacobians, driving.jacobians)
    frame = model.generator.render(model.encode(pictures["source"])[0], moved.points, shorter)
    compare({"rel.prediction": frame})


@torch.no_grad()
def test_relative_motion_with_the_scale_of_the_hulls(published, compare, pictures):
    first = {name: value[:1] for name, value in pictures.items()}
    model = at(published.model, first["source"])
    source, driving, initial = (model.detect(first[kind]) for kind in ("source", "driving", "driving_initial"))
    areas = {"source": source.points, "initial": initial.points}
    for name, points in areas.items():
        assert hull_area(points[0].numpy()) == pytest.approx(
            float(published.arrays[f"hull_area_{name}_item0"]), rel=1e-4
        )
    scale = movement_scale(source.points[0].numpy(), initial.points[0].numpy())
    moved = transferred(source, driving, initial, scale)
    compare({"kp_rel_adapt_item0.value": moved.points, "kp_rel_adapt_item0.jacobian": moved.jacobians})
    compare({"rel_adapt_item0.prediction": composed(model, first["source"], moved).frame})


@torch.no_grad()
def test_discriminator(published, compare, pictures):
    discriminator = at(published.discriminator, pictures["driving"])
    points = at(published.model, pictures["driving"]).detect(pictures["driving"]).points
    features, scores = discriminator(pictures["driving"], points)
    named = {f"disc.real.feature{number}": value for number, value in enumerate(features)}
    compare({**named, "disc.real.map": scores})


def transferred(source: Keypoints, driving: Keypoints, initial: Keypoints, scale: float) -> Keypoints:
    """By the functions for one driver's numbers, which take batches as well."""
    (s, s_frames), (d, d_frames), (i, i_frames) = (
        (keypoints.points.numpy(), keypoints.jacobians.numpy()) for keypoints in (source, driving, initial)
    )
    points, frames = relative_points(s, i, d, scale), relative_jacobians(s_frames, i_frames, d_frames)
    return Keypoints(torch.from_numpy(np.asarray(points)), torch.from_numpy(np.asarray(frames)))
