"""What the machine tells, against what the system tells by other means."""

from __future__ import annotations

import builtins
import mmap
import os
import resource
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from specdash.probes import memory
from specdash.probes.gpu import gpus
from specdash.probes.machine import hardware_label, machine_facts


def test_memory_agrees_with_the_system() -> None:
    found = memory.system_memory()
    assert found.total_bytes == psutil.virtual_memory().total
    assert 0 < found.available_bytes <= found.total_bytes


def test_a_peak_between_two_looks_is_not_missed() -> None:
    before, _ = memory.tree_memory([os.getpid()])
    size = 64 * 2**20
    with mmap.mmap(-1, size) as block:
        block.write(b"x" * size)
    after, _ = memory.tree_memory([os.getpid()])
    assert before is not None
    assert after is not None
    if sys.platform == "linux":
        assert after >= before
        assert after >= psutil.Process().memory_info().rss


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has locked")
def test_locked_memory_is_told() -> None:
    _, locked = memory.tree_memory([os.getpid()])
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    assert locked == int(status.partition("VmLck:")[2].split()[0]) * 1024


def test_a_process_that_is_gone_is_unknown_not_nothing() -> None:
    assert memory.tree_memory([2**22 + 1]) == (None, None)
    assert memory.tree_memory([]) == (None, None)


def test_the_lock_limit_is_that_of_the_shell() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert memory.lock_limit_bytes() == (None if soft == resource.RLIM_INFINITY else soft)


def test_without_the_library_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_nvml(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pynvml":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", no_nvml)
    report = gpus()
    assert report.gpus == ()
    assert "specdash[nvidia]" in (report.missing or "")


@pytest.mark.parametrize(
    ("facts", "label"),
    [
        ({"cpu": "AMD Ryzen 9 7950X 16-Core Processor", "gpus": None, "ram_bytes": 64 * 2**30}, "ryzen-9-7950x-64gb"),
        ({"cpu": "Intel(R) Xeon(R) Processor", "gpus": None, "ram_bytes": 24 * 2**30}, "intel-xeon-24gb"),
        (
            {
                "cpu": "whatever",
                "gpus": [{"name": "NVIDIA GeForce RTX 4090", "memory_bytes": 24 * 2**30}],
                "ram_bytes": 2**36,
            },
            "rtx-4090-24gb",
        ),
        ({"cpu": None, "arch": "arm64", "gpus": None, "ram_bytes": 2**34}, "arm64-16gb"),
    ],
)
def test_a_label_names_what_tells_machines_apart(facts: dict[str, Any], label: str) -> None:
    assert hardware_label(facts) == label


def test_the_machine_describes_itself() -> None:
    found = machine_facts()
    assert found["cores"] == os.cpu_count()
    assert found["ram_bytes"] == psutil.virtual_memory().total
    assert hardware_label(found) != "machine"
