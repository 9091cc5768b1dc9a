"""Adapters in memory: small changes of a model's weights, and what they make of a weight.

Knows nothing of files, nor of how adapters are trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from faster_higgs.errors import CheckpointError


@dataclass(frozen=True)
class AdapterConfig:
    """What an adapter says of itself. `fingerprint` is that of the base it was trained on."""

    rank: int
    alpha: float
    use_rslora: bool = False
    use_dora: bool = False
    dropout: float = 0.0
    base: str = ""
    fingerprint: str = ""

    def scale(self, rank: int | None = None) -> float:
        """What the product of a pair of `rank` is multiplied by, without patterns of alpha."""
        rank = rank or self.rank
        return self.alpha / (math.sqrt(rank) if self.use_rslora else rank)


@dataclass(frozen=True)
class Adapter:
    """Pairs (A [r, in], B [out, r]) and magnitudes [out] by our path of a linear layer.

    `replaced` holds whole tensors by our name. Every pair counts `scale` times, whatever its rank.
    """

    config: AdapterConfig
    pairs: Mapping[str, tuple[Tensor, Tensor]]
    magnitudes: Mapping[str, Tensor] = field(default_factory=dict)
    replaced: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        return self.config.scale()

    @property
    def touched(self) -> set[str]:
        """Our names of the tensors it changes."""
        return {f"{path}.weight" for path in self.pairs} | set(self.replaced)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape that each touched tensor must have."""
        made = {
            f"{path}.weight": (len(up), down.shape[1]) for path, (down, up) in self.pairs.items()
        }
        return {**made, **{name: tuple(value.shape) for name, value in self.replaced.items()}}


Weighted = Sequence[tuple[Adapter, float]]


def folded(name: str, weight: Tensor, adapter: Adapter, factor: float = 1.0) -> Tensor:
    """`weight`, our tensor `name`, with `factor` times the change of `adapter`, in fp32.

    One that the adapter does not touch is given back as it is.
    """
    return folded_all(name, weight, [(adapter, factor)])


def folded_all(name: str, weight: Tensor, adapters: Weighted) -> Tensor:
    """The same with the changes of several, each measured from `weight` itself, added up."""
    touching = [(adapter, factor) for adapter, factor in adapters if name in adapter.touched]
    if not touching:
        return weight
    base = weight.float()
    if len(touching) == 1:
        adapter, factor = touching[0]
        return torch.lerp(base, tuned(name, base, adapter), factor)  # exact where factor is 1
    total = base.clone()
    for adapter, factor in touching:
        total += factor * (tuned(name, base, adapter) - base)
    return total


def tuned(name: str, weight: Tensor, adapter: Adapter) -> Tensor:
    """What `adapter` makes of `weight` [out, in], fp32: W + s B A, its rows rescaled for DoRA."""
    if (whole := adapter.replaced.get(name)) is not None:
        return whole.to(weight.device, torch.float32)
    path = name.removesuffix(".weight")
    down, up = (part.to(weight.device, torch.float32) for part in adapter.pairs[path])
    value = torch.addmm(weight.float(), up, down, alpha=adapter.scale)
    if (magnitude := adapter.magnitudes.get(path)) is None:
        return value
    norms: Tensor = torch.linalg.vector_norm(value, dim=1)
    return value * (magnitude.to(weight.device, torch.float32) / norms)[:, None]


def refuse_misfit(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]], label: str) -> None:
    """Raises CheckpointError when a model with tensors of these `shapes` cannot take `adapter`."""
    for name, wanted in adapter.shapes().items():
        found = shapes.get(name)
        if found is None:
            raise CheckpointError(
                f"The adapter '{label}' changes {name}, which the model has not; "
                "give the model it was trained on."
            )
        if tuple(found) != wanted:
            raise CheckpointError(
                f"The adapter '{label}' was trained on another model: its {name} has shape "
                f"{list(wanted)}, that of the model {list(found)}; give the model it belongs to."
            )
