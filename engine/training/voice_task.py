"""Trains what makes motion of a voice: the mouth's network by gradient, how head and lids move by statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.audio.voice_head import HeadModel
from engine.audio.voice_motion import AHEAD, MEL, NAME
from engine.face.model import FaceModel
from engine.nets.voice import VoiceNet, VoiceNetConfig
from engine.training.clip_cache import cache_folder
from engine.training.head_fit import fit_head
from engine.training.mouth_basis import closing_lids, mouth_basis, mouth_coefficients, mouth_opening
from engine.training.recipe import Recipe, RecipeError, Stage
from engine.training.task import Batch, Outputs, SampleSource, Terms, TrainingError, TrainingTask
from engine.training.voice_clips import VoiceClip, voice_clips
from engine.training.voice_samples import VoiceConfig, VoiceExample, VoiceSamples


@dataclass(frozen=True)
class VoiceOptions:
    """The recipe's table [options]."""

    validation: tuple[str, ...] = ()
    "Identities that are held out, by the manifest's names."
    rights: tuple[str, ...] = ()
    "Only clips whose column `rights` begins with one of these; none means all."
    exclude: tuple[str, ...] = ()
    "Clips whose sound is not the voice of the face, or whose delay is not known."
    delays_ms: Mapping[str, float] = field(default_factory=dict)
    "By clip, how late its sound is; 0 for the others."
    outputs: int = 10
    "Mouth coefficients."
    width: int = 64
    blocks: int = 5
    dropout: float = 0.2
    samples: VoiceConfig = field(default_factory=VoiceConfig)


class VoiceTask(TrainingTask):
    """Terms: `mouth`, squared error of the mouth's points, in units of how they usually move; `velocity`, of their
    movement from frame to frame; `offsets`, squares of what each clip's mouth may differ from all others' for good,
    which is how a face fitted a little wrong does not teach the network.

    A stage's `size` is the length of a sample in mel columns. Raises TrainingError without clips.
    """

    name: ClassVar[str] = NAME

    def __init__(self, recipe: Recipe, data: Path | None) -> None:
        super().__init__(recipe, data)
        if data is None:
            raise TrainingError(f"{self.name} is trained with clips: name the folder with --data")
        options = self._options = recipe.options_as(VoiceOptions)
        clips = voice_clips(
            data,
            cache_folder(data, 0, 1),
            rights=options.rights,
            exclude=options.exclude,
            delays_ms=options.delays_ms,
        )
        self._model = FaceModel.load()
        trained = [clip for clip in clips if clip.identity not in options.validation]
        if not trained:
            raise TrainingError(f"{data}: no clip with sound but of people held out for validation")
        moved = _about_their_own(trained)
        self._basis = mouth_basis(self._model, moved, options.outputs)
        self._lids = closing_lids(self._model, moved)
        try:
            self._head = fit_head(trained)
            sizes = VoiceNetConfig(MEL.bands, options.width, 3, options.blocks, options.outputs, options.dropout)
        except ValueError as error:
            raise RecipeError(f"{data}: {error}") from error
        self._trained = [self._example(clip) for clip in trained]
        self._held_out = [self._example(clip) for clip in clips if clip.identity in options.validation]
        self._net = VoiceNet(sizes)
        columns = np.concatenate([clip.mel for clip in trained])
        self._net.band_mean.copy_(torch.from_numpy(columns.mean(0)))
        self._net.band_deviation.copy_(torch.from_numpy(columns.std(0)))
        self._offsets = nn.Embedding(len(trained), options.outputs)
        nn.init.zeros_(self._offsets.weight)
        # Squares of these weights are squares of distances on the mouth.
        reach = np.sqrt(np.square(np.concatenate([one.coefficients for one in self._trained])).mean(0))
        lengths = np.linalg.norm(self._basis, axis=1)
        self._weights = torch.from_numpy((lengths**2 / (lengths**2 * reach**2).sum()).astype(np.float32))

    def networks(self) -> Mapping[str, nn.Module]:
        return {"net": self._net, "offsets": self._offsets}

    def samples(self, stage: Stage) -> SampleSource:
        return VoiceSamples(self._trained, stage.size, self._options.samples)

    def forward(self, batch: Batch) -> Outputs:
        found = at_places(self._net(batch["mel"]), batch["place"])
        if self._net.training:
            found = found + self._offsets(batch["clip"])[:, None]
        return {"mouth": found}

    def generator_terms(self, batch: Batch, outputs: Outputs, weights: Mapping[str, float]) -> Terms:
        counts = batch["counts"]
        miss = outputs["mouth"] - batch["mouth"]
        both = counts[:, 1:] * counts[:, :-1]
        return {
            "mouth": self._mean(miss**2, counts),
            "velocity": self._mean((miss[:, 1:] - miss[:, :-1]) ** 2, both),
            "offsets": (self._offsets(batch["clip"]) ** 2 * self._weights.to(miss.device)).sum(-1).mean(),
        }

    def validate(self, stage: Stage) -> dict[str, float]:
        """On whole clips of the people held out: correlation of the mouth's opening, squared error over the mean's."""
        if not self._held_out:
            return {}
        opening = self._basis @ mouth_opening(self._model)
        rows = []
        for example in self._held_out:
            found = self.answers(example.clip)
            seen, truth = example.clip.seen, example.coefficients
            miss = ((found - truth)[seen] ** 2) @ self._weights.numpy()
            still = ((truth - truth[seen].mean(0))[seen] ** 2) @ self._weights.numpy()
            correlation = np.corrcoef(found[seen] @ opening, truth[seen] @ opening)[0, 1]
            rows.append((correlation, miss.mean() / still.mean()))
        correlation, error = np.mean(rows, axis=0)
        return {"opening_correlation": float(correlation), "error_over_mean": float(error)}

    @torch.no_grad()
    def answers(self, clip: VoiceClip) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """(T, K) what the network says of a clip's frames."""
        after = np.full((AHEAD + 2, MEL.bands), -MEL.limit, np.float32)
        mel = torch.from_numpy(np.concatenate((clip.mel, after)))[None].to(self.device)
        found = at_places(self._net(mel), torch.from_numpy(clip.columns)[None].to(self.device) + AHEAD)
        return np.asarray(found[0].cpu().numpy(), np.float32)

    def _mean(self, squares: Tensor, counts: Tensor) -> Tensor:
        return (squares @ self._weights.to(squares.device) * counts).sum() / counts.sum().clamp_min(1.0)

    def _example(self, clip: VoiceClip) -> VoiceExample:
        return VoiceExample(clip, mouth_coefficients(self._model, self._basis, clip.expression))

    def _state(self) -> dict[str, Tensor]:
        """The network and, as they are, the statistics; not the clips' offsets."""
        state = {f"net.{key}": value.detach() for key, value in self._net.state_dict().items()}
        return {**state, **{key: torch.from_numpy(value) for key, value in self._statistics().items()}}

    def _statistics(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        head = {f"head.{name}": np.array(getattr(self._head, name)) for name in HeadModel.__dataclass_fields__}
        return {"mouth.basis": self._basis, "lids.closed": self._lids, **head}


def at_places(answers: Tensor, places: Tensor) -> Tensor:
    """(B, C, K) of columns to (B, N, K) at (B, N) places between columns, linearly."""
    places = places.clamp(0.0, answers.shape[1] - 1.0)
    first = places.floor().long()
    second = (first + 1).clamp_max(answers.shape[1] - 1)
    share = (places - first)[..., None]

    def picked(number: Tensor) -> Tensor:
        return torch.gather(answers, 1, number[..., None].expand(-1, -1, answers.shape[2]))

    return picked(first) * (1.0 - share) + picked(second) * share


def _about_their_own(clips: list[VoiceClip]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(N, E) expressions of all frames, each clip's about its mean."""
    seen = [clip.expression[clip.seen] for clip in clips]
    return np.concatenate([one - one.mean(0) for one in seen])
