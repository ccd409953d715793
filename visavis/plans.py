"""`visavis plans`: TensorRT plans are built, listed and compared with torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from engine.export import example_inputs, example_motions
from engine.face.crop import PORTRAIT_MARGIN, HeadCrop
from engine.face.fit import fit_source
from engine.face.images import load_image
from engine.face.landmarks import detect_face
from engine.face.model import FaceModel
from engine.generators import GeneratorError, load_generator
from engine.generators.base import Tensors
from engine.generators.neural import Half, Network, NeuralGenerator, torch_network
from trt_plans.build import Progress as TellProgress
from trt_plans.cache import PlanCache
from trt_plans.device import find_gpu
from trt_plans.errors import PlanError
from trt_plans.network import PreparedNetwork, prepare_half
from trt_plans.store import BuiltPlan, PlanStore
from trt_plans.tensorrt_package import load_tensorrt
from trt_plans.verify import worst
from visavis.demo import PORTRAIT

if TYPE_CHECKING:
    from visavis.commands import PlansBuild, PlansVerify


def build(options: PlansBuild) -> int:
    """Run the command."""
    console = Console()
    store = PlanStore(load_tensorrt(), find_gpu())
    generator = _neural(options)
    with _progress(console) as tell:
        built = {half: store.plan(ready, tell, options.again) for half, ready in _prepared(generator, options)}
    _verify(console, generator, options, built)
    return 0


def verify(options: PlansVerify) -> int:
    """Run the command."""
    store = PlanStore(load_tensorrt(), find_gpu())
    generator = _neural(options)
    built: dict[Half, BuiltPlan] = {}
    for half, ready in _prepared(generator, options):
        plan = store.existing(ready)
        if plan is None:
            raise PlanError(
                f"there is no {options.precision} plan of {ready.name} for this GPU and TensorRT; build it: "
                f"visavis plans build --generator {generator.name} --size {generator.size} "
                f"--precision {options.precision}"
            )
        built[half] = plan
    _verify(Console(), generator, options, built)
    return 0


def list_plans() -> int:
    """Run the command. Needs neither TensorRT nor a GPU."""
    console, cache = Console(), PlanCache()
    plans = list(cache.plans())
    if not plans:
        console.print(f"no plans in {cache.folder}; visavis plans build makes some", markup=False, highlight=False)
        return 0
    table = Table("plan", "MB", "GPU", "TensorRT", "profile", "difference from torch, worst (mean)")
    for plan in plans:
        verified = worst(plan.verified) if plan.verified else "not compared yet"
        gpu, profile = str(plan.key["gpu"]), str(plan.key["profile"])
        table.add_row(plan.path.stem, f"{plan.size_bytes / 1e6:.1f}", gpu, str(plan.key["tensorrt"]), profile, verified)
    console.print(table)
    console.print(f"in {cache.folder}", markup=False, highlight=False)
    return 0


def _neural(options: PlansBuild | PlansVerify) -> NeuralGenerator:
    generator = load_generator(options.generator, options.size)
    if not isinstance(generator, NeuralGenerator):
        raise GeneratorError(f"generator {generator.name} has no networks; it runs as it is")
    return generator


def _prepared(generator: NeuralGenerator, options: PlansBuild | PlansVerify) -> Iterator[tuple[Half, PreparedNetwork]]:
    for half in generator.network_specs():
        yield half, prepare_half(generator, half, options.precision)


def _verify(
    console: Console, generator: NeuralGenerator, options: PlansBuild | PlansVerify, built: dict[Half, BuiltPlan]
) -> None:
    """On the picture's frame, at rest and moved. Raises PlanMismatchError where one does not agree."""
    specs = generator.network_specs()
    modules = {half: generator.torch_module(half) for half in specs}
    table = Table("plan", "MB", "difference from torch, worst (mean)")
    for half, inputs in _examples(generator, options).items():
        reference: Network = torch_network(modules[half], specs[half])
        found = built[half].verify(reference, inputs)
        size = f"{built[half].path.stat().st_size / 1e6:.1f}"
        table.add_row(built[half].path.stem, size, worst(found))
    console.print(table)


def _examples(generator: NeuralGenerator, options: PlansBuild | PlansVerify) -> dict[Half, list[Tensors]]:
    """What the networks get while the generator renders the picture."""
    picture = load_image(options.source or PORTRAIT)
    height, width = picture.shape[:2]
    crop = HeadCrop.around(detect_face(picture).landmarks, width, height, PORTRAIT_MARGIN)
    frame = crop.apply(picture, options.size)
    person, state = fit_source(FaceModel.load(), detect_face(frame).landmarks)
    modules = {half: generator.torch_module(half) for half in generator.network_specs()}
    landmarks = person.landmarks(state)[None].astype(np.float32)
    motions = example_motions(generator, frame, person, state)
    return example_inputs(generator, modules, frame[None], landmarks, motions)


@contextmanager
def _progress(console: Console) -> Iterator[TellProgress]:
    """A bar for each phase that TensorRT is in."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def tell(phase: str, done: int, steps: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=steps)
            bars.update(tasks[phase], completed=done, total=steps)

        yield tell
