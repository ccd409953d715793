"""How a generator's two halves are executed; `load_runtime` finds runtimes by name, also those from outside."""

from __future__ import annotations

from importlib.metadata import entry_points

from engine.runtime.base import Compiled, Runtime, RuntimeConfig, RuntimeUnavailableError

__all__ = ["Compiled", "Runtime", "RuntimeConfig", "RuntimeUnavailableError", "load_runtime", "runtime_names"]

ENTRY_POINT = "visavis.runtimes"


def runtime_names() -> list[str]:
    """The names that `load_runtime` takes, sorted."""
    return sorted({point.name for point in entry_points(group=ENTRY_POINT)})


def load_runtime(name: str, at_once: int = 1) -> Runtime:
    """Make the runtime `name`, or with a limit to its threads: `auto:2`. at_once: see `RuntimeConfig`.

    Raises RuntimeUnavailableError where there is none, or this machine lacks it; ValueError for a limit below 1.
    """
    points = {point.name: point for point in entry_points(group=ENTRY_POINT)}
    kind_name, _, threads = name.partition(":")
    if kind_name not in points:
        raise RuntimeUnavailableError(f"no runtime is called {kind_name!r}; there are: {', '.join(sorted(points))}")
    if threads and not threads.isdecimal():
        raise ValueError(f"runtime {name!r}: after the colon comes a number of threads, as in {kind_name}:2")
    kind: type[Runtime] = points[kind_name].load()
    return kind(RuntimeConfig(int(threads) if threads else None, at_once))
