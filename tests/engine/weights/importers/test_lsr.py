"""The importer on variables under TensorFlow's names, made here; and the network written another way, on them alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine.nets.lsr import PUBLISHED, LSRConfig, LSRDiscriminator, LSRNetwork
from engine.nets.lsr_weights import beside, load_discriminator, load_network
from engine.nets.stored_weights import LayoutError
from engine.weights.importers.lsr import DISCRIMINATOR, SUFFIX, import_checkpoint, read_checkpoint

CONFIG = LSRConfig(size=64, width=4, limit=16, latent=12, classes=19, hidden=8)
ENCODERS = {"layout_encoder": "layout_encoder", "encoder": "style_encoder"}


def shapes(config: LSRConfig) -> dict[str, tuple[int, ...]]:
    """The published list of variables, for any widths."""
    found: dict[str, tuple[int, ...]] = {}

    def layer(name, *kernel, bias=True):
        found[f"{name}/kernel"] = kernel
        if bias:
            found[f"{name}/bias"] = kernel[-1:]

    def residual(name, middle, into, out):
        layer(f"{name}/conv0", 3, 3, into, middle)
        layer(f"{name}/conv1", 3, 3, middle, out)
        layer(f"{name}/conv_shortcut", 1, 1, into, out, bias=False)

    c = [config.channels(level) for level in range(7)]
    for name in ENCODERS:
        layer(f"{name}/blocks/0", 7, 7, 6, c[0])
        for k in range(6):
            block = f"{name}/blocks/{2 * k + 2}"
            layer(f"{block}/conv_block0/layer_with_weights-0", 3, 3, c[k], min(c[k], c[k + 1]))
            layer(f"{block}/conv_block1/layer_with_weights-0", 3, 3, min(c[k], c[k + 1]), c[k + 1])
            if c[k] != c[k + 1]:
                layer(f"{block}/shortcut/layer_with_weights-0", 1, 1, c[k], c[k + 1], bias=False)
        layer(f"{name}/fc_z", c[6] * (config.size >> 6) ** 2, config.latent)
    below = c[5]
    for k in range(5):
        into = c[k] if k else 3
        residual(f"layout_generator/encoder_blocks/{k}/blocks/0", into, into, c[k + 1])
        up, out = f"layout_generator/decoder_blocks/{k}/resblock_up_fn", c[4 - k]
        residual(up, out, below, out)
        layer(f"{up}/norm0/dense", config.latent, 2 * below)
        layer(f"{up}/norm1/dense", config.latent, 2 * out)
        below = 2 * out
    layer("layout_generator/output_conv", 3, 3, c[0], config.classes + 3)
    layer("generator/blocks/0", config.latent, c[5] * (config.size >> 5) ** 2)
    wide = [c[5], *reversed(c[:6])]
    for k in range(6):
        block, into, out = f"generator/blocks/{2 * k + 2}", wide[k], wide[k + 1]
        parts = [("conv_block0", into, 3, min(into, out)), ("conv_block1", min(into, out), 3, out)]
        parts += [("shortcut", into, 1, out)] if into != out else []
        for name, channels, side, width in parts:
            layer(f"{block}/{name}/spade_norm/conv0", 3, 3, config.condition, config.hidden)
            for one in ("gamma", "beta"):
                layer(f"{block}/{name}/spade_norm/{one}_conv", 3, 3, config.hidden, channels)
            layer(f"{block}/{name}/conv", side, side, channels, width, bias=name != "shortcut")
    layer("generator/to_rgb", 3, 3, c[0], 3)
    blocks = f"{DISCRIMINATOR}blocks"
    layer(f"{blocks}/0", 1, 1, 6, c[0])
    for k in range(6):
        residual(f"{blocks}/{k + 1}", c[k], c[k], c[k + 1])
    layer(f"{blocks}/8", 3, 3, c[6], c[6])
    layer(f"{blocks}/10", c[6] * (-(-config.size // 64)) ** 2, c[6])
    layer(f"{DISCRIMINATOR}compute_logits/layer_with_weights-0", 1, 1, c[6], 1)
    return {name + SUFFIX: shape for name, shape in found.items()}


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes(CONFIG).items()}


@pytest.fixture
def checkpoint(variables, tmp_path):
    extra = {
        "global_step" + SUFFIX: np.array(7),
        "encoder/fc_z/kernel/.OPTIMIZER_SLOT/g_optimizer/m" + SUFFIX: np.zeros(3, np.float32),
        "_CHECKPOINTABLE_OBJECT_GRAPH": np.array(b"graph"),
    }
    np.savez(tmp_path / "variables.npz", **variables, **extra)
    return tmp_path / "variables.npz"


class Reference:
    """The published networks as the layer tables have them, pictures (B, H, W, C), on nothing but the variables."""

    def __init__(self, variables):
        self.v = {k.removesuffix(SUFFIX): torch.from_numpy(a).double() for k, a in variables.items()}

    def conv(self, x, name, gain=2.0):
        kernel = self.v[f"{name}/kernel"]
        rate = (gain / (kernel.shape[0] * kernel.shape[1] * kernel.shape[2])) ** 0.5
        x = functional.conv2d(x.permute(0, 3, 1, 2), rate * kernel.permute(3, 2, 0, 1), padding=kernel.shape[0] // 2)
        return x.permute(0, 2, 3, 1) + self.v.get(f"{name}/bias", 0.0)

    def dense(self, x, name):
        kernel = self.v[f"{name}/kernel"]
        return x @ kernel * (2.0 / len(kernel)) ** 0.5 + self.v[f"{name}/bias"]

    @staticmethod
    def norm(x):
        mean = x.mean((1, 2), keepdim=True)
        return (x - mean) / ((x - mean).square().mean((1, 2), keepdim=True) + 1e-3).sqrt()

    @staticmethod
    def blur(x):
        """[1 2 1] both ways by shifted sums; TensorFlow's "same": nothing before an even side."""
        taps = (0.25, 0.5, 0.25)
        for axis in (1, 2):
            x = x.transpose(axis, 1)
            zero = torch.zeros_like(x[:, :1])
            padded = torch.cat(([zero] if x.shape[1] % 2 else []) + [x, zero], dim=1)
            count = (padded.shape[1] - 3) // 2 + 1
            x = sum(tap * padded[:, k : k + 2 * count - 1 : 2] for k, tap in enumerate(taps)).transpose(axis, 1)
        return x

    @staticmethod
    def up(x):
        """Twice the size: quarters of the neighbours, edges repeated."""
        for axis in (1, 2):
            x = x.transpose(axis, 1)
            before, after = torch.cat((x[:, :1], x[:, :-1]), 1), torch.cat((x[:, 1:], x[:, -1:]), 1)
            both = torch.stack((0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after), dim=2)
            x = both.flatten(1, 2).transpose(axis, 1)
        return x

    @staticmethod
    def leaky(x):
        return torch.where(x > 0, x, 0.2 * x)

    @staticmethod
    def pool(x):
        b, h, w, c = x.shape
        return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))

    def code(self, name, picture, contours):
        x = self.conv(torch.cat((picture, contours), -1), f"{name}/blocks/0").relu()
        for k in range(6):
            block, x = f"{name}/blocks/{2 * k + 2}", self.pool(x)
            inner = self.conv(x.relu(), f"{block}/conv_block0/layer_with_weights-0")
            inner = self.conv(inner.relu(), f"{block}/conv_block1/layer_with_weights-0")
            short = f"{block}/shortcut/layer_with_weights-0"
            x = inner + (self.conv(x, short) if f"{short}/kernel" in self.v else x)
        return self.dense(x.relu().flatten(1), f"{name}/fc_z")

    def logits(self, contours, code):
        x, kept = contours, []
        for k in range(5):
            name = f"layout_generator/encoder_blocks/{k}/blocks/0"
            inner = self.conv(self.leaky(self.norm(x)), f"{name}/conv0")
            inner = self.blur(self.conv(self.leaky(self.norm(inner)), f"{name}/conv1"))
            x = inner + self.blur(self.conv(x, f"{name}/conv_shortcut"))
            kept.append(x)
        for k in range(5):
            name = f"layout_generator/decoder_blocks/{k}/resblock_up_fn"

            def adain(x, which, name=name):
                gain, shift = self.dense(code, f"{name}/norm{which}/dense")[:, None, None].chunk(2, -1)
                return self.norm(x) * (1 + gain) + shift

            inner = self.conv(self.up(self.leaky(adain(x, 0))), f"{name}/conv0")
            inner = self.conv(self.leaky(adain(inner, 1)), f"{name}/conv1")
            x = inner + self.conv(self.up(x), f"{name}/conv_shortcut")
            if k < 4:
                x = torch.cat((x, kept[3 - k]), -1)
        return self.conv(x, "layout_generator/output_conv", gain=1.0)[..., :19]

    def picture(self, condition, code):
        side = condition.shape[1] // 32
        x = self.dense(code, "generator/blocks/0").reshape(len(code), side, side, -1)
        for k in range(6):
            block, c = f"generator/blocks/{2 * k + 2}", condition
            x = self.up(x) if k else x
            while c.shape[1] > x.shape[1]:
                c = self.pool(c)

            def spade(x, name, c=c):
                hidden = self.conv(c, f"{name}/spade_norm/conv0").relu()
                gamma, beta = (self.conv(hidden, f"{name}/spade_norm/{one}_conv") for one in ("gamma", "beta"))
                return self.norm(x) * (1 + gamma) + beta

            inner = self.conv(self.leaky(spade(x, f"{block}/conv_block0")), f"{block}/conv_block0/conv")
            inner = self.conv(self.leaky(spade(inner, f"{block}/conv_block1")), f"{block}/conv_block1/conv")
            short = f"{block}/shortcut"
            x = inner + (self.conv(spade(x, short), f"{short}/conv") if f"{short}/conv/kernel" in self.v else x)
        return self.conv(self.leaky(x), "generator/to_rgb", gain=1.0)

    def score(self, picture, contours):
        name = f"{DISCRIMINATOR}blocks"
        x = self.leaky(self.conv(torch.cat((picture, contours), -1), f"{name}/0"))
        for k in range(1, 7):
            inner = self.conv(self.leaky(x), f"{name}/{k}/conv0")
            inner = self.blur(self.conv(self.leaky(inner), f"{name}/{k}/conv1"))
            x = (inner + self.blur(self.conv(x, f"{name}/{k}/conv_shortcut"))) / 2**0.5
        x = self.leaky(self.conv(self.leaky(x), f"{name}/8"))
        x = self.leaky(self.dense(x.flatten(1), f"{name}/10"))[:, None, None]
        return self.conv(x, f"{DISCRIMINATOR}compute_logits/layer_with_weights-0")[:, 0, 0]


def inputs():
    torch.manual_seed(1)
    return (2.0 * torch.rand(3, 2, CONFIG.size, CONFIG.size, 3, dtype=torch.float64) - 1.0).unbind()


@torch.no_grad()
def test_imported_networks_equal_the_layer_tables_on_the_variables(checkpoint, variables):
    """Both encoders, the layout, the picture and the discriminator's score, in double precision."""
    published, reference = read_checkpoint(checkpoint), Reference(variables)
    network = published.network.double()
    assert network.config == CONFIG
    picture, own, driving = inputs()
    planes = [x.permute(0, 3, 1, 2) for x in (picture, own, driving)]
    codes = network.encode(planes[0], planes[1])
    expected = [reference.code(name, picture, own) for name in ("layout_encoder", "encoder")]
    for code, wanted in zip(codes, expected, strict=True):
        torch.testing.assert_close(code, wanted, rtol=1e-10, atol=1e-10)
    drawn = network.render(network.prepare(codes), planes[2])
    logits = reference.logits(driving, expected[0])
    torch.testing.assert_close(drawn.logits.permute(0, 2, 3, 1), logits, rtol=1e-8, atol=1e-8)
    frame = reference.picture(logits.softmax(-1), expected[1])
    assert frame.std() > 0.1  # lively enough for a wrong detail to show
    torch.testing.assert_close(drawn.picture.permute(0, 2, 3, 1), frame, rtol=1e-7, atol=1e-7)
    score = published.discriminator.double()(planes[0], planes[2])
    torch.testing.assert_close(score, reference.score(picture, driving), rtol=1e-9, atol=1e-9)


def test_written_weights_are_read_again_with_their_origin(checkpoint, tmp_path):
    published = import_checkpoint(checkpoint, tmp_path / "lsr" / "lsr.safetensors")
    for ours, loaded in (
        (published.network, load_network(tmp_path / "lsr" / "lsr.safetensors")),
        (published.discriminator, load_discriminator(beside(tmp_path / "lsr" / "lsr.safetensors"))),
    ):
        assert loaded.config == CONFIG
        for key, value in ours.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)


def test_contours_beside_the_map_are_seen_in_the_shapes(tmp_path):
    config = LSRConfig(size=64, width=4, limit=16, latent=12, hidden=8, contours_in_spade=True)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", **{k: rng.standard_normal(s).astype(np.float32) for k, s in shapes(config).items()})
    assert read_checkpoint(tmp_path / "v.npz").network.config == config


def test_list_of_variables_is_the_published_one(parity_folder):
    listed = json.loads((parity_folder / "manifests" / "lsr_tf_variables.json").read_text())
    assert shapes(PUBLISHED) == {name: tuple(shape) for name, shape in listed.items()}


def test_without_the_discriminator_the_rest_is_imported(variables, tmp_path):
    np.savez(tmp_path / "v.npz", **{k: v for k, v in variables.items() if not k.startswith("discriminator")})
    published = import_checkpoint(tmp_path / "v.npz", tmp_path / "lsr.safetensors")
    assert published.discriminator is None
    assert not beside(tmp_path / "lsr.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("generator/to_rgb/bias" + SUFFIX), "the variable generator/to_rgb/bias is missing"),
        (lambda v: v.update({"generator/extra" + SUFFIX: np.zeros(3, np.float32)}), "no layer of LSR: generator/extra"),
        (lambda v: v["encoder/fc_z/kernel" + SUFFIX].__setitem__((0, 0), np.nan), "not finite"),
        (lambda v: v.update({"generator/to_rgb/bias" + SUFFIX: np.zeros(4, np.float32)}), r"\(3,\), got \(4,\)"),
        (lambda v: v.update({"generator/to_rgb/bias" + SUFFIX: np.zeros(3, np.int64)}), "axes of floats"),
        (lambda v: [v.pop(k) for k in list(v) if k.startswith("layout_encoder")], "none begins with layout_encoder"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(variables, tmp_path, change, words):
    changed = {name: value.copy() for name, value in variables.items()}
    change(changed)
    np.savez(tmp_path / "wrong.npz", **changed)
    with pytest.raises(LayoutError, match=words) as caught:
        import_checkpoint(tmp_path / "wrong.npz", tmp_path / "lsr.safetensors")
    assert "wrong.npz" in str(caught.value)
    assert not (tmp_path / "lsr.safetensors").exists()


class Payload:
    def __reduce__(self):
        return (print, ("code in a checkpoint was executed",))


def test_files_of_another_kind_are_refused(tmp_path, checkpoint, capsys):
    bad = tmp_path / "bad.npz"
    for content in (b"", b"noise" * 50, checkpoint.read_bytes()[:5000]):
        bad.write_bytes(content)
        with pytest.raises(LayoutError, match=r"bad\.npz: not an \.npz, or a damaged one"):
            read_checkpoint(bad)
    with bad.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(LayoutError, match=r"one array, not an \.npz of variables"):
        read_checkpoint(bad)
    np.savez(bad, **{"encoder/fc_z/kernel": np.array([Payload()])})
    with pytest.raises(LayoutError, match="would be executed; that was not done"):
        read_checkpoint(bad)
    assert "executed" not in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.npz")


def test_published_layout_becomes_the_published_network():
    """Shapes alone: the importer's names and ours are one list."""
    with torch.device("meta"):
        network, opponent = LSRNetwork(PUBLISHED), LSRDiscriminator(PUBLISHED)
    counted = sum(int(np.prod(shape)) for shape in shapes(PUBLISHED).values())
    assert counted == sum(p.numel() for part in (network, opponent) for p in part.parameters())


def test_typed_it_becomes_weights_of_the_user(checkpoint, tmp_path, monkeypatch, capsys):
    from visavis.__main__ import main

    assert main(["weights", "import", "lsr", str(checkpoint), "-o", str(tmp_path / "mine")]) == 0
    assert sorted(path.name for path in (tmp_path / "mine" / "lsr").iterdir()) == [
        "card.md",
        "discriminator.safetensors",
        "lsr.safetensors",
    ]
    assert "Apache-2.0" in (tmp_path / "mine" / "lsr" / "card.md").read_text()
    assert "LSR, 64x64, 4 channels" in capsys.readouterr().out
    assert main(["weights", "import", "lsr", str(checkpoint), "--keypoints", "10", "-o", str(tmp_path / "other")]) == 1
    assert "driven by landmarks" in capsys.readouterr().err
