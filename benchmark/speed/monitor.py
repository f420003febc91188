"""What else the machine does while something is timed: clocks, heat, throttling, energy, and other processes."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import torch

THROTTLES = {  # bits of NVML that mean: slower than it could be, and not because it idles
    pynvml.nvmlClocksThrottleReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksThrottleReasonSyncBoost: "clocks of several GPUs kept alike",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "heat, by software",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "heat, by hardware",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
    pynvml.nvmlClocksThrottleReasonApplicationsClocksSetting: "clocks set by hand",
}


class Gauges:
    """Reads a device while calls take turns on it, and keeps what was noticed."""

    def __init__(self, device: torch.device):
        self.gpu = Gpu(device) if device.type == "cuda" else None
        self.clocks: list[float] = []
        self.celsius: list[float] = []
        self.reasons: Counter[str] = Counter()
        self.readings = 0
        self.began, self.busy, self.own = time.monotonic(), busy_seconds(), time.process_time()

    def read(self) -> None:
        """Once a turn, while the device works."""
        self.readings += 1
        clock = self.gpu.clock_mhz() if self.gpu else processor_mhz()
        self.clocks += [] if clock is None else [clock]
        if self.gpu:
            celsius = self.gpu.celsius()
            self.celsius += [] if celsius is None else [celsius]
            self.reasons.update(self.gpu.throttled())

    def conditions(self) -> dict[str, Any]:
        """See `conditions` of a speed record in `benchmark.analysis.timing`; None where a value is unknown."""
        others = None
        now = busy_seconds()
        if self.busy is not None and now is not None:
            busy, own = now - self.busy, time.process_time() - self.own
            others = round(max(0.0, busy - own) / max(1e-9, time.monotonic() - self.began), 2)
        return {
            "others_cores": others,
            "clock_mhz": [round(min(self.clocks)), round(max(self.clocks))] if self.clocks else None,
            "celsius": [min(self.celsius), max(self.celsius)] if self.celsius else None,
            "throttled": {reason: round(count / self.readings, 3) for reason, count in self.reasons.most_common()},
        }


class Gpu:
    """What NVML reports of a GPU; None where it reports nothing."""

    def __init__(self, device: torch.device):
        uuid = torch.cuda.get_device_properties(device).uuid  # the same GPU whatever CUDA_VISIBLE_DEVICES says
        try:
            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        except pynvml.NVMLError:  # no driver library, or a part of a GPU
            self.handle = None

    def clock_mhz(self) -> float | None:
        return self._told(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)

    def celsius(self) -> float | None:
        return self._told(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)

    def joules(self) -> float | None:
        """Since the driver was loaded."""
        millijoules = self._told(pynvml.nvmlDeviceGetTotalEnergyConsumption)
        return None if millijoules is None else millijoules / 1000

    def throttled(self) -> list[str]:
        bits = self._told(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        return [reason for bit, reason in THROTTLES.items() if bits & bit]

    def processes(self) -> int | None:
        """How many other processes compute on it."""
        found = self._told(pynvml.nvmlDeviceGetComputeRunningProcesses)
        return None if found is None else sum(process.pid != os.getpid() for process in found)

    def _told(self, ask: Callable, *more: int) -> Any:
        if self.handle is None:
            return None
        try:
            return ask(self.handle, *more)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_NoPermission):
            return None


def before(device: torch.device) -> dict[str, Any]:
    """What the machine did before anything was started here: its load, and processes on the GPU."""
    if not Path("/proc/self/status").exists():
        raise ValueError("Memory and other processes are read from /proc, which is not here; measure on Linux.")
    return {
        "load": round(os.getloadavg()[0], 2),
        "gpu_processes": Gpu(device).processes() if device.type == "cuda" else None,
    }


def busy_seconds() -> float | None:
    """Seconds that all cores together have worked since the machine started; None where that is unknown."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def processor_mhz() -> float | None:
    """The mean clock of the cores; None where that is unknown."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(clocks) / len(clocks) if clocks else None


# ----------------------------------------------------------------------------------------------------------------------
# Memory


def peak_of(device: torch.device, call: Callable[[], Any], start: int) -> int:
    """The most memory, in bytes, that was in use at once during a call, beyond `start`."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return max(0, torch.cuda.max_memory_allocated(device) - start)
    Path("/proc/self/clear_refs").write_text("5")  # the kernel forgets the process's highest mark
    call()
    return max(0, _resident("VmHWM") - start)


def in_use(device: torch.device) -> int:
    """The memory in use now, in bytes: allocated on a GPU, resident of this process on a CPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _resident("VmRSS")


def _resident(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])
