"""`visavis export`: the networks of a generator, from its weights to the files that run without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.export import example_motions, export_generator
from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.fit import fit_source
from engine.face.images import load_image
from engine.face.landmarks import detect_face
from engine.face.model import FaceModel
from engine.generators import GeneratorError, load_generator
from engine.generators.neural import NeuralGenerator
from engine.runtime.cost import multiply_accumulates
from engine.weights import weights_folder
from visavis.demo import PORTRAIT

if TYPE_CHECKING:
    from visavis.commands import Export


def export(options: Export) -> int:
    """Run the command."""
    generator = load_generator(options.generator, options.size)
    if not isinstance(generator, NeuralGenerator):
        raise GeneratorError(f"generator {generator.name} has no networks; it runs as it is")
    try:
        import torch
    except ImportError as error:
        raise GeneratorError("export needs torch: pip install 'visavis[train]'") from error
    # A few frames: on a busy machine several threads wait for each other longer than they compute.
    torch.set_num_threads(1)
    picture = load_image(options.source or PORTRAIT)
    height, width = picture.shape[:2]
    crop = HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN)
    frame = crop.apply(picture, options.size)
    person, state = fit_source(FaceModel.load(), detect_face(frame).landmarks)
    written = export_generator(
        generator,
        frame[None],
        person.landmarks(state)[None].astype(np.float32),
        example_motions(generator, frame, person, state),
        options.output or weights_folder(options.generator),
    )
    table = Table("file", "MB", "GMAC", "difference from torch, worst (mean)")
    for entry in written.values():
        differences = (
            f"{runtime}: {name} {deviation.largest:.2g} ({deviation.mean:.2g})"
            for runtime, outputs in entry.deviations.items()
            for name, deviation in outputs.items()
        )
        table.add_row(
            str(entry.path),
            f"{entry.path.stat().st_size / 1e6:.1f}",
            f"{sum(multiply_accumulates(entry.path).values()) / 1e9:.2f}",
            "\n".join(differences),
        )
    Console().print(table)
    return 0
