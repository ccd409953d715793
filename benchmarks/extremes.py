"""Where generators reach their limits: one picture in ten hard poses, `python -m benchmarks.extremes`.

Writes a contact sheet, a column per pose and rows for each generator: whole, mouth and eyes. Nothing is measured, for
there is no truth; look at it as somebody in a call would. The picture is the demo's, which may be shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.evaluation.sheets import Strip
from engine.avatar import Avatar
from engine.face.model import FaceModel
from engine.motion import FaceState
from engine.quality import FaceRegions
from visavis.demo import PORTRAIT
from visavis.demo.visemes import expression_for

SHEET = Path(__file__).parent / "results" / "extremes.jpg"
DEGREE = np.pi / 180


@dataclass(frozen=True)
class Pose:
    """By how much a pose differs from that of the picture."""

    turned: tuple[float, float, float] = (0.0, 0.0, 0.0)
    "Pitch (down), yaw and roll in degrees."
    moved: tuple[float, float] = (0.0, 0.0)
    "Right and down, in sides of the frame."
    scaled: float = 1.0
    expression: Mapping[str, float] = field(default_factory=dict)
    "As `expression_for` takes it, head units."
    gaze: tuple[float, float] = (0.0, 0.0)
    "Right and down, in eye widths."

    def of(self, model: FaceModel, source: FaceState) -> FaceState:
        """The pose of a face that the source state shows at rest."""
        return replace(
            source,
            rotation=source.rotation + DEGREE * np.array(self.turned, np.float32),
            translation=source.translation + np.array(self.moved, np.float32),
            scale=source.scale * self.scaled,
            expression=source.expression + expression_for(model, dict(self.expression)),
            gaze=np.array(self.gaze, np.float32),
        )


POSES: tuple[Pose, ...] = (
    Pose(),
    Pose(expression={"gap": 0.16}),
    Pose(expression={"gap": 0.32}),
    Pose(expression={"lids": -0.105}),
    Pose(expression={"lids": -0.05, "brows": -0.03}, gaze=(0.12, 0.02)),
    Pose(turned=(0, 20, 0)),
    Pose(turned=(0, -40, 0)),
    Pose(turned=(22, 0, 0)),
    Pose(turned=(-18, 15, 20), expression={"gap": 0.1}),
    Pose(moved=(0.12, 0.03), scaled=0.85),
)


def render_extremes(pictures: Sequence[Path], generators: Sequence[str], size: int) -> Strip:
    """One person in all poses, by each generator."""
    model, strip = FaceModel.load(), Strip(len(POSES))
    avatars = {name: Avatar.from_image(pictures, generator=name, size=size) for name in generators}
    for pose in POSES:
        rendered = {}
        for name, avatar in avatars.items():
            state = pose.of(model, avatar.source_state)
            rendered[name] = avatar.render_state(state)
            regions = FaceRegions.of(avatar.person.landmarks(state).astype(np.float32), size)
        strip.add(rendered, regions)
    return strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, nargs="+", default=[PORTRAIT], help="pictures of one person")
    parser.add_argument("--generators", nargs="+", default=["mesh", "portrait"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("-o", "--output", type=Path, default=SHEET)
    options = parser.parse_args()
    render_extremes(options.source, options.generators, options.size).write(options.output)


if __name__ == "__main__":
    main()
