"""A real Chromium without a network, driven over its DevTools protocol: for tests and pictures of report.html."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DEADLINE_S = 90
_DRAWN = """new Promise((done) => {
  const look = () => {
    const drawn = document.documentElement.dataset.drawn;
    if (drawn === undefined) setTimeout(look, 20); else done(drawn);
  };
  look();
})"""


def browser_program() -> str | None:
    """The first Chromium on PATH."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Browser:
    """A running browser; `start` it, and open pages in it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    @classmethod
    @asynccontextmanager
    async def start(cls, program: str) -> AsyncIterator[Browser]:
        """A browser with a profile of its own, for which every host name leads nowhere."""
        with tempfile.TemporaryDirectory(prefix="specdash-browser-", ignore_cleanup_errors=True) as folder:
            flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
            offline = ("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND")
            port = ("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank")
            process = await asyncio.create_subprocess_exec(
                program, *flags, *offline, *port, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            try:
                url = await asyncio.wait_for(_address(process), DEADLINE_S)
                async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
                    browser = cls(socket)
                    listening = asyncio.ensure_future(browser._listen())  # noqa: TID251 - awaited below
                    try:
                        yield browser
                    finally:
                        with suppress(ConnectionError):
                            await socket.send_json({"id": 0, "method": "Browser.close"})
                        listening.cancel()
                        with suppress(asyncio.CancelledError):
                            await listening
            finally:
                with suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 10)
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _listen(self) -> None:
        async for message in self._socket:
            body = message.json()
            waiting = self._waiting.pop(body.get("id"), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(body)
            elif body.get("sessionId") in self._pages:
                self._pages[body["sessionId"]].heard(body["method"], body.get("params") or {})

    async def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of one command. Raises RuntimeError with what the browser says against it."""
        self._number += 1
        answer = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        body: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(body if session is None else {**body, "sessionId": session})
        found = await asyncio.wait_for(answer, DEADLINE_S)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return dict(found["result"])

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """A new tab that notes errors and requests."""
        target = (await self.ask("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.ask(f"{domain}.enable")
        try:
            yield page
        finally:
            del self._pages[session]
            await self.ask("Target.closeTarget", targetId=target)


async def _address(process: asyncio.subprocess.Process) -> str:
    """Where the browser listens, which it says on stderr."""
    assert process.stderr is not None
    while line := await process.stderr.readline():
        text = line.decode(errors="replace")
        if "DevTools listening on " in text:
            return text.partition("DevTools listening on ")[2].strip()
    raise RuntimeError("the browser ended before it listened")


class Page:
    """One tab. `errors`: what its console and its scripts complained of; `requests`: every URL it asked for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = asyncio.Event()
        self._browser = browser
        self._session = session

    def heard(self, method: str, params: dict[str, Any]) -> None:
        """Notes an event."""
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A command to this tab."""
        return await self._browser.ask(method, self._session, **params)

    async def evaluate(self, code: str) -> Any:
        """The value of a JavaScript expression, promises awaited."""
        found = await self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    async def emulate(self, width: int, height: int, scheme: str) -> None:
        """A window of this size, in CSS pixels, and a colour scheme: "light" or "dark"."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        await self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def open(self, path: Path) -> int:
        """Opens a report (an absolute path) and waits until it is drawn; the number of its charts."""
        self._loaded.clear()
        await self.ask("Page.navigate", url=f"file://{quote(str(path))}")
        await asyncio.wait_for(self._loaded.wait(), DEADLINE_S)
        return int(await self.evaluate(_DRAWN))

    async def picture(self, width: int, height: int, top: int = 0) -> bytes:
        """The page from `top` on as PNG."""
        clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
        found = await self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    async def print(self) -> bytes:
        """The page as a PDF on A4."""
        found = await self.ask("Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(found["data"])
