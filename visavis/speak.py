"""`visavis speak`: a picture and a voice in, an mp4 out."""

from __future__ import annotations

import time as clocks
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.audio.landmark_predictor import LandmarkPredictor, installed_path
from engine.audio.sound_file import VOICE_RATE_HZ, SoundFile, Wave
from engine.audio.voice_motion import VoiceModel, VoiceMotion, VoiceMotionConfig, spoken_states
from engine.avatar import Avatar, Picture, frames_at_once
from engine.generators import FaceGenerator, GeneratorError, load_generator
from engine.generators.iplap import IPLAPGenerator
from engine.generators.iplap_voice import VoiceDriver, spoken_motions
from engine.motion import FaceState
from streaming.media import AUDIO_RATE_HZ, Samples
from streaming.outputs import FileOutput

if TYPE_CHECKING:
    from visavis.commands import Speak

RATE = Fraction(25)
Rendering = Callable[[Iterable[Wave]], Iterable[Picture]]
"Blocks of a voice at 16 kHz to the frames of it, 25 a second."


def speak(options: Speak) -> int:
    """Run the command. Raises the project's errors; nothing half-written stays."""
    console = Console(stderr=True, quiet=options.quiet)
    started = clocks.perf_counter()
    config = VoiceMotionConfig(options.mouth, options.head)
    sound = SoundFile(options.audio)
    model = VoiceModel.load()
    motion = VoiceMotion(model, config, options.seed)
    if not isinstance(load_generator(options.generator, options.size), FaceGenerator):
        raise GeneratorError(
            f"generator {options.generator} is driven by keypoints, and a voice says how a face moves: "
            "use portrait, mesh or another that is driven by faces"
        )
    avatar = Avatar.from_image(
        options.source,
        generator=options.generator,
        runtime=options.runtime,
        size=options.size,
        crop=options.crop,
        at_once=frames_at_once(),
    )
    avatar.begin(model.neutral())
    frames, loudest = _write(options, avatar, sound, _rendering(options, avatar, motion), console)
    seconds = clocks.perf_counter() - started
    console.print(
        f"{options.output}: {frames} frames at {float(RATE):g} FPS in {seconds:.1f} s ({frames / seconds:.0f} FPS)"
    )
    if loudest < SILENT:
        console.print(f"{options.audio}: is silent; the head moves, and the mouth stays closed")
    if sound.problem:
        console.print(f"{options.audio}: {sound.problem}")
    return 0


def _rendering(options: Speak, avatar: Avatar, motion: VoiceMotion) -> Rendering:
    """What turns the voice into frames. Raises GeneratorError and WeightsError for lips of IP-LAP where it is not
    there."""
    generator = avatar.generator
    if not isinstance(generator, IPLAPGenerator):
        if options.lips == "iplap":
            raise GeneratorError(
                f"lips iplap: generator {options.generator} is not drawn by them; use generator iplap, or lips voice"
            )
    elif options.lips != "voice" and (options.lips == "iplap" or installed_path().is_file()):
        driver = VoiceDriver(generator, avatar.identity, avatar.person, LandmarkPredictor())

        def posed(sound: Iterable[Wave]) -> Iterator[FaceState]:
            for state in spoken_states(sound, motion, RATE):
                moved = avatar.transfer(state)
                assert isinstance(moved, FaceState)
                yield moved

        return lambda sound: avatar.render_motions(spoken_motions(sound, posed, driver))
    return lambda sound: avatar.render_each(spoken_states(sound, motion, RATE))


SILENT = 10 ** (-60 / 20)
"The loudest sample of a sound that is called silent."


def _write(
    options: Speak, avatar: Avatar, sound: SoundFile, rendered: Rendering, console: Console
) -> tuple[int, float]:
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
