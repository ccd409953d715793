"""The importer on checkpoints in the published layout, made here of random weights."""

import pytest

torch = pytest.importorskip("torch", reason="importing weights needs torch (extra: torch)")

from engine.nets.iplap import IPLAPRenderer, RendererConfig  # noqa: E402
from engine.nets.iplap_landmarks import LandmarkConfig, LandmarkGenerator  # noqa: E402
from engine.nets.iplap_weights import load_landmarks, load_renderer  # noqa: E402
from engine.nets.stored_weights import LayoutError  # noqa: E402
from engine.weights.importers.iplap import import_checkpoints, read_checkpoints  # noqa: E402

NARROW = RendererConfig(shallow=4, deep=8, hidden=6, head=3, audio=2, shared=5)
VOICE = LandmarkConfig(width=128, layers=2, feed_forward=64)


@pytest.fixture(scope="module")
def renderer(random_network):
    return random_network(lambda: IPLAPRenderer(NARROW))


@pytest.fixture(scope="module")
def voice(random_network):
    return random_network(lambda: LandmarkGenerator(VOICE))


@pytest.fixture
def files(renderer, voice, tmp_path):
    vgg = {"perceptual.model.network.0.weight": torch.zeros(64, 3, 3, 3)}
    return [
        published({**renderer.state_dict(), **vgg}, tmp_path / "renderer_checkpoint.pth"),
        published(voice.state_dict(), tmp_path / "landmarkgenerator_checkpoint.pth"),
    ]


def published(state, path, prefix="module."):
    """What the released training code saves."""
    content = {"state_dict": {prefix + key: value for key, value in state.items()}, "optimizer": None}
    torch.save({**content, "global_step": 610_000, "global_epoch": 1837}, path)
    return path


@torch.no_grad()
def made(network, swap):
    """What a renderer makes of certain pictures, in double precision."""
    generator = torch.Generator().manual_seed(3)

    def uniform(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    face, sketches, pictures, own = (
        uniform(1, 3, 32, 32),
        uniform(1, 5, 32, 32),
        uniform(1, 2, 3, 32, 32),
        uniform(1, 2, 32, 32),
    )
    network = network.double()
    if swap:
        face, pictures = face.flip(1), pictures.flip(2)
    frame, warped = network(face, sketches, pictures, own, uniform(1, 80, 16))
    network.float()
    return (frame.flip(1), warped.flip(1)) if swap else (frame, warped)


def test_both_files_become_weights_of_ours_for_rgb_pictures(files, renderer, voice, tmp_path):
    import_checkpoints(files[::-1], tmp_path / "out" / "iplap.safetensors")
    loaded = load_renderer(tmp_path / "out" / "iplap.safetensors")
    assert loaded.config == NARROW
    for found, wanted in zip(made(loaded, swap=False), made(renderer, swap=True), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)
    spoken = load_landmarks(tmp_path / "out" / "iplap-landmarks.safetensors")
    assert spoken.config == VOICE
    for key, value in voice.state_dict().items():
        torch.testing.assert_close(spoken.state_dict()[key], value, atol=0, rtol=0)


def test_renderer_alone_without_prefix_is_enough(renderer, tmp_path):
    path = published(renderer.state_dict(), tmp_path / "renderer.pth", prefix="")
    import_checkpoints([path], tmp_path / "out" / "iplap.safetensors", half=True)
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["iplap.safetensors"]
    torch.save(renderer.state_dict(), path)
    assert read_checkpoints([path]).landmarks is None


def test_full_size_files_have_the_published_widths():
    """Every width that is read of shapes is the one that it stands for."""
    from engine.weights.importers.iplap import landmark_config, renderer_config

    with torch.device("meta"):
        assert renderer_config(IPLAPRenderer().state_dict()) == RendererConfig()
        assert landmark_config(LandmarkGenerator().state_dict()) == LandmarkConfig()


class Payload:
    def __reduce__(self):
        return (print, ("code in a checkpoint was executed",))


def test_checkpoint_with_code_in_it_is_refused_unread(tmp_path, capsys):
    torch.save({"state_dict": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(LayoutError, match=r"evil\.pth: not a checkpoint of tensors alone"):
        read_checkpoints([tmp_path / "evil.pth"])
    assert capsys.readouterr().out == ""


def test_other_damaged_and_mixed_up_files_are_refused(files, renderer, tmp_path):
    with pytest.raises(LayoutError, match=r"name it too"):
        read_checkpoints(files[1:])
    with pytest.raises(LayoutError, match=r"renderer_checkpoint\.pth: not a checkpoint of IP-LAP, or the second one"):
        read_checkpoints([files[0], files[0]])
    torch.save({"generator": {}, "epoch": 3}, tmp_path / "fomm.pth")
    with pytest.raises(LayoutError, match=r"neither state_dict.*found epoch, generator"):
        read_checkpoints([tmp_path / "fomm.pth"])
    whole = files[0].read_bytes()
    (tmp_path / "short.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LayoutError, match=r"short\.pth: not a checkpoint, or a damaged one"):
        read_checkpoints([tmp_path / "short.pth"])
    state = renderer.state_dict()
    lacking = {key: value for key, value in state.items() if key != "translation.conv_last.weight"}
    with pytest.raises(LayoutError, match=r"1 missing keys: translation\.conv_last"):
        read_checkpoints([published(lacking, tmp_path / "lacking.pth")])
    with pytest.raises(LayoutError, match="1 unknown keys: extra"):
        read_checkpoints([published({**state, "extra": torch.zeros(1)}, tmp_path / "more.pth")])
    wrong = {**state, "translation.conv_last.weight": torch.full((3, 2, 7, 7), float("nan"))}
    with pytest.raises(LayoutError, match=r"conv_last\.weight holds values that are not finite"):
        read_checkpoints([published(wrong, tmp_path / "nan.pth")])
    wider = {**state, "translation.conv_last.weight": torch.zeros(3, 9, 7, 7)}
    with pytest.raises(LayoutError, match=r"conv_last.weight: expected \(3, 2, 7, 7\), got \(3, 9, 7, 7\)"):
        read_checkpoints([published(wider, tmp_path / "wider.pth")])
