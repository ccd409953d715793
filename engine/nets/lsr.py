"""LSR, "Learned Spatial Representations for Few-shot Talking-Head Synthesis" (Meshry et al., ICCV 2021): the networks.

Two encoders turn each of K pictures, with its contours beside it, into a layout and a style code; codes are averaged
over the pictures. A U-Net with AdaIN turns the contours of a frame and the layout code into a map of 19 classes, and a
SPADE generator that map and the style code into the picture. Where the paper and the released code disagree, this is
the code: six blocks in the encoders, which average 2x2 pixels, and no contours beside the map.

Pictures and contours are (B, 3, S, S), -1 to 1, RGB; S is the configuration's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.nets.equalized import EqualizedConv, EqualizedLinear
from engine.nets.lsr_blocks import DownBlock, EncoderBlock, SpadeBlock, UpBlock, enlarged, leaky
from engine.nets.precision import widened

IMAGE_CHANNELS = 3
LEVELS = 5
"How often the maps of layout and image generator are halved."


@dataclass(frozen=True)
class LSRConfig:
    """What is variable about the networks; the defaults are the published ones."""

    size: int = 224
    "Side of the pictures in pixels; the dense layers know it."
    width: int = 32
    "Channels at full size; twice as many at half of it, and so on."
    limit: int = 512
    "Most channels."
    latent: int = 512
    "Numbers of each of the two codes."
    classes: int = 19
    "Of the layout: those of CelebAMask-HQ, with which its pre-training begins."
    hidden: int = 64
    "Channels between the layout and the scales and shifts that it decides."
    encoder_blocks: int = 6
    contours_in_spade: bool = False
    "Whether the contours lie beside the layout for the image generator: as in the paper, not as released."

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % (1 << LEVELS):
            raise ValueError(f"size: expected a multiple of {1 << LEVELS} from 64 on, got {self.size}")
        if not 1 <= self.encoder_blocks <= 6 or min(self.width, self.limit, self.latent, self.hidden) < 1:
            raise ValueError("encoder_blocks: from 1 to 6; width, limit, latent and hidden: at least 1")
        if self.classes < 2:
            raise ValueError(f"classes: at least 2, got {self.classes}")

    def channels(self, level: int) -> int:
        """Of the maps that were halved so many times."""
        return min(self.limit, self.width << level)

    @property
    def start(self) -> int:
        """Side of the image generator's first map."""
        return self.size >> LEVELS

    @property
    def condition(self) -> int:
        """Channels that the image generator is conditioned by."""
        return self.classes + (IMAGE_CHANNELS if self.contours_in_spade else 0)


PUBLISHED = LSRConfig()
"79.06 million parameters, 43.94 GMAC a frame of 224x224, 2 x 2.24 GMAC for each of the K pictures."


class Codes(NamedTuple):
    """What the encoders see in pictures; the mean over pictures of one person stands for the person."""

    layout: Tensor
    "(B, latent)"
    style: Tensor
    "(B, latent)"


class Prepared(NamedTuple):
    """Codes as the generators want them: all of the networks that does not depend on the frame. Affine in the codes, so
    that it may be averaged in their place."""

    modulation: Tensor
    "(B, M) gains and shifts of all AdaINs."
    start: Tensor
    "(B, C, s, s) the image generator's first map."


class Drawing(NamedTuple):
    """What the networks make of one frame's contours."""

    picture: Tensor
    "(B, 3, S, S) about -1 to 1, not clipped."
    logits: Tensor
    "(B, classes, S, S) of the layout."


class Encoder(nn.Module):
    """(B, 6, S, S), a picture with its contours, to a code (B, latent)."""

    def __init__(self, config: LSRConfig) -> None:
        super().__init__()
        blocks = config.encoder_blocks
        self.stem = EqualizedConv(2 * IMAGE_CHANNELS, config.width, 7)
        self.blocks = nn.ModuleList(EncoderBlock(config.channels(k), config.channels(k + 1)) for k in range(blocks))
        self.dense = EqualizedLinear(config.channels(blocks) * (config.size >> blocks) ** 2, config.latent)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.dense(functional.relu(x).flatten(1)))


class LayoutGenerator(nn.Module):
    """Contours (B, 3, S, S) to (B, classes + 3, S, S): logits of the layout, and a picture that only training looks at.

    The AdaINs' dense layers are one, `dense`: they all see the layout code.
    """

    def __init__(self, config: LSRConfig) -> None:
        super().__init__()
        down = [IMAGE_CHANNELS, *(config.channels(level) for level in range(1, LEVELS + 1))]
        self.down = nn.ModuleList(DownBlock(down[k], down[k + 1], norm=True) for k in range(LEVELS))
        up = []
        below = down[LEVELS]
        for level in reversed(range(LEVELS)):
            up.append(UpBlock(below, config.channels(level)))
            below = 2 * config.channels(level)  # the down block's map of that size lies beside it
        self.up = nn.ModuleList(up)
        self.modulation = [block.modulation for block in up]
        self.dense = EqualizedLinear(config.latent, sum(self.modulation))
        self.out = EqualizedConv(config.width, config.classes + IMAGE_CHANNELS, 3, gain=1.0)

    def forward(self, contours: Tensor, modulation: Tensor) -> Tensor:
        """modulation: (B, M) what `dense` makes of the layout code."""
        x, kept = contours, []
        for block in self.down:
            x = block(x)
            kept.append(x)
        kept.pop()
        for block, values in zip(self.up, torch.split(modulation, self.modulation, dim=1), strict=True):
            x = block(x, values)
            if kept:
                x = torch.cat((x, kept.pop()), dim=1)
        return cast(Tensor, self.out(x))


class ImageGenerator(nn.Module):
    """The style code's first map and a condition (B, D, S, S) to the picture (B, 3, S, S), about -1 to 1."""

    def __init__(self, config: LSRConfig) -> None:
        super().__init__()
        first = config.channels(LEVELS)
        self.shape = (first, config.start, config.start)
        self.dense = EqualizedLinear(config.latent, first * config.start**2)
        channels = [first, first, *(config.channels(level) for level in reversed(range(LEVELS)))]
        self.blocks = nn.ModuleList(
            SpadeBlock(channels[k], channels[k + 1], config.condition, config.hidden) for k in range(LEVELS + 1)
        )
        self.out = EqualizedConv(config.width, IMAGE_CHANNELS, 3, gain=1.0)

    def begin(self, style: Tensor) -> Tensor:
        """(B, C, s, s) the first map."""
        return cast(Tensor, self.dense(style).unflatten(1, self.shape))

    def forward(self, start: Tensor, condition: Tensor) -> Tensor:
        pyramid = [condition]
        for _ in range(LEVELS):
            pyramid.append(functional.avg_pool2d(pyramid[-1], 2))
        x = self.blocks[0](start, pyramid[LEVELS])
        for level, block in zip(reversed(range(LEVELS)), list(self.blocks)[1:], strict=True):
            x = block(enlarged(x), pyramid[level])
        return cast(Tensor, self.out(leaky(x)))


class LSRNetwork(nn.Module):
    """The whole."""

    def __init__(self, config: LSRConfig = PUBLISHED) -> None:
        super().__init__()
        self.config = config
        self.layout_encoder = Encoder(config)
        self.style_encoder = Encoder(config)
        self.layout_generator = LayoutGenerator(config)
        self.image_generator = ImageGenerator(config)

    def encode(self, pictures: Tensor, contours: Tensor) -> Codes:
        """The codes of each picture."""
        x = torch.cat((pictures, contours), dim=1)
        return Codes(self.layout_encoder(x), self.style_encoder(x))

    def prepare(self, codes: Codes) -> Prepared:
        """What `render` wants of a person."""
        return Prepared(self.layout_generator.dense(codes.layout), self.image_generator.begin(codes.style))

    def layout(self, modulation: Tensor, contours: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes, S, S), and the picture (B, 3, S, S) that helps their training."""
        both = self.layout_generator(contours, modulation)
        return both[:, : self.config.classes], both[:, self.config.classes :]

    def render(self, prepared: Prepared, contours: Tensor) -> Drawing:
        """A frame of a person."""
        logits, _ = self.layout(prepared.modulation, contours)
        condition = torch.softmax(widened(logits), dim=1).to(logits.dtype)
        if self.config.contours_in_spade:
            condition = torch.cat((contours, condition), dim=1)
        return Drawing(self.image_generator(prepared.start, condition), logits)


class LSRDiscriminator(nn.Module):
    """(B, 3, S, S) pictures, true or made, with the contours (B, 3, S, S) that belong to them, to scores (B, 1)."""

    def __init__(self, config: LSRConfig = PUBLISHED) -> None:
        super().__init__()
        self.config = config
        blocks, last = 6, config.channels(6)
        self.stem = EqualizedConv(2 * IMAGE_CHANNELS, config.width, 1)
        self.blocks = nn.ModuleList(
            DownBlock(config.channels(k), config.channels(k + 1), norm=False) for k in range(blocks)
        )
        self.conv = EqualizedConv(last, last, 3)
        side = -(-config.size // (1 << blocks))
        self.dense = EqualizedLinear(last * side**2, last)
        self.score = EqualizedLinear(last, 1)

    def forward(self, picture: Tensor, contours: Tensor) -> Tensor:
        x = leaky(self.stem(torch.cat((picture, contours), dim=1)))
        for block in self.blocks:
            x = block(x)
        x = leaky(self.conv(leaky(x))).flatten(1)
        return cast(Tensor, self.score(leaky(self.dense(x))))
