"""Programs that a test needs and may lack, and servers that it starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest


def absent(what: str) -> NoReturn:
    """Skip a test that needs a real server which is not here; in CI that is a failure."""
    if os.environ.get("SPECDASH_REQUIRE_REAL"):
        pytest.fail(what)
    pytest.skip(what)


@dataclass(slots=True)
class Running:
    """A server that a test started: its process, and what it has logged until it was ready."""

    process: subprocess.Popen[str]
    log: str = ""

    def url(self) -> str:
        """Wait until it listens; fails with its log where it ends instead."""
        return self.wait_for(r"listening on (http://\S+)")

    def wait_for(self, pattern: str) -> str:
        """Read the log up to a line with this pattern, and return the pattern's first group."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if match := re.search(pattern, line):
                return match[1]
        raise AssertionError(f"ended with {self.process.wait()}: {self.log}")

    def request(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask a listening server: POST where there is a body; JSON answers are read."""
        data = None if body is None else json.dumps(body).encode()
        url = re.findall(r"http://[\d.:]+", self.log)[-1]
        with urllib.request.urlopen(urllib.request.Request(url + path, data), timeout=30) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text


Launch = Callable[..., Running]
