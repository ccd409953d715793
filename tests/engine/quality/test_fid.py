"""Fréchet distance, and feature networks from TorchScript."""

import numpy as np
import pytest

from engine.quality import FeatureDistribution, InceptionFeatures, MetricUnavailableError, frechet_distance

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # what FID networks are published as


def distribution(samples: np.ndarray) -> FeatureDistribution:
    gathered = FeatureDistribution()
    for sample in samples:
        gathered.add(sample)
    return gathered


def test_moments_are_those_of_numpy():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (50, 4))
    mean, covariance = distribution(samples).moments()
    np.testing.assert_allclose(mean, samples.mean(0))
    np.testing.assert_allclose(covariance, np.cov(samples.T), atol=1e-9)


def test_distance_of_normal_distributions_in_closed_form():
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(400, 3))
    one = distribution(samples)
    # Shifted and scaled along its own axes: |shift|² + tr((1 - scale)² C).
    scale, shift = np.array((2.0, 0.5, 1.0)), np.array((0.0, 3.0, 4.0))
    centred = samples - samples.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    along = centred @ axes.T
    other = distribution((along * scale) @ axes + samples.mean(0) + shift)
    expected = 25.0 + float(((1.0 - scale) ** 2 * along.var(0, ddof=1)).sum())
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(one, one) == pytest.approx(0.0, abs=1e-9)


def test_equals_torchmetrics():
    torch = pytest.importorskip("torch", reason="torchmetrics is part of the optional extra 'bench'")
    fid = pytest.importorskip("torchmetrics.image.fid", reason="torchmetrics is part of the optional extra 'bench'")
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(40, 5))
    moments = [torch.from_numpy(value) for samples in (one, other) for value in distribution(samples).moments()]
    expected = float(fid._compute_fid(moments[0], moments[1], moments[2], moments[3]))
    assert frechet_distance(distribution(one), distribution(other)) == pytest.approx(expected, rel=1e-6)


def test_one_frame_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(distribution(np.zeros((1, 3))), distribution(np.ones((3, 3))))


def test_features_come_from_the_named_network(tmp_path):
    torch = pytest.importorskip("torch", reason="feature networks are TorchScript")

    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            means = pictures.mean(dim=[2, 3])
            return means if return_features else means.softmax(1)

    path = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(path))
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[..., 1] = 200
    np.testing.assert_allclose(InceptionFeatures(path)(frame), (0.0, 200.0, 0.0))


def test_errors_name_what_to_get(tmp_path):
    pytest.importorskip("torch", reason="feature networks are TorchScript")
    with pytest.raises(MetricUnavailableError, match=r"not shipped: name a TorchScript"):
        InceptionFeatures(None)
    with pytest.raises(MetricUnavailableError, match="no such file"):
        InceptionFeatures(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(MetricUnavailableError, match="not TorchScript"):
        InceptionFeatures(tmp_path / "text.pt")
