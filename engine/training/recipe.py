"""What a training run does, as a TOML file: task, stages, loss weights, optimiser, intervals, seed."""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

FOLDER = Path(__file__).parent / "recipes"
"The recipes that come along; `load_recipe` finds them by name."

Precision = Literal["auto", "fp32", "bf16"]
Record = TypeVar("Record")


class RecipeError(ValueError):
    """A recipe cannot be read or asks for what there is not; the message names the file, the place and the way out."""


@dataclass(frozen=True)
class Stage:
    """A part of the run at one resolution; coarse-to-fine training has several (AdaAT supplement: 256, then 512)."""

    size: int
    "Side of the training frames in pixels."
    steps: int
    "Steps of the optimiser."
    batch: int
    "Samples a step."
    lr: float
    "Learning rate after warm-up; falls as a cosine to `final_lr_share` of it at the stage's end."
    loss: Mapping[str, float] = field(default_factory=dict)
    "Weights that differ from the recipe's in this stage."
    options: Mapping[str, Any] = field(default_factory=dict)
    "Options of the task that differ from the recipe's in this stage."

    def __post_init__(self) -> None:
        for name in ("size", "steps", "batch", "lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights follow gradients."""

    kind: Literal["adam", "adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    "Decay of the means of gradient and squared gradient; the warping family uses (0.5, 0.999)."
    weight_decay: float = 0.0
    "Of weights with two axes or more; norms and biases do not decay."
    clip_norm: float = 1.0
    "A longer gradient is shortened to this norm, over all weights of one side; 0: never."
    warmup_steps: int = 200
    "Of each stage, in which the learning rate grows from 0."
    final_lr_share: float = 0.05
    "Of a stage's learning rate, at its end."
    discriminator_lr_share: float = 1.0
    "Learning rate of the discriminators over the generator's."

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected two numbers from 0 to below 1, got {self.betas}")
        for name in ("weight_decay", "clip_norm", "warmup_steps", "final_lr_share", "discriminator_lr_share"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class Intervals:
    """Every so many steps; 0: never. The end of a run counts for all of them."""

    log: int = 50
    validate: int = 1000
    sheet: int = 1000
    checkpoint: int = 500

    def __post_init__(self) -> None:
        for entry in fields(self):
            if getattr(self, entry.name) < 0:
                raise ValueError(f"{entry.name}: expected at least 0, got {getattr(self, entry.name)}")


@dataclass(frozen=True)
class Recipe:
    """One training run. Two runs of the same recipe see the same samples in the same order."""

    task: str
    "Which generator is trained: a name of the entry points `visavis.training`, or `module:Class`."
    stage: tuple[Stage, ...]
    "In order; the weights and the optimiser's state go from one to the next."
    loss: Mapping[str, float] = field(default_factory=dict)
    "Weight by term. The task's documentation lists its terms."
    options: Mapping[str, Any] = field(default_factory=dict)
    "What only this task knows; see its options."
    seed: int = 0
    precision: Precision = "auto"
    "Of the networks' convolutions. auto: bf16 where the machine computes it natively, else fp32."
    channels_last: bool = True
    "Keep feature maps with the channels innermost: what convolutions are quickest with."
    workers: int = 1
    "Processes that make samples beside the training; 0: make them in turns with it."
    ema_decay: float = 0.999
    "Of the running mean of the weights that is validated, shown and exported; 0: the weights as they are."
    bad_steps_limit: int = 10
    "Steps in a row without a finite loss and gradient after which a run gives up; single ones are skipped."
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    intervals: Intervals = field(default_factory=Intervals)

    def __post_init__(self) -> None:
        if not self.stage:
            raise ValueError("stage: expected at least one [[stage]]")
        if self.seed < 0 or self.workers < 0 or self.bad_steps_limit < 1:
            raise ValueError("seed and workers: expected at least 0; bad_steps_limit: at least 1")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected 0 to below 1, got {self.ema_decay}")

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stage)

    def weights(self, stage: Stage) -> dict[str, float]:
        """Weight by loss term in a stage."""
        return {**self.loss, **stage.loss}

    def options_as(self, kind: type[Record], stage: Stage | None = None) -> Record:
        """The task's options, as of a stage if given, in its own frozen dataclass. Raises RecipeError."""
        return from_table(kind, {**self.options, **(stage.options if stage else {})}, "options")

    def as_table(self) -> dict[str, Any]:
        """Plain values, as TOML and JSON know them; `from_table(Recipe, ...)` is the inverse."""
        table: dict[str, Any] = _plain(self)
        return table


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe: a TOML file, or the name of one that comes along. Raises RecipeError."""
    path = Path(name)
    if path.suffix != ".toml":
        if str(name) not in recipe_names():
            raise RecipeError(
                f"no recipe is called {str(name)!r}; there are: {', '.join(recipe_names()) or 'none'}; "
                "or name a .toml file of your own"
            )
        path = FOLDER / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file; the recipes that come along: {', '.join(recipe_names())}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    return from_table(Recipe, table, path.name)


def recipe_names() -> list[str]:
    """The recipes that come along, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def from_table(kind: type[Record], table: Mapping[str, Any], where: str) -> Record:
    """Make a dataclass of a TOML table. `where` begins the message of the RecipeError for what does not fit."""
    assert is_dataclass(kind)
    types_of = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
            raise RecipeError(f"{where}: unknown key {key!r}; {hint}")
    for entry in fields(kind):
        if entry.default is MISSING and entry.default_factory is MISSING and entry.name not in table:
            raise RecipeError(f"{where}: {entry.name!r} is missing")
    values = {key: _converted(types_of[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except RecipeError:
        raise
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from error


def _converted(kind: Any, value: Any, where: str) -> Any:
    """A TOML value as `kind`, one of the annotations that dataclasses of ours use."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _converted(next(one for one in arguments if one is not type(None)), value, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise RecipeError(f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where}: expected a list, got {value!r}")
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) != len(value):
            raise RecipeError(f"{where}: expected {len(arguments)} values, got {len(value)}")
        numbered = enumerate(zip(arguments, value, strict=True), 1)
        return tuple(_converted(one, item, f"{where} {k}") for k, (one, item) in numbered)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where}: expected a table, got {value!r}")
        return {str(key): _converted(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where}: expected a table, got {value!r}")
        return from_table(kind, value, where)  # type: ignore[arg-type]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise RecipeError(f"{where}: expected {words.get(kind, kind.__name__)}, got {value!r}")
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
