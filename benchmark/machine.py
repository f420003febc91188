"""The parts of this machine that a run uses: device, threads, memory, versions; and what is wrong with them."""

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "timm", "numpy", "scipy")


def device(name: str = "auto") -> "torch.device":
    """The device called `name`; "auto" is the first GPU, or the CPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"There is no device '{name}'; give cpu, cuda or cuda:1.") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"The device '{name}' is not supported; give cpu, cuda or cuda:1.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"The device '{name}' is not here: torch {torch.__version__} sees no GPU; give --device cpu.")
    return chosen


def devices(name: str = "auto") -> list[str]:
    """The devices that a name offers: "auto" and "cuda" are all GPUs that are here."""
    import torch

    if device(name).type == "cuda" and name in ("auto", "cuda"):
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [name]


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(chosen: "torch.device") -> dict[str, Any]:
    """The machine and versions, for a run record."""
    import torch

    return {
        "kind": chosen.type,
        "device": torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def peak_memory(chosen: "torch.device") -> int:
    """The peak memory so far in bytes: of the GPU, or of the process on a CPU."""
    import torch

    if chosen.type == "cuda":
        return torch.cuda.max_memory_allocated(chosen)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) + inherited


def keep_memory() -> None:
    """Makes this process keep freed memory, with the allocator of the GNU C library.

    By default the system provides new memory for every array of more than 32 MiB, and clears it page by page, in every
    step.
    """
    choose = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    mmap_threshold, trim_threshold, most = -3, -1, 2**31 - 1  # as numbered in malloc.h
    if choose and choose(
        mmap_threshold, most
    ):  # older versions refuse so large a value; the other setting alone is harmful
        choose(trim_threshold, most)


inherited = 0  # bytes of libraries that a forked process uses, but that the system counts for its parent alone


def library_memory() -> int:
    """Bytes of libraries and other files that this process holds in memory; 0 if the system does not report it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile:")), 0)


def memory_left() -> int:
    """The main memory that is still available, in bytes: of the machine, or of the container."""
    pages, page = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES", "SC_PAGE_SIZE"
    left = [os.sysconf(pages) * os.sysconf(page)]
    info = Path("/proc/meminfo")
    if info.exists():  # also memory that the system can free
        lines = dict(line.split(":") for line in info.read_text().splitlines())
        left = [1024 * int(lines["MemAvailable"].split()[0])]
    limit, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit.exists() and limit.read_text().strip() != "max":
        left.append(int(limit.read_text()) - int(used.read_text()))
    return max(0, min(left))


def mismatch() -> str:
    """A sentence with the remedy if the installed torchvision was not built for the installed torch; else ""."""
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError, OSError) as error:
        return (
            f"torchvision {_version('torchvision')} does not belong to torch {_version('torch')} ({error}); "
            "install the pair together: pip install --force-reinstall torch torchvision"
        )
    return ""


def check(results: Path, data: Path) -> list[tuple[str, str, bool]]:
    """The findings of `bench doctor`: (what, finding, whether it is correct)."""
    import torch

    gpu = torch.cuda.is_available()
    wrong = mismatch()
    found = [
        ("python", platform.python_version(), sys.version_info >= (3, 11)),
        ("torch", torch.__version__, True),
        ("torchvision", wrong or f"{_version('torchvision')}, matches torch", not wrong),
        ("device", torch.cuda.get_device_name() if gpu else f"CPU, {_processor()}", True),
        ("threads", f"{torch.get_num_threads()} of {cores()} cores", True),
    ]
    if gpu:
        free, total = torch.cuda.mem_get_info()
        found.append(("GPU memory", f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free", free > 2**31))
    for what, folder in (("results", results), ("data", data)):
        here = next(parent for parent in (folder.resolve(), *folder.resolve().parents) if parent.exists())
        free, writable = shutil.disk_usage(here).free, os.access(here, os.W_OK)
        word = f"{folder}, {free / 2**30:.0f} GiB free" + ("" if writable else ", not writable: give another folder")
        found.append((what, word, writable and free > 2**30))
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str:
    """The commit of the code in use, with a `+` if it was changed since; "" outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True, stderr=subprocess.DEVNULL)
        changed = subprocess.check_output([*git, "status", "--porcelain", "--", "*.py"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")
