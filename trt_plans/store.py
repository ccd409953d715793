"""Plans when they are wanted: from the cache, else built and kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.generators.base import Tensors
from engine.generators.neural import Network
from trt_plans.build import DEFAULT, BuildConfig, Progress, build_plan, timing_path
from trt_plans.cache import PlanCache, PlanKey
from trt_plans.device import Gpu
from trt_plans.errors import PlanMismatchError
from trt_plans.network import PreparedNetwork
from trt_plans.runner import PlanRunner
from trt_plans.verify import as_record, compare

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class BuiltPlan:
    """A plan, loaded."""

    prepared: PreparedNetwork
    path: Path
    runner: PlanRunner
    cache: PlanCache

    @property
    def verified(self) -> Mapping[str, Any] | None:
        """What a comparison with torch found; None before it was done."""
        return self.cache.verified(self.path)

    def verify(self, reference: Network, examples: Sequence[Tensors]) -> Mapping[str, Any]:
        """Compare with torch, and note what was found. Raises PlanMismatchError where they do not agree: then what was
        found before counts no more."""
        try:
            found = compare(self.runner.run, reference, examples, self.prepared.precision, self.path.stem)
        except PlanMismatchError:
            self.cache.set_verified(self.path, None)
            raise
        self.cache.set_verified(self.path, as_record(found))
        return as_record(found)


class PlanStore:
    """The plans of one GPU."""

    def __init__(
        self, tensorrt: Any, gpu: Gpu, cache: PlanCache | None = None, build_config: BuildConfig = DEFAULT
    ) -> None:
        """tensorrt: from `load_tensorrt`."""
        self._tensorrt = tensorrt
        self._gpu = gpu
        self._cache = cache or PlanCache()
        self._build_config = build_config

    def key(self, prepared: PreparedNetwork) -> PlanKey:
        """What the plan of a network depends on here."""
        return PlanKey.of(
            prepared.identity,
            str(self._tensorrt.__version__),
            self._gpu,
            prepared.precision,
            prepared.profile,
            str(self._build_config),
        )

    def plan(self, prepared: PreparedNetwork, progress: Progress | None = None, again: bool = False) -> BuiltPlan:
        """The plan of a network. again: build it even if it is there.

        Raises PlanBuildError, PlanMismatchError, PlanCacheError.
        """
        found = None if again else self.existing(prepared)
        if found is not None:
            return found
        key = self.key(prepared)
        timing_file = timing_path(self._cache.folder, self._tensorrt, self._gpu)
        plan = build_plan(self._tensorrt, self._gpu, prepared, self._build_config, timing_file, progress)
        return self._loaded(prepared, plan, self._cache.store(prepared.name, key, plan))

    def existing(self, prepared: PreparedNetwork) -> BuiltPlan | None:
        """The plan of a network from the cache; None where there is none, or TensorRT does not load it any more."""
        key = self.key(prepared)
        plan = self._cache.load(prepared.name, key)
        if plan is None:
            return None
        path = self._cache.path(prepared.name, key)
        try:
            return self._loaded(prepared, plan, path)
        except PlanMismatchError as error:
            logger.warning("%s: %s; it is built again", path, error)
            return None

    def _loaded(self, prepared: PreparedNetwork, plan: bytes, path: Path) -> BuiltPlan:
        runner = PlanRunner(self._tensorrt, plan, prepared.spec, prepared.axes)
        return BuiltPlan(prepared, path, runner, self._cache)
