"""GPUs of this machine, as far as drivers and installed libraries tell.

`gpus` says once what is there. `Nvidia` and `amd_gpus` say, again and again and cheaply, how it is right now.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from specdash.core.ticks import GpuUse
from specdash.probes.sensor_guard import SensorUnavailable

# Bits of nvmlClocksEventReasons (nvml.h), without those of an idle GPU and of clocks that somebody has set.
THROTTLE_REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat",
    0x40: "heat (hardware limit)",
    0x80: "power brake",
    0x100: "display clock",
}
_NVIDIA_TRACES = ("proc/driver/nvidia", "dev/nvidia0", "dev/nvidiactl")
_AMD = "0x1002"  # PCI vendor


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


@dataclass(frozen=True, slots=True)
class GpuUses:
    """GPUs as they are now; `notes` says of each one that is left out why it is."""

    gpus: tuple[GpuUse, ...]
    notes: tuple[str, ...] = ()


class Nvidia:
    """NVIDIA GPUs through NVML, which is initialised at the first read, kept, and let go when it fails or at `close`.

    `root` is where /proc and /dev are looked for.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._nvml: ModuleType | None = None
        self._devices: list[tuple[str, Any]] = []

    def read(self) -> GpuUses:
        """All devices now. Raises NotTold without the library, a driver or a device, or when the driver fails."""
        nvml = self._nvml or self._start()
        uses: list[GpuUse] = []
        notes: list[str] = []
        try:
            for name, handle in self._devices:
                use = _nvidia_use(nvml, name, handle)
                if use is None:
                    notes.append(f"GPU: the driver does not tell the memory of {name}.")
                else:
                    uses.append(use)
        except nvml.NVMLError as error:
            self.close()
            raise SensorUnavailable(
                f"GPU: the NVIDIA driver stopped answering ({error}); see what nvidia-smi says."
            ) from error
        return GpuUses(tuple(uses), tuple(notes))

    def close(self) -> None:
        """Lets go of NVML; a later read starts it again."""
        nvml, self._nvml, self._devices = self._nvml, None, []
        if nvml is not None:
            with suppress(nvml.NVMLError):  # it is gone already, which is what was asked for
                nvml.nvmlShutdown()

    def _start(self) -> ModuleType:
        """NVML, initialised, and its devices found. Raises NotTold."""
        seen = any((self._root / trace).exists() for trace in _NVIDIA_TRACES)
        try:
            import pynvml
        except ImportError as error:
            todo = "GPU: NVIDIA memory is not read: pip install 'specdash[nvidia]'."
            raise SensorUnavailable(todo if seen else "GPU: no NVIDIA device was found.") from error
        nvml: ModuleType = pynvml
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            told = f"GPU: the NVIDIA driver does not answer ({error}); see what nvidia-smi says."
            raise SensorUnavailable(told if seen else "GPU: no NVIDIA device was found.") from error
        self._nvml = nvml
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            self._devices = [(_text(nvml.nvmlDeviceGetName(handle)), handle) for handle in handles]
        except nvml.NVMLError as error:
            self.close()
            raise SensorUnavailable(
                f"GPU: the NVIDIA driver tells no devices ({error}); see what nvidia-smi says."
            ) from error
        if not self._devices:
            self.close()
            raise SensorUnavailable("GPU: no NVIDIA device was found.")
        return nvml


def _nvidia_use(nvml: ModuleType, name: str, handle: Any) -> GpuUse | None:
    """One device now; None where its memory is not told (it has none of its own). Raises NVMLError for a lost one."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError as error:
        if getattr(error, "value", None) == nvml.NVML_ERROR_NOT_SUPPORTED:
            return None
        raise

    def told(sensor: Callable[[], Any]) -> Any:
        try:
            return sensor()
        except (nvml.NVMLError, AttributeError):
            return None  # this model, or this version of the library, does not have it

    busy = told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    heat = told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    power_mw = told(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    reasons = told(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    if reasons is None:
        reasons = told(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    return GpuUse(
        name,
        int(memory.used),
        int(memory.total),
        None if busy is None else busy / 100,
        None if heat is None else float(heat),
        None if power_mw is None else power_mw / 1000,
        throttle_words(reasons or 0),
    )


def throttle_words(reasons: int) -> str | None:
    """What holds the clocks of an NVIDIA GPU down, from NVML's bits; None for nothing."""
    return ", ".join(word for bit, word in THROTTLE_REASONS.items() if reasons & bit) or None


def _text(name: str | bytes) -> str:
    """A name as older versions of the library give it, or newer ones."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def amd_gpus(root: Path = Path("/")) -> tuple[GpuUse, ...]:
    """AMD GPUs now, from the files of the amdgpu driver in /sys/class/drm; none elsewhere.

    Of an APU this is the part of the RAM that is set aside for it, not what it borrows beyond that.
    """
    found = []
    for card in sorted((root / "sys/class/drm").glob("card[0-9]*/device"), key=lambda path: path.parent.name):
        used, total = (_number(card / f"mem_info_vram_{which}") for which in ("used", "total"))
        if used is None or not total or _line(card / "vendor") not in (None, _AMD):
            continue
        name = _line(card / "product_name") or f"AMD {card.parent.name}"
        if _line(card / "power/runtime_status") == "suspended":
            found.append(GpuUse(name, used, total))  # the other sensors would wake it up
            continue
        busy = _number(card / "gpu_busy_percent")
        heat = _first(card, "temp1_input")
        power = _first(card, "power1_average", "power1_input")
        found.append(
            GpuUse(
                name,
                used,
                total,
                None if busy is None else busy / 100,
                None if heat is None else heat / 1000,
                None if power is None else power / 1e6,
            )
        )
    return tuple(found)


def _first(card: Path, *names: str) -> int | None:
    """The first of these hwmon values that is there: thousandths of a degree, millionths of a watt."""
    for name in names:
        for path in sorted(card.glob(f"hwmon/hwmon*/{name}")):
            if (value := _number(path)) is not None:
                return value
    return None


def _number(path: Path) -> int | None:
    text = _line(path)
    return int(text) if text is not None and text.isdigit() else None


def _line(path: Path) -> str | None:
    """The text of a file of one line; None where it is missing, empty or does not answer."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
