"""What a result has to say about the machine that it was measured on."""

from __future__ import annotations

import os
import platform
import re
import socket
from pathlib import Path
from typing import Any

from specdash.core.text import slug
from specdash.probes.gpu import gpus
from specdash.probes.memory import system_memory

_TRADEMARK = re.compile(r"\((r|tm|c)\)", re.IGNORECASE)


def machine_facts() -> dict[str, Any]:
    """Facts about this machine as JSON-able values; unknown ones are None."""
    report = gpus()
    return {
        "os": platform.system(),
        "os_release": platform.release(),
        "arch": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "ram_bytes": system_memory().total_bytes,
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.total_bytes} for gpu in report.gpus] or None,
        "python": platform.python_version(),
    }


def hardware_label(facts: dict[str, Any]) -> str:
    """A short label such as "rtx-4090-24gb" or "epyc-9654-384gb", for folder names and titles."""
    found = facts["gpus"]
    name, size = (found[0]["name"], found[0]["memory_bytes"]) if found else (facts["cpu"], facts["ram_bytes"])
    words = [word for word in _TRADEMARK.sub(" ", str(name or facts["arch"])).lower().split() if not _noise(word)]
    return slug("-".join([*words[:3], f"{round(size / 2**30)}gb"]), "machine")


def _noise(word: str) -> bool:
    """Words of processor names that tell machines apart for nobody."""
    return word.strip("()") in {"cpu", "processor", "nvidia", "geforce", "amd", "core", "@"} or "ghz" in word


def cpu_name() -> str | None:
    """The processor's name; on Linux from /proc/cpuinfo, on macOS from sysctl."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip() or None
    except OSError:
        pass
    return platform.processor() or None


def host_name() -> str:
    """The machine's name, for telling two results apart."""
    return socket.gethostname()
