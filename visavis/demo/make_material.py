"""Makes the demo's driving clip again: python -m visavis.demo.make_material [--output driving.mp4]

The speaker is synthetic: espeak-ng's voice, a mouth that follows its phonemes, and the NASA portrait, mirrored and
recoloured, rendered by the mesh generator. It plays the part of a camera picture in `visavis demo`, where no recording
of a person that may be given away was at hand. Needs the espeak-ng library.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from engine.avatar import Avatar
from engine.face.images import load_image
from engine.face.model import FaceModel
from engine.motion import Array, FaceState
from streaming.media import AUDIO_RATE_HZ
from streaming.outputs import FileOutput
from visavis.demo import DRIVING, PORTRAIT
from visavis.demo.speech import Phoneme, speak
from visavis.demo.visemes import expression_for, mouth_shapes

TEXT = (
    "Hello! You are looking at one single picture of me. "
    "My camera stays here. What crosses the line is my voice, and about five bytes in every frame: "
    "where my head is, what my mouth does, and when I blink. "
    "Your computer does the rest."
)
RATE = 25
LEAD_IN_S = 0.6
SIZE = 256
SPEAKER = (slice(0, 212), slice(18, 230))
"Rows and columns of the mirrored portrait that the camera sees."


def smooth_noise(times: Array, period_s: float, seed: int) -> NDArray[np.float64]:
    """(T,) slow wandering, about unit variance."""
    generator = np.random.default_rng(seed)
    knots = np.arange(-2, int(times[-1] / period_s) + 4)
    values = generator.standard_normal(len(knots))
    position = times / period_s + 2
    index = position.astype(int)
    part = position - index
    part = part * part * (3 - 2 * part)
    wandering: NDArray[np.float64] = values[index] * (1 - part) + values[index + 1] * part
    return wandering


def blink_curve(times: Array, seed: int) -> NDArray[np.float64]:
    """(T,) 0 open to 1 closed: a blink every three seconds or so, closing in 80 ms and opening in 140."""
    generator = np.random.default_rng(seed)
    closed = np.zeros(len(times))
    at = 1.2
    while at < times[-1]:
        closed = np.maximum(closed, np.clip(np.minimum((times - at) / 0.08, 1 - (times - at - 0.12) / 0.14), 0, 1))
        at += generator.uniform(2.0, 4.0)
    return closed


def author_states(model: FaceModel, base: FaceState, phonemes: list[Phoneme], count: int) -> list[FaceState]:
    """The speaker's motion: mouth by phonemes, head wandering and nodding with loud vowels, blinks, brows, gaze."""
    times = (np.arange(count) / RATE).astype(np.float32)
    mouth = mouth_shapes(phonemes, times)
    loud = np.convolve(np.clip(mouth[:, 0], 0, None) / 0.16, np.ones(7) / 7, "same")
    blink = blink_curve(times, seed=5)
    yaw = 0.13 * smooth_noise(times, 1.7, 1)
    pitch = 0.05 * smooth_noise(times, 1.1, 2) + 0.06 * (loud - loud.mean())
    roll = 0.035 * smooth_noise(times, 2.3, 3)
    drift = 0.010 * np.stack([smooth_noise(times, 2.9, 4), 0.6 * smooth_noise(times, 2.1, 6)], 1)
    gaze = np.stack([np.round(1.2 * smooth_noise(times, 1.3, 7)), np.round(0.7 * smooth_noise(times, 1.9, 8))], 1)
    gaze = 0.045 * np.clip(gaze, -2, 2)
    smile = 0.012 + 0.012 * smooth_noise(times, 2.5, 9)
    lid_gap = 0.105  # of a relaxed eye, in head units
    states = []
    for k in range(count):
        expression = expression_for(
            model,
            {
                "gap": float(mouth[k, 0]),
                "width": float(mouth[k, 1]),
                "pout": float(mouth[k, 2]),
                "smile": float(smile[k]),
                "lids": -lid_gap * float(blink[k]),
                "brows": float(0.02 * loud[k]),
            },
        )
        states.append(
            FaceState(
                rotation=base.rotation + np.array([pitch[k], yaw[k], roll[k]]),
                translation=base.translation + drift[k],
                scale=base.scale,
                expression=expression,
                gaze=gaze[k],
                time=float(times[k]),
            )
        )
    return states


def recoloured(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The portrait mirrored, in another light, so that one can tell the driving picture from the driven one."""
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    lab = cv2.cvtColor(mirrored, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] = 255 * (lab[..., 0] / 255) ** 1.15
    lab[..., 2] -= 7
    return np.asarray(cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), np.uint8)


def make(output: Path = DRIVING, portrait: Path = PORTRAIT) -> None:
    """Write the driving clip.

    output: the mp4. portrait: the picture that plays the speaker.
    """
    speech = speak(TEXT)
    lead_in = [Phoneme(phoneme.start + LEAD_IN_S, phoneme.name) for phoneme in speech.phonemes]
    seconds = LEAD_IN_S + speech.samples.size / speech.rate + 0.5
    count = int(seconds * RATE)
    voice = np.zeros(count * AUDIO_RATE_HZ // RATE, np.int16)
    positions = np.arange(int(speech.samples.size * AUDIO_RATE_HZ / speech.rate)) * speech.rate / AUDIO_RATE_HZ
    upsampled = np.interp(positions, np.arange(speech.samples.size), speech.samples).astype(np.int16)
    voice[int(LEAD_IN_S * AUDIO_RATE_HZ) :][: upsampled.size] = upsampled
    picture = recoloured(load_image(portrait))[SPEAKER]
    picture = np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), np.uint8)
    avatar = Avatar.from_image(picture, generator="mesh", size=SIZE, crop="none")
    states = author_states(FaceModel.load(), avatar.source_state, lead_in, count)
    with FileOutput(output, SIZE, SIZE, RATE) as file:
        for k, state in enumerate(states):
            file.write(avatar.render_state(state), k / RATE)
        file.write_audio(voice, 0.0)


if __name__ == "__main__":
    tyro.cli(make)
