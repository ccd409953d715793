"""How a generator's two halves are executed; `load_runtime` finds runtimes by name, also those from outside."""

from __future__ import annotations

from importlib.metadata import entry_points

from engine.runtime.base import Compiled, Runtime, RuntimeUnavailableError

__all__ = ["Compiled", "Runtime", "RuntimeUnavailableError", "load_runtime", "runtime_names"]

ENTRY_POINT = "visavis.runtimes"


def runtime_names() -> list[str]:
    """The names that `load_runtime` takes, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT)})


def load_runtime(name: str) -> Runtime:
    """Make the runtime `name`. Raises RuntimeUnavailableError where there is none, or this machine lacks it."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINT)}
    if name not in points:
        raise RuntimeUnavailableError(f"no runtime is called {name!r}; there are: {', '.join(sorted(points))}")
    kind: type[Runtime] = points[name].load()
    return kind()
