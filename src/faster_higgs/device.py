"""Where a model runs and in which precision. Knows no more of models than their size."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from faster_higgs.errors import SettingError

BESIDES = 1_500_000_000  # bytes for the codec, caches and libraries


@dataclass(frozen=True)
class Device:
    """Something a model can run on; memory in bytes, None where the system does not tell."""

    name: str
    model: str
    free: int | None
    total: int | None


class Place(NamedTuple):
    """Where to load a model, and in which precision."""

    device: torch.device
    dtype: torch.dtype


def choose_device(name: str, weights: int = 0) -> Place:
    """The device of a name, "auto" being the first with room for so many weights, else the last.

    Raises SettingError when the device is not there.
    """
    if name == "auto":
        found = first_with_room(devices(), weights)
        name = found.name if found else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(_unknown(name)) from None
    _refuse_absent(device, name)
    return Place(device, _precision(device.type))


def passed_over(device: torch.device) -> bool:
    """Whether the processor was taken although there are graphics devices."""
    here = _present()
    return device.type == "cpu" and bool(here["cuda"] or here["mps"])


def first_with_room(found: Iterable[Device], weights: int) -> Device | None:
    """The first device with room for a model; one that tells nothing is believed to have it."""
    for device in found:
        room = device.total if device.free is None else device.free
        if room is None or room >= needed(weights, device):
            return device
    return None


def needed(weights: int, device: Device) -> int:
    """Bytes a model takes on a device, with what it brings."""
    size = weights * _precision(device.name).itemsize
    return size + min(BESIDES, size)


def devices() -> Iterator[Device]:
    """Graphics cards first, the processor last; each is asked when its turn comes."""
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield Device(f"cuda:{i}", torch.cuda.get_device_name(i), *_card_memory(i))
    if torch.backends.mps.is_available():
        yield Device("mps", "Apple", *memory())
    yield Device("cpu", platform.processor() or platform.machine(), *memory())


def memory() -> tuple[int | None, int | None]:
    """Free and total bytes of main memory, as far as this process may use it."""
    total = _pages("SC_PHYS_PAGES")
    free = _available() or _pages("SC_AVPHYS_PAGES")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and total is not None and limit < total:
        total = limit
        free = min(free or limit, limit - (used or 0))
    return free, total


def _precision(kind: str) -> torch.dtype:
    return torch.float32 if kind == "cpu" else torch.bfloat16


def _refuse_absent(device: torch.device, name: str) -> None:
    here = _present()
    if device.type not in here:
        raise SettingError(_unknown(name))
    if not here[device.type]:
        raise SettingError(
            f"No {device.type.upper()} device is at hand; use --device cpu, "
            f"or install torch with {device.type.upper()}."
        )
    if (device.index or 0) >= here[device.type]:
        raise SettingError(
            f"There is no device '{name}': this machine has {here[device.type]} of that kind, "
            "counted from 0."
        )


def _present() -> dict[str, int]:
    """How many devices of each kind there are."""
    apple = int(torch.backends.mps.is_available())
    return {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": apple}


def _unknown(name: str) -> str:
    return f"There is no device '{name}'; use auto, cpu, cuda, cuda:N or mps."


def _card_memory(index: int) -> tuple[int | None, int | None]:
    try:
        return torch.cuda.mem_get_info(index)
    except RuntimeError:
        return 0, None  # too full, or another's: it cannot even be asked


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
