"""A model and adapters to one model without any; in full precision, tensor by tensor.

Beside one whole tensor only one file's worth of merged ones is in memory. Knows nothing of what
the change sounds like.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faster_higgs.checkpoint.adapted import adapted, refuse_packed
from faster_higgs.checkpoint.adapter import Weighted, folded_all, refuse_misfit
from faster_higgs.checkpoint.appearing import (
    Progress,
    appearing,
    copy_beside,
    counted,
    refuse_lack_of_room,
    refuse_place,
)
from faster_higgs.checkpoint.fingerprint import fingerprint
from faster_higgs.checkpoint.layout import Layout as Table
from faster_higgs.checkpoint.layouts import LANGUAGE_MODEL
from faster_higgs.checkpoint.load import LAYOUTS, built, holds_text_head, read_config
from faster_higgs.checkpoint.quantized import CONFIG, read_stamp
from faster_higgs.checkpoint.shards import Shards
from faster_higgs.checkpoint.targets import Target, targets_of
from faster_higgs.checkpoint.tensors import TensorFiles, choose_layout, finished, open_tensors
from faster_higgs.config import SHARD_BYTES, Layout, ModelConfig
from faster_higgs.errors import CheckpointError, SettingError

INFO = "merge_info.json"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "chat_template*")


@dataclass(frozen=True)
class MergeSettings:
    """How a merged model is written. None for the type and the layout is as the base has them."""

    dtype: str | None = None
    layout: Layout | None = None
    tokenizer: bool = True
    verify: bool = False
    shard_bytes: int = SHARD_BYTES

    def __post_init__(self) -> None:
        if self.dtype not in (None, *DTYPES):
            raise SettingError(f"dtype is '{self.dtype}'; use one of {', '.join(DTYPES)}.")


@dataclass(frozen=True)
class Moved:
    """How far one tensor was moved: the mean and the largest change, in shares of its own.

    `lost` is the share of the change that its rounding took back or added.
    """

    name: str
    mean: float
    largest: float
    lost: float


@dataclass(frozen=True)
class Merged:
    """What was written, what of the base's folder was left out, and how far weights moved."""

    folder: Path
    bytes: int
    left_out: tuple[str, ...]
    moved: tuple[Moved, ...]


@dataclass(frozen=True)
class _Base:
    """The model that is merged into."""

    folder: Path
    files: TensorFiles
    table: Table
    config: ModelConfig
    targets: dict[str, Target]  # without adapters, in the types that are written

    @classmethod
    def open(cls, folder: Path, dtype: torch.dtype | None) -> _Base:
        files, data = open_tensors(folder), read_config(folder)
        if (stamp := read_stamp(folder, data)) is not None:
            refuse_packed(stamp)
        config, network = built(folder, data, holds_text_head(folder))
        targets = targets_of(network, "cpu", dtype)
        return cls(folder, files, choose_layout(files, LAYOUTS), config, targets)

    def values(self, targets: dict[str, Target]) -> Iterator[tuple[str, Tensor]]:
        return finished(self.files, self.table, targets)


def merge(
    base: Path,
    adapters: Sequence[Weighted],
    out: Path,
    settings: MergeSettings = MergeSettings(),
    progress: Progress | None = None,
) -> Merged:
    """Write the model in `base` with the changes of `adapters` to a new folder `out`.

    It appears whole or not at all, codec and voices inside. `progress` is told the weights that
    are done, and all of them. Raises CheckpointError, OutputError, SettingError.
    """
    out = Path(os.path.realpath(out))
    dtype = DTYPES.get(settings.dtype or "")
    model = _Base.open(base, dtype)
    shapes = {name: target.shape for name, target in model.targets.items()}
    for one in adapters:
        refuse_misfit(one.adapter, shapes, one.label)
    refuse_place(out)
    refuse_lack_of_room(out, _size(model, dtype))
    layout: Layout = settings.layout or model.table.name  # type: ignore[assignment]
    table = next(table for table in LANGUAGE_MODEL if table.name == layout)
    moved: list[Moved] = []
    with appearing(out) as part:
        without = () if settings.tokenizer else TOKENIZER
        left_out = copy_beside(base, part, list(model.files.files), without)
        shards, kind = Shards(part, settings.shard_bytes), None
        targets = _watched(model.targets, adapters, moved.append)
        for name, value in counted(model.values(targets), targets, progress):
            _refuse_overflow(name, value)
            shards.add(table.stored(name), value)
            kind = value.dtype if name == "norm.weight" else kind
        names = shards.finish()
        if settings.verify:
            _verify(model, adapters, part, table)
        told = {**model.config.to_json(layout), "dtype": str(kind).removeprefix("torch.")}
        (part / INFO).write_text(_info(model, adapters, told, moved))
        (part / CONFIG).write_text(json.dumps(told, indent=2) + "\n")
        size = sum((part / name).stat().st_size for name in names)
    return Merged(out, size, left_out, tuple(moved))


def _watched(
    targets: dict[str, Target], adapters: Sequence[Weighted], tell: Callable[[Moved], None]
) -> dict[str, Target]:
    """The targets with the changes of adapters; `tell` hears how far each was moved."""
    changed = adapted(targets, adapters)
    for name in set[str]().union(*(one.adapter.touched for one in adapters)):
        change = partial(_changed, name, adapters, targets[name].dtype, tell)
        changed[name] = replace(changed[name], change=change)
    return changed


def _changed(
    name: str,
    adapters: Sequence[Weighted],
    dtype: torch.dtype | None,
    tell: Callable[[Moved], None],
    value: Tensor,
) -> Tensor:
    before = value.float()
    exact = folded_all(name, value, adapters)
    rounded = exact.to(dtype or value.dtype)
    change = exact - before
    tell(
        Moved(
            name,
            _share(change.abs().mean(), before.abs().mean()),
            _share(change.abs().max(), before.abs().max()),
            _share((rounded.float() - exact).norm(), change.norm()),
        )
    )
    return rounded


def _share(part: Tensor, whole: Tensor) -> float:
    return float(part / whole) if whole else 0.0


def _refuse_overflow(name: str, value: Tensor) -> None:
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise CheckpointError(
            f"The tensor {name} holds numbers that are none in {str(value.dtype)[6:]}; "
            "use --dtype bf16 or fp32, or less of the adapter."
        )


def _verify(model: _Base, adapters: Sequence[Weighted], part: Path, table: Table) -> None:
    """Raises CheckpointError when what was written is not what would be loaded with adapters."""
    written = open_tensors(part)
    for name, value in model.values(adapted(model.targets, adapters)):
        _, found = next(written.read([table.stored(name)]))
        if found.dtype != value.dtype or not torch.equal(found, value):
            raise CheckpointError(
                f"What was written of {name} is not what was to be written; the disk or the "
                "memory of this machine is at fault."
            )


def _size(model: _Base, dtype: torch.dtype | None) -> float:
    if dtype is None:
        return sum(path.stat().st_size for path in model.files.files)
    numbers = sum(torch.Size(target.shape).numel() for target in model.targets.values())
    return numbers * dtype.itemsize


def _info(
    model: _Base, adapters: Sequence[Weighted], told: dict[str, Any], moved: Sequence[Moved]
) -> str:
    """What was merged with what, and when."""
    about = {
        "base_model": str(model.folder),
        "base_fingerprint": fingerprint(model.folder),
        "adapters": [
            {
                "adapter": one.label,
                "weight": one.factor,
                "rank": one.adapter.config.rank,
                "alpha": one.adapter.config.alpha,
                "base_fingerprint": one.adapter.config.fingerprint,
            }
            for one in adapters
        ],
        "merge_time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "faster_higgs": _version(),
        "model_type": told.get("model_type"),
        "dtype": told["dtype"],
        "moved": [asdict(one) for one in moved],
    }
    return json.dumps(about, indent=1) + "\n"


def _version() -> str | None:
    try:
        return version("faster-higgs")
    except PackageNotFoundError:  # run from its source
        return None
