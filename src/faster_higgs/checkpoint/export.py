"""A model to a folder in which its weights are packed; it loads as any other checkpoint does.

Tensor by tensor: beside one whole layer only one file's worth of packed ones is in memory. Knows
nothing of how weights are rounded.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from faster_higgs.checkpoint.appearing import (
    Progress,
    appearing,
    copy_beside,
    counted,
    refuse_lack_of_room,
    refuse_place,
)
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
from faster_higgs.checkpoint.targets import packing, targets_of
from faster_higgs.checkpoint.tensors import choose_layout, finished, open_tensors
from faster_higgs.config import SHARD_BYTES
from faster_higgs.errors import CheckpointError, SettingError
from faster_higgs.quant.quantization import Quantization

_NAMES = with_packed(TRANSFORMERS)


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
    refuse_place(out)
    _refuse_lack_of_room(out, network, before / _count(files.shapes.values()))
    with appearing(out) as part:
        left_out = copy_beside(model, part, list(files.files))
        shards, dtype = Shards(part, shard_bytes), None
        for name, value in counted(values, targets, progress):
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


def _refuse_lack_of_room(out: Path, network: nn.Module, bytes_of_weight: float) -> None:
    """Raises OutputError when the disk cannot hold the weights."""
    sizes = [
        value.nbytes if name.endswith(PACKED) else value.numel() * bytes_of_weight
        for name, value in network.state_dict().items()
    ]
    refuse_lack_of_room(out, sum(sizes))


def _count(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(map(math.prod, shapes))
