"""Fits the model of how heads move while their voice is heard to clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.audio.voice_head import ACCENTS, POSE, TICK, HeadModel, Prosody
from engine.audio.voice_motion import MEL
from engine.training.voice_clips import VoiceClip

Doubles = NDArray[np.float64]

_SMOOTHING = np.array((1.0, 2.0, 3.0, 2.0, 1.0)) / 9.0
"Over frames: what a detector's landmarks tremble by is no head motion."
_RIDGE = 1e-3
_MEMORY_AT_MOST = 0.985
"Of what the model keeps from tick to tick: a displacement is down to a third after 2.6 s. Clips are too short to tell."
_LIMIT_QUANTILE = 0.995


def fit_head(clips: Sequence[VoiceClip]) -> HeadModel:
    """Least squares of each tick's velocity on pose, velocity and accents of before; noise from what is left over.

    Clips of another rate than a tick's, and frames beside one without a face, are left out. ValueError without any.
    """
    seen = [_steps(clip) for clip in clips if abs(clip.rate * TICK - 1.0) < 0.01]
    if not seen or sum(len(targets) for _, targets, _ in seen) < 300:
        raise ValueError("too few frames at 25 a second to learn from how heads move")
    causes, targets, talks = (np.concatenate(parts) for parts in zip(*seen, strict=True))
    accent_mean = causes[:, 2 * POSE :].mean(0)
    causes = np.hstack((causes[:, : 2 * POSE], causes[:, 2 * POSE :] - accent_mean))
    unit = causes.std(0)
    scaled = causes / unit
    normal = scaled.T @ scaled + _RIDGE * len(scaled) * np.eye(scaled.shape[1])
    weights = (np.linalg.solve(normal, scaled.T @ targets).T / unit).T
    left = targets - causes @ weights
    damping, spring, accent = weights[:POSE].T, -weights[POSE : 2 * POSE].T, weights[2 * POSE :].T
    still, talking = (_root(left, share) for share in (1.0 - talks, talks))
    limit = 1.5 * np.quantile(np.abs(causes[:, POSE : 2 * POSE]), _LIMIT_QUANTILE, axis=0)
    parts = (damping, spring, accent, accent_mean, still, talking, limit)
    model = HeadModel(*(part.astype(np.float32) for part in parts))
    for _ in range(200):
        if model.memory() <= _MEMORY_AT_MOST:
            break
        spring, damping = spring + 0.001 * np.eye(POSE), 0.998 * damping
        parts = (damping, spring, accent, accent_mean, still, talking, limit)
        model = HeadModel(*(part.astype(np.float32) for part in parts))
    return model


def _steps(clip: VoiceClip) -> tuple[Doubles, Doubles, Doubles]:
    """(n, 15) velocity, pose and accents before each tick; (n, 6) the velocity after; (n,) whether one talks."""
    prosody = Prosody(MEL.columns_per_second).push(clip.mel)
    columns = np.clip(np.ceil(clip.columns).astype(int), 0, len(prosody) - 1)
    accents = prosody[columns]
    pose = np.stack([np.convolve(column, _SMOOTHING, "same") for column in clip.pose.T.astype(np.float64)], axis=1)
    half = len(_SMOOTHING) // 2
    whole = np.convolve(~clip.seen, np.ones(2 * half + 1), "same") == 0
    whole[:half] = whole[len(whole) - half :] = False
    velocity = np.diff(pose, axis=0, prepend=pose[:1])
    ticks = np.flatnonzero(whole[2:] & whole[1:-1] & whole[:-2]) + 2
    causes = np.hstack((velocity[ticks - 1], pose[ticks - 1], accents[ticks]))
    assert causes.shape[1] == 2 * POSE + ACCENTS
    return causes, velocity[ticks], accents[ticks, 2]


def _root(left: Doubles, shares: Doubles) -> Doubles:
    """(6, 6) lower triangle of the weighted covariance of (n, 6) residuals."""
    covariance = (left * shares[:, None]).T @ left / shares.sum()
    return np.asarray(np.linalg.cholesky(covariance + 1e-12 * np.eye(POSE)), np.float64)
