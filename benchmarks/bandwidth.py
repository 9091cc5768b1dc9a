"""How fast this machine reads its memory: the floor under every decoding step.

Knows nothing of models.
"""

from __future__ import annotations

import time

import torch


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
