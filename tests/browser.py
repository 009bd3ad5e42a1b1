"""A real Chromium, driven by its DevTools protocol: what a page receives, keys, and a screenshot."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pyte

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_SECONDS = 90


class Tab:
    """One page. `screen` is what a terminal emulator makes of the bytes that its websocket received."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, columns: int, lines: int) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requested: dict[str, str] = {}
        self.blocked: set[str] = set()
        self.closed = 0
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)

    async def listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._answers.pop(said["id"]).set_result(said.get("result"))
            elif said["method"] == "Network.requestWillBeSent":
                self.requested[said["params"]["requestId"]] = said["params"]["request"]["url"]
            elif said["method"] == "Network.loadingFailed" and said["params"].get("blockedReason"):
                self.blocked.add(said["params"]["requestId"])
            elif said["method"] == "Network.webSocketClosed":
                self.closed += 1
            elif said["method"] == "Network.webSocketFrameReceived":
                frame = said["params"]["response"]
                if frame["opcode"] == 2:
                    self._stream.feed(base64.b64decode(frame["payloadData"]))

    async def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol, and wait for its answer."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await asyncio.wait_for(self._answers[number], _SECONDS)

    async def press(self, text: str) -> None:
        """Type characters, a key each."""
        for each in text:
            for kind in ("keyDown", "keyUp"):
                await self.call("Input.dispatchKeyEvent", type=kind, text=each, key=each)

    async def click(self, x: int = 300, y: int = 400) -> None:
        """Click on the page, which gives it the keyboard."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def picture(self) -> bytes:
        """The page as a PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])

    async def until(self, holds: Callable[[str], bool]) -> str:
        """Wait until the text of the screen is as wanted. Returns it."""
        end = asyncio.get_running_loop().time() + _SECONDS
        while not holds(text := "\n".join(self.screen.display)):
            assert asyncio.get_running_loop().time() < end, text
            await asyncio.sleep(0.1)
        return text


@asynccontextmanager
async def tab(url: str, columns: int = 200, lines: int = 60) -> AsyncIterator[Tab]:
    """Open a page in a browser of its own."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1300,900", "about:blank"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                pages = await (await session.get(f"http://127.0.0.1:{port}/json")).json()
                [target] = [each["webSocketDebuggerUrl"] for each in pages if each["type"] == "page"]
                async with session.ws_connect(target, max_msg_size=0) as socket:
                    opened = Tab(socket, columns, lines)
                    listening = asyncio.create_task(opened.listen())
                    for domain in ("Network", "Page"):
                        await opened.call(f"{domain}.enable")
                    await opened.call("Emulation.setFocusEmulationEnabled", enabled=True)
                    await opened.call("Page.navigate", url=url)
                    yield opened
                    listening.cancel()
        finally:
            browser.terminate()
            await browser.wait()


async def _port(written: Path) -> str:
    for _ in range(10 * _SECONDS):
        if written.exists() and (found := re.match(r"\d+", written.read_text())):
            return found[0]
        await asyncio.sleep(0.1)
    raise AssertionError("the browser did not start")
