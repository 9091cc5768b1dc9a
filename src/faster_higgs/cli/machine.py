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
from faster_higgs.device import Device, devices

# What each extra of the package brings.
EXTRAS = {
    "serve": ("fastapi", "uvicorn", "websockets", "httpx2", "pynvml"),
    "train": ("peft", "accelerate", "tensorboard", "pyarrow"),
    "bitsandbytes": ("bitsandbytes",),
    "eval": ("pocketsphinx", "jiwer"),
    "ray": ("ray",),
    "runpod": ("runpod",),
    "wyoming": ("wyoming",),
    "plot": ("matplotlib",),
}


@dataclass(frozen=True)
class Machine:
    """Everything `higgs doctor` looks at, but the models."""

    package: str
    python: str
    system: str
    torch: str
    kernels: str
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

    from faster_higgs.native import cuda, kernels

    reasons = [kernels.find().reason]
    if torch.cuda.is_available():
        reasons.append(cuda.find().reason)
    cache = Path(constants.HF_HUB_CACHE)
    return Machine(
        package=_version("faster-higgs"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=torch.__version__,
        kernels="; ".join(reasons),
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
