"""What this machine has: processor, memory, devices, disk, libraries, players. Judges nothing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from faster_higgs.cli.player import players

# What each extra of the package brings.
EXTRAS = {
    "serve": ("fastapi", "uvicorn"),
    "train": ("peft", "accelerate", "tensorboard", "pyarrow"),
    "eval": ("pocketsphinx", "jiwer"),
    "ray": ("ray",),
    "runpod": ("runpod",),
    "plot": ("matplotlib",),
}


@dataclass(frozen=True)
class Device:
    """Something a model can run on; memory in bytes, None where the system does not tell."""

    name: str
    model: str
    free: int | None
    total: int | None


@dataclass(frozen=True)
class Machine:
    """Everything `higgs doctor` looks at, but the models."""

    package: str
    python: str
    system: str
    torch: str
    cores: int
    devices: tuple[Device, ...]
    disk: str
    disk_free: int
    extras: dict[str, bool]
    players: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def look() -> Machine:
    """Ask the system."""
    import torch
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    return Machine(
        package=_version("faster-higgs"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=torch.__version__,
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        devices=tuple(devices()),
        disk=str(cache),
        disk_free=disk_free(cache),
        extras={
            name: all(map(importlib.util.find_spec, modules)) for name, modules in EXTRAS.items()
        },
        players=tuple(players()),
    )


def devices() -> list[Device]:
    """Graphics cards first, the processor last."""
    import torch

    found = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        found.append(Device(f"cuda:{i}", torch.cuda.get_device_name(i), free, total))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple", *memory()))
    return [*found, Device("cpu", platform.processor() or platform.machine(), *memory())]


def memory() -> tuple[int | None, int | None]:
    """Free and total bytes of main memory, as far as this process may use it."""
    total = _pages("SC_PHYS_PAGES")
    free = _available() or _pages("SC_AVPHYS_PAGES")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and total is not None and limit < total:
        total = limit
        free = min(free or limit, limit - (used or 0))
    return free, total


def disk_free(folder: Path) -> int:
    """Free bytes where a folder is, or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


def _pages(name: str) -> int | None:
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None  # not every system tells


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(found) * 1024 if found else None


def _number(path: str) -> int | None:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
