"""The training loop: any task, by a recipe, in slices, on whatever machine there is."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time as clocks
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.training.checkpoint import load_checkpoint, save_checkpoint
from engine.training.ema import RunningMean
from engine.training.loader import batches
from engine.training.logbook import Logbook
from engine.training.precision import choose_precision
from engine.training.recipe import OptimizerConfig, Recipe, Stage
from engine.training.task import Terms, TrainingError, TrainingTask

logger = logging.getLogger(__name__)

CHECKPOINT, RECIPE, WEIGHTS = "checkpoint.pt", "recipe.json", "weights"
_SHEET_STREAM = 2**32
"Seed offset of the sheet's samples, which are the same at every step."


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after each step."""

    step: int
    steps: int
    stage: int
    "Number of the present stage, from 1."
    loss: float
    "The weighted sum; NaN for a step that was skipped."
    samples_per_second: float
    "Of the last steps, without validation and the like."
    waiting: float
    "Share of these steps' time that the training waited for samples."


@dataclass(frozen=True)
class Summary:
    """What a call of `Trainer.run` came to."""

    step: int
    "Steps done since the beginning of the run, over all slices."
    complete: bool
    stopped_by_signal: bool
    skipped: int
    "Steps of this slice without a finite loss and gradient."
    samples_per_second: float
    files: tuple[Path, ...]
    "The exported weights."


class Trainer:
    """One run in one folder, which holds the checkpoint, the log, the sheets and the weights.

    Everything that happens in a step depends on the weights before it, the recipe's seed and the step's number alone,
    so a run that was killed and resumed ends as one that was not: on a CPU to the last bit, on a GPU within the noise
    of its unordered sums.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: TrainingTask,
        output: Path,
        device: str = "auto",
        resume: bool = False,
        weights: Path | None = None,
    ) -> None:
        """device: auto, cpu or cuda. weights: an exported file to begin with.

        Raises TrainingError where the folder holds a run and `resume` is not set, or `resume` is and it holds none.
        """
        self._recipe = recipe
        self._task = task
        self._output = output
        self._device = _device(device)
        self._dtype = choose_precision(recipe.precision, self._device)
        if self._device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        checkpoint = output / CHECKPOINT
        if checkpoint.exists() and not resume:
            raise TrainingError(f"{output}: holds a run already; go on with --resume, or name another --output")
        if resume and weights is not None:
            raise TrainingError("a run that is resumed has weights: leave out --weights, or begin in another --output")
        output.mkdir(parents=True, exist_ok=True)
        task.device = self._device
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        for network in self._all_networks().values():
            network.to(self._device).to(memory_format=layout)  # type: ignore[call-overload]
        if weights is not None:
            task.load_weights(weights)
        self._mean = RunningMean(task.networks(), recipe.ema_decay)
        self._optimizers = _optimizers(task, recipe.optimizer)
        self._logbook = Logbook(output)
        self._step = 0
        self._samples = 0
        self._seconds = 0.0
        self._bad_in_a_row = 0
        self._skipped = 0
        self._saved: int | None = None
        self._stop = False
        if resume:
            self._load(checkpoint)
        else:
            (output / RECIPE).write_text(json.dumps(recipe.as_table(), indent=1) + "\n")
        self._logbook.rewind(self._step)

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self._step

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """What the convolutions compute in."""
        return self._dtype

    def run(
        self,
        steps: int | None = None,
        max_seconds: float | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Summary:
        """Train to the recipe's end, or for so many steps or seconds, or until SIGTERM or Ctrl-C; then save.

        Weights are exported at the end, except after a signal, which wants an answer soon. A second signal ends the
        process at once. Raises TrainingError after too many steps in a row without a finite loss.
        """
        last = self._recipe.steps if steps is None else min(self._recipe.steps, self._step + steps)
        deadline = None if max_seconds is None else clocks.monotonic() + max_seconds
        self._skipped = 0
        self._stop = False
        pace = _Pace()
        with self._stopped_by_signals():
            for number, (stage, first, end) in enumerate(self._stages(), 1):
                if self._step < min(end, last):
                    self._train(stage, number, first, min(end, last), deadline, pace, on_step)
                if self._stop or _passed(deadline):
                    break
            complete = self._step == self._recipe.steps
            self._save()
            by_signal = self._stop
        files: tuple[Path, ...] = ()
        if complete and not by_signal:
            self._look(self._recipe.stage[-1], end=True)
        if not by_signal:
            files = tuple(self.export())
        return Summary(self._step, complete, by_signal, self._skipped, pace.samples_per_second, files)

    def export(self) -> list[Path]:
        """Write the running mean of the weights. Returns the files."""
        metadata = {
            "task": self._recipe.task,
            "recipe": json.dumps(self._recipe.as_table()),
            "steps": str(self._step),
            "samples": str(self._samples),
            "hours": f"{self._seconds / 3600:.3f}",
        }
        folder = self._output / WEIGHTS
        folder.mkdir(exist_ok=True)
        with self._looking():
            return self._task.export(folder, metadata)

    def _train(
        self,
        stage: Stage,
        number: int,
        first: int,
        end: int,
        deadline: float | None,
        pace: _Pace,
        on_step: Callable[[Progress], None] | None,
    ) -> None:
        """The steps of a stage, which began at step `first`, up to `end`."""
        steps = range(self._step, end)
        source = self._task.samples(stage)
        loader = batches(source, self._recipe.seed, steps, stage.batch, self._recipe.workers, self._device)
        self._set_training(True)
        for _ in steps:
            begin = clocks.monotonic()
            batch = next(loader)
            waited = clocks.monotonic() - begin
            rate = learning_rate(self._recipe.optimizer, stage, self._step - first)
            terms = self._learn(batch, stage, rate)
            elapsed = clocks.monotonic() - begin
            self._step += 1
            self._samples += stage.batch
            self._seconds += elapsed
            pace.add(stage.batch, elapsed, waited)
            self._note(terms)
            loss = math.nan if terms is None else terms["total"]
            if on_step is not None:
                on_step(Progress(self._step, self._recipe.steps, number, loss, pace.samples_per_second, pace.waiting))
            if _due(self._recipe.intervals.log, self._step) or self._step == self._recipe.steps:
                self._logbook.write_means(
                    self._step,
                    stage=number,
                    lr=rate,
                    samples=self._samples,
                    hours=round(self._seconds / 3600, 4),
                    samples_per_second=round(pace.samples_per_second, 2),
                    waiting=round(pace.waiting, 3),
                )
            if _due(self._recipe.intervals.checkpoint, self._step):
                self._save()
            if self._step < self._recipe.steps:
                self._look(stage)
            if self._stop or _passed(deadline):
                self._save()  # before the loader's processes are ended, which may take seconds
                break

    def _learn(self, batch: Mapping[str, Tensor], stage: Stage, rate: float) -> dict[str, float] | None:
        """One step. Returns the unweighted terms and `total`, or None where it was not finite and was skipped."""
        torch.manual_seed(int(np.random.SeedSequence((self._recipe.seed, self._step)).generate_state(1)[0]))
        weights = self._recipe.weights(stage)
        opponents = list(self._task.discriminators().values())
        # Statistics of batch norms are written in the forward pass, before it is known whether the step counts.
        buffers = [(buffer, buffer.clone()) for net in self._all_networks().values() for buffer in net.buffers()]
        _require_gradient(opponents, False)
        with self._autocast():
            outputs = self._task.forward(batch)
            terms = self._task.generator_terms(batch, outputs, weights)
        values = self._descend("generator", terms, weights, rate)
        if values is not None and opponents:
            _require_gradient(opponents, True)
            detached = {name: value.detach() for name, value in outputs.items()}
            with self._autocast():
                terms = self._task.discriminator_terms(batch, detached)
            share = self._recipe.optimizer.discriminator_lr_share
            against = self._descend("discriminator", terms, dict.fromkeys(terms, 1.0), share * rate)
            values = None if against is None else {**values, **against}
        if values is None:
            for buffer, before in buffers:
                buffer.copy_(before)
            return None
        self._mean.update()
        return values

    def _descend(self, side: str, terms: Terms, weights: Mapping[str, float], rate: float) -> dict[str, float] | None:
        """Follow the gradient of the weighted sum; None, and no step, where anything is not finite."""
        for name in terms:
            if name not in weights:
                raise TrainingError(f"the task's loss term {name!r} has no weight; add it to the recipe's [loss] table")
        total = torch.stack([weights[name] * term.float() for name, term in terms.items()]).sum()
        values = torch.stack([total, *(term.float() for term in terms.values())]).tolist()
        if not math.isfinite(values[0]):
            return None
        optimizer = self._optimizers[side]
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        parameters = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        norm = nn.utils.get_total_norm([one.grad for one in parameters])
        if not math.isfinite(float(norm)):
            return None
        if self._recipe.optimizer.clip_norm > 0:
            nn.utils.clip_grads_with_norm_(parameters, self._recipe.optimizer.clip_norm, norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        figures = {**dict(zip(terms, values[1:], strict=True)), "total": values[0], "gradient norm": float(norm)}
        prefix = "" if side == "generator" else "discriminator "
        return {f"{prefix}{name}": value for name, value in figures.items()}

    def _note(self, terms: Mapping[str, float] | None) -> None:
        """Log the terms of a step, or that it was skipped. Raises TrainingError where it was one too many."""
        if terms is not None:
            self._logbook.add(terms)
            self._bad_in_a_row = 0
            return
        self._skipped += 1
        self._bad_in_a_row += 1
        logger.warning("step %d: loss or gradient is not finite; skipped", self._step)
        if self._bad_in_a_row >= self._recipe.bad_steps_limit:
            raise TrainingError(
                f"{self._bad_in_a_row} steps in a row without a finite loss and gradient, up to step {self._step}; "
                "lower the lr, or set precision = 'fp32', and go on from the last checkpoint with --resume"
            )

    def _look(self, stage: Stage, end: bool = False) -> None:
        """Validate and show, where it is time or the run is at its end."""
        intervals = self._recipe.intervals
        validate = intervals.validate and (end or _due(intervals.validate, self._step))
        show = intervals.sheet and (end or _due(intervals.sheet, self._step))
        if not validate and not show:
            return
        with self._looking():
            if validate and (figures := self._task.validate(stage)):
                self._logbook.write_validation(self._step, figures)
            if show:
                source, seed = self._task.sheet_samples(stage), self._recipe.seed + _SHEET_STREAM
                batch = next(batches(source, seed, range(1), stage.batch, 0, self._device))
                sheet = self._task.sheet(batch, self._task.forward(batch))
                if sheet is not None:
                    self._logbook.write_sheet(self._step, sheet)
        self._logbook.draw_curves()

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Running mean in the networks, no gradient, inference's batch norms."""
        self._set_training(False)
        try:
            with self._mean.swapped_in(), torch.no_grad(), self._autocast():
                yield
        finally:
            self._set_training(True)

    def _autocast(self) -> Any:
        if self._dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)

    def _set_training(self, training: bool) -> None:
        for network in self._all_networks().values():
            network.train(training)

    def _all_networks(self) -> dict[str, nn.Module]:
        opponents = {f"discriminator.{name}": network for name, network in self._task.discriminators().items()}
        return {**self._task.networks(), **opponents}

    def _stages(self) -> Iterator[tuple[Stage, int, int]]:
        """Each stage with its first step and the one after its last."""
        first = 0
        for stage in self._recipe.stage:
            yield stage, first, first + stage.steps
            first += stage.steps

    def _save(self) -> None:
        """Write the checkpoint, unless that of this step is there."""
        if self._saved == self._step:
            return
        save_checkpoint(
            self._output / CHECKPOINT,
            {
                "recipe": self._recipe.as_table(),
                "step": self._step,
                "samples": self._samples,
                "seconds": self._seconds,
                "networks": {name: network.state_dict() for name, network in self._all_networks().items()},
                "mean": self._mean.state_dict(),
                "optimizers": {side: optimizer.state_dict() for side, optimizer in self._optimizers.items()},
                "log": self._logbook.state_dict(),
            },
        )
        self._saved = self._step

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path)
        self._check_recipe(path, state["recipe"])
        try:
            for name, network in self._all_networks().items():
                network.load_state_dict(state["networks"][name])
            self._mean.load_state_dict(state["mean"])
            for side, optimizer in self._optimizers.items():
                optimizer.load_state_dict(state["optimizers"][side])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{path}: was written for other networks than the task has now ({error}); begin again in another "
                "--output, with --weights if you want to start from exported weights"
            ) from error
        self._logbook.load_state_dict(state["log"])
        self._step, self._samples, self._seconds = state["step"], state["samples"], state["seconds"]

    def _check_recipe(self, path: Path, before: Mapping[str, Any]) -> None:
        """Refuse a recipe of other networks; say what else differs, which is allowed but no longer the same run."""
        now = self._recipe.as_table()
        changed = [key for key in now if now[key] != before.get(key)]
        for key in ("task", "options"):
            if key in changed:
                raise TrainingError(
                    f"{path}: was trained with {key} = {before.get(key)!r}, the recipe now says {now[key]!r}; "
                    "begin again in another --output"
                )
        if changed:
            logger.warning("the recipe differs from the one that this run began with in: %s", ", ".join(changed))

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run after the step that is under way; a second one does what it always did."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}

        def stop(number: int, _frame: FrameType | None) -> None:
            self._stop = True
            signal.signal(number, before[signal.Signals(number)])

        for number in numbers:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number in numbers:
                signal.signal(number, before[number])


class _Pace:
    """Samples a second of the last steps (exponential mean over about 30)."""

    def __init__(self) -> None:
        self._samples = self._elapsed = self._waited = 0.0

    def add(self, samples: int, elapsed: float, waited: float) -> None:
        keep = 1 - 1 / 30
        self._samples = keep * self._samples + samples
        self._elapsed = keep * self._elapsed + elapsed
        self._waited = keep * self._waited + waited

    @property
    def samples_per_second(self) -> float:
        return self._samples / self._elapsed if self._elapsed else 0.0

    @property
    def waiting(self) -> float:
        return self._waited / self._elapsed if self._elapsed else 0.0


def learning_rate(config: OptimizerConfig, stage: Stage, step: int) -> float:
    """Of step `step` of a stage, counted from 0: linear warm-up times a cosine from 1 to `final_lr_share`."""
    warmth = min(1.0, (step + 1) / (config.warmup_steps + 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * step / stage.steps))
    return stage.lr * warmth * (config.final_lr_share + (1.0 - config.final_lr_share) * cosine)


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device cuda: torch sees no GPU here; use --device cpu, or install torch for your CUDA")
    return torch.device(wanted)


def _optimizers(task: TrainingTask, config: OptimizerConfig) -> dict[str, torch.optim.Optimizer]:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.kind]
    sides = {"generator": task.networks(), "discriminator": task.discriminators()}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    for side, networks in sides.items():
        trained = [one for network in networks.values() for one in network.parameters() if one.requires_grad]
        if trained:
            groups = [
                {"params": [one for one in trained if one.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [one for one in trained if one.ndim <= 1], "weight_decay": 0.0},
            ]
            optimizers[side] = kind(groups, lr=0.0, betas=config.betas, fused=True)
    if "generator" not in optimizers:
        raise TrainingError("the task's networks have no weights to train")
    return optimizers


def _require_gradient(networks: Iterable[nn.Module], wanted: bool) -> None:
    for network in networks:
        network.requires_grad_(wanted)


def _due(interval: int, step: int) -> bool:
    return interval > 0 and step % interval == 0


def _passed(deadline: float | None) -> bool:
    return deadline is not None and clocks.monotonic() >= deadline
