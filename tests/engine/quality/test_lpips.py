"""LPIPS beside torchmetrics' implementation, on a network with random weights."""

import numpy as np
import pytest

from engine.quality import Lpips, MetricUnavailableError

torch = pytest.importorskip("torch", reason="LPIPS needs torch (extra: bench)")
reference = pytest.importorskip("torchmetrics.functional.image.lpips", reason="LPIPS needs torchmetrics (extra: bench)")
nn = torch.nn


def alexnet() -> nn.Sequential:
    """The convolutions of AlexNet, numbered as torchvision does."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


def vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).astype(np.uint8), truth


@pytest.mark.parametrize(("make", "name", "suffix"), [(alexnet, "alex", ".pth"), (vgg16, "vgg", ".safetensors")])
def test_equals_torchmetrics(make, name, suffix, tmp_path, monkeypatch):
    torch.manual_seed(0)
    features = make()
    state = {f"features.{key}": value.contiguous() for key, value in features.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state | {"classifier.6.bias": torch.zeros(3)}, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(state, path)
    lpips = Lpips(path)
    assert lpips.network == name

    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: features)  # it asks torchvision
    published = reference._LPIPS(net=name)
    rendered, truth = pictures()
    one, other = (torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1 for p in (rendered, truth))
    expected = float(published(one, other))
    assert expected > 1e-4
    # torchmetrics keeps a larger epsilon in the unit length of features.
    assert lpips(rendered, truth) == pytest.approx(expected, rel=1e-3)
    assert lpips(truth, truth) == 0.0


def test_errors_name_what_to_get(tmp_path):
    with pytest.raises(MetricUnavailableError, match=r"not shipped: name .*alexnet-owt"):
        Lpips(None)
    with pytest.raises(MetricUnavailableError, match="no such file"):
        Lpips(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(MetricUnavailableError, match="cannot be read as weights"):
        Lpips(tmp_path / "text.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "cut.pth")
    with pytest.raises(MetricUnavailableError, match=r"neither AlexNet nor VGG16, it lacks features\.0\.bias"):
        Lpips(tmp_path / "cut.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(MetricUnavailableError, match="neither AlexNet nor VGG16;"):
        Lpips(tmp_path / "other.pth")
