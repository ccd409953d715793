"""Keypoints must move with the picture: a random deformation, and the terms that compare both sides of it.

First Order Motion Model (2019), section 3.1 (the constraints on value and Jacobian) and its code (the deformation).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.nets.local_frames import inverse
from engine.nets.sampling import coordinate_grid

_EPSILON = 1e-6
"Keeps the logarithm finite at a control point."


@dataclass(frozen=True)
class DeformationConfig:
    """How strong the deformation is."""

    affine: float = 0.05
    "Standard deviation of each entry of the affine part, around the identity."
    bend: float = 0.005
    "Standard deviation of the weights of the control points."
    points: int = 5
    "Control points in each direction, over [-1, 1]."


class RandomDeformation:
    """T(z) = A z + b + s(z): affine, and a smooth s that is added to x and y alike, from a grid of control points.

    s(z) = sum over control points c of w_c r^2 log r, r the L1 distance of z to c: the kernel of thin-plate splines,
    though with another distance, as in the code.
    """

    def __init__(self, theta: Tensor, weights: Tensor) -> None:
        """theta: (B, 2, 3), A and b. weights: (B, P * P), rows of the grid of control points first."""
        self._theta = theta
        self._weights = weights
        side = round(weights.shape[1] ** 0.5)
        self._controls = coordinate_grid(side, side, theta).reshape(1, 1, side * side, 2)

    @classmethod
    def drawn(
        cls, count: int, device: torch.device, config: DeformationConfig = DeformationConfig()
    ) -> RandomDeformation:
        """`count` deformations from torch's generator."""
        theta = config.affine * torch.randn(count, 2, 3, device=device) + torch.eye(2, 3, device=device)
        return cls(theta, config.bend * torch.randn(count, config.points**2, device=device))

    def points(self, points: Tensor) -> Tensor:
        """T of (B, N, 2) points in [-1, 1]."""
        moved = points @ self._theta[:, :, :2].transpose(1, 2) + self._theta[:, None, :, 2]
        distance = (points[:, :, None] - self._controls).abs().sum(-1)
        bend = (distance**2 * torch.log(distance + _EPSILON) * self._weights[:, None]).sum(-1)
        return moved + bend[..., None]

    def jacobians(self, points: Tensor) -> Tensor:
        """(B, N, 2, 2) of T at (B, N, 2) points; row i holds the derivatives of T's coordinate i."""
        offset = points[:, :, None] - self._controls
        distance = offset.abs().sum(-1)
        slope = distance * (2 * torch.log(distance + _EPSILON) + distance / (distance + _EPSILON))
        gradient = ((slope * self._weights[:, None])[..., None] * offset.sign()).sum(2)
        return self._theta[:, None, :, :2] + gradient[:, :, None, :]

    def pictures(self, pictures: Tensor) -> Tensor:
        """(B, C, H, W) seen through T: the colour at z is the picture's at T(z), mirrored at the borders."""
        count, _, height, width = pictures.shape
        grid = coordinate_grid(height, width, self._theta).reshape(1, height * width, 2).expand(count, -1, -1)
        moved = self.points(grid).reshape(count, height, width, 2)
        sampled = functional.grid_sample(
            pictures.to(moved.dtype), moved, padding_mode="reflection", align_corners=False
        )
        return sampled.to(pictures.dtype)


def value_term(keypoints: Tensor, seen_through: Tensor, deformation: RandomDeformation) -> Tensor:
    """Mean absolute difference between the picture's keypoints (B, K, 2) and T of those found in its deformed twin."""
    return (keypoints - deformation.points(seen_through)).abs().mean()


def jacobian_term(
    jacobians: Tensor, seen_through: Tensor, seen_jacobians: Tensor, deformation: RandomDeformation
) -> Tensor:
    """Mean of |1 - J^-1 T'(p) J_p|: the keypoints' local frames (B, K, 2, 2) must be deformed as the picture was.

    jacobians: of the picture's keypoints. seen_through, seen_jacobians: keypoints (B, K, 2) and Jacobians of the twin.
    """
    expected = deformation.jacobians(seen_through) @ seen_jacobians
    identity = torch.eye(2, dtype=expected.dtype, device=expected.device)
    return (identity - inverse(jacobians) @ expected).abs().mean()
