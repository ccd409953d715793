"""One module per published system, each a `Generator`; `load_generator` finds them by name, also those from outside."""

from __future__ import annotations

from importlib.metadata import entry_points

from engine.generators.base import FaceGenerator, Generator, GeneratorError, Identity, Tensors

__all__ = ["FaceGenerator", "Generator", "GeneratorError", "Identity", "Tensors", "generator_names", "load_generator"]

ENTRY_POINT = "visavis.generators"


def generator_names() -> list[str]:
    """The names that `load_generator` takes, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT)})


def load_generator(name: str, size: int) -> Generator:
    """Make the generator `name` for square frames of `size` pixels. Raises GeneratorError where there is none."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINT)}
    if name not in points:
        raise GeneratorError(f"no generator is called {name!r}; there are: {', '.join(sorted(points))}")
    kind: type[Generator] = points[name].load()
    if size not in kind.sizes:
        raise GeneratorError(f"generator {name}: no size {size}; it renders {', '.join(map(str, kind.sizes))}")
    return kind(size)
