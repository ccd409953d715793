"""`visavis webcam`: camera in, virtual webcam out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from engine.avatar import Avatar, load_tracker
from streaming.inputs import open_live_input
from streaming.outputs import WebcamOutput

if TYPE_CHECKING:
    from visavis.commands import Webcam

RATE = 25.0


def webcam(options: Webcam) -> int:
    """Run until the camera ends or Ctrl-C. Raises InputError, OutputError and those of `Avatar.from_image`."""
    console = Console(stderr=True)
    avatar = Avatar.from_image(options.source, generator=options.generator, runtime=options.runtime, size=options.size)
    frame, searching = avatar.source_frame, False
    with (
        WebcamOutput(avatar.size, avatar.size, RATE, device=options.device) as output,
        open_live_input(options.camera, rate=RATE) as source,
        load_tracker(options.generator, options.runtime, options.size) as tracker,
    ):
        console.print(f"virtual webcam: {output.device}   (stop with Ctrl-C)")
        while (captured := source.read()) is not None:
            at, seen = captured
            state = tracker.process(seen, at)
            if (state is None) != searching:
                searching = state is None
                console.print("no face in the camera picture: holding the last motion" if searching else "face found")
            if state is not None:
                frame = avatar.render(state, options.motion)
            output.write(frame, at)
    return 0
