"""The memory pane's sensors: real ones of this machine, fake file trees, a fake NVML, and sensors that raise."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from specdash.core.ticks import GpuUse
from specdash.probes import sensors as module
from specdash.probes.gpu import Nvidia, amd_gpus, throttle_words
from specdash.probes.memory import linux_pressure, linux_ram, linux_tree, mac_wired_limit
from specdash.probes.sensor_guard import RETRY_S, SensorUnavailable
from specdash.probes.sensors import Sensors
from specdash.store.codec import decode_tick, encode_tick

KIB = 1024
MEMINFO = """MemTotal:       1000 kB
MemFree:          10 kB
MemAvailable:    600 kB
SwapTotal:       200 kB
SwapFree:         50 kB
Unevictable:      44 kB
Mlocked:          40 kB
HugePages_Total:       0
"""
STATUS = "Name:\tllama\nVmLck:\t  {locked} kB\nVmHWM:\t  999 kB\nVmRSS:\t  {rss} kB\nCapEff:\t{caps}\n"
LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 524288               files
Max locked memory         {soft}              8388608              bytes
"""


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def process(root: Path, pid: int, *, locked: int = 0, rss: int = 100, soft: str = "65536", caps: str = "0") -> None:
    put(root, {f"proc/{pid}/status": STATUS.format(locked=locked, rss=rss, caps=caps)})
    put(root, {f"proc/{pid}/limits": LIMITS.format(soft=soft)})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {"proc/meminfo": MEMINFO, "proc/pressure/memory": "some avg10=12.50 avg60=1.00 avg300=0.10 total=7\n"}
    return put(tmp_path, files)


class Clock:
    """Time that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


# -- RAM, swap, wired, server ------------------------------------------------------------------------------------


def test_this_machine_is_read_for_real(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(os.urandom(2**20))
    sensors = Sensors()
    tick = sensors.read([os.getpid()], [model])
    sensors.close()
    assert tick.total_bytes == psutil.virtual_memory().total
    assert 0 < tick.available_bytes <= tick.total_bytes
    assert tick.server_rss_bytes == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert (tick.cached_bytes, tick.model_bytes) == (2**20, 2**20)
    assert decode_tick(encode_tick(tick)) == tick
    if sys.platform == "linux":
        assert tick.wired_bytes is not None
        assert tick.server_locked_bytes is not None


def test_linux_tells_ram_swap_and_what_is_locked(root: Path) -> None:
    tick = Sensors("linux", root).read()
    assert (tick.total_bytes, tick.available_bytes) == (1000 * KIB, 600 * KIB)
    assert (tick.swap_total_bytes, tick.swap_used_bytes) == (200 * KIB, 150 * KIB)
    assert (tick.wired_bytes, tick.wired_limit_bytes) == (40 * KIB, None)
    assert tick.pressure == 0.125


def test_nothing_is_missing_of_a_server_that_is_not_there(root: Path) -> None:
    tick = Sensors("linux", root).read()
    assert (tick.server_rss_bytes, tick.server_locked_bytes) == (None, None)
    assert (tick.cached_bytes, tick.model_bytes) == (None, None)
    assert [note for note in tick.missing if not note.startswith("GPU")] == []
    assert Sensors("linux", root).read([41]).server_rss_bytes is None


def test_a_tree_is_summed_as_it_is_now_not_at_its_peak(root: Path) -> None:
    process(root, 41, locked=30, rss=300)
    process(root, 42, locked=3, rss=40, soft="unlimited")
    tick = Sensors("linux", root).read([41, 42, 43])
    assert (tick.server_rss_bytes, tick.server_locked_bytes) == (340 * KIB, 33 * KIB)
    assert tick.wired_limit_bytes == 65536


def test_who_may_lock_without_a_limit_has_none(root: Path) -> None:
    process(root, 41, soft="unlimited")
    process(root, 42, caps="000001ffffffffff")
    process(root, 43, caps="00000000a80425fb")
    assert linux_tree([41], root).lock_limit_bytes is None
    assert linux_tree([42], root).lock_limit_bytes is None
    assert linux_tree([43], root).lock_limit_bytes == 65536
    assert not any("wired limit" in note for note in Sensors("linux", root).read([41, 42]).missing)


def test_an_unknown_limit_is_told_from_no_limit(root: Path) -> None:
    process(root, 41)
    (root / "proc/41/limits").unlink()
    tick = Sensors("linux", root).read([41])
    assert tick.wired_limit_bytes is None
    assert any(note.startswith("wired limit: the system does not tell") for note in tick.missing)


def test_the_real_limit_is_read_from_the_kernels_own_table() -> None:
    if sys.platform != "linux":
        pytest.skip("Linux tells the limit of a process")
    assert linux_tree([os.getpid()]).limited
    assert linux_tree([os.getpid()]).rss_bytes


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", "nonsense", "MemTotal: five kB\nMemAvailable: 3 kB\n"])
def test_a_broken_meminfo_is_said_and_the_rest_still_told(root: Path, text: str) -> None:
    put(root, {"proc/meminfo": text})
    tick = Sensors("linux", root).read()
    assert tick.total_bytes == 0
    assert any(note.startswith("RAM: ") for note in tick.missing)
    assert tick.pressure == 0.125


def test_a_kernel_without_swap_or_locked_pages(root: Path) -> None:
    put(root, {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 4 kB\n"})
    found = linux_ram(root)
    assert (found.swap_total_bytes, found.swap_used_bytes, found.wired_bytes) == (0, 0, None)


def test_a_kernel_without_pressure_says_how_to_get_it(root: Path) -> None:
    (root / "proc/pressure/memory").unlink()
    with pytest.raises(SensorUnavailable, match="psi=1"):
        linux_pressure(root)
    assert any("psi=1" in note for note in Sensors("linux", root).read().missing)


def test_a_mac_tells_its_limit_only_when_somebody_has_set_it(tmp_path: Path) -> None:
    asked = []

    def setting(name: str) -> int | None:
        asked.append(name)
        return 720 * 1024

    tick = Sensors("darwin", tmp_path, setting).read()
    assert tick.wired_limit_bytes == 720 * 2**30
    assert asked == ["iogpu.wired_limit_mb"]
    for unset in (0, None):
        with pytest.raises(SensorUnavailable, match="wired_limit_mb=N"):
            mac_wired_limit(lambda _, value=unset: value)  # type: ignore[misc]
    tick = Sensors("darwin", tmp_path, lambda _: 0).read()
    assert tick.wired_limit_bytes is None
    assert any(note.startswith("wired limit") for note in tick.missing)
    assert tick.pressure is None


# -- model files -------------------------------------------------------------------------------------------------


def test_a_model_that_vanishes_and_comes_back(root: Path) -> None:
    model = root / "model.gguf"
    sensors = Sensors("linux", root)
    tick = sensors.read((), [model])
    assert (tick.cached_bytes, tick.model_bytes) == (None, None)
    assert any("model.gguf" in note for note in tick.missing)
    model.write_bytes(b"x" * 5000)
    tick = sensors.read((), [model])
    assert (tick.cached_bytes, tick.model_bytes) == (5000, 5000)
    assert not any("model.gguf" in note for note in tick.missing)


# -- sensors that raise ------------------------------------------------------------------------------------------


def test_a_sensor_that_raises_is_left_alone_for_a_minute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def broken(where: Path) -> float:
        calls.append(where)
        if len(calls) == 1:
            raise ZeroDivisionError
        return 0.5

    monkeypatch.setattr(module, "linux_pressure", broken)
    clock = Clock()
    sensors = Sensors("linux", root, clock=clock)
    for _ in range(3):
        tick = sensors.read()
        assert tick.pressure is None
        assert "pressure: could not be read (ZeroDivisionError)." in tick.missing
        assert tick.total_bytes == 1000 * KIB
    assert len(calls) == 1
    clock.now_s += RETRY_S
    tick = sensors.read()
    assert tick.pressure == 0.5
    assert not any(note.startswith("pressure") for note in tick.missing)


def test_a_system_without_mincore_loses_only_that(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise AttributeError("mincore")

    monkeypatch.setattr(module, "PageCache", absent)
    model = put(root, {"model.gguf": "x"}) / "model.gguf"
    tick = Sensors("linux", root).read((), [model])
    assert (tick.cached_bytes, tick.model_bytes) == (None, 1)
    assert "page cache: could not be read (mincore)." in tick.missing


# -- GPUs --------------------------------------------------------------------------------------------------------


class FakeNvml(ModuleType):
    """As much of nvidia-ml-py as is used; `fails` names functions that raise an error of that number."""

    NVML_ERROR_NOT_SUPPORTED = 3
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(f"error {value}")
            self.value = value

    def __init__(self, names: tuple[str | bytes, ...] = ("NVIDIA H200",), reasons: int = 0) -> None:
        super().__init__("pynvml")
        self.names = names
        self.reasons = reasons
        self.fails: dict[str, int] = {}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answers: dict[str, Callable[..., Any]] = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(self.names),
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda handle: self.names[handle],
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=121 + handle, total=139, free=18),
            "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=97, memory=50),
            "nvmlDeviceGetTemperature": lambda _, __: 61,
            "nvmlDeviceGetPowerUsage": lambda _: 412_300,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda _: self.reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: self.reasons,
        }
        if name not in answers:
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            if name in self.fails:
                raise self.NVMLError(self.fails[name])
            return answers[name](*arguments)

        return call


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml(("NVIDIA H200", b"NVIDIA L4"), reasons=0x1 | 0x4 | 0x20)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_nvidia_devices_are_told_and_the_driver_opened_once(root: Path, nvml: FakeNvml) -> None:
    sensors = Sensors("linux", root)
    for _ in range(3):
        tick = sensors.read()
        first = GpuUse("NVIDIA H200", 121, 139, 0.97, 61.0, 412.3, "power cap, heat")
        assert tick.gpus[0] == first
        assert (tick.gpus[1].name, tick.gpus[1].used_bytes) == ("NVIDIA L4", 122)
        assert tick.missing == ()
    assert nvml.calls.count("nvmlInit") == 1
    sensors.close()
    sensors.close()
    assert nvml.calls.count("nvmlShutdown") == 1


def test_a_device_that_lacks_a_sensor_still_tells_the_others(root: Path, nvml: FakeNvml) -> None:
    nvml.fails = dict.fromkeys(("nvmlDeviceGetPowerUsage", "nvmlDeviceGetCurrentClocksEventReasons"), 3)
    gpu = Sensors("linux", root).read().gpus[0]
    assert (gpu.power_w, gpu.temperature_c, gpu.throttled) == (None, 61.0, "power cap, heat")


def test_a_device_without_memory_of_its_own_is_named(root: Path, nvml: FakeNvml) -> None:
    nvml.fails = {"nvmlDeviceGetMemoryInfo": 3}
    tick = Sensors("linux", root).read()
    assert tick.gpus == ()
    assert "GPU: the driver does not tell the memory of NVIDIA H200." in tick.missing


def test_a_driver_that_stops_is_let_go_and_tried_again_after_a_minute(root: Path, nvml: FakeNvml) -> None:
    clock = Clock()
    sensors = Sensors("linux", root, clock=clock)
    assert len(sensors.read().gpus) == 2
    nvml.fails = {"nvmlDeviceGetMemoryInfo": 15}
    assert any("stopped answering (error 15)" in note for note in sensors.read().missing)
    assert nvml.calls[-1] == "nvmlShutdown"
    count = len(nvml.calls)
    assert any("stopped answering" in note for note in sensors.read().missing)
    assert len(nvml.calls) == count
    nvml.fails = {}
    clock.now_s += RETRY_S
    assert len(sensors.read().gpus) == 2
    assert nvml.calls.count("nvmlInit") == 2


@pytest.mark.parametrize("trace", [None, "dev/nvidia0", "proc/driver/nvidia/version"])
def test_what_to_install_is_said_only_where_there_is_a_device(
    root: Path, monkeypatch: pytest.MonkeyPatch, trace: str | None
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    if trace:
        put(root, {trace: ""})
    missing = Sensors("linux", root).read().missing
    assert any("specdash[nvidia]" in note for note in missing) == bool(trace)
    assert any("no NVIDIA device" in note for note in missing) == (not trace)


@pytest.mark.parametrize("trace", [True, False])
def test_a_driver_that_does_not_start(root: Path, nvml: FakeNvml, trace: bool) -> None:
    nvml.fails = {"nvmlInit": 9}
    if trace:
        put(root, {"dev/nvidiactl": ""})
    with pytest.raises(SensorUnavailable, match="does not answer" if trace else "no NVIDIA device"):
        Nvidia(root).read()


def test_a_driver_without_devices_is_closed_again(root: Path, nvml: FakeNvml) -> None:
    nvml.names = ()
    with pytest.raises(SensorUnavailable, match="no NVIDIA device"):
        Nvidia(root).read()
    assert nvml.calls[-1] == "nvmlShutdown"


def test_an_idle_gpu_is_not_throttled() -> None:
    assert throttle_words(0x1 | 0x2) is None
    assert throttle_words(0x40) == "heat (hardware limit)"


def amd_card(root: Path, name: str, **files: str) -> None:
    card = f"sys/class/drm/{name}/device/"
    put(root, {card + path.replace("__", "/"): text + "\n" for path, text in files.items()})


def test_amd_cards_are_read_from_the_drivers_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sizes = {"mem_info_vram_used": "1000", "mem_info_vram_total": "4000", "vendor": "0x1002"}
    sensors = {
        "gpu_busy_percent": "37",
        "hwmon__hwmon3__temp1_input": "61000",
        "hwmon__hwmon3__power1_average": "212000000",
    }
    amd_card(root, "card0", **sizes, **sensors, product_name="Radeon PRO W7900")
    amd_card(root, "card1", **sizes, **sensors, power__runtime_status="suspended")
    amd_card(root, "card2", vendor="0x8086")
    amd_card(root, "card0-DP-1", status="connected")
    tick = Sensors("linux", root).read()
    assert tick.gpus == (
        GpuUse("Radeon PRO W7900", 1000, 4000, 0.37, 61.0, 212.0),
        GpuUse("AMD card1", 1000, 4000),
    )
    assert not any("GPU" in note for note in tick.missing)


def test_a_card_that_tells_rubbish_is_no_card(root: Path) -> None:
    amd_card(root, "card0", mem_info_vram_used="lots", mem_info_vram_total="4000")
    amd_card(root, "card1", mem_info_vram_used="10", mem_info_vram_total="0")
    assert amd_gpus(root) == ()
