"""Shells in a real terminal of any size, by tmux: keys go in, and what is on the screen comes out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

LIMIT_S = 60.0
POLL_S = 0.03
# An escape is a key of its own at once.
SETTINGS = """set -g default-terminal tmux-256color
set -g history-limit 5000
set -g escape-time 0
set -g status off
set -g focus-events on
set -g set-clipboard on
"""
MODES = ("alternate_on", "mouse_any_flag", "mouse_sgr_flag", "keypad_cursor_flag", "cursor_flag", "wrap_flag")
AS_BEFORE = dict(zip(MODES, ("0", "0", "0", "0", "1", "1"), strict=True))


class Tmux:
    """A tmux server of its own, with one window in which `sh` runs; everything in it ends with it."""

    def __init__(self, environment: Mapping[str, str], folder: Path, size: tuple[int, int] = (80, 24)) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sd-tmux-"))
        self._settings = self._folder / "tmux.conf"
        self._settings.write_text(SETTINGS)
        self._socket = f"specdash-{uuid.uuid4().hex[:12]}"
        # Not the environment's TERM: what is in the window talks to tmux.
        kept = {name: value for name, value in environment.items() if name not in ("TMUX", "TMUX_PANE", "COLORTERM")}
        self._environment = kept | {"TMUX_TMPDIR": str(self._folder), "ENV": "", "LC_ALL": "C.UTF-8"}
        width, height = size
        shell = "exec env -u TMUX -u TMUX_PANE -u LC_ALL sh"
        self._tmux("new-session", "-d", "-s", "main", "-x", str(width), "-y", str(height), "-c", str(folder), shell)
        # Here: tmux 3.3 dies of it when there is no window yet.
        self._tmux("set-option", "-g", "window-size", "manual")
        self.until(lambda screen: bool(screen.strip()))

    def __enter__(self) -> Tmux:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is not None and self.is_alive:
            error.add_note(f"the terminal shows:\n{self.screen()}")
        self.close()

    # -- what goes in ------------------------------------------------------------------------------------------

    def keys(self, *names: str) -> None:
        """Presses keys, by tmux's names: "q", "Enter", "C-c", "Escape"."""
        for name in names:
            self._tmux("send-keys", "-t", "main", name)

    def type(self, text: str) -> None:
        """Types text, character by character."""
        self._tmux("send-keys", "-t", "main", "-l", text)

    def command(self, line: str) -> None:
        """Types a command line at the shell's prompt; its exit code is said when it has ended: see `ended`."""
        self.type(f'{line}; echo "ended with $?."')
        self.keys("Enter")

    def paste(self, text: str) -> None:
        """Pastes, bracketed where the program asked for it."""
        file = self._folder / "paste"
        file.write_text(text)
        self._tmux("load-buffer", str(file))
        self._tmux("paste-buffer", "-p", "-t", "main")

    def resize(self, width: int, height: int) -> None:
        """Another size."""
        self._tmux("resize-window", "-t", "main", "-x", str(width), "-y", str(height))

    def kill_window(self) -> None:
        """Takes the terminal away, as closing a window or losing a line does: its programs get a hangup."""
        self._tmux("kill-session", "-t", "main")

    # -- what comes out ----------------------------------------------------------------------------------------

    def screen(self) -> str:
        """What the window shows, without trailing blanks."""
        return self._tmux("capture-pane", "-p", "-t", "main")

    def scrollback(self) -> str:
        """All that is in the window and above it, wrapped lines joined."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "main")

    def until(self, wanted: str | Callable[[str], bool], limit_s: float = LIMIT_S) -> str:
        """Waits until the screen holds a text (or is as wanted) and gives it; fails with the screen."""
        until_s = time.monotonic() + limit_s
        while True:
            seen = self.screen()
            if wanted in seen if isinstance(wanted, str) else wanted(seen):
                return seen
            assert time.monotonic() < until_s, f"{wanted!r} did not come; the terminal shows:\n{seen}"
            time.sleep(POLL_S)

    def matching(self, pattern: str, limit_s: float = LIMIT_S) -> re.Match[str]:
        """Waits until something on the screen matches."""
        seen = self.until(lambda screen: re.search(pattern, screen) is not None, limit_s)
        found = re.search(pattern, seen)
        assert found is not None
        return found

    def ended(self, limit_s: float = LIMIT_S) -> int:
        """Waits until the command has ended, and the terminal is as it was before; its exit code."""
        code = int(self.matching(r"(?m)^ended with (\d+)\.", limit_s)[1])
        self.until(lambda _: self.modes() == AS_BEFORE)
        return code

    def modes(self) -> dict[str, str]:
        """The modes of the terminal."""
        said = self._tmux("display-message", "-p", "-t", "main", " ".join(f"#{{{name}}}" for name in MODES))
        return dict(zip(MODES, said.split(), strict=True))

    def clear(self) -> None:
        """An empty window and scrollback, at the shell's prompt."""
        self._tmux("send-keys", "-t", "main", "-R")
        self.keys("C-l", "Enter")
        self._tmux("clear-history", "-t", "main")
        self.command("clear")
        self.until("ended with 0.")
        self._tmux("clear-history", "-t", "main")

    @property
    def pid(self) -> int:
        """The process of the shell."""
        return int(self._tmux("display-message", "-p", "-t", "main", "#{pane_pid}"))

    @property
    def is_alive(self) -> bool:
        """Whether there is a window still."""
        return self._run("has-session", "-t", "main").returncode == 0

    def close(self) -> None:
        """Ends the server and all that runs in it."""
        if self._folder.exists():
            self._run("kill-server")
            shutil.rmtree(self._folder, ignore_errors=True)

    def _tmux(self, *arguments: str) -> str:
        done = self._run(*arguments)
        assert done.returncode == 0, f"tmux {arguments[0]}: {done.stderr}"
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tmux", "-L", self._socket, "-f", str(self._settings), *arguments],
            env=self._environment | {"PATH": self._environment.get("PATH", os.defpath)},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
