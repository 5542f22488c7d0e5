"""The fake server with one behaviour for each streamed request: FAKE_SEQUENCE="cut=5;http_status=500;", the last stays.

What FAKE_SERVER says holds for everything else, the one-token completion before READY among it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # it is run as a program, from any folder

from tests.fakes import llama_server
from tests.fakes.fake_flags import Behaviour, read_behaviour

SEQUENCE = os.environ["FAKE_SEQUENCE"].split(";")
BASE = read_behaviour(os.environ.get("FAKE_SERVER", ""))


class Later(llama_server.Handler):
    """Takes the next behaviour before each streamed completion; completions wait for each other."""

    streamed = 0

    def complete(self, body: dict[str, Any]) -> None:
        """POST /completion."""
        if body.get("stream"):
            number = min(Later.streamed, len(SEQUENCE) - 1)
            Later.streamed += 1
            changed = asdict(read_behaviour(SEQUENCE[number])).items() - asdict(Behaviour()).items()
            self.shared.behaviour = Behaviour(**(asdict(BASE) | dict(changed)))
        super().complete(body)


llama_server.Handler = Later  # type: ignore[misc]  # main() derives the handler of its socket from this name

if __name__ == "__main__":
    llama_server.main(sys.argv[1:])
