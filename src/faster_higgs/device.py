"""The devices of this machine and their memory. Knows nothing of models."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from faster_higgs.errors import SettingError
from faster_higgs.native.cuda import has_fp8

# Estimates, in bytes.
CUDA_CONTEXT = 400_000_000  # what CUDA takes of a card for every process that asks it anything
PROCESS = 230_000_000  # Python with torch, where the system does not tell


@dataclass(frozen=True)
class Device:
    """Something a model can run on; memory in bytes, None where the system does not tell."""

    name: str
    model: str
    free: int | None
    total: int | None
    own: int = 0  # what this process has there already
    host: int = 0  # free main memory beside a card
    fp8: bool = False  # whether it is a card that has it


def devices() -> Iterator[Device]:
    """Graphics cards first, the processor last; each is asked when its turn comes."""
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield _card(i)
    if torch.backends.mps.is_available():
        yield _apple()
    yield _processor()


def named(name: str) -> Iterator[Device]:
    """The device of a name; "auto" means all of them. Raises SettingError for one not there."""
    if name == "auto":
        yield from devices()
        return
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(_unknown(name)) from None
    _refuse_absent(device, name)
    if device.type == "cuda":
        yield _card(device.index or 0)
    else:
        yield _processor() if device.type == "cpu" else _apple()


def in_use(name: str) -> tuple[int, int] | None:
    """Bytes of a card's memory that anyone has, as its own tools tell, and all there are.

    None where it does not tell.
    """
    try:
        free, total = torch.cuda.mem_get_info(torch.device(name).index or 0)
    except RuntimeError:
        return None
    return total - free, total


def give_back() -> None:
    """Let others have what is kept for later: by torch of the cards' memory, by malloc of ours."""
    settled = gc.get_freeze_count()
    gc.unfreeze()
    gc.collect()  # recorded steps and who runs them know each other
    if settled:
        gc.freeze()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        accelerator = getattr(torch, "accelerator", None)
        getattr(accelerator, "empty_host_cache", lambda: None)()  # older torch keeps the host's
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)  # glibc has it


def memory() -> tuple[int | None, int | None]:
    """Free and total bytes of main memory, as far as this process may use it."""
    total = _pages("SC_PHYS_PAGES")
    free = _available() or _pages("SC_AVPHYS_PAGES")
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and total is not None and limit < total:
        total = limit
        free = min(free or limit, limit - max(0, (used or 0) - _droppable()))
    return free, total


def busy(name: str) -> float | None:
    """The share of the last moment in which a card worked; None where nothing tells."""
    try:
        return torch.cuda.utilization(torch.device(name)) / 100
    except Exception:  # noqa: BLE001  of NVIDIA's library, which need not be there
        return None


def _processor() -> Device:
    return Device("cpu", platform.processor() or platform.machine(), *memory(), own=_resident())


def _apple() -> Device:
    return Device("mps", "Apple", *memory(), own=_resident())


def _card(index: int) -> Device:
    name = f"cuda:{index}"
    device = Device(name, torch.cuda.get_device_name(index), 0, None, fp8=has_fp8(name))
    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError:
        return device  # too full, or another's: it cannot even be asked
    free += torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)  # torch has it
    return replace(device, free=free, total=total, own=CUDA_CONTEXT, host=memory()[0] or 0)


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


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return PROCESS
    return pages * os.sysconf("SC_PAGE_SIZE")


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


def _droppable() -> int:
    """Bytes of files that a container keeps in memory only as long as nobody needs the room."""
    try:
        lines = Path("/sys/fs/cgroup/memory.stat").read_text().splitlines()
    except OSError:
        return 0
    parts = dict(line.split(maxsplit=1) for line in lines)
    return int(parts.get("active_file", 0)) + int(parts.get("inactive_file", 0))


def _number(path: str) -> int | None:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
