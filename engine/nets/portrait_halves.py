"""The two halves of `portrait`, as they are exported: the networks of the frame and those of its windows."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.nets.pictures import pixels
from engine.nets.portrait import PortraitConfig, PortraitEncoder, PortraitRenderer
from engine.nets.portrait_details import DetailConfig, DetailEncoder, DetailRenderer
from engine.nets.portrait_dimensions import EYE_SIDE, MOUTH_SIDE


class PortraitEncodeHalf(nn.Module):
    """Once per source."""

    def __init__(self, frame: PortraitConfig, detail: DetailConfig) -> None:
        super().__init__()
        self.frame = PortraitEncoder(frame)
        self.mouth = DetailEncoder(detail, MOUTH_SIDE)
        self.eyes = DetailEncoder(detail, EYE_SIDE)

    def forward(self, source: Tensor, mouth: Tensor, eyes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """source (B, S, S, 4), mouth (B, N, N, 4), eyes (B, 2, M, M, 4), uint8: RGB and label of the source and its
        windows. Returns features (B, F, 64, 64), (B, f, 48, 48) and (B, 2, f, 32, 32).
        """
        of_eyes = self.eyes(eyes.flatten(0, 1))
        return self.frame(source), self.mouth(mouth), of_eyes.view(-1, 2, *of_eyes.shape[1:])


class PortraitRenderHalf(nn.Module):
    """Once per frame."""

    def __init__(self, frame: PortraitConfig, detail: DetailConfig) -> None:
        super().__init__()
        self.frame = PortraitRenderer(frame)
        self.mouth = DetailRenderer(detail, MOUTH_SIDE)
        self.eyes = DetailRenderer(detail, EYE_SIDE)

    def forward(
        self,
        drawn: Tensor,
        source: Tensor,
        features: Tensor,
        place: Tensor,
        weight: Tensor,
        mouth_drawn: Tensor,
        mouth_source: Tensor,
        mouth_features: Tensor,
        eyes_drawn: Tensor,
        eyes_source: Tensor,
        eyes_features: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The first five as of `PortraitRenderer`; the windows and their features as of `PortraitEncodeHalf`.

        Returns the frame (B, S, S, 3) and the windows (B, N, N, 3) and (B, 2, M, M, 3) that belong over it, uint8.
        """
        frame = self.frame(drawn, source, features, place, weight)
        mouth = self.mouth(mouth_drawn, mouth_source, mouth_features)
        eyes = self.eyes(eyes_drawn.flatten(0, 1), eyes_source.flatten(0, 1), eyes_features.flatten(0, 1))
        return pixels(frame), pixels(mouth), pixels(eyes).view(-1, *eyes_drawn.shape[1:4], 3)


def portrait_networks() -> nn.ModuleDict:
    """The halves `encode` and `render`, untrained."""
    frame, detail = PortraitConfig(), DetailConfig()
    return nn.ModuleDict({"encode": PortraitEncodeHalf(frame, detail), "render": PortraitRenderHalf(frame, detail)})


def load_portrait(path: Path) -> nn.ModuleDict:
    """The halves with the weights of a safetensors file. Raises ValueError for weights of other networks."""
    networks = portrait_networks()
    try:
        networks.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: not the weights of this version's portrait networks: {error}") from error
    return networks.eval()
