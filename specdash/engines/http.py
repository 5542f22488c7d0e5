"""HTTP to one model server: short questions, and streamed answers with arrival times.

Uses aiohttp's reads as they come, never its lines: one read brings many events of a burst, is stamped once, and is
split by our own parser, which costs a third of reading line by line. Nothing is decoded while a stream runs.

A client speaks to the one address that it was made for and to nothing else: no proxy of the environment, no redirect,
no cookies, no compression. Every request has a connection of its own, since a server may drop an idle one at the moment
of the next request. Every failure is one of `core.transport`'s; cancelling a request closes its connection at once,
which is how a server is told to stop generating.

The values of a client's extra headers are secrets (a bearer token): no message of an error quotes them, not even where
a server repeats them in its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError

from specdash.core.heartbeat import heartbeat
from specdash.core.transport import (
    BadAnswer,
    HttpError,
    Progress,
    RequestTimeout,
    StreamCut,
    StreamedAnswer,
    Unreachable,
)
from specdash.engines.sse import EventTooLarge, SseParser

HOST = "127.0.0.1"
BODY_LIMIT_BYTES = 64 * 1024 * 1024
EXCERPT_CHARS = 500
RETRY_AFTER_MOST_S = 3600.0
HIDDEN = "..."
SECRET_CHARS = 4

_EVENT_STREAM = "text/event-stream"
_ERROR_BODY_BYTES = 64 * 1024


class Client:
    """Requests to one server, each with a limit in seconds (in which this process ran); all raise TransportError.

    `where` is a port of 127.0.0.1, or a base URL (http or https, a path prefix is kept); `headers` go with every
    request, and their values are never shown. `base` is the address that paths are put behind.
    """

    def __init__(self, where: int | str, headers: Mapping[str, str] | None = None) -> None:
        self.base = f"http://{HOST}:{where}" if isinstance(where, int) else where.rstrip("/")
        self._headers = dict(headers or {})
        # A server may repeat a token without its scheme, so the words after "Bearer" are secrets by themselves. What
        # is shorter than any secret is left alone: hiding every "1" would spoil the messages.
        words = {word for value in self._headers.values() for word in (value, *value.split()[1:])}
        self._secrets = sorted((word for word in words if len(word) >= SECRET_CHARS), key=len, reverse=True)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._reading: set[aiohttp.ClientResponse] = set()

    async def get_text(self, path: str, limit_s: float) -> str:
        """The body of GET `path` as text, malformed UTF-8 replaced."""
        return (await self._short("GET", path, None, limit_s)).decode("utf-8", "replace")

    async def get_json(self, path: str, limit_s: float) -> Any:
        """The JSON value that GET `path` answers."""
        return self._json(await self._short("GET", path, None, limit_s))

    async def post_json(self, path: str, body: Any, limit_s: float) -> Any:
        """The JSON value that POST `path` answers to `body`."""
        return self._json(await self._short("POST", path, body, limit_s))

    async def stream(
        self, path: str, body: Any, *, total_limit_s: float, progress: Progress | None = None
    ) -> StreamedAnswer:
        """POST `body` and read the event stream that answers it to its end, keeping `progress` up to date.

        StreamCut when the connection breaks inside it. An end without a final event is no failure here: what has to
        come last is the protocol's business.
        """
        seen = progress if progress is not None else Progress()
        events: list[tuple[float, bytes]] = []
        seen.received = events
        parser = SseParser()
        sent_t_s = seen.sent_t_s = time.monotonic()
        try:
            async with heartbeat().limit(total_limit_s), self._answer("POST", path, body) as response:
                if response.content_type != _EVENT_STREAM:
                    start = await _read(response, _ERROR_BODY_BYTES, whole=False)
                    raise BadAnswer(f"no event stream but {response.content_type}: {self._excerpt(start)}")
                try:
                    while received := await response.content.readany():
                        now_s = time.monotonic()
                        found = parser.feed(received)
                        seen.bytes += len(received)
                        if seen.bytes > BODY_LIMIT_BYTES:
                            raise BadAnswer(f"the stream is longer than {BODY_LIMIT_BYTES} bytes")
                        if found:
                            events += [(now_s, data) for data in found]
                            seen.events = len(events)
                            seen.last_event_t_s = now_s
                            if seen.first_event_t_s is None:
                                seen.first_event_t_s = now_s
                except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
                    raise StreamCut(len(events), _why(error)) from error
        except TimeoutError as error:
            raise RequestTimeout(total_limit_s, len(events)) from error
        except EventTooLarge as error:
            raise BadAnswer(str(error)) from error
        return StreamedAnswer(200, sent_t_s, tuple(events), time.monotonic())

    def redacted(self, text: str) -> str:
        """`text` without the values of this client's headers, for whatever a server said."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    async def close(self) -> None:
        """Drops all connections, for good: requests from now on are Unreachable, and those being read are cut."""
        self._closed = True
        for response in tuple(self._reading):
            # The library's own close leaves whoever reads an answer waiting for more of it.
            response.content.set_exception(aiohttp.ClientConnectionError("the connection was dropped here"))
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _short(self, method: str, path: str, body: Any, limit_s: float) -> bytes:
        """The whole body of a 200."""
        try:
            async with heartbeat().limit(limit_s), self._answer(method, path, body) as response:
                return await _read(response, BODY_LIMIT_BYTES)
        except TimeoutError as error:
            raise RequestTimeout(limit_s) from error

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to one request, its status checked and its body unread; closes the connection afterwards."""
        if self._closed:
            raise Unreachable("this client is closed")
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if data is not None else None
        try:
            response = await self._opened().request(
                method, self.base + path, data=data, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise Unreachable(self.redacted(_why(error))) from error
        except (aiohttp.ClientError, HttpProcessingError) as error:
            raise BadAnswer(f"not an HTTP answer: {self.redacted(_why(error))}") from error
        self._reading.add(response)
        try:
            if response.status != 200:
                body_read = await _read(response, _ERROR_BODY_BYTES, whole=False)
                wait_s = retry_after(response.headers.get("Retry-After"))
                raise HttpError(response.status, self._excerpt(body_read), wait_s, _kind(body_read))
            yield response
        finally:
            self._reading.discard(response)
            response.close()

    def _json(self, body: bytes) -> Any:
        """The JSON value of an answer; NaN, huge numbers and endless nesting are BadAnswer as malformed text is."""
        try:
            return msgspec.json.decode(body)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"no JSON ({error}): {self._excerpt(body)}") from error

    def _excerpt(self, body: bytes) -> str:
        """What an error's body says, without this client's secrets."""
        return _shortened(self.redacted(_said(body)))

    def _opened(self) -> aiohttp.ClientSession:
        """The session, made inside the running loop at first use."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(),  # none of the library's; each request has its own
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={**self._headers, "Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse, limit_bytes: int, *, whole: bool = True) -> bytes:
    """The body up to `limit_bytes`; where the `whole` is wanted, BadAnswer when it is longer or cut off."""
    parts: list[bytes] = []
    size = 0
    try:
        while received := await response.content.readany():
            parts.append(received)
            size += len(received)
            if size > limit_bytes:
                if whole:
                    raise BadAnswer(f"the answer is longer than {limit_bytes} bytes")
                break
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        if whole:
            raise BadAnswer(f"the answer was cut after {size} bytes: {_why(error)}") from error
    return b"".join(parts)


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header, given as a number or as an HTTP date, from 0 to an hour.

    None when there is none, or none that means anything (RFC 9110, section 10.2.3).
    """
    text = (value or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        seconds = float(text)
    else:
        try:
            due = parsedate_to_datetime(text)
        except (ValueError, IndexError, OverflowError):
            return None
        seconds = ((due if due.tzinfo else due.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), RETRY_AFTER_MOST_S)


def _kind(body: bytes) -> str:
    """The code of {"error": {"code": …}} where that is a word, else its type; "" where it has neither."""
    error = _error(body)
    words = [error.get("code"), error.get("type")] if isinstance(error, dict) else []
    return next((word for word in words if isinstance(word, str)), "")


def _error(body: bytes) -> Any:
    """What stands behind "error" in a body; None where nothing does."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return value.get("error") if isinstance(value, dict) else None


def _said(body: bytes) -> str:
    """What an error's body says: the message of {"error": {"message": …}} or {"error": …}, else how it starts."""
    text = " ".join(body.decode("utf-8", "replace").split())
    error = _error(body)
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else text


def _shortened(text: str) -> str:
    """`text`, cut to what a message can hold."""
    return text if len(text) <= EXCERPT_CHARS else f"{text[:EXCERPT_CHARS]}…"


def _why(error: BaseException) -> str:
    """An error of the library's in one line; some of them have no words of their own."""
    return " ".join(str(error).split())[:EXCERPT_CHARS] or type(error).__name__
