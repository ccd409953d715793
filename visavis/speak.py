"""`visavis speak`: a picture and a voice in, an mp4 out."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.audio.landmark_predictor import LandmarkPredictor, installed_path
from engine.audio.rhythmic_voice import EXPRESSION, EXPRESSION_RATE_HZ, MOTION_RATE_HZ, RhythmicVoice, installed
from engine.audio.sound_file import VOICE_RATE_HZ, SoundFile, Wave
from engine.audio.voice_motion import VoiceModel, VoiceMotion, VoiceMotionConfig, spoken_states
from engine.avatar import Avatar, Picture, load_tracker
from engine.generators import FaceGenerator, GeneratorError, load_generator
from engine.generators.iplap import IPLAPGenerator
from engine.generators.iplap_voice import VoiceDriver, spoken_motions
from engine.motion import FaceState
from engine.weights import ships, weights_folder
from streaming.inputs import VideoFile
from streaming.media import AUDIO_RATE_HZ, Samples
from streaming.outputs import FileOutput
from visavis.render import file_avatar

if TYPE_CHECKING:
    from visavis.commands import Speak

RATE = Fraction(25)
LIKE_S = 60
"Of a video that shows how a head moves; the rest is not looked at."
Frames = Callable[[Iterable[Wave]], Iterable[Picture]]
"Blocks of a voice at 16 kHz to the frames of it, 25 a second."
States = Callable[[Iterable[Wave]], Iterable[FaceState]]
"The same, to face states."


def speak(options: Speak) -> int:
    """Run the command. Raises the project's errors; nothing half-written stays."""
    console = Console(stderr=True, quiet=options.quiet)
    started = clocks.perf_counter()
    config = VoiceMotionConfig(options.mouth, options.head)
    sound = SoundFile(options.audio)
    model = VoiceModel.load()
    if options.like is not None and options.lips not in ("auto", "rhythmic"):
        raise GeneratorError(f"--like is for lips rhythmic; lips {options.lips} move the head in a way of their own")
    if not isinstance(load_generator(options.generator, options.size), FaceGenerator):
        raise GeneratorError(
            f"generator {options.generator} is driven by keypoints, and a voice says how a face moves: "
            "use portrait, mesh or another that is driven by faces"
        )
    avatar = file_avatar(options)
    avatar.begin(model.neutral())
    frames, loudest = _write(options, avatar, sound, _frames(options, avatar, model, config), console)
    seconds = clocks.perf_counter() - started
    console.print(
        f"{options.output}: {frames} frames at {float(RATE):g} FPS in {seconds:.1f} s ({frames / seconds:.0f} FPS)"
    )
    if loudest < SILENT:
        console.print(f"{options.audio}: is silent; the head moves, and the mouth stays closed")
    if sound.problem:
        console.print(f"{options.audio}: {sound.problem}")
    return 0


def _frames(options: Speak, avatar: Avatar, model: VoiceModel, config: VoiceMotionConfig) -> Frames:
    """What turns the voice into frames. Raises GeneratorError and WeightsError for lips that are not there."""
    lips, generator = _lips(options), avatar.generator
    if lips == "rhythmic":
        states = _rhythmic_states(options, model, config)
        return lambda sound: avatar.render_each(states(sound))
    motion = VoiceMotion(model, config, options.seed)
    if lips == "voice":
        return lambda sound: avatar.render_each(spoken_states(sound, motion, RATE))
    if not isinstance(generator, IPLAPGenerator):
        raise GeneratorError(
            f"lips iplap: generator {options.generator} is not drawn by them; use generator iplap, or lips voice"
        )
    driver = VoiceDriver(generator, avatar.identity, avatar.person, LandmarkPredictor())

    def posed(sound: Iterable[Wave]) -> Iterator[FaceState]:
        for state in spoken_states(sound, motion, RATE):
            moved = avatar.transfer(state)
            assert isinstance(moved, FaceState)
            yield moved

    return lambda sound: avatar.render_motions(spoken_motions(sound, posed, driver))


def _lips(options: Speak) -> str:
    """What `auto` stands for: the generator's own where weights of the user's are there, and torch, which runs them.

    Those that ship are narrow: the mouth of `voice` follows people better.
    """
    if options.lips != "auto":
        return options.lips
    if options.like is not None:
        return "rhythmic"
    folders = {"iplap": installed_path().parent, "rhythmic": weights_folder(EXPRESSION)}
    there = {"iplap": installed_path().is_file, "rhythmic": installed}
    if options.generator not in folders or ships(folders[options.generator].parent):
        return "voice"
    return options.generator if there[options.generator]() and find_spec("torch") is not None else "voice"


def _rhythmic_states(options: Speak, model: VoiceModel, config: VoiceMotionConfig) -> States:
    """Of the learners of Rhythmic Head Motion, with blinks of ours, which they know nothing of."""
    learners = RhythmicVoice()
    if options.like is not None:
        heard = _heard(SoundFile(options.like))
        try:
            learners.enrol(_seen_at_25(options.like), heard)
        except GeneratorError as error:
            raise GeneratorError(f"{options.like}: {error}") from error
    blinks = VoiceMotion(model, VoiceMotionConfig(mouth=0.0, head=0.0), options.seed)

    def states(sound: Iterable[Wave]) -> Iterator[FaceState]:
        file = SoundFile(options.audio)
        low, high = (file.blocks(rate) for rate in (MOTION_RATE_HZ, EXPRESSION_RATE_HZ))
        return learners.states(spoken_states(sound, blinks, RATE), low, high, config.mouth, config.head)

    return states


def _seen_at_25(video: Path) -> list[FaceState | None]:
    """The states of the face in a video's first minute, those nearest to 25 a second."""
    file = VideoFile(video)
    with load_tracker() as tracker:
        frames = islice(file.frames(), round(LIKE_S * file.rate))
        seen = [tracker.process(frame, time) for time, frame in frames]
    count = int(len(seen) / file.rate * RATE)
    nearest = [seen[min(round(number * file.rate / RATE), len(seen) - 1)] for number in range(count)]
    return [state if isinstance(state, FaceState) else None for state in nearest]


def _heard(sound: SoundFile) -> Wave:
    """The first minute of a sound."""
    parts, count = [], 0
    for block in sound.blocks(MOTION_RATE_HZ):
        parts.append(block)
        count += len(block)
        if count >= LIKE_S * MOTION_RATE_HZ:
            break
    return np.concatenate(parts)


SILENT = 10 ** (-60 / 20)
"The loudest sample of a sound that is called silent."


def _write(options: Speak, avatar: Avatar, sound: SoundFile, rendered: Frames, console: Console) -> tuple[int, float]:
    """Render all of the voice into the file. Returns the number of frames, and the loudest sample."""

    def finish(frame: Picture) -> Picture:
        return avatar.paste_back(frame) if options.paste_back else frame

    frames, loudest = 0, 0.0

    def heard() -> Iterator[Wave]:
        nonlocal loudest
        for block in sound.blocks(VOICE_RATE_HZ):
            loudest = max(loudest, float(np.abs(block).max()))
            yield block

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    height, width = finish(avatar.source_frame).shape[:2]
    total = None if sound.duration is None else max(1, int(sound.duration * RATE))
    with (
        FileOutput(options.output, width, height, RATE) as output,
        Progress(*columns, console=console, disable=options.quiet) as progress,
    ):
        task = progress.add_task("rendering", total=total)
        voice, played = _as_samples(sound), 0
        for frame in rendered(heard()):
            output.write(finish(frame), float(frames / RATE))
            frames += 1
            progress.advance(task)
            while played < frames / RATE * AUDIO_RATE_HZ and (samples := next(voice, None)) is not None:
                output.write_audio(samples, played / AUDIO_RATE_HZ)
                played += samples.size
    return frames, loudest


def _as_samples(sound: SoundFile) -> Iterator[Samples]:
    for block in sound.blocks(AUDIO_RATE_HZ):
        yield np.rint(block * 32767).astype(np.int16)
