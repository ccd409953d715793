"""The demo: material that comes along, and a call between two processes on this machine."""

from __future__ import annotations

from pathlib import Path

PORTRAIT = Path(__file__).parent / "portrait.jpg"
"Eileen Collins, official NASA portrait (public domain), cropped around the head."
DRIVING = Path(__file__).parent / "driving.mp4"
"A synthetic speaker made by `visavis.demo.make_material`."
