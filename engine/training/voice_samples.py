"""Training samples of a voice's network: a few seconds of a clip's sound, and what its mouth did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.audio.mel import Mel
from engine.audio.voice_motion import AHEAD, MEL
from engine.motion import Array
from engine.training.voice_clips import VoiceClip


@dataclass(frozen=True)
class VoiceConfig:
    """How sounds are changed: the mouth is the same whatever the room, the microphone and the speaker."""

    gain_db: tuple[float, float] = (-18.0, 6.0)
    "All bands alike."
    colour: float = 0.25
    "Deviation of each band's gain in the mel's unit, 12.5 dB."
    shift: int = 2
    "Bands by which the pitch and the vocal tract are moved at most."
    noise: float = 0.5
    "Share of samples with noise, at levels from silence to 25 dB above it."


@dataclass(frozen=True, eq=False)
class VoiceExample:
    """A clip, ready to be drawn from."""

    clip: VoiceClip
    coefficients: Array
    "(T, K) of the mouth."


class VoiceSamples:
    """A batch: `mel` (B, C, 80); `place` (B, N), the frames' places in the network's answers, its look-ahead included;
    `mouth` (B, N, K), `counts` (B, N) 1 for frames that count, `clip` (B,) its number. All float32 but the last."""

    def __init__(self, examples: Sequence[VoiceExample], columns: int, config: VoiceConfig) -> None:
        """columns: C."""
        self._examples = list(examples)
        self._columns, self._config = columns, config
        # All frames of a sample, wherever it begins, have their columns with the look-ahead within it.
        self._frames = [max(1, int((columns - AHEAD - 2) / MEL.columns_per_second * one.clip.rate)) for one in examples]
        self._most = max(self._frames)
        lengths = np.array([len(one.coefficients) for one in examples], np.float64)
        self._chances = np.sqrt(lengths) / np.sqrt(lengths).sum()

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, NDArray[Any]]:
        rows = [self._sample(rng, int(rng.choice(len(self._examples), p=self._chances))) for _ in range(size)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _sample(self, rng: np.random.Generator, number: int) -> dict[str, NDArray[Any]]:
        example = self._examples[number]
        clip, wanted = example.clip, self._frames[number]
        begin = int(rng.integers(0, max(len(clip.seen) - wanted, 0) + 1))
        frames = slice(begin, begin + wanted)
        seen, places = clip.seen[frames], clip.columns[frames]
        first = int(np.floor(places[0]))
        mel = np.full((self._columns, clip.mel.shape[1]), -MEL.limit, np.float32)
        heard = slice(max(first, 0), min(first + self._columns, len(clip.mel)))
        mel[max(-first, 0) : max(-first, 0) + max(heard.stop - heard.start, 0)] = clip.mel[heard]
        within = seen & (places >= 0) & (places < len(clip.mel))
        count = len(places)
        place, counts = np.zeros(self._most, np.float32), np.zeros(self._most, np.float32)
        mouth = np.zeros((self._most, example.coefficients.shape[1]), np.float32)
        place[:count] = places - first + AHEAD
        counts[:count] = within
        mouth[:count] = example.coefficients[frames]
        return {
            "mel": _changed(mel, rng, self._config),
            "place": place,
            "mouth": mouth,
            "counts": counts,
            "clip": np.array(number),
        }


def _changed(mel: Mel, rng: np.random.Generator, config: VoiceConfig) -> Mel:
    bands = mel.shape[1]
    shift = int(rng.integers(-config.shift, config.shift + 1))
    # The outermost bands are repeated where bands are moved away from them.
    mel = mel[:, np.clip(np.arange(bands) - shift, 0, bands - 1)]
    gain = rng.uniform(*config.gain_db) * 2 * MEL.limit / MEL.range_db
    mel = mel + gain + rng.normal(0.0, config.colour, bands)
    if rng.random() < config.noise:
        level = rng.uniform(-MEL.limit, -MEL.limit / 2) + np.cumsum(rng.normal(0.0, 0.05, bands))
        mel = np.maximum(mel, level + rng.normal(0.0, 0.2, mel.shape))
    return np.clip(mel, -MEL.limit, MEL.limit).astype(np.float32)
