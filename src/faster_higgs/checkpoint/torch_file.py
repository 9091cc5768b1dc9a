"""The tensors of a torch file, a few rows at a time. Runs nothing in it, knows no tensor's name."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from faster_higgs.errors import CheckpointError

_SHARES = 28
_LEAST = 2_000_000  # bytes of a share

# Whatever reading a damaged file can end in; found by changing bytes of one.
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
)
_AGAIN = "Download the checkpoint again."


class TorchFile:
    """The tensors of one file, given out in rows.

    torch maps the whole file, and what was read of it stays in memory as long as any tensor of it
    lives. So it is opened anew after each share of what the named tensors will be as their `types`
    (None: as stored), and what is given out should be copied at once.
    """

    def __init__(self, path: Path, types: Mapping[str, torch.dtype | None]) -> None:
        self._path = path
        self._tensors = open_torch_file(path)
        wanted = [(self._tensors[name], dtype) for name, dtype in types.items()]
        total = sum(value.numel() * (dtype or value.dtype).itemsize for value, dtype in wanted)
        self._share = max(_LEAST, total // _SHARES)
        self._taken = 0

    def dtype(self, name: str) -> torch.dtype:
        """The stored type of a tensor."""
        return self._tensors[name].dtype

    def rows(self, name: str, rows: slice) -> Tensor:
        """Some rows of a tensor; all of it if it has no rows."""
        if self._taken >= self._share:
            self._tensors, self._taken = {}, 0
            self._tensors = open_torch_file(self._path)
        value = self._tensors[name]
        value = value[rows] if value.dim() else value
        self._taken += value.nbytes
        return value


def copied(path: Path, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Copies of the named tensors, one after the other. Raises CheckpointError."""
    if names:
        file = TorchFile(path, dict.fromkeys(names))
        for name in names:
            yield name, file.rows(name, slice(None)).clone()


def open_torch_file(path: Path) -> dict[str, Tensor]:
    """The tensors in `path` by name, mapped; raises CheckpointError for a file that has none."""
    data = _unpickled(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(data, dict) and isinstance(data.get(wrapper), dict):
            data = data[wrapper]
    named = data.items() if isinstance(data, dict) else ()
    tensors = {
        name: value for name, value in named if isinstance(name, str) and isinstance(value, Tensor)
    }
    if not tensors:
        raise CheckpointError(f"The file '{path}' holds no tensors by name. {_AGAIN}")
    return tensors


def _unpickled(path: Path) -> object:
    try:
        if _is_old(path):
            raise CheckpointError(
                f"The file '{path}' is of the kind that torch wrote before 1.6, which is not read; "
                "load it with torch and save it again, or convert it to safetensors."
            )
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"The file '{path}' holds more than tensors, so it is not opened; "
            "convert it to safetensors."
        ) from None
    except OSError as error:
        raise CheckpointError(f"The file '{path}' cannot be read: {error}.") from None
    except _DAMAGE as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"The file '{path}' is cut short or damaged ({reason}). {_AGAIN}"
        ) from None


def _is_old(path: Path) -> bool:
    """Whether this is a bare pickle, which cannot be mapped; files of today are zip archives."""
    with path.open("rb") as file:
        return file.read(1) == pickle.PROTO
