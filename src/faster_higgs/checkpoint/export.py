"""A model to a folder in which its weights are packed; it loads as any other checkpoint does.

Tensor by tensor: beside one whole layer only one file's worth of packed ones is in memory. Knows
nothing of how weights are rounded.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from faster_higgs.checkpoint.layouts import TRANSFORMERS
from faster_higgs.checkpoint.load import LAYOUTS, built, holds_text_head, read_config, shrink
from faster_higgs.checkpoint.quantized import (
    CONFIG,
    KEY,
    PACKED,
    Stamp,
    in_words,
    read_stamp,
    with_packed,
)
from faster_higgs.checkpoint.shards import Shards
from faster_higgs.checkpoint.targets import Targets, packing, targets_of
from faster_higgs.checkpoint.tensors import (
    INDEX,
    choose_layout,
    finished,
    open_tensors,
)
from faster_higgs.errors import (
    CheckpointError,
    OutputError,
    OutputPlaceError,
    SettingError,
    unwritten,
)
from faster_higgs.quant.apply import Quantization

SHARD_BYTES = 1_000_000_000

_SMALL = 50_000_000  # bytes of a file that belongs to a model but is none of its weights
_FOLDERS = ("codec", "voices")
_WEIGHTS = (".safetensors", ".pth")
_NAMES = with_packed(TRANSFORMERS)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What was written, and what of the model's folder was left out."""

    folder: Path
    bytes: int  # of the weights
    bytes_before: int
    left_out: tuple[str, ...]


def export(
    model: Path,
    out: Path,
    quantization: Quantization,
    progress: Progress | None = None,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> Exported:
    """Write the model in the folder `model`, its weights packed, to a new folder `out`.

    It appears whole or not at all. `progress` is told the weights that are done, and all of them.
    Raises CheckpointError, OutputError, SettingError.
    """
    out = Path(os.path.realpath(out))
    _refuse_wish(quantization)
    files = open_tensors(model)
    layout, data = choose_layout(files, LAYOUTS), read_config(model)
    if (stamp := read_stamp(model, data)) is not None:
        raise CheckpointError(
            f"The checkpoint in '{model}' holds {in_words(stamp.quantization)} already; "
            "give the one it was made from."
        )
    config, network = built(model, data, holds_text_head(model))
    shrink(network, quantization, files, layout, "cpu")
    targets = targets_of(network, "cpu", None)
    targets = packing(targets, network, "cpu", mapped=not files.pickled)
    values = finished(files, layout, targets)
    before = sum(path.stat().st_size for path in files.files)
    _refuse_place(out)
    _refuse_lack_of_room(out, network, before / _count(files.shapes.values()))
    with _appearing(out) as part:
        left_out = copy_beside(model, part, list(files.files))
        shards, dtype = Shards(part, shard_bytes), None
        for name, value in _counted(values, targets, progress):
            shards.add(_NAMES.stored(name), value)
            dtype = value.dtype if name == "norm.weight" else dtype
        made = Stamp(out, quantization, shards.finish())
        told = {
            **config.to_json("transformers"),
            "dtype": str(dtype).removeprefix("torch."),
            KEY: made.to_json(),
        }
        (part / CONFIG).write_text(json.dumps(told, indent=2) + "\n")
        after = sum((part / name).stat().st_size for name in made.sha256)
    return Exported(out, after, before, left_out)


def _refuse_wish(quantization: Quantization) -> None:
    if quantization.text == "host" or (quantization.audio, quantization.text) == (None, None):
        raise SettingError(
            "An exported checkpoint has packed weights: int8, int4 or fp8, for the audio side, the "
            "text side or both. Where the text side lies is said when it is loaded."
        )


def _refuse_place(out: Path) -> None:
    """Raises OutputPlaceError for what is there already, and for a place that is not."""
    if out.is_dir() and any(out.iterdir()):
        raise OutputPlaceError(f"The folder '{out}' is not empty; name one that is not there yet.")
    if out.exists() and not out.is_dir():
        raise OutputPlaceError(f"'{out}' is a file; name a folder that is not there yet.")
    if not out.parent.is_dir():
        raise OutputPlaceError(f"'{out}' cannot be made: its folder does not exist; make it first.")


def _refuse_lack_of_room(out: Path, network: nn.Module, bytes_of_weight: float) -> None:
    """Raises OutputError when the disk cannot hold the weights."""
    sizes = [
        value.nbytes if name.endswith(PACKED) else value.numel() * bytes_of_weight
        for name, value in network.state_dict().items()
    ]
    free = shutil.disk_usage(out.parent).free
    if free < sum(sizes):
        raise OutputError(
            f"The weights take {sum(sizes) / 1e9:.1f} GB, and there are {free / 1e9:.1f} GB free "
            f"for '{out}'; free some space, or name another folder."
        )


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
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


def copy_beside(model: Path, part: Path, weights: Sequence[Path]) -> tuple[str, ...]:
    """Copy the tokenizer and the like, and the codec and voices inside; the names of the rest."""
    left_out = []
    for path in sorted(model.iterdir()):
        if path in weights or path.name in (CONFIG, INDEX) or path.name.startswith("."):
            continue
        if path.is_dir() and path.name in _FOLDERS:
            shutil.copytree(path, part / path.name)
        elif path.is_file() and _is_small(path):
            shutil.copyfile(path, part / path.name)
        else:
            left_out.append(path.name)
    return tuple(left_out)


def _is_small(path: Path) -> bool:
    return path.suffix not in _WEIGHTS and path.stat().st_size <= _SMALL


def _counted(
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


def _count(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes))
