"""What a viewer's browser really shows and plays: opens the page of a call in headless Chromium and measures there.

Needs the playwright package (extra `dev`) and a Chromium of the system; downloads nothing.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # needed by root, as in containers; the only page opened is our own
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--disable-gpu",
    "--mute-audio",
]

# Keeps every connection the page makes, and the sound's level, where we can ask for them later.
_WATCH = """
window.connections = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) { super(...options); window.connections.push(this); }
};
"""

_GRAB = """
() => {
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  canvas.width = 64; canvas.height = 64;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0, 64, 64);
  return Array.from(context.getImageData(0, 0, 64, 64).data.filter((_, i) => i % 4 == 1));
}
"""

_STATS = """
async () => {
  const found = { now: performance.now() };
  const video = document.querySelector('video');
  found.shown = video.getVideoPlaybackQuality().totalVideoFrames;
  found.width = video.videoWidth;
  found.height = video.videoHeight;
  for (const entry of (await window.connections.at(-1).getStats()).values())
    if (entry.type === 'inbound-rtp') found[entry.kind] = entry;
  return found;
}
"""

# Times at which a bright picture is shown and at which the sound sets in, on the page's own clock.
_WATCH_FLASHES = """
async () => {
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 8;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  window.flashes = []; window.beeps = [];
  let bright = true, loud = true;
  const look = (now, frame) => {
    context.drawImage(video, 0, 0, 8, 8);
    const data = context.getImageData(0, 0, 8, 8).data;
    let level = 0;
    for (let i = 1; i < data.length; i += 4) level += data[i] / 64;
    if (level > 140 && !bright) window.flashes.push(frame.expectedDisplayTime);
    bright = level > 140;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  const sound = new AudioContext({ sampleRate: 48000 });
  const code = `registerProcessor('onset', class extends AudioWorkletProcessor {
    process(inputs) {
      const samples = inputs[0][0];
      if (samples) {
        const at = samples.findIndex((x) => Math.abs(x) > 0.1);
        this.quiet = at < 0 ? (this.quiet ?? 0) + samples.length : this.quiet ?? 0;
        if (at >= 0) { if (this.quiet > 9600) this.port.postMessage(currentTime + at / sampleRate); this.quiet = 0; }
      }
      return true;
    }
  })`;
  await sound.audioWorklet.addModule('data:text/javascript,' + encodeURIComponent(code));
  const node = new AudioWorkletNode(sound, 'onset');
  sound.createMediaStreamSource(video.srcObject).connect(node).connect(sound.destination);
  node.port.onmessage = ({ data }) => {
    // The clock of the sound and that of the page, read at one moment.
    const { contextTime, performanceTime } = sound.getOutputTimestamp();
    window.beeps.push(performanceTime + 1000 * (data - contextTime));
  };
}
"""


@dataclass(frozen=True)
class PageFigures:
    """What the browser measured between two looks, some seconds apart."""

    width: int
    height: int
    decoded_fps: float
    shown_fps: float
    frames_dropped: int
    "Since the page was opened."
    freeze_count: int
    "Since the page was opened, as Chromium counts them."
    movement: float
    "Mean difference of the grey levels of two grabs of the picture, 0 to 255: 0 if it stands still."
    audio_energy: float
    "Chromium's totalAudioEnergy between the looks: about 0.5 a second for a full-scale tone, 0 for silence."
    audio_concealed: float
    "Share of the voice that Chromium made up because it was missing, 0 to 1."
    video_kbps: float
    audio_kbps: float
    video_delay_ms: float
    "Mean time of a frame in Chromium's jitter buffer."
    audio_delay_ms: float
    "The same for the voice."
    skew_ms: float | None
    "How much later a flash is shown than the beep that belongs to it is heard; None if there are none."
    title: str
    line: str
    "The texts on the page."
    state: str
    "connecting, waiting, live, lost or ended."
    errors: tuple[str, ...]
    "What the page wrote to the console as warnings or errors."


def find_chromium() -> str | None:
    """The path of the system's Chromium or Chrome, if there is one."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


async def measure_page(
    url: str,
    seconds: float = 5.0,
    width: int = 1280,
    height: int = 800,
    scheme: Literal["light", "dark"] = "light",
    screenshot: Path | None = None,
    show_figures: bool = False,
    flashes: bool = False,
) -> PageFigures:
    """Open the page, wait until it is live, and measure for so long.

    flashes: the picture turns from dark to bright whenever a beep sets in; measures the skew by them.
    Raises RuntimeError if there is no Chromium, playwright's TimeoutError if there is no picture within 20 s.
    """
    from playwright.async_api import async_playwright

    chromium = find_chromium()
    if chromium is None:
        raise RuntimeError("no Chromium was found; install it: sudo apt install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        try:
            # The page's own rules forbid the sound processor that finds the beeps.
            page = await browser.new_page(
                viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=flashes
            )
            errors: list[str] = []
            page.on("console", lambda text: errors.append(text.text) if text.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            await page.add_init_script(_WATCH)
            await page.goto(url)
            await page.wait_for_selector("body[data-state=live]", timeout=20_000)
            if show_figures:
                await page.click("#more")
            if flashes:
                await page.evaluate(_WATCH_FLASHES)
            before = await page.evaluate(_STATS)
            first = await page.evaluate(_GRAB)
            await asyncio.sleep(seconds)
            second = await page.evaluate(_GRAB)
            after = await page.evaluate(_STATS)
            skew = await page.evaluate("[window.flashes, window.beeps]") if flashes else ([], [])
            if screenshot is not None:
                await page.screenshot(path=str(screenshot))
            texts = [await page.inner_text(f"#{name}") for name in ("title", "line")]
            state = await page.evaluate("document.body.dataset.state")
        finally:
            await browser.close()
    return _figures(before, after, first, second, skew, texts, state, errors)


def _figures(
    before: Any,
    after: Any,
    first: list[int],
    second: list[int],
    skew: Any,
    texts: list[str],
    state: str,
    errors: list[str],
) -> PageFigures:
    def delta(kind: str, name: str) -> float:
        return float(after.get(kind, {}).get(name, 0) - before.get(kind, {}).get(name, 0))

    def delay_ms(kind: str) -> float:
        return 1000 * delta(kind, "jitterBufferDelay") / max(delta(kind, "jitterBufferEmittedCount"), 1)

    seconds = (after["now"] - before["now"]) / 1000
    return PageFigures(
        width=after["width"],
        height=after["height"],
        decoded_fps=delta("video", "framesDecoded") / seconds,
        shown_fps=(after["shown"] - before["shown"]) / seconds,
        frames_dropped=int(after.get("video", {}).get("framesDropped", 0)),
        freeze_count=int(after.get("video", {}).get("freezeCount", 0)),
        movement=sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first),
        audio_energy=delta("audio", "totalAudioEnergy"),
        audio_concealed=delta("audio", "concealedSamples") / max(delta("audio", "totalSamplesReceived"), 1),
        video_kbps=delta("video", "bytesReceived") * 8 / 1000 / seconds,
        audio_kbps=delta("audio", "bytesReceived") * 8 / 1000 / seconds,
        video_delay_ms=delay_ms("video"),
        audio_delay_ms=delay_ms("audio"),
        skew_ms=_median_skew_ms(*skew),
        title=texts[0],
        line=texts[1],
        state=state,
        errors=tuple(errors),
    )


def _median_skew_ms(flashes: list[float], beeps: list[float]) -> float | None:
    """Median distance from each beep to its nearest flash."""
    distances = sorted(min((flash - beep for flash in flashes), key=abs) for beep in beeps if flashes)
    return distances[len(distances) // 2] if distances else None
