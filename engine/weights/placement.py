"""Putting weights and what belongs to them into a generator's folder: all of it, or nothing."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.weights import exported_graphs


@contextmanager
def placed(folder: Path) -> Iterator[Path]:
    """A new folder to write into; when the block ends, its files take the place of those of their names in `folder`.

    Networks that were exported from the weights before are removed: they would go on running in place of the new ones.
    Where the block fails, `folder` is as it was, which may be: not there. Raises OSError where it cannot be written to.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside: in the same file system, so that moving is renaming.
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as unfinished:
            yield Path(unfinished)
            # Weights last: without them, whatever else is there counts for nothing.
            files = sorted(Path(unfinished).iterdir(), key=lambda path: (path.suffix == ".safetensors", path.name))
            for path in files:
                if (taken := folder / path.name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(taken))
            for graphs in exported_graphs(folder).values():
                for graph in graphs.values():
                    graph.unlink()
            for path in files:
                path.replace(folder / path.name)
    except BaseException:
        for made in missing:
            with suppress(OSError):  # not there yet, or somebody else's by now
                made.rmdir()
        raise
