"""What NVIDIA's driver tells of graphics cards: load, memory, temperature. Knows nothing of torch,
so that asking takes no memory of a card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from faster_higgs.errors import HiggsError, MissingExtra

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Reading:
    """One card at one moment; None is what it does not tell. Memory in MiB, load in percent."""

    name: str
    memory_used: int | None
    memory_total: int | None
    load: int | None
    memory_load: int | None  # of the time in which memory was read or written
    celsius: int | None


@contextmanager
def cards() -> Iterator[Callable[[], list[Reading]]]:
    """A function that reads all cards. Raises MissingExtra, and HiggsError where there is none."""
    try:
        import pynvml
    except ImportError:
        raise MissingExtra(
            "Watching graphics cards needs nvidia-ml-py; "
            "install it with: pip install 'faster-higgs[serve]'."
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise HiggsError(f"There is no NVIDIA graphics card to watch: {error}.") from None
    try:
        count = pynvml.nvmlDeviceGetCount()
        if not count:
            raise HiggsError("There is no NVIDIA graphics card to watch.")
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        yield lambda: [_read(pynvml, handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: Any, handle: Any) -> Reading:
    def told(ask: Callable[..., Any], *more: Any) -> Any:
        try:
            return ask(handle, *more)
        except nvml.NVMLError:  # not every card tells everything
            return None

    memory, load = told(nvml.nvmlDeviceGetMemoryInfo), told(nvml.nvmlDeviceGetUtilizationRates)
    name = told(nvml.nvmlDeviceGetName) or "unknown"
    return Reading(
        name.decode() if isinstance(name, bytes) else name,
        memory and memory.used // MEBIBYTE,
        memory and memory.total // MEBIBYTE,
        load and load.gpu,
        load and load.memory,
        told(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
    )
