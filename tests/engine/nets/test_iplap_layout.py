"""Full-size IP-LAP networks have the keys and shapes of the published files, so that those can be loaded."""

import json

import pytest

torch = pytest.importorskip("torch", reason="networks need torch (extra: torch)")

from engine.nets.iplap import IPLAPRenderer  # noqa: E402
from engine.nets.iplap_landmarks import LandmarkGenerator  # noqa: E402

FILES = {
    "renderer_checkpoint.pth": (IPLAPRenderer, 252),
    "landmarkgenerator_checkpoint.pth": (LandmarkGenerator, 435),
}
"What each holds, and how many tensors that is, the VGG19 in the first one left out."


@pytest.fixture(params=FILES)
def published(request):
    """Name of the file, keys and shapes of ours, number of tensors."""
    build, count = FILES[request.param]
    with torch.device("meta"):
        layout = {key: list(value.shape) for key, value in build().state_dict().items()}
    return request.param, layout, count


def test_as_many_tensors_as_published(published):
    _, layout, count = published
    assert len(layout) == count


def test_keys_and_shapes_of_the_published_lists(published, parity_folder):
    name, layout, _ = published
    listed = json.loads((parity_folder / "manifests" / "iplap.json").read_text())[name]["state_dict"]
    assert layout == {key: shape for key, shape in listed.items() if not key.startswith("perceptual.")}
