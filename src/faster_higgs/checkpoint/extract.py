"""What a fine-tuned model changed of its base, as an adapter; the reverse of a merge.

Knows nothing of how either was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from faster_higgs.checkpoint.adapter import (
    Adapter,
    AdapterConfig,
    gathered,
    our_name,
    refuse_misfit,
)
from faster_higgs.checkpoint.fingerprint import fingerprint
from faster_higgs.checkpoint.layout import Recipe, match, only
from faster_higgs.checkpoint.load import LAYOUTS, read_config
from faster_higgs.checkpoint.quantized import PACKED, read_stamp
from faster_higgs.checkpoint.tensors import TensorFiles, open_tensors
from faster_higgs.errors import CheckpointError, SettingError

_TRIES = 4  # of the randomised decomposition
_MORE = 16  # directions it looks at beyond the rank

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extracted:
    """An adapter, and which share of the squared change of the linear layers it keeps."""

    adapter: Adapter
    kept: float


@dataclass(frozen=True)
class _Weights:
    """The tensors of a folder by our names."""

    files: TensorFiles
    recipes: Mapping[str, Recipe]

    @classmethod
    def open(cls, folder: Path) -> _Weights:
        files = open_tensors(folder)
        if any(name.endswith(PACKED) for name in files.shapes):
            raise CheckpointError(
                f"The weights in '{folder}' are packed, so no difference can be taken; give the "
                "model that they were made from."
            )
        layout = next((layout for layout in LAYOUTS if layout.fits(files.shapes)), None)
        if layout is not None:
            return cls(files, match(layout, files.shapes).recipes)
        named = {ours: stored for stored in files.shapes if (ours := our_name(stored))}
        if not named:
            raise CheckpointError(f"'{folder}' holds no tensor of a Higgs Audio v2 model.")
        return cls(files, {ours: Recipe((stored,), only) for ours, stored in named.items()})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: recipe.shape(self.files.shapes) for name, recipe in self.recipes.items()}

    def read(self, name: str) -> Tensor:
        """In fp32."""
        sources = self.recipes[name].sources
        held = dict(self.files.read(sources))
        return self.recipes[name].combine([held[source] for source in sources]).float()


def extract(
    full: Path,
    base: Path,
    rank: int = 32,
    *,
    alpha: float | None = None,
    named: str = "",
    progress: Progress | None = None,
) -> Extracted:
    """The adapter that makes `full` of `base`, as near as pairs of `rank` come to it.

    Where `full` is the state of a training with pairs in it, these are taken as they are, and
    `alpha` must be told. `named` is what the adapter calls its base. `progress` is told tensors
    done, and all of them. Raises CheckpointError, SettingError.
    """
    if rank < 1:
        raise SettingError(f"--rank is {rank}; use 1 or more.")
    before = _base(base)
    about = AdapterConfig(rank, float(rank), base=named, fingerprint=fingerprint(base))
    if pairs := _pairs(open_tensors(full)):
        return _taken(full, pairs, alpha, about, before)
    if alpha is not None:
        raise SettingError(f"'{full}' holds no pairs of an adapter; leave --alpha out.")
    after = _Weights.open(full)
    _refuse_others(full, before.shapes(), after.shapes())
    return _decomposed(before, after, about, progress)


def _base(folder: Path) -> _Weights:
    read_stamp(folder, read_config(folder))  # refuses what other tools packed
    return _Weights.open(folder)


def _pairs(files: TensorFiles) -> list[str]:
    """The names of pairs and of what was trained whole beside them."""
    return [name for name in files.shapes if ".lora_" in name or ".modules_to_save." in name]


def _taken(
    full: Path, names: list[str], alpha: float | None, about: AdapterConfig, base: _Weights
) -> Extracted:
    if alpha is None:
        raise SettingError(
            f"'{full}' holds the pairs of an adapter, but not how often they count; give its "
            "lora_alpha with --alpha."
        )
    tensors = dict(open_tensors(full).read(names))
    ranks = [len(value) for name, value in tensors.items() if ".lora_A" in name]
    dora = any("lora_magnitude_vector" in name for name in names)
    told = replace(about, rank=max(ranks, default=1), alpha=alpha, use_dora=dora)
    adapter = gathered(full, tensors, told, {})
    refuse_misfit(adapter, base.shapes(), str(full))
    return Extracted(adapter, 1.0)


def _refuse_others(
    full: Path, before: Mapping[str, tuple[int, ...]], after: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises CheckpointError for a model that is no change of the base."""
    for name, shape in before.items():
        if name == "text_head.weight" and name not in after:
            continue  # not trained, not saved
        if after.get(name) != shape:
            found = "is not there" if name not in after else f"has shape {list(after[name])}"
            raise CheckpointError(
                f"The model in '{full}' is no change of the base: its {name} {found}, that of the "
                f"base has {list(shape)}; give the base it was trained on."
            )


def _decomposed(
    before: _Weights, after: _Weights, about: AdapterConfig, progress: Progress | None
) -> Extracted:
    pairs, replaced, kept, total = {}, {}, 0.0, 0.0
    for name, value, change in _changes(before, after, progress):
        if not name.startswith("layers.") or change.ndim != 2:
            replaced[name] = value
            continue
        down, up = _pair(change, about.rank)
        pairs[name.removesuffix(".weight")] = down, up
        whole = float(change.square().sum())
        kept += whole - float((change - up @ down).square().sum())
        total += whole
    if not pairs:
        raise CheckpointError(
            "No linear layer of the two models differs, so there is nothing that an adapter could "
            "hold; give the base and a model that was trained from it."
        )
    return Extracted(Adapter(about, pairs, replaced=replaced), kept / total)


def _changes(
    before: _Weights, after: _Weights, progress: Progress | None
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Our name, the new tensor and the difference of each that is not the same."""
    names = [name for name in before.recipes if name in after.recipes]
    for done, name in enumerate(names, 1):
        value = after.read(name)
        change = value - before.read(name)
        if change.any():
            yield name, value, change
        if progress is not None:
            progress(done, len(names))


def _pair(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A [r, in] and B [out, r] whose product is nearest to `change`; the same every time."""
    rank = min(rank, *change.shape)
    if rank + _MORE >= min(change.shape):
        left, sizes, right = torch.linalg.svd(change, full_matrices=False)
        right = right.T
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            left, sizes, right = torch.svd_lowrank(change, rank + _MORE, _TRIES)
    roots = sizes[:rank].sqrt()
    down, up = (right[:, :rank] * roots).T, left[:, :rank] * roots
    return down.contiguous(), up.contiguous()
