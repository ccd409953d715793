"""What is known of the sound of a pack's clips beyond its manifest: which are of no use, and which are late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.training.recipe import load_recipe


@dataclass(frozen=True)
class ClipSounds:
    """By the clips' names."""

    exclude: tuple[str, ...] = ()
    "Clips whose sound is not the voice of the face, or whose delay is not known."
    delays_ms: Mapping[str, float] = field(default_factory=dict)
    "How late the sound is; 0 for the others."


def known_sounds(recipe: str) -> ClipSounds:
    """What the options of a recipe, by its name or path, say: of `voice` for the pack that it was trained with.

    Raises RecipeError where there is no such recipe.
    """
    options = load_recipe(recipe).options
    return ClipSounds(tuple(options.get("exclude", ())), dict(options.get("delays_ms", {})))
