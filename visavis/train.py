"""`visavis train`: train a generator by a recipe, prepare videos to train on, or fine-tune on one person."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from engine.training.recipe import RecipeError, load_recipe

if TYPE_CHECKING:
    from engine.training.loop import Progress, Summary
    from visavis.commands import Train

PREPARE, SUBJECT = "prepare", "subject"
DATA_VARIABLE = "VISAVIS_DATA"


def train(options: Train) -> int:
    """Run the command. Raises RecipeError, TrainingError and, while preparing, InputError and OSError."""
    if options.recipe == PREPARE:
        from visavis.prepare import prepare

        return prepare(options)
    subject = options.recipe == SUBJECT
    if options.folder is not None and not subject:
        raise RecipeError(
            f"{options.folder}: a folder of videos is only wanted by `visavis train {PREPARE} FOLDER`, "
            f"frames of a person by `visavis train {SUBJECT} VIDEO`"
        )
    recipe = None if subject else load_recipe(options.recipe)
    try:
        import torch
    except ImportError as error:
        raise RecipeError("training needs torch: pip install 'visavis[train]'") from error
    from engine.training.loop import Trainer
    from engine.training.task import load_task

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    console = Console(stderr=True)
    output = options.output or Path("out") / Path(options.recipe).stem
    data, weights = options.data or _data_of_environment(), options.weights
    if recipe is None:
        from visavis.train_subject import begin

        recipe, data, weights = begin(options, console)
    task = load_task(recipe, data)
    trainer = Trainer(recipe, task, output, options.device, options.resume, None if options.resume else weights)
    console.print(
        f"{recipe.task}: step {trainer.step} of {recipe.steps}, {trainer.device} {str(trainer.dtype)[6:]}, "
        f"{torch.get_num_threads()} threads, into {output}"
    )
    columns = (
        TextColumn("stage {task.fields[stage]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}, {task.fields[rate]:.1f} samples/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with ProgressBar(*columns, console=console) as bar:
        shown = bar.add_task("", total=recipe.steps, completed=trainer.step, stage=1, loss=float("nan"), rate=0.0)

        def show(now: Progress) -> None:
            bar.update(shown, completed=now.step, stage=now.stage, loss=now.loss, rate=now.samples_per_second)

        summary = trainer.run(options.steps, options.max_seconds, show)
    console.print(_in_words(summary, recipe.steps, output))
    if subject and summary.files:
        from visavis.train_subject import finish

        finish(output, summary.files, console)
    return 0


def _in_words(summary: Summary, steps: int, output: Path) -> str:
    state = "complete" if summary.complete else f"step {summary.step} of {steps}; go on with --resume"
    parts = [f"{output}: {state}", f"{summary.samples_per_second:.1f} samples/s"]
    if summary.skipped:
        parts.append(f"{summary.skipped} steps skipped")
    if summary.files:
        parts.append(f"weights in {', '.join(str(path) for path in summary.files)}")
    return ", ".join(parts)


def _data_of_environment() -> Path | None:
    return Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None
