"""How fast this machine reads its memory, or a card its own: the floor under every decoding step.

Knows nothing of models.
"""

from __future__ import annotations

import time

import torch

_COPIES = 10  # timed together, as a card takes the next order before it has carried out the last


def read_bandwidth(size: int = 2_000_000_000, tries: int = 5) -> float:
    """Bytes a second of the plainest loop over much memory, all threads: the best of a few."""
    numbers = torch.ones(size // 4)
    numbers.sum()
    best = 0.0
    for _ in range(tries):
        begin = time.perf_counter()
        numbers.sum()
        best = max(best, numbers.nbytes / (time.perf_counter() - begin))
    return best


def copy_bandwidth(device: str, size: int = 2_000_000_000, tries: int = 5) -> float:
    """Bytes a second that a copy on the device reads and writes: the best of a few."""
    source = torch.ones(size // 8, device=device)
    target = torch.empty_like(source)
    best, moved = 0.0, _COPIES * (source.nbytes + target.nbytes)
    for _ in range(1 + tries):  # the first is slow
        wait_for(device)
        begin = time.perf_counter()
        for _ in range(_COPIES):
            target.copy_(source)
        wait_for(device)
        best = max(best, moved / (time.perf_counter() - begin))
    del source, target
    torch.cuda.empty_cache()  # else a model that comes next would not find the room
    return best


def wait_for(device: str) -> None:
    """Until a card has done what it was told; the processor has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
