"""IP-LAP's audio-to-landmark generator (CVPR 2023, supplement, Fig. 1): jaw and lips from a voice and the pose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.face.landmarks131 import CONTENT, JAW
from engine.nets.iplap import WINDOW
from engine.nets.iplap_blocks import separated
from engine.nets.iplap_encoders import mel_encoder, pose_encoder, reference_encoder

MOUTH_POINTS = len(CONTENT) - len(JAW)
POSITIONS = 512
"Rows of the table of positions, of which the first five are used."
POSE_KIND, VOICE_KIND, REFERENCE_KIND = 1, 2, 3
"Rows of the table of modalities; the first is not used."


@dataclass(frozen=True)
class LandmarkConfig:
    """The widths; the defaults are the published ones."""

    width: int = 512
    "Of the tokens, a multiple of 128."
    layers: int = 4
    heads: int = 4
    feed_forward: int = 1024
    dropout: float = 0.1
    "In training."

    def __post_init__(self) -> None:
        if self.width < 128 or self.width % 128 or self.width % self.heads:
            raise ValueError(f"width: expected a multiple of 128 and of the {self.heads} heads, got {self.width}")
        if min(self.layers, self.heads, self.feed_forward) < 1 or not 0 <= self.dropout < 1:
            raise ValueError("layers, heads, feed_forward: expected at least 1; dropout: 0 to 1")


class PositionTable(nn.Module):
    """Sines and cosines of a token's place in the window."""

    pe: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        place = torch.arange(POSITIONS, dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
        table = torch.stack((torch.sin(place * rate), torch.cos(place * rate)), dim=2).flatten(1)
        self.register_buffer("pe", table[None])

    def forward(self, count: int) -> Tensor:
        """(1, count, width)"""
        return self.pe[:, :count]


class SelfAttention(nn.Module):
    """Scaled dot products of all tokens with all others, several heads, spelled out: what exports everywhere."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self._heads = heads
        self._dropout = dropout
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        head = x.shape[2] // self._heads
        joined = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        parts = joined.reshape(*x.shape[:2], 3, self._heads, head)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        shares = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(head), dim=-1)
        shares = functional.dropout(shares, self._dropout, self.training)
        return cast(Tensor, self.out_proj((shares @ value).transpose(1, 2).flatten(2)))


class TransformerLayer(nn.Module):
    """Attention and two linear layers, each added to what goes in and normalised after."""

    def __init__(self, config: LandmarkConfig) -> None:
        super().__init__()
        width = config.width
        self.self_attn = SelfAttention(width, config.heads, config.dropout)
        self.linear1 = nn.Linear(width, config.feed_forward)
        self.linear2 = nn.Linear(config.feed_forward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self._dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self._dropped(self.self_attn(x)))
        inner = self.linear2(self._dropped(functional.relu(self.linear1(x))))
        return cast(Tensor, self.norm2(x + self._dropped(inner)))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self._dropout, self.training)


class Transformer(nn.Module):
    """The stack of layers, under the published name."""

    def __init__(self, config: LandmarkConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Fusion(nn.Module):
    """Tokens of references, voice and pose, told apart by what is added to them, through the transformer."""

    def __init__(self, config: LandmarkConfig) -> None:
        super().__init__()
        self.position_v = PositionTable(config.width)
        self.position_a = PositionTable(config.width)
        self.modality = nn.Embedding(4, config.width, padding_idx=0)
        self.transformer_encoder = Transformer(config)
        self._dropout = config.dropout

    def forward(self, references: Tensor, voice: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """The voice's and the pose's tokens (B, T, D) behind it; references are (B, N, D)."""
        kinds = self.modality.weight
        count = references.shape[1]
        tokens = torch.cat(
            (
                references + kinds[REFERENCE_KIND],
                voice + self.position_a(WINDOW) + kinds[VOICE_KIND],
                pose + self.position_v(WINDOW) + kinds[POSE_KIND],
            ),
            dim=1,
        )
        tokens = self.transformer_encoder(functional.dropout(tokens, self._dropout, self.training))
        return tokens[:, count : count + WINDOW], tokens[:, count + WINDOW :]


class LandmarkGenerator(nn.Module):
    """Mel windows, pose points and points of references to content points, all relative to their face boxes."""

    def __init__(self, config: LandmarkConfig = LandmarkConfig()) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.mel_encoder = mel_encoder(width // 16)
        self.ref_encoder = reference_encoder(width // 128)
        self.pose_encoder = pose_encoder(width // 128)
        self.fusion_transformer = Fusion(config)
        self.mouse_keypoint_map = nn.Linear(width, 2 * MOUTH_POINTS)  # sic, in the published file
        self.jaw_keypoint_map = nn.Linear(width, 2 * len(JAW))
        self.Norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def encode(self, references: Tensor) -> Tensor:
        """The tokens (B, N, D) of N references (B, N, 131, 2), once an identity."""
        tokens = self.ref_encoder(references.flatten(0, 1).transpose(1, 2))[..., 0]
        return cast(Tensor, self.Norm(separated(tokens, references)))

    def predict(self, references: Tensor, mels: Tensor, poses: Tensor) -> Tensor:
        """(B, 5, 57, 2) jaw then mouth, for five frames. references: tokens (B, N, D). mels: (B, 5, 80, 16). poses:
        (B, 5, 74, 2)."""
        voice = self.Norm(separated(self.mel_encoder(mels.flatten(0, 1)[:, None])[..., 0, 0], mels))
        pose = self.Norm(separated(self.pose_encoder(poses.flatten(0, 1).transpose(1, 2))[..., 0], poses))
        voice, pose = self.fusion_transformer(references, voice, pose)
        # The voice moves the mouth and the pose the jaw.
        points = torch.cat((self.jaw_keypoint_map(pose), self.mouse_keypoint_map(voice)), dim=2)
        return points.reshape(*points.shape[:2], len(CONTENT), 2)

    def forward(self, references: Tensor, mels: Tensor, poses: Tensor) -> Tensor:
        """`encode`, then `predict`."""
        return self.predict(self.encode(references), mels, poses)


class TokenHalf(nn.Module):
    """Once per identity."""

    def __init__(self, network: LandmarkGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, references: Tensor) -> Tensor:
        """(B, N, 131, 2) points to (B, N, D) tokens."""
        return self.network.encode(references)


class PredictHalf(nn.Module):
    """Once per frame."""

    def __init__(self, network: LandmarkGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, mels: Tensor, poses: Tensor) -> Tensor:
        """See `LandmarkGenerator.predict`."""
        return self.network.predict(tokens, mels, poses)
