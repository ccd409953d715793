"""`visavis serve`: the meeting point of two callers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from streaming.signalling import SignallingServer

if TYPE_CHECKING:
    from visavis.commands import Serve


def serve(options: Serve) -> int:
    """Run until interrupted. Raises a SignallingError where the port cannot be had."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options))
    return 0


async def _serve(options: Serve) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with SignallingServer(options.host, options.port) as server:
        print(f"meeting point: {server.url}   (stop with Ctrl-C)", flush=True)
        await stop.wait()
