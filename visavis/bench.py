"""`visavis bench`: what this machine can do."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.environment import command_line, write_result
from engine.avatar import Avatar, Picture, frames_at_once, load_tracker
from engine.motion import Motion
from streaming.codec import CodecConfig, MotionEncoder, StreamHeader
from streaming.inputs import VideoFile
from streaming.motion_tables import motion_tables
from streaming.statistics import Distribution
from visavis.demo import DRIVING, PORTRAIT

if TYPE_CHECKING:
    from visavis.commands import Bench

RATE = 25.0


def bench(options: Bench) -> int:
    """Run the command."""
    console = Console()
    if options.what == "gpu":
        from engine.runtime.cuda_runtime import require_cuda

        require_cuda("bench gpu", "there is nothing to measure")
        from benchmarks.gpu import bench_gpu, write  # needs torch

        write(bench_gpu(console), options.output, console)
        return 0
    cv2.setNumThreads(1)  # what is left runs the other side of a call; `--runtime auto:1` does the same for networks
    measure = {"render": _render, "motion": _motion, "call": _call}
    figures: Any
    if options.what == "loss":
        figures, table = _loss(console)
        console.print(table)
    else:
        figures = {}
        for driving in options.driving or (DRIVING,):
            figures[driving.stem], table = measure[options.what](options, driving, console)
            console.print(table)
    if options.output is not None:
        write_result(options.output, command_line(), figures)
    return 0


def _source(options: Bench, driving: Path) -> Path | Picture:
    """The picture to animate."""
    if options.source is not None or not options.driving:
        return options.source or PORTRAIT
    _, first = next(VideoFile(driving).frames())
    return first


def _tracked(options: Bench, driving: Path, console: Console, cost: Distribution | None = None) -> list[Motion]:
    """The motion in all frames of a video that show a face."""
    video, states = VideoFile(driving), []
    with load_tracker(options.generator, options.runtime, options.size) as tracker:
        for at, frame in track(video.frames(), "tracking", total=video.frame_count, console=console):
            begin = time.perf_counter()
            state = tracker.process(frame, at)
            if cost is not None:
                cost.add(time.perf_counter() - begin)
            if state is not None:
                states.append(state)
    if not states:
        raise ValueError(f"{driving}: shows no face; name another driving video")
    return states


def _render(options: Bench, driving: Path, console: Console) -> tuple[Any, Table]:
    states = _tracked(options, driving, console)
    runtimes = {
        runtime: _render_by(runtime, options, driving, states) for runtime in (options.runtime, *options.compare)
    }
    title = f"{options.generator} {options.size}x{options.size}"
    figures = {"generator": options.generator, "size": options.size, "runtimes": runtimes}
    return figures, _runtimes_table(title, runtimes)


def _render_by(runtime: str, options: Bench, driving: Path, states: list[Motion]) -> dict[str, Any]:
    begin = time.perf_counter()
    avatar = Avatar.from_image(
        _source(options, driving), generator=options.generator, runtime=runtime, size=options.size
    )
    preparation = time.perf_counter() - begin
    cost, processor, end = Distribution(), Distribution(), time.perf_counter() + options.seconds
    for state in itertools.cycle(states):
        begin, begin_processor = time.perf_counter(), time.process_time()
        avatar.render(state)
        now = time.perf_counter()
        cost.add(now - begin)
        processor.add(time.process_time() - begin_processor)
        if now > end:
            break
    return {
        "prepare_s": preparation,
        "render_ms": _milliseconds(cost),
        "processor_ms": _milliseconds(processor),
        "fps": 1 / cost.quantile(0.5),
        "file_fps": _file_rate(runtime, options, driving, states),
    }


def _file_rate(runtime: str, options: Bench, driving: Path, states: list[Motion]) -> float:
    """Frames a second of a file, of which several are rendered at once."""
    avatar = Avatar.from_image(
        _source(options, driving),
        generator=options.generator,
        runtime=runtime,
        size=options.size,
        at_once=frames_at_once(),
    )
    frames = avatar.render_each(itertools.cycle(states))
    for _ in range(frames_at_once()):  # the first ones make the networks ready
        next(frames)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() < begin + options.seconds:
        next(frames)
        count += 1
    rate = count / (time.perf_counter() - begin)
    frames.close()
    return rate


def _motion(options: Bench, driving: Path, console: Console) -> tuple[Any, Table]:
    tracking, encoding = Distribution(), Distribution()
    states = _tracked(options, driving, console, tracking)
    tables = motion_tables(options.generator, options.size)
    header = StreamHeader.begin(states[0], CodecConfig(), tables, states[0].time)
    encoder, size = MotionEncoder(header, tables), 0
    for state in states:
        begin = time.perf_counter()
        packet = encoder.encode(state, header.tick_of(state.time))
        encoding.add(time.perf_counter() - begin)
        size += len(packet)
    figures = {
        "frames": len(states),
        "track_ms": _milliseconds(tracking),
        "encode_ms": _milliseconds(encoding),
        "intra_bytes_per_frame": size / len(states),
    }
    return figures, _table("camera frame to packet, one core (nothing acknowledged)", figures)


def _call(options: Bench, driving: Path, console: Console) -> tuple[Any, Table]:
    from visavis.demo.run import measure_call, table

    source = _source(options, driving)
    with tempfile.TemporaryDirectory() as folder:
        if not isinstance(source, Path):
            first, source = source, Path(folder) / "source.png"
            cv2.imwrite(str(source), first[..., ::-1])
        figures = measure_call(
            source, driving, options.seconds, options.size, options.generator, options.runtime, console
        )
    return figures, table(figures)


def _loss(console: Console) -> tuple[Any, Table]:
    from benchmarks.impaired_call import SCENARIOS, run_call

    reports = [asyncio.run(run_call(scenario)) for scenario in track(SCENARIOS, "calling", console=console)]
    result = Table(
        "path", "motion arrived", "longest freeze", "playout delay p50 / at the end", "capture to display p95"
    )
    for report in reports:
        result.add_row(
            report.name,
            f"{report.motion_received}/{report.motion_sent}",
            f"{1000 * report.longest_freeze:.0f} ms",
            f"{1000 * report.playout_delay['p50']:.0f} / {1000 * report.playout_delay_at_end:.0f} ms",
            f"{1000 * report.capture_to_display['p95']:.0f} ms",
        )
    return [asdict(report) for report in reports], result


def _milliseconds(cost: Distribution) -> dict[str, float]:
    return {name: 1000 * cost.quantile(fraction) for name, fraction in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def _runtimes_table(title: str, runtimes: dict[str, Any]) -> Table:
    result = Table(
        "runtime",
        "until ready s",
        "frame ms",
        "processor time ms",
        "frames/s",
        "frames/s of a file",
        title=title,
        caption=f"p50 / p95 / p99; of a file {frames_at_once()} frames are rendered at once",
    )
    for name, entry in runtimes.items():
        costs = (" / ".join(f"{value:.1f}" for value in entry[key].values()) for key in ("render_ms", "processor_ms"))
        result.add_row(name, f"{entry['prepare_s']:.2f}", *costs, f"{entry['fps']:.0f}", f"{entry['file_fps']:.0f}")
    return result


def _table(title: str, figures: dict[str, Any]) -> Table:
    result = Table(title=title, show_header=False)
    for name, value in figures.items():
        if isinstance(value, dict):
            value = " / ".join(f"{entry:.2f}" for entry in value.values()) + "  (p50 / p95 / p99)"
        elif isinstance(value, float):
            value = f"{value:.2f}"
        result.add_row(name.replace("_", " "), str(value))
    return result
