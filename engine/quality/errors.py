"""What goes wrong when a metric needs something that is not there."""

from __future__ import annotations


class MetricUnavailableError(RuntimeError):
    """A metric needs a package or a file of weights; the message says which one and how to get it."""
