"""`visavis demo`: a call between two processes on this machine, then a video of it and a table of what was measured."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streaming.inputs import VideoFile
from streaming.signalling import SignallingServer, new_token
from visavis.demo import DRIVING, PORTRAIT
from visavis.demo.video import write_comparison

if TYPE_CHECKING:
    from visavis.commands import Demo

GRACE_S = 30.0
"What starting, connecting and ending may take beyond the call itself."


class DemoError(RuntimeError):
    """One of the two processes failed; the message is what it said."""


def demo(options: Demo) -> int:
    """Run the command. Raises DemoError, InputError, OutputError."""
    console = Console()
    source, driving = options.source or PORTRAIT, options.driving or DRIVING
    seconds = options.seconds or VideoFile(driving).duration
    console.print(
        f"A call between two processes on this machine: {driving.name} plays the camera, {source.name} is animated."
    )
    figures = measure_call(
        source, driving, seconds, options.size, options.generator, options.runtime, console, options.output
    )
    console.print(table(figures))
    console.print(f"{options.output}: driving beside rendered, with the voice as it was heard")
    if options.report is not None:
        options.report.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def measure_call(
    source: Path,
    driving: Path,
    seconds: float,
    size: int,
    generator: str,
    runtime: str,
    console: Console,
    output: Path | None = None,
) -> dict[str, Any]:
    """Hold a call of so many seconds between two processes, and return its figures (`summary`).

    output: an mp4 of it, driving beside rendered. Raises DemoError, InputError, OutputError.
    """
    with tempfile.TemporaryDirectory(prefix="visavis-") as folder:
        recording = Path(folder) / "shown.mp4"
        both = ["--size", str(size), "--generator", generator, "--runtime", runtime]
        render = [*both, "--record", str(recording)]
        capture = [*both, "--source", str(source), "--driving", str(driving), "--seconds", str(seconds)]
        sent, received = asyncio.run(_call(capture, render, seconds, Path(folder), console))
        if output is not None:
            times = [media_time - sent["offset"] for _, media_time, _ in received["frames"]]
            write_comparison(driving, recording, times, output, console)
    return summary(sent, received)


async def _call(
    capture: list[str], render: list[str], seconds: float, folder: Path, console: Console
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The reports of the sending and the receiving process."""
    async with SignallingServer("127.0.0.1", 0) as server:
        common = ["--url", server.url, "--room", "demo", "--token", new_token()]
        receiving = await _start("receive", folder, [*common, *render])
        sending = await _start("send", folder, [*common, *capture])
        try:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            with Progress(*columns, console=console) as progress:
                task = progress.add_task("calling", total=seconds + 3)
                async with asyncio.timeout(seconds + GRACE_S):
                    ends = asyncio.gather(
                        _report(sending, folder / "send.json"), _report(receiving, folder / "receive.json")
                    )
                    while not ends.done():
                        await asyncio.wait((ends,), timeout=0.2)
                        progress.advance(task, 0.2)
                progress.update(task, completed=seconds + 3)
            sent, received = await ends
        except TimeoutError:
            raise DemoError(
                f"the call did not end within {seconds + GRACE_S:.0f} s; is the machine very busy?"
            ) from None
        finally:
            for process in (sending, receiving):
                if process.returncode is None:
                    process.terminate()
                    await process.wait()
    return sent, received


async def _start(role: str, folder: Path, arguments: list[str]) -> asyncio.subprocess.Process:
    command = [
        sys.executable,
        "-m",
        "visavis.demo.peer",
        "--role",
        role,
        "--report",
        str(folder / f"{role}.json"),
        *arguments,
    ]
    return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)


async def _report(process: asyncio.subprocess.Process, path: Path) -> dict[str, Any]:
    """What the process wrote when it ended. Raises DemoError with its last words if it failed."""
    _, errors = await process.communicate()
    if process.returncode != 0:
        words = errors.decode(errors="replace").strip().splitlines()
        raise DemoError(words[-1] if words else f"a process ended with status {process.returncode}")
    report: dict[str, Any] = json.loads(await asyncio.to_thread(path.read_text))
    return report


def summary(sent: dict[str, Any], received: dict[str, Any]) -> dict[str, Any]:
    """The figures of a call, from the reports of its two sides, whose clocks are the same: it is one machine."""
    shown = np.array([[at, media_time] for at, media_time, _ in received["frames"]])
    duration = float(shown[-1, 0] - shown[0, 0])
    latency_ms = 1000 * (shown[:, 0] - sent["epoch"] - shown[:, 1])
    gaps_ms = 1000 * np.diff(shown[:, 0])
    seconds = sent["seconds"]

    def ms(distribution: dict[str, float]) -> dict[str, float]:
        return {name: 1000 * distribution[name] for name in ("p50", "p95")}

    return {
        "seconds": seconds,
        "frames_captured": sent["frames"],
        "frames_without_face": sent["frames_without_face"],
        "frames_shown": len(shown),
        "fps_shown": (len(shown) - 1) / duration if duration > 0 else 0.0,
        "longest_gap_ms": float(gaps_ms.max()) if len(gaps_ms) else 0.0,
        "motion_kbps": sent["sender"]["motion"]["bytes"] * 8 / seconds / 1000,
        "voice_kbps": sent["sender"]["voice"]["bytes"] * 8 / seconds / 1000,
        "wire_kbps": {kind: count * 8 / seconds / 1000 for kind, count in sent["wire_bytes"].items()},
        "picture_bytes": sent["picture_bytes"],
        "track_ms": ms(sent["tracking"]),
        "encode_ms": ms(sent["sender"]["encode"]),
        "capture_to_send_ms": ms(sent["sender"]["capture_to_send"]),
        "capture_to_arrival_ms": ms(received["receiver"]["capture_to_arrival"]),
        "playout_delay_ms": ms(received["receiver"]["playout_delay"]),
        "render_ms": ms(received["rendering"]),
        "capture_to_display_ms": {
            "p50": float(np.quantile(latency_ms, 0.5)),
            "p95": float(np.quantile(latency_ms, 0.95)),
        },
        "skew_ms": ms(received["receiver"]["skew"]),
        "concealed_frames": sum(concealed for _, _, concealed in received["frames"]),
        "cpu_share": {"sender": sent["cpu_share"], "receiver": received["cpu_share"]},
        "memory_mb": {"sender": sent["memory_mb"], "receiver": received["memory_mb"]},
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures as they are printed."""
    result = Table(title="What the call did", show_header=False)
    result.add_column()
    result.add_column(justify="right")

    def row(name: str, text: str) -> None:
        result.add_row(name, text)

    def quantiles(name: str, key: str) -> None:
        row(name, f"{figures[key]['p50']:.1f} / {figures[key]['p95']:.1f} ms")

    row("frames shown", f"{figures['frames_shown']} at {figures['fps_shown']:.1f} FPS")
    row("longest time between two frames", f"{figures['longest_gap_ms']:.0f} ms")
    row("motion", f"{figures['motion_kbps']:.2f} kbps")
    row("voice (Opus)", f"{figures['voice_kbps']:.1f} kbps")
    for kind, label in (("voice", "voice"), ("data", "motion"), ("ice", "connectivity")):
        row(f"on the wire with all headers: {label}", f"{figures['wire_kbps'][kind]:.1f} kbps")
    row("the picture, once, before", f"{figures['picture_bytes'] / 1000:.0f} kB")
    result.add_section()
    row("stages of latency", "p50 / p95")
    quantiles("camera frame to motion", "track_ms")
    quantiles("motion to bytes", "encode_ms")
    quantiles("capture to sent", "capture_to_send_ms")
    quantiles("capture to arrival", "capture_to_arrival_ms")
    quantiles("wait for the voice (playout delay)", "playout_delay_ms")
    quantiles("rendering", "render_ms")
    quantiles("capture to display", "capture_to_display_ms")
    quantiles("lips ahead of the voice (skew)", "skew_ms")
    result.add_section()
    row("processor, sender", f"{100 * figures['cpu_share']['sender']:.0f} % of a core")
    row("processor, receiver", f"{100 * figures['cpu_share']['receiver']:.0f} % of a core")
    return result
