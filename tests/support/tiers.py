"""The three tiers of tests, in one place: `pytest --tier quick`, `--tier unit`, and all of them.

- quick: no server, browser, terminal, process or socket. A test is quick by where it is (QUICK), unless it uses a
  fixture that starts programs (STARTS) or is marked otherwise. A quick test that starts a process or opens a socket all
  the same fails, and is told where it belongs.
- unit: all but the campaigns, which are marked `slow`: repeated seeds, and pictures of every state.
- all: those too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.paths import TESTS

QUICK = (
    "analysis",
    "config",
    "core",
    "session",
    "store",
    "test_crash.py",
    "test_inferred.py",
    "engines/test_cli_answer.py",
    "engines/test_cli_stats.py",
    "engines/test_llama_methods.py",
    "engines/test_llama_stream.py",
    "engines/test_mlx_stream.py",
    "engines/test_openai_stream.py",
    "engines/test_spec_metrics.py",
    "engines/test_sse.py",
    "ui/test_charts.py",
    "ui/test_narration.py",
    "ui/test_output.py",
    "ui/test_summary.py",
    "ui/tui/test_exit_message.py",
    "ui/tui/test_keys.py",
    "ui/tui/test_lines.py",
    "ui/tui/test_panes.py",
    "ui/tui/test_paste.py",
    "ui/tui/test_table.py",
    "ui/tui/test_terminal.py",
)
# Fixtures that start programs, or need ones that may not be here.
STARTS = frozenset(
    {"chromium", "fake_server", "launch", "llama_server", "mlx_python", "old_xllamacpp_python", "starts_programs"}
)
PROCESS_EVENTS = frozenset(
    {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system", "tests.fork"}
)
SOCKET_EVENTS = frozenset({"socket.connect", "socket.bind"})


def may_hold_quick(path: Path) -> bool:
    """Return whether a folder or file of the tests holds quick ones, or helpers of theirs."""
    if not path.is_relative_to(TESTS):
        return False
    place = path.relative_to(TESTS).as_posix()
    return any(place == each or f"{place}/".startswith(f"{each}/") or each.startswith(f"{place}/") for each in QUICK)


def is_quick(item: pytest.Item) -> bool:
    """Return whether a test is of the quick tier."""
    starts = STARTS & set(getattr(item, "fixturenames", ()))
    marked = any(item.get_closest_marker(name) for name in ("real", "slow", "starts_programs"))
    return may_hold_quick(item.path) and not starts and not marked


class Watch:
    """What the running test does with processes and sockets, as Python's audit events tell."""

    def __init__(self) -> None:
        self.forbids = False
        self.started = False  # a process, since the test began
        self.broken: str | None = None
        sys.addaudithook(self._event)

    def begin(self, *, quick: bool) -> None:
        """Begin a test."""
        self.forbids, self.started, self.broken = quick, False, None

    def _event(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in PROCESS_EVENTS:
            self.started = True
        if self.forbids and (event in PROCESS_EVENTS or event in SOCKET_EVENTS):
            self.broken = (
                f"a test of the quick tier starts no process and opens no socket ({event} {arguments[:1]!r}). This one "
                "belongs to the unit tier: take its file out of QUICK in tests/support/tiers.py, or mark the test "
                "`starts_programs`."
            )
            pytest.fail(self.broken)


WATCH = Watch()
