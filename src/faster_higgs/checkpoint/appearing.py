"""A folder with a whole model that appears at once, made from another model's folder.

Knows nothing of what is done to the weights.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from faster_higgs.checkpoint.quantized import CONFIG
from faster_higgs.checkpoint.targets import Targets
from faster_higgs.checkpoint.tensors import INDEX
from faster_higgs.errors import OutputError, OutputPlaceError, unwritten

_SMALL = 50_000_000  # bytes of a file that belongs to a model but is none of its weights
_FOLDERS = ("codec", "voices")
_WEIGHTS = (".safetensors", ".pth")

Progress = Callable[[int, int], None]


def refuse_place(out: Path) -> None:
    """Raises OutputPlaceError for what is there already, and for a place that is not."""
    if out.is_dir() and any(out.iterdir()):
        raise OutputPlaceError(f"The folder '{out}' is not empty; name one that is not there yet.")
    if out.exists() and not out.is_dir():
        raise OutputPlaceError(f"'{out}' is a file; name a folder that is not there yet.")
    if not out.parent.is_dir():
        raise OutputPlaceError(f"'{out}' cannot be made: its folder does not exist; make it first.")


def refuse_lack_of_room(out: Path, size: float) -> None:
    """Raises OutputError when the disk cannot hold weights of `size` bytes."""
    free = shutil.disk_usage(out.parent).free
    if free < size:
        raise OutputError(
            f"The weights take {size / 1e9:.1f} GB, and there are {free / 1e9:.1f} GB free "
            f"for '{out}'; free some space, or name another folder."
        )


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` at the end; if anything stops it, it is gone.

    An `out` that is there already may be a disk of its own: what is written moves into it, the
    config last, without which it is no checkpoint.
    """
    name = f".{out.name}.{secrets.token_hex(4)}.partial"
    part = out / name if out.is_dir() else out.with_name(name)
    try:
        part.mkdir()
        yield part
        if part.parent == out:
            for path in sorted(part.iterdir(), key=lambda path: path.name == CONFIG):
                path.rename(out / path.name)
        else:
            part.rename(out)
    except OSError as error:
        reason = error.strerror or str(error)
        raise unwritten(f"The model cannot be written to '{out}': {reason}.", error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def copy_beside(
    model: Path, part: Path, weights: Sequence[Path], without: Sequence[str] = ()
) -> tuple[str, ...]:
    """Copy the tokenizer and the like, and the codec and voices inside; the names of the rest.

    What matches a pattern of `without` belongs to the rest.
    """
    left_out = []
    for path in sorted(model.iterdir()):
        if path in weights or path.name in (CONFIG, INDEX) or path.name.startswith("."):
            continue
        if any(fnmatchcase(path.name, pattern) for pattern in without):
            left_out.append(path.name)
        elif path.is_dir() and path.name in _FOLDERS:
            shutil.copytree(path, part / path.name)
        elif path.is_file() and _is_small(path):
            shutil.copyfile(path, part / path.name)
        else:
            left_out.append(path.name)
    return tuple(left_out)


def _is_small(path: Path) -> bool:
    return path.suffix not in _WEIGHTS and path.stat().st_size <= _SMALL


def counted(
    values: Iterator[tuple[str, Tensor]], targets: Targets, progress: Progress | None
) -> Iterator[tuple[str, Tensor]]:
    """The same values; `progress` is told after each."""
    sizes = {name.removesuffix("weight"): math.prod(t.shape) for name, t in targets.items()}
    done, total = 0, sum(sizes.values())
    for name, value in values:
        yield name, value
        done += sizes.pop(name.removesuffix("weight").removesuffix("codes"), 0)
        if progress is not None:
            progress(done, total)
