"""Tensors of a safetensors file without a copy. Knows nothing of what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

_LOT = 8_000_000  # bytes


def mapped(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Tensors that map the file. It is opened anew whenever a few megabytes of them were let go: an
    open file keeps what was read of it in memory, also after the tensor was cast or moved."""
    waiting = [*names][::-1]
    while waiting:
        lent = list[tuple[Any, int]]()
        with safe_open(path, "pt") as file:
            while waiting and sum(size for held, size in lent if held.expired()) < _LOT:
                name = waiting.pop()
                value = file.get_tensor(name)
                held = StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]
                lent.append((held, value.nbytes))
                yield name, value
                del value
