"""The command that keeps a machine awake ends with the engine, not with the sweep."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from specdash.runtime.host import inhibit_sleep_argv


def test_macos_waits_for_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert inhibit_sleep_argv() == ("caffeinate", "-ims", "-w", str(os.getpid()))


def test_elsewhere_there_is_a_command_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    argv = inhibit_sleep_argv()
    assert (argv is not None) == (shutil.which("systemd-inhibit") is not None and Path("/run/systemd/system").is_dir())
    assert argv is None or f"--pid={os.getpid()}" in argv
