"""The page in a real browser: headless Chromium sees moving pictures and hears the voice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.browser import CHROMIUM_FLAGS, find_chromium, measure_page
from streaming.page_server import PageServer, PageStatus

pytest.importorskip("playwright", reason="the extra `dev` is not installed")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.realtime,
    pytest.mark.skipif(
        find_chromium() is None, reason="no Chromium on this machine; install it: sudo apt install chromium"
    ),
]

RATE = 25
SIZE = 384


def frame(number: int) -> np.ndarray:
    """A bar that moves; the whole picture is bright in the first 0.2 s of every second."""
    picture = np.full((SIZE, SIZE, 3), 220 if number % RATE < RATE // 5 else 30, np.uint8)
    left = number * 11 % (SIZE - 40)
    picture[SIZE // 2 :, left : left + 40] = (40, 120, 200)
    return picture


def sound(position: int, count: int) -> np.ndarray:
    """A beep in the first 0.2 s of every second."""
    times = (position + np.arange(count)) / 48_000
    return np.where(times % 1.0 < 0.2, 12_000 * np.sin(2 * np.pi * 440 * times), 0).astype(np.int16)


@asynccontextmanager
async def fed_page() -> AsyncIterator[PageServer]:
    """A page that frames and voice are pushed to as in a call, each at its own pace on one clock."""
    async with PageServer() as page:
        page.set_status(PageStatus("Test head", "connected to a test", (("Latency", "12 ms"),)))
        begin = time.monotonic()

        async def at(media_time: float) -> float:
            await asyncio.sleep(max(begin + media_time - time.monotonic(), 0))
            return media_time

        async def push_frames() -> None:
            number = 0
            while True:
                page.push_frame(frame(number), await at(number / RATE))
                number += 1

        async def push_voice() -> None:
            position = 0
            while True:
                page.push_audio(sound(position, 480), await at(position / 48_000))
                position += 480

        tasks = [asyncio.create_task(push_frames()), asyncio.create_task(push_voice())]
        try:
            yield page
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def expect(tab: Any, selector: str) -> None:
    """Wait until the page has it; say what the page shows instead if it does not come."""
    from playwright.async_api import TimeoutError

    try:
        await tab.wait_for_selector(selector, timeout=20_000)
    except TimeoutError:
        state = await tab.evaluate("[document.body.dataset.state, document.querySelector('video').readyState]")
        pytest.fail(f"no {selector} within 20 s; state and video: {state}, text: {await tab.inner_text('body')!r}")


async def live_without_a_gesture(tab: Any) -> None:
    """Wait until the picture moves. Playwright's own waits count as the user's gesture, which would allow sound."""
    inspector = await tab.context.new_cdp_session(tab)
    async with asyncio.timeout(20):
        while True:
            answer = await inspector.send("Runtime.evaluate", {"expression": "document.body.dataset.state"})
            if answer["result"].get("value") == "live":
                return
            await asyncio.sleep(0.1)


async def test_a_browser_sees_moving_pictures_and_hears_the_voice(tmp_path: Path):
    async with fed_page() as page:
        figures = await measure_page(page.url, seconds=8.0, flashes=True, screenshot=tmp_path / "page.png")
    print(figures)
    assert figures.state == "live"
    assert (figures.width, figures.height) == (SIZE, SIZE)
    assert figures.decoded_fps > 20
    assert figures.movement > 1
    assert figures.audio_energy > 0.05
    assert (figures.title, figures.line) == ("Test head", "connected to a test")
    assert figures.skew_ms is not None
    assert abs(figures.skew_ms) < 250  # a busy machine delays the voice; on an idle one it is some 40 ms
    assert figures.errors == ()
    assert (tmp_path / "page.png").stat().st_size > 5_000


async def test_the_page_asks_for_a_click_where_sound_needs_one_and_says_when_it_ends():
    from playwright.async_api import async_playwright

    strict = [flag for flag in CHROMIUM_FLAGS if "autoplay" not in flag]
    async with async_playwright() as playwright, fed_page() as page:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=strict)
        try:
            tab = await browser.new_page(viewport={"width": 390, "height": 800})
            await tab.goto(page.url)
            await live_without_a_gesture(tab)
            await expect(tab, "#start:visible")
            assert await tab.evaluate("document.querySelector('video').muted")
            await tab.click("#start")
            assert not await tab.evaluate("document.querySelector('video').muted")
            assert await tab.is_hidden("#start")
            assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")

            await tab.click("#mute")
            assert await tab.get_attribute("#mute", "aria-pressed") == "true"
            await tab.click("#more")
            await tab.locator("#browser", has_text="fps").wait_for(timeout=10_000)
            assert "12 ms" in await tab.inner_text("#call")

            page.end("The other side left")
            await expect(tab, "body[data-state=ended]")
            assert await tab.inner_text("#detail") == "The other side left"
            assert await tab.is_visible("#again")
        finally:
            await browser.close()


async def test_a_single_frame_is_shown_to_a_browser_that_comes_later():
    async with PageServer() as page:
        page.push_frame(frame(1), 0.0)
        figures = await measure_page(page.url, seconds=0.5)
    assert (figures.state, figures.width) == ("live", SIZE)


async def test_the_page_finds_back_after_the_connection_broke():
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright, fed_page() as page:
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        try:
            tab = await browser.new_page()
            await tab.goto(page.url)
            await expect(tab, "body[data-state=live]")
            await asyncio.gather(*(viewer.close() for viewer in list(page._viewers)))
            await expect(tab, "body[data-state=connecting]")
            await expect(tab, "body[data-state=live]")
        finally:
            await browser.close()
