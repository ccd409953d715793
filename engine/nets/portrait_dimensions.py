"""Sizes on which the networks of `portrait` and what surrounds them agree; free of torch, as the base installation."""

from __future__ import annotations

GRID = 64
"Cells a side of the maps that come from outside (places, weights) and of the source's features."
FEATURES = 24
"Channels of the source's features."
MOUTH_SIDE, EYE_SIDE = 96, 64
"Of the windows, in pixels, for frames of 256x256; twice as much for 512x512. Such a pixel is about one of the frame."
DETAIL_FEATURES = 24
"Channels of the features of a source's window, which are at half its resolution."
