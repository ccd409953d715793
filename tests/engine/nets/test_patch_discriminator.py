"""The family's discriminator; its values are held by the parity test."""

from __future__ import annotations

import torch

from engine.nets.patch_discriminator import DiscriminatorConfig, KeypointDiscriminator


def test_shapes_are_those_of_the_published_discriminator():
    with torch.device("meta"):
        network = KeypointDiscriminator()
        features, scores = network(torch.rand(1, 3, 256, 256), torch.rand(1, 10, 2))
    shapes = [tuple(one.shape[1:]) for one in features]
    assert shapes == [(64, 126, 126), (128, 61, 61), (256, 29, 29), (512, 26, 26)]
    assert scores.shape == (1, 1, 26, 26)


def test_it_sees_the_keypoints():
    torch.manual_seed(0)
    network = KeypointDiscriminator(DiscriminatorConfig(keypoints=2, width=4)).eval()
    picture = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        one, other = (network(picture, torch.full((1, 2, 2), place))[1] for place in (-0.5, 0.5))
    assert float((one - other).abs().max()) > 1e-4


def test_discriminator_of_another_kind_is_normalised_by_its_spectrum():
    network = KeypointDiscriminator(DiscriminatorConfig(keypoints=0, width=4, spectral=True)).eval()
    keys = {key for key in network.state_dict() if key.startswith("discs.1.conv")}
    assert keys == {f"discs.1.conv.{name}" for name in ("bias", "weight_orig", "weight_u", "weight_v")}
    features, scores = network(torch.rand(1, 3, 128, 128))
    assert [one.shape[1] for one in features] == [8, 16, 32, 64]
    assert scores.shape == (1, 1, 10, 10)
