"""The field's metrics for a rendered frame beside the true one."""

from engine.quality.actions import action_agreement, facial_actions
from engine.quality.errors import MetricUnavailableError
from engine.quality.fid import FeatureDistribution, InceptionFeatures, frechet_distance
from engine.quality.identity import DlibEmbedder, Embedder, average_euclidean_distance, cosine_similarity
from engine.quality.image import l1, ms_ssim, psnr, ssim
from engine.quality.keypoint import average_keypoint_distance, normalised_mean_keypoint_error
from engine.quality.lpips import Lpips
from engine.quality.pose import expression_distance, head_pose_rmse
from engine.quality.regions import FaceRegions
from engine.quality.temporal import flicker

__all__ = [
    "DlibEmbedder",
    "Embedder",
    "FaceRegions",
    "FeatureDistribution",
    "InceptionFeatures",
    "Lpips",
    "MetricUnavailableError",
    "action_agreement",
    "average_euclidean_distance",
    "average_keypoint_distance",
    "cosine_similarity",
    "expression_distance",
    "facial_actions",
    "flicker",
    "frechet_distance",
    "head_pose_rmse",
    "l1",
    "ms_ssim",
    "normalised_mean_keypoint_error",
    "psnr",
    "ssim",
]
