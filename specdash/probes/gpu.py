"""GPUs of this machine, as far as the installed libraries tell."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device: its name and memory in bytes."""

    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class GpuReport:
    """The devices found; `missing` says why there may be more than these (None: all were asked)."""

    gpus: tuple[Gpu, ...]
    missing: str | None


def gpus() -> GpuReport:
    """NVIDIA devices through NVML. Other makes are not asked: their memory is then unknown, not 0."""
    try:
        import pynvml
    except ImportError:
        return GpuReport((), "NVIDIA memory is not read: pip install 'specdash[nvidia]'")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return GpuReport((), f"no NVIDIA driver answers ({error})")
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = pynvml.nvmlDeviceGetName(handle)
            found.append(Gpu(name if isinstance(name, str) else name.decode(), int(memory.total), int(memory.free)))
        return GpuReport(tuple(found), None)
    except pynvml.NVMLError as error:
        return GpuReport((), f"the NVIDIA driver stopped answering ({error})")
    finally:
        pynvml.nvmlShutdown()
