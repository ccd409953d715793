"""Kernels run from their sources, on the processor and, where there is one, on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.kernels.host import HostLauncher, NoCompilerError
from engine.kernels.launch import KernelsUnavailableError, Launcher, launcher_of


@dataclass(frozen=True)
class Target:
    """Where kernels run."""

    device: str
    launcher: Launcher | None

    def run(self, wrapper: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the kernel makes of tensors on the processor, back there; strides stay as they are."""
        moved = [self.moved(argument) if isinstance(argument, Tensor) else argument for argument in arguments]
        with torch.no_grad():
            result = wrapper(*moved, **options, launcher=self.launcher)
        return result.cpu() if isinstance(result, Tensor) else type(result)(*(part.cpu() for part in result))

    def moved(self, tensor: Tensor) -> Tensor:
        storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
        return storage.to(self.device).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def host_launcher(backwards: bool = False) -> HostLauncher:
    try:
        return HostLauncher(backwards=backwards)
    except NoCompilerError as error:
        pytest.skip(f"kernels are not run on the processor: {error}")


@pytest.fixture(scope="session")
def host() -> HostLauncher:
    return host_launcher()


@pytest.fixture(scope="session")
def backwards() -> HostLauncher:
    """The last thread of the last block first."""
    return host_launcher(backwards=True)


@pytest.fixture(scope="session")
def gpu() -> str:
    """The device."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no NVIDIA GPU")
    try:
        launcher_of(torch.empty(1, device="cuda"))
    except KernelsUnavailableError as error:
        pytest.skip(str(error))
    return "cuda"


@pytest.fixture(scope="session", params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "gpu":
        return Target(request.getfixturevalue("gpu"), None)
    return Target("cpu", request.getfixturevalue("host"))
