"""Adapters folded into a model while it is loaded, before anything is packed.

Knows nothing of the format of adapters, nor how a tensor is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from faster_higgs.checkpoint.adapter import (
    ADAPTER_CONFIG,
    Weighted,
    folded_all,
    read_adapter,
    refuse_misfit,
)
from faster_higgs.checkpoint.quantized import Stamp, in_words
from faster_higgs.checkpoint.targets import Target, Targets
from faster_higgs.errors import CheckpointError, SettingError

Choice = str | Path | tuple[str | Path, float] | Weighted
_INSIDE = ("adapter", "lora_adapters")
_UNUSED = "text_head.weight"  # of a model that is loaded without it


def chosen(choices: Iterable[Choice]) -> list[Weighted]:
    """Adapters by their folders, each with how often its change counts; read ones stay as they are.

    Raises CheckpointError, CheckpointNotFound, SettingError.
    """
    return [one if isinstance(one, Weighted) else _read(one) for one in choices]


def notes(fingerprint: str, adapters: Iterable[Weighted]) -> Iterator[str]:
    """What is to be said of adapters that were trained on other weights than the model's."""
    for one in adapters:
        config = one.adapter.config
        if config.fingerprint and fingerprint and config.fingerprint != fingerprint:
            base = f" ({config.base})" if config.base else ""
            yield (
                f"Warning: the adapter '{one.label}' was trained on other weights than this "
                f"model's{base}; what it makes here may be worse."
            )


def adapted(targets: Targets, adapters: Sequence[Weighted]) -> dict[str, Target]:
    """The same targets; those that adapters touch are changed once they are read.

    Raises CheckpointError for an adapter of another model.
    """
    shapes = {name: target.shape for name, target in targets.items()}
    for one in adapters:
        unused = {} if _UNUSED in targets else {_UNUSED: one.adapter.shapes().get(_UNUSED, ())}
        refuse_misfit(one.adapter, {**shapes, **unused}, one.label)
    touched = set[str]().union(*(one.adapter.touched for one in adapters)) & set(targets)
    changed = {
        name: replace(
            targets[name],
            dtype=None,  # cast after the change, not before
            copied=False,  # the change makes a copy
            change=partial(_changed, name, adapters, targets[name].dtype),
        )
        for name in touched
    }
    return {**targets, **changed}


def refuse_packed(stamp: Stamp) -> NoReturn:
    """Raises CheckpointError: a change is lost among weights of few bits."""
    raise CheckpointError(
        f"The checkpoint in '{stamp.folder}' holds {in_words(stamp.quantization)}, into which no "
        "adapter can be folded. Give the model it was made from; or merge the adapter into that "
        "one with `higgs merge` and export the result again."
    )


def place(folder: Path) -> Path:
    """Where the adapter is in a folder that a training left, ours or another's; else the folder."""
    places = [folder, *(folder / name for name in _INSIDE)]
    return next((at for at in places if (at / ADAPTER_CONFIG).is_file()), folder)


def _read(choice: str | Path | tuple[str | Path, float]) -> Weighted:
    folder, factor = choice if isinstance(choice, tuple) else (choice, 1.0)
    if not math.isfinite(factor):
        raise SettingError(f"The adapter '{folder}' cannot count {factor} times; give a number.")
    return Weighted(read_adapter(place(Path(folder).expanduser())), float(factor), str(folder))


def _changed(
    name: str, adapters: Sequence[Weighted], dtype: torch.dtype | None, value: Tensor
) -> Tensor:
    return folded_all(name, value, adapters).to(dtype or value.dtype)
