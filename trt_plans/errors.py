"""What can go wrong with plans.

    PlanError (a RuntimeError)
    ├── PlanBuildError      TensorRT refused the network, or no plan came out
    ├── PlanMismatchError   a plan computes something else than torch, or does not fit the inputs it is given
    └── PlanCacheError      the folder of plans cannot be used

Where TensorRT or a GPU is missing, `engine.runtime.RuntimeUnavailableError` is raised, as by every other runtime.
"""

from __future__ import annotations


class PlanError(RuntimeError):
    """Something about a plan; the message says what to do."""


class PlanBuildError(PlanError):
    """TensorRT made no plan of a network."""


class PlanMismatchError(PlanError):
    """A plan does not agree with torch, or not with what it is given."""


class PlanCacheError(PlanError):
    """The folder of plans cannot be read or written."""
