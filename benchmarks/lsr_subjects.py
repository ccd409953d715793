"""Few pictures and subject fine-tuning of LSR, on test clips: `python -m benchmarks.lsr_subjects --data DATA`.

K frames of a clip's first half are the pictures of a person; the second half is compared, as by `visavis evaluate
--sources`: the weights as they are, the same fine-tuned on the K frames as by `visavis train subject`, and the still
first frame.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.environment import command_line, write_result
from benchmarks.evaluation.clips import Clip, find_clips, read_clip
from benchmarks.evaluation.contenders import STILL, Contender
from benchmarks.evaluation.figures import Figures, better_on, mean_over_clips, summarise
from benchmarks.evaluation.metrics import Metrics
from benchmarks.evaluation.same_identity import measure_same_identity, source_frames
from benchmarks.evaluation.sheets import Strip
from engine.face.model import FaceModel
from engine.generators.lsr import LSRGenerator
from engine.nets.lsr_weights import load_network
from engine.runtime import RuntimeConfig
from engine.runtime.torch_runtime import TorchRuntime
from engine.training.loop import Trainer
from engine.training.lsr_subject import LSRSubjectTask, Subject, published_steps
from engine.weights import weights_path
from visavis.train_subject import subject_recipe

logger = logging.getLogger(__name__)

RESULT = Path(__file__).parent / "results" / "lsr_subjects.json"
GIVEN, TUNED = "lsr", "fine-tuned"


def fine_tuned(
    weights: Path, clip: Clip, sources: Sequence[int], folder: Path, steps: int | None, threads: int
) -> Path:
    """Weights for the person in these frames of a clip."""
    config = load_network(weights).config
    size = (config.size, config.size)
    frames = [cv2.resize(clip.frames[k], size, interpolation=cv2.INTER_AREA) for k in sources]
    subject = folder / "subject.npz"
    Subject(np.stack(frames).astype(np.uint8), np.stack([clip.landmarks[k] for k in sources])).save(subject)
    recipe = subject_recipe(config, steps or published_steps(len(sources)))
    torch.set_num_threads(threads)
    task = LSRSubjectTask(recipe, subject)
    return Trainer(recipe, task, folder / "run", "cpu", weights=weights).run().files[0]


def contender(name: str, weights: Path, size: int, threads: int) -> Contender:
    """LSR with these weights, executed by torch."""
    generator = LSRGenerator(size, weights)
    return Contender(name, generator, TorchRuntime(RuntimeConfig(threads)).compile(generator))


def measure(
    clip: Clip, weights: Path, count: int, arguments: argparse.Namespace, metrics: Metrics, model: FaceModel
) -> dict[str, Figures]:
    """The figures of a clip's second half, by who showed it, for one number of pictures."""
    half = len(clip.frames) // 2
    with tempfile.TemporaryDirectory() as folder:
        sources = source_frames(count, len(clip.frames))
        own = fine_tuned(weights, clip, sources, Path(folder), arguments.steps, arguments.threads)
        ways = {GIVEN: weights, TUNED: own}
        contenders = [contender(name, path, arguments.size, arguments.threads) for name, path in ways.items()]
        strip = Strip(without=(STILL,))
        found = measure_same_identity(clip, contenders, metrics, model, arguments.step, (count,), strip)
    strip.write(arguments.sheets / f"{clip.name}_{count}.jpg")
    late = {name: summarise([row for row in rows if row["frame"] >= half]) for name, rows in found.rows.items()}
    few = {name: by_count[count] for name, by_count in found.few_shot.items()}
    return {STILL: late[STILL], **{name: few.get(name, late[name]) for name in ways}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data pack, see `visavis evaluate`")
    parser.add_argument("--weights", type=Path, help="default: those that `--generator lsr` renders with")
    parser.add_argument("--sources", type=int, nargs="+", default=[1, 4, 8], help="numbers of pictures (%(default)s)")
    parser.add_argument("--clips", nargs="*", default=[], help="only these")
    parser.add_argument("--size", type=int, default=128, help="side of the frames in pixels (%(default)s)")
    parser.add_argument("--step", type=int, default=6, help="compare every how manieth frame (%(default)s)")
    parser.add_argument("--steps", type=int, help="of fine-tuning; default: as published for the number of pictures")
    parser.add_argument("--threads", type=int, default=1, help="of torch (%(default)s)")
    parser.add_argument("--sheets", type=Path, default=Path("lsr-subjects"), help="folder; they show people")
    parser.add_argument("-o", "--output", type=Path, default=RESULT, help="JSON file to write (%(default)s)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    weights = arguments.weights or weights_path("lsr")
    model = FaceModel.load()
    metrics = Metrics(model)
    by_count: dict[int, list[dict[str, Figures]]] = {count: [] for count in arguments.sources}
    files = find_clips(arguments.data, arguments.size, tuple(arguments.clips))
    for file in files:
        clip = read_clip(file)
        for count in arguments.sources:
            figures = measure(clip, weights, count, arguments, metrics, model)
            by_count[count].append(figures)
            shown = {name: {key: way.get(key) for key in ("l1", "ssim", "akd")} for name, way in figures.items()}
            logger.info("%s, %d: %s", clip.name, count, shown)
        write_result(arguments.output, command_line(), summary(by_count, [file.name for file in files]))
    metrics.close()


def summary(by_count: dict[int, list[dict[str, Figures]]], names: Sequence[str]) -> dict[str, Any]:
    """By number of pictures: means over the clips, in how many each is better than the still frame, and the clips."""
    return {
        str(count): {
            "mean": {name: mean_over_clips([clip[name] for clip in clips]) for name in (STILL, GIVEN, TUNED)},
            "better_than_still": {
                name: better_on([(clip[name], clip[STILL]) for clip in clips]) for name in (GIVEN, TUNED)
            },
            "clips": dict(zip(names, clips, strict=False)),
        }
        for count, clips in by_count.items()
        if clips
    }


if __name__ == "__main__":
    main()
