"""Plans are made here: TensorRT parses a prepared network, measures its kernels on the GPU, and hands back a plan."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.kernels.compile import NvrtcUnavailableError, nvrtc_version
from trt_plans.cache import write_whole
from trt_plans.device import Gpu
from trt_plans.errors import PlanBuildError
from trt_plans.network import PreparedNetwork
from trt_plans.plugin_nodes import plugins_in
from trt_plans.plugins import declare_plugins, ptx_architecture

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"A phase's name, the steps that are done, and how many there are."


@dataclass(frozen=True)
class BuildConfig:
    """What is variable about how a plan is searched for; not what it computes."""

    workspace_bytes: int = 4 << 30
    "Memory that a layer may use for intermediate results."
    optimization_level: int = 3
    "0 to 5: how long to look for fast kernels. TensorRT's own default is 3."
    tf32: bool = False
    """Whether what is in 32 bits may be multiplied with 10 bits of mantissa: fast, but it has 32 because it needs
    them."""

    def __post_init__(self) -> None:
        if self.workspace_bytes < 1 or not 0 <= self.optimization_level <= 5:
            raise ValueError("workspace_bytes: at least 1; optimization_level: 0 to 5")

    def __str__(self) -> str:
        return f"workspace={self.workspace_bytes} level={self.optimization_level} tf32={int(self.tf32)}"


DEFAULT = BuildConfig()


def build_plan(
    tensorrt: Any,
    gpu: Gpu,
    prepared: PreparedNetwork,
    build_config: BuildConfig = DEFAULT,
    timing_file: Path | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The plan of a network, for this GPU. Minutes the first time, seconds with the timings of a former build.

    tensorrt: from `load_tensorrt`. timing_file: what TensorRT measured, read and written; a file that is damaged or of
    another version is written anew. Raises PlanBuildError with TensorRT's first complaint; KeyboardInterrupt ends it
    after the step at hand.
    """
    if plugins_in(prepared.model):
        _require_compiler(prepared)
        declare_plugins(tensorrt, ptx_architecture(gpu.compute_capability))
    if progress is None:
        logger.warning("%s: the plan is built now, which takes minutes, once", prepared.name)
    log = make_logger(tensorrt)
    builder = tensorrt.Builder(log)
    flag = tensorrt.NetworkDefinitionCreationFlag
    # 11 knows nothing but strong typing and ignores its flag. Without the other one, plugins made with the decorators
    # are taken for those that call back into Python.
    network = builder.create_network(1 << int(flag.STRONGLY_TYPED) | 1 << int(flag.PREFER_AOT_PYTHON_PLUGINS))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(prepared.plan_bytes):
        problems = [parser.get_error(index) for index in range(parser.num_errors)]
        reason = "; ".join(f"{problem.node_name()}: {problem.desc()}" for problem in problems[:3])
        raise PlanBuildError(f"{prepared.name}: TensorRT {tensorrt.__version__} refuses the network: {reason}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, build_config.workspace_bytes)
    config.builder_optimization_level = build_config.optimization_level
    if not build_config.tf32:
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    for name, (least, best, most) in prepared.shapes().items():
        profile.set_shape(name, least, best, most)
    config.add_optimization_profile(profile)
    timing_cache = config.create_timing_cache(_read(timing_file))
    if not config.set_timing_cache(timing_cache, False):
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, False)
    monitor = make_progress_monitor(tensorrt, progress) if progress else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if monitor is not None and monitor.interrupted:
        raise KeyboardInterrupt
    if plan is None:
        raise PlanBuildError(f"{prepared.name}: TensorRT {tensorrt.__version__} made no plan: {log.first_error}")
    if timing_file is not None:
        timing_cache = config.get_timing_cache()
        _write(timing_file, bytes(memoryview(timing_cache.serialize())))
    return bytes(memoryview(plan))


def timing_path(folder: Path, tensorrt: Any, gpu: Gpu) -> Path:
    """Where the timings of this GPU and version are."""
    gpu_name = "-".join(gpu.name.split())
    return folder / f"timings-{tensorrt.__version__}-{gpu_name}.cache"


def make_logger(tensorrt: Any) -> Any:
    """TensorRT's messages in our log, at the level of `debug` but for warnings; keeps the first error."""

    class Log(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self.first_error = "it gave no reason"
            self._failed = False

        def log(self, severity: Any, msg: str) -> None:
            kind = tensorrt.ILogger.Severity
            if severity in (kind.ERROR, kind.INTERNAL_ERROR):
                if not self._failed:
                    self.first_error, self._failed = msg, True
                logger.info("TensorRT: %s", msg)  # whoever fails because of it says it
            elif severity == kind.WARNING:
                logger.info("TensorRT: %s", msg)
            else:
                logger.debug("TensorRT: %s", msg)

    return Log()


def make_progress_monitor(tensorrt: Any, progress: Progress) -> Any:
    """What TensorRT tells how far it is. It calls from threads of its own, where exceptions would be lost."""

    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)
            self.interrupted = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Whether to go on."""
            self._tell(phase_name, step + 1)
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._tell(phase_name, self._steps.get(phase_name, 1))

        def _tell(self, phase_name: str, done: int) -> None:
            try:
                progress(phase_name, done, self._steps.get(phase_name, 1))
            except KeyboardInterrupt:
                self.interrupted = True

    return Monitor()


def _require_compiler(prepared: PreparedNetwork) -> None:
    """Now, because TensorRT would only say that a plugin failed."""
    try:
        nvrtc_version()
    except NvrtcUnavailableError as error:
        raise PlanBuildError(f"{prepared.name}: its plugins cannot be compiled: {error}") from error


def _read(path: Path | None) -> bytes:
    try:
        return path.read_bytes() if path is not None else b""
    except OSError:
        return b""  # the first build


def _write(path: Path, content: bytes) -> None:
    try:
        os.makedirs(path.parent, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        logger.warning("%s cannot be written (%s): the next build measures again", path, error.strerror)
