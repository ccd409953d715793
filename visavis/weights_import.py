"""`visavis weights import`: published checkpoints to weights of ours, with a card."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from engine.weights import CARD, VARIABLE, WeightsError, user_folder, weights_folder, weights_name
from engine.weights.placement import placed

if TYPE_CHECKING:
    from torch import nn

    from engine.nets.first_order import FirstOrderConfig
    from visavis.commands import WeightsImport

FRAMES = 6
"Of the clip that comes along, evenly spread, on which align_corners is tried."
UNUSED_DEPTH = 0.01
"Below this gain the attention adds next to nothing to the features."

Facts = list[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class Reading:
    """What the files hold, and what is to be said of it."""

    network: nn.Module
    save: Callable[[Path], None]
    "Writes the weights."
    licence: str
    facts: Facts
    obstacle: str | None = None
    "Why the generator cannot render with them, if so."


def import_weights(options: WeightsImport) -> int:
    """Run the command. Raises LayoutError (a ValueError) for files that do not fit, WeightsError and OSError."""
    folder = _folder(options)
    weights = folder / weights_name(options.generator)
    for path in (weights, folder / CARD):
        if path.exists() and not options.force:
            raise WeightsError(f"{path} is there already: overwrite it with --force, or name another folder with -o")
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise WeightsError("importing weights needs torch: pip install 'visavis[torch]'") from error
    from engine.weights.importers.checkpoints import sha256_of

    readers = {
        "fomm": _fomm,
        "dagan": _dagan,
        "adaat": _adaat,
        "iplap": _iplap,
        "lsr": _lsr,
        "rhythmic": _rhythmic,
    }
    reading = readers[options.generator](options)
    hashes = [(path.name, sha256_of(path)) for path in options.files]
    parameters = sum(parameter.numel() for parameter in reading.network.parameters())
    facts: Facts = [
        *reading.facts,
        ("parameters", f"{parameters:,}, stored as {'float16' if options.half else 'float32'}"),
    ]
    with placed(folder) as unfinished:
        reading.save(unfinished / weights.name)
        card = _card(options.generator, hashes, reading.licence, facts)
        (unfinished / CARD).write_text(card, encoding="utf-8")
    sources = [("source", f"{name}, SHA-256 {digest}") for name, digest in hashes]
    written = ("written", f"{weights} ({weights.stat().st_size / 1e6:.1f} MB), and {CARD}")
    licence = ("licence", reading.licence)
    for name, text in [licence, *facts, *sources, written, *_next(options, weights, reading)]:
        print(f"{name:<15}{text}")
    return 0


def _folder(options: WeightsImport) -> Path:
    root = options.output or user_folder()
    if root is None:
        raise WeightsError("there is no home folder to write to: name a folder with -o")
    return root.absolute() / options.generator


def _next(options: WeightsImport, weights: Path, reading: Reading) -> Facts:
    """What can be done with the weights now."""
    if reading.obstacle is not None:
        return [("but", reading.obstacle)]
    facts, used = [], weights_folder(options.generator)
    if weights.parent != used.absolute():
        reason = f"{used} comes first" if used.is_dir() else "they lie in no folder that is looked in"
        facts.append(("to use them", f"set {VARIABLE}={weights.parent.parent} ({reason})"))
    render = f"visavis render --generator {options.generator} --source PICTURE --driving VIDEO -o OUT.mp4"
    return [
        *facts,
        ("next", f"{render} --runtime torch   (needs the extra `torch`)"),
        ("", f"visavis export --generator {options.generator}   (for the other runtimes; needs the extra `export`)"),
    ]


def _fomm(options: WeightsImport) -> Reading:
    from engine.weights.importers.alignment import aligned, better_alignment, reconstruction_errors
    from engine.weights.importers.first_order import LICENCE, Unsaid, read_checkpoint, save_imported

    checkpoint = _only_file(options)
    model = read_checkpoint(checkpoint, options.keypoints, Unsaid(align_corners=_told(options))).model
    why = "as told"
    if options.align_corners == "auto":
        with Console(stderr=True).status(f"trying align_corners on {FRAMES} frames"):
            errors = reconstruction_errors(model, _frames())
        better = better_alignment(errors)
        model = aligned(model, better or False)
        why = (
            f"L1 {errors[False]:.4f} with no and {errors[True]:.4f} with yes, between {FRAMES} frames of the clip that "
            "comes with visavis and the first of them driven by each"
        )
        if better is None:
            why += "; too near each other to tell, so as in the published code"
    return Reading(
        model,
        lambda path: save_imported(model, checkpoint, path, options.half),
        LICENCE,
        [("network", _in_words("First Order Motion Model", model.config)), *_settings(model.config, why)],
    )


def _dagan(options: WeightsImport) -> Reading:
    from engine.weights.importers.dagan import FILES, LICENCE, depth_gain, read_checkpoints, save_imported
    from engine.weights.importers.first_order import Unsaid

    if len(options.files) > FILES:
        raise WeightsError(f"dagan is published as {FILES} files, {len(options.files)} were named")
    model = read_checkpoints(options.files, options.keypoints, Unsaid(align_corners=_told(options))).model
    config, gain = model.config, depth_gain(model)
    why = "as in the published code" if options.align_corners == "auto" else "as told"
    gamma = f"{gain:.3g} in size"
    if gain < UNUSED_DEPTH:
        gamma += ": near 0, so the depth attention is not used by these weights"
    kind = f"DaGAN, {config.decoder} decoder, depth by a ResNet-{config.depth.layers}"
    return Reading(
        model,
        lambda path: save_imported(model, options.files, path, options.half),
        LICENCE,
        [("network", _in_words(kind, config.warp)), *_settings(config.warp, why), ("gamma", gamma)],
    )


def _adaat(options: WeightsImport) -> Reading:
    from engine.face.contours68 import CONTOURS_68
    from engine.weights.importers.adaat import LICENCE, read_checkpoint, save_imported

    if options.keypoints is not None or options.align_corners != "auto":
        raise WeightsError("adaat has neither --keypoints nor --align-corners: it is driven by landmarks")
    checkpoint = _only_file(options)
    network = read_checkpoint(checkpoint)
    points = network.config.landmarks
    obstacle = None
    if points != len(CONTOURS_68):
        obstacle = f"generator adaat cannot render with them: they want {points} points of a person, it has faces' 68"
    return Reading(
        network,
        lambda path: save_imported(network, checkpoint, path, options.half),
        LICENCE,
        [("network", f"AdaAT, {points} landmarks, {network.config.widths[0]} channels at full size")],
        obstacle,
    )


def _iplap(options: WeightsImport) -> Reading:
    from engine.weights.importers.iplap import FILES, LICENCE, read_checkpoints, save_imported

    if options.keypoints is not None or options.align_corners != "auto":
        raise WeightsError("iplap has neither --keypoints nor --align-corners: it is driven by landmarks")
    if len(options.files) > FILES:
        raise WeightsError(f"iplap is published as {FILES} files, {len(options.files)} were named")
    published = read_checkpoints(options.files)
    config, voice = published.renderer.config, published.landmarks
    facts = [("network", f"IP-LAP's renderer, faces of {config.side}x{config.side}, for RGB instead of BGR pictures")]
    if voice is None:
        facts.append(("voice", "no landmark generator: add landmarkgenerator_checkpoint.pth to drive it by a voice"))
    else:
        count = sum(parameter.numel() for parameter in voice.parameters())
        facts.append(("voice", f"a landmark generator of {count:,} parameters"))
    return Reading(
        published.renderer,
        lambda path: save_imported(published, options.files, path, options.half),
        LICENCE,
        facts,
    )


def _lsr(options: WeightsImport) -> Reading:
    from engine.weights.importers.lsr import LICENCE, read_checkpoint, save_imported

    if options.keypoints is not None or options.align_corners != "auto":
        raise WeightsError("lsr has neither --keypoints nor --align-corners: it is driven by landmarks")
    checkpoint = _only_file(options)
    published = read_checkpoint(checkpoint)
    config = published.network.config
    seen = "layout and contours" if config.contours_in_spade else "layout"
    facts = [
        ("network", f"LSR, {config.size}x{config.size}, {config.width} channels at full size, SPADE by {seen}"),
        ("discriminator", "none" if published.discriminator is None else "kept, for `visavis train subject`"),
    ]
    return Reading(
        published.network,
        lambda path: save_imported(published, checkpoint, path, options.half),
        LICENCE,
        facts,
    )


def _rhythmic(options: WeightsImport) -> Reading:
    from engine.weights.importers.rhythmic import LICENCE, read_checkpoint, save_imported

    if options.keypoints is not None or options.align_corners != "auto":
        raise WeightsError("rhythmic has neither --keypoints nor --align-corners: it is driven by landmarks")
    checkpoint = _only_file(options)
    network = read_checkpoint(checkpoint)
    config = network.config
    kind = f"Rhythmic Head Motion, {'hybrid' if config.hybrid else 'plain'} variant"
    composition = "non-linear" if config.nonlinear else "linear"
    return Reading(
        network,
        lambda path: save_imported(network, checkpoint, path, options.half),
        LICENCE,
        [("network", f"{kind}, {config.references} references, {composition} composition")],
    )


def _only_file(options: WeightsImport) -> Path:
    if len(options.files) != 1:
        raise WeightsError(f"{options.generator} is published as one file, {len(options.files)} were named")
    return options.files[0]


def _told(options: WeightsImport) -> bool | None:
    return None if options.align_corners == "auto" else options.align_corners == "yes"


def _in_words(kind: str, config: FirstOrderConfig) -> str:
    jacobians = {"each": "with a Jacobian each", "shared": "with one Jacobian map", "none": "without Jacobians"}
    return f"{kind}, {config.keypoints} keypoints {jacobians[config.detector.jacobians]}"


def _settings(config: FirstOrderConfig, why: str) -> Facts:
    """What the files do not say. why: where align_corners is from."""
    from engine.weights.importers.first_order import TRAINED_SIZE

    detector = config.detector
    others = f"temperature {detector.temperature:g}, padding {detector.padding}, variance {config.motion.variance:g}"
    return [
        ("align_corners", f"{'yes' if config.align_corners else 'no'} ({why})"),
        ("taken", f"as published: {others}, {TRAINED_SIZE}x{TRAINED_SIZE} frames"),
    ]


def _frames() -> NDArray[np.uint8]:
    """(FRAMES, S, S, 3) of the clip that comes along, cropped around the head in the first."""
    from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
    from engine.face.landmarks import detect_face
    from engine.weights.importers.first_order import TRAINED_SIZE
    from streaming.inputs import VideoFile
    from visavis.demo import DRIVING

    video = VideoFile(DRIVING)
    step = max((video.frame_count or FRAMES) // FRAMES, 1)
    frames = [frame for _, frame in islice(video.frames(), 0, step * FRAMES, step)]
    crop = HeadCrop.around(detect_face(frames[0]).landmarks, video.width, video.height, PORTRAIT_MARGIN)
    return np.stack([crop.apply(frame, TRAINED_SIZE) for frame in frames])


def _card(generator: str, hashes: Sequence[tuple[str, str]], licence: str, facts: Facts) -> str:
    """What stands beside the weights."""
    sources = "\n".join(f"- `{name}`, SHA-256 `{digest}`" for name, digest in hashes)
    rows = "\n".join(f"| {name} | {text} |" for name, text in facts)
    return f"""# Card of imported weights: `{generator}`

`{weights_name(generator)}` holds the numbers of published weights in another format. visavis did not train them, does
not ship them and says nothing of what they were trained on; the networks' code is its own.

**Licence:** {licence}.

Imported on {datetime.now(UTC).date().isoformat()} by `visavis weights import {generator}` from

{sources}

whose keys and shapes were all checked against the networks; a discriminator is left behind, unless it is named below.

| | |
| --- | --- |
{rows}

No quality was measured here: `visavis evaluate --generator {generator}` does. Not for showing anybody doing or saying
what he did not, nor without his agreement.
"""
