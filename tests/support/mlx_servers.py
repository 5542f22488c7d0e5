"""Real MLX servers as processes: ours, and the stock one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from specdash.runtime.listener import free_port
from tests.support.paths import ROOT

OWN = ROOT / "specdash" / "programs" / "mlx_server"
ALIAS = "nonce"
LIMIT_S = 60


class _Server:
    """A server process from its start to its end; `log` is what it has said, `port` where it answers."""

    def __init__(self, *command: object) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__; a pipe would fill up and hang it
        # On Linux mlx would run a C++ compiler the first time that it samples, for up to a quarter of a minute.
        env = os.environ | {"MLX_DISABLE_COMPILE": "1"}
        argv = [str(part) for part in command]
        self.process = subprocess.Popen(argv, env=env, stdout=self._log, stderr=subprocess.STDOUT)
        self.port = 0

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def wait_for(self, pattern: str) -> str:
        """The first group of the pattern, once its log has it."""
        end_s = time.monotonic() + LIMIT_S
        while time.monotonic() < end_s:
            if found := re.search(pattern, self.log):
                return found[1]
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.log}"
            time.sleep(0.02)
        raise AssertionError(f"no {pattern} within {LIMIT_S} s: {self.log}")

    def ask(self, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, Any]:
        """Status and JSON answer of a request: POST where there is a body."""
        data = raw if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", data, timeout=LIMIT_S) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()


class OwnServer(_Server):
    """specdash-mlx with these flags; `while_loading` is its first answer to /health, before the model was there."""

    def __init__(self, python: Path, model: Path, *flags: object) -> None:
        super().__init__(python, "-I", OWN, "--model", model, "--port", "0", "--alias", ALIAS, *flags)
        self.while_loading: tuple[int, Any] = (0, None)

    def __enter__(self) -> Self:
        try:
            self.port = int(self.wait_for(r"listening on http://[\d.]+:(\d+)"))
            self.while_loading = self.ask("/health")
            self.wait_for("(model loaded)")
        except BaseException:
            self.__exit__()
            raise
        return self


class StockServer(_Server):
    """mlx_lm.server with these flags, on a port that was free a moment ago."""

    def __init__(self, python: Path, model: Path, *flags: object) -> None:
        port = free_port()
        super().__init__(python, "-m", "mlx_lm", "server", "--model", model, "--port", port, *flags)
        self.port = port

    def __enter__(self) -> Self:
        try:
            self.wait_for("(Starting httpd)")
            status, _ = self.ask("/v1/completions", {"prompt": "the", "max_tokens": 1})
            assert status == 200, self.log
        except BaseException:
            self.__exit__()
            raise
        return self
