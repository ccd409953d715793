"""The field's metrics for a rendered frame beside the true one."""

from engine.quality.image import l1, psnr, ssim
from engine.quality.keypoint import average_keypoint_distance

__all__ = ["average_keypoint_distance", "l1", "psnr", "ssim"]
