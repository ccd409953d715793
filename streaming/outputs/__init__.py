"""Where a call or a rendering comes out: a file, a virtual webcam, memory.

A browser page is one more (`streaming.page_server`).
"""

from __future__ import annotations

from streaming.media import OutputError
from streaming.outputs.base import Output
from streaming.outputs.file_output import SYNTHETIC_COMMENT, FileConfig, FileOutput
from streaming.outputs.memory_output import MemoryOutput
from streaming.outputs.side_by_side import side_by_side
from streaming.outputs.webcam_output import WebcamOutput

__all__ = [
    "SYNTHETIC_COMMENT",
    "FileConfig",
    "FileOutput",
    "MemoryOutput",
    "Output",
    "OutputError",
    "WebcamOutput",
    "side_by_side",
]
