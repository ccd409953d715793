"""Plans on disk: found by all that they depend on, complete or not there, bounded in size.

A plan is `<name>.plan` and, written after it, `<name>.json`, which holds the key, the plan's hash and what its
verification found. A plan without that, or with another hash, is not used: it is removed, which is said in one line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trt_plans.device import Gpu
from trt_plans.errors import PlanCacheError

logger = logging.getLogger(__name__)

VARIABLE = "VISAVIS_PLANS"
"The environment variable that names another folder."
LARGEST_BYTES = 4 << 30
"All plans together; what was not used for the longest goes first."


@dataclass(frozen=True)
class PlanKey:
    """What a plan depends on: another value of any of it is another plan."""

    network: str
    "Hash of the prepared network's ONNX bytes, weights and plugins' sources included."
    tensorrt: str
    gpu: str
    compute_capability: tuple[int, int]
    driver: int
    "See `trt_plans.device.Gpu`."
    precision: str
    profile: str
    "The lengths of all axes that are open: least, best, most."
    options: str
    "All else that the builder was told."

    @classmethod
    def of(cls, network: bytes, tensorrt: str, gpu: Gpu, precision: str, profile: str, options: str) -> PlanKey:
        """network: what is hashed."""
        digest = hashlib.sha256(network).hexdigest()
        return cls(digest, tensorrt, gpu.name, gpu.compute_capability, gpu.driver, precision, profile, options)

    @property
    def digest(self) -> str:
        """Of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class StoredPlan:
    """A plan in the folder."""

    path: Path
    key: Mapping[str, Any]
    size_bytes: int
    verified: Mapping[str, Any] | None
    "What the comparison with torch found; None before it was done."


class PlanCache:
    """A folder of plans."""

    def __init__(self, folder: Path | None = None, largest_bytes: int = LARGEST_BYTES) -> None:
        """folder: see `default_folder`; made when the first plan is stored."""
        self.folder = folder or default_folder()
        self.largest_bytes = largest_bytes

    def path(self, name: str, key: PlanKey) -> Path:
        """Where a plan is, if it is there. name: for people, e.g. `portrait-render-256`."""
        return self.folder / f"{name}-{key.precision}-{key.digest}.plan"

    def load(self, name: str, key: PlanKey) -> bytes | None:
        """A plan, None where there is none that is whole. What is damaged is removed, with a line in the log."""
        path = self.path(name, key)
        if not path.is_file():
            return None
        try:
            plan = path.read_bytes()
            whole = _described(path).get("sha256") == hashlib.sha256(plan).hexdigest()
        except (OSError, ValueError):
            whole = False
        if not whole:
            logger.warning("%s is damaged; it is built again", path)
            self.remove(path)
            return None
        os.utime(path)  # used now
        return plan

    def store(self, name: str, key: PlanKey, plan: bytes) -> Path:
        """Keep a plan, and forget those not used for the longest. Raises PlanCacheError."""
        path = self.path(name, key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.remove(path)
            write_whole(path, plan)
            self._describe(path, {"key": asdict(key), "sha256": hashlib.sha256(plan).hexdigest(), "verified": None})
        except OSError as error:
            raise PlanCacheError(
                f"the plan {path} cannot be written ({error.strerror}); name another folder in {VARIABLE}"
            ) from error
        self._forget(path)
        return path

    def verified(self, path: Path) -> Mapping[str, Any] | None:
        """What a plan's verification found, None where it was not done."""
        try:
            found: Mapping[str, Any] | None = _described(path).get("verified")
        except (OSError, ValueError):
            return None
        return found

    def set_verified(self, path: Path, found: Mapping[str, Any] | None) -> None:
        """Note what a plan's verification found; None where it has to be done again. Not a failure where that cannot be
        written."""
        try:
            self._describe(path, {**_described(path), "verified": found})
        except (OSError, ValueError) as error:
            logger.warning("%s: what was found cannot be noted (%s), and is looked for again next time", path, error)

    def plans(self) -> Iterator[StoredPlan]:
        """All whose description can be read, by name."""
        for path in sorted(self.folder.glob("*.plan")):
            try:
                described = _described(path)
                yield StoredPlan(path, described["key"], path.stat().st_size, described["verified"])
            except (OSError, ValueError, KeyError):
                logger.warning("%s is damaged; it is built again when it is wanted", path)

    def remove(self, path: Path) -> None:
        """The description first: a plan without it counts as not there."""
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)

    def _describe(self, path: Path, content: Mapping[str, Any]) -> None:
        write_whole(path.with_suffix(".json"), json.dumps(content, indent=1).encode())

    def _forget(self, newest: Path) -> None:
        by_use = sorted(
            (path for path in self.folder.glob("*.plan") if path != newest), key=lambda p: p.stat().st_mtime
        )
        total = newest.stat().st_size + sum(path.stat().st_size for path in by_use)
        for path in by_use:
            if total <= self.largest_bytes:
                break
            total -= path.stat().st_size
            logger.info("%s is removed: plans have %d MB together", path, self.largest_bytes >> 20)
            self.remove(path)


def default_folder() -> Path:
    """What the environment variable names, else a folder in the user's cache."""
    own = os.environ.get(VARIABLE)
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "visavis" / "plans"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that whoever reads sees the old one or the new one. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _described(path: Path) -> dict[str, Any]:
    """Raises OSError, ValueError."""
    content = json.loads(path.with_suffix(".json").read_bytes())
    if not isinstance(content, dict):
        raise ValueError("not a description of a plan")
    return content
