"""VGG19's distance: read from a file, against the network put together another way."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from engine.training.appearance import AppearanceLoss
from engine.training.perceptual import (
    VGG19,
    PerceptualLoss,
    PerceptualWeightsError,
    TapLoss,
    find_vgg19,
    load_vgg19,
)
from engine.training.pyramid import antialiased

# "M": maximum pool. An eighth of the true widths.
LAYERS = (8, 8, "M", 16, 16, "M", 32, 32, 32, 32, "M", 64, 64, 64, 64, "M", 64, 64, 64, 64, "M")
TAPS = (1, 6, 11, 20, 29)


@pytest.fixture(scope="module")
def features() -> nn.Sequential:
    """torchvision's `vgg19().features`, narrow and with random weights."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for width in LAYERS:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


@pytest.fixture
def state(features) -> dict[str, torch.Tensor]:
    kept = {f"features.{key}": value for key, value in features.state_dict().items()}
    return {**kept, "classifier.0.weight": torch.zeros(4, 4)}


def reference_taps(features: nn.Sequential, pictures: torch.Tensor) -> list[torch.Tensor]:
    x = (pictures - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    taps = []
    for number, layer in enumerate(features):
        x = layer(x)
        if number in TAPS:
            taps.append(x)
    return taps


def test_taps_and_loss_are_those_of_the_layers_one_by_one(features, state):
    a, b = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    vgg = VGG19(state)
    with torch.no_grad():
        for own, expected in zip(vgg(a), reference_taps(features, a), strict=True):
            torch.testing.assert_close(own, expected)
        total = sum(
            (one - other).abs().mean()
            for scale in (1, 2)  # quarters and eighths of 64 pixels are too small
            for one, other in zip(
                reference_taps(features, antialiased(a, scale)),
                reference_taps(features, antialiased(b, scale)),
                strict=True,
            )
        )
        torch.testing.assert_close(PerceptualLoss(vgg)(a, b), total)
        assert float(PerceptualLoss(vgg)(a, a)) == 0


def test_taps_may_have_weights_of_their_own(features, state):
    a, b, weights = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64), (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    loss = TapLoss(VGG19(state), weights)
    with torch.no_grad():
        taps = zip(reference_taps(features, a), reference_taps(features, b), strict=True)
        total = sum(weight * (one - other).abs().mean() for weight, (one, other) in zip(weights, taps, strict=True))
        torch.testing.assert_close(loss(a, b), total)
    a.requires_grad_()
    b.requires_grad_()
    loss(a, b).backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None


def test_gradients_flow_to_the_rendered_picture_only(state):
    rendered, truth = torch.rand(1, 3, 64, 64, requires_grad=True), torch.rand(1, 3, 64, 64, requires_grad=True)
    vgg = VGG19(state)
    PerceptualLoss(vgg)(rendered, truth).backward()
    assert rendered.grad.abs().sum() > 0
    assert truth.grad is None
    assert all(one.grad is None for one in vgg.parameters())


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_are_read_from_either_format(state, tmp_path, ending):
    path = tmp_path / f"vgg19{ending}"
    if ending == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    loss = PerceptualLoss(load_vgg19(path, torch.device("cpu")))
    assert float(loss(torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32))) > 0


def test_the_file_is_named_by_the_environment_or_directly(monkeypatch, tmp_path):
    monkeypatch.delenv("VISAVIS_VGG19", raising=False)
    assert find_vgg19() is None
    monkeypatch.setenv("VISAVIS_VGG19", str(tmp_path / "a.pth"))
    assert find_vgg19() == tmp_path / "a.pth"
    assert find_vgg19(tmp_path / "b.pth") == tmp_path / "b.pth"


def test_files_that_hold_no_vgg19_are_refused(state, tmp_path):
    del state["features.19.weight"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(PerceptualWeightsError, match=r"cut.pth: features.19: missing.*torchvision's vgg19"):
        load_vgg19(tmp_path / "cut.pth", torch.device("cpu"))
    (tmp_path / "bad.safetensors").write_bytes(b"text")
    with pytest.raises(PerceptualWeightsError, match="cannot be read as weights"):
        load_vgg19(tmp_path / "bad.safetensors", torch.device("cpu"))
    with pytest.raises(PerceptualWeightsError, match="unset it to train without"):
        load_vgg19(tmp_path / "none.pth", torch.device("cpu"))


def test_appearance_has_the_perceptual_term_where_vgg19_is_there(state):
    a, b = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    weights = {"l1": 1.0, "perceptual": 0.1}
    perceptual = PerceptualLoss(VGG19(state))
    assert AppearanceLoss().terms(a, b, weights).keys() == {"l1"}
    terms = AppearanceLoss(perceptual=perceptual).terms(a, b, weights)
    assert terms.keys() == {"l1", "perceptual"}
    torch.testing.assert_close(terms["perceptual"], perceptual(a, b))
