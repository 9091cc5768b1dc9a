"""What each tensor of a checkpoint becomes in a module: where it lies, its type, packed or not.

Knows nothing of files and their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from faster_higgs.checkpoint.arena import Arena, arena_for, room_of
from faster_higgs.quant.host import HostLinear, on_host
from faster_higgs.quant.linear import PackedLinear

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Target:
    """One tensor that the files must have, and what is made of it."""

    shape: tuple[int, ...]
    device: torch.device | str
    dtype: torch.dtype | None = None  # of floating tensors; None keeps what is stored
    stays_on_host: bool = False  # for a layer that streams it to the device
    stored: torch.dtype | None = None  # the only type it may be stored in
    linear: PackedLinear | None = None  # packs it
    copied: bool = False  # else it may map its file, and keep what was read of it in memory
    arena: Arena | None = None  # takes what is packed
    change: Change | None = None  # is done to what was read; gives it its type, too

    @property
    def read_to(self) -> torch.device | str:
        """Where it is put together."""
        return "cpu" if self.stays_on_host else self.device

    @property
    def becomes(self) -> torch.dtype | None:
        """The type of what is made of it; None: as stored."""
        return self.linear.codes.dtype if self.linear is not None else self.dtype

    def kept(self, stored: torch.dtype) -> torch.dtype:
        """The type it has once it is read."""
        return self.dtype if self.dtype and stored.is_floating_point else stored

    def made(self, name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
        """What the module gets, by name. Weights are packed as stored, before any cast."""
        value = value.to(self.read_to, self.kept(value.dtype), copy=self.copied)
        if self.change is not None:
            value = self.change(value)
        if self.linear is not None:
            packed = self.linear.pack(value)
            del value
            for leaf, part in packed.items():
                yield name.removesuffix("weight") + leaf, self._home(part)
        elif self.stays_on_host:
            yield name, on_host(value, self.device)
        else:
            yield name, self._home(value)

    def _home(self, value: Tensor) -> Tensor:
        return value if self.arena is None else self.arena.copy(value)


Targets = Mapping[str, Target]


def targets_of(
    module: nn.Module, device: torch.device | str, dtype: torch.dtype | None
) -> dict[str, Target]:
    """Every parameter and persistent buffer of `module`; packed weights are never cast.

    Beside an arena only tables map their files: a norm that did would keep in memory what was read
    of the packed weights around it.
    """
    found = {}
    arena = _arena_of(module, device)
    for name, value in module.state_dict().items():
        owner, shape = module.get_submodule(name.rpartition(".")[0]), tuple(value.shape)
        if isinstance(owner, PackedLinear):
            found[name] = Target(shape, device, stored=value.dtype, arena=arena)
        else:
            home = arena if isinstance(owner, nn.Linear) else None
            copied = arena is not None and home is None and not isinstance(owner, nn.Embedding)
            streamed = isinstance(owner, HostLinear)
            found[name] = Target(shape, device, dtype, streamed, copied=copied, arena=home)
    return found


def _arena_of(module: nn.Module, device: torch.device | str) -> Arena | None:
    """For the linear layers of a model that has packed ones; others may map their files."""
    linears = [one for one in module.modules() if isinstance(one, (PackedLinear, nn.Linear))]
    if not any(isinstance(one, PackedLinear) for one in linears):
        return None
    return arena_for(sum(room_of(v) for one in linears for v in one.state_dict().values()), device)


def packing(
    targets: Targets, module: nn.Module, device: torch.device | str, mapped: bool
) -> dict[str, Target]:
    """The same from files with whole weights: packed layers take theirs and pack them.

    What is read of `mapped` files is let go as soon as it is packed, so nothing else may map them.
    """
    packed = {
        f"{path}.weight": linear
        for path, linear in module.named_modules()
        if isinstance(linear, PackedLinear)
    }
    parts = {
        name.removesuffix("weight") + leaf
        for name, linear in packed.items()
        for leaf, _ in linear.named_buffers()
    }
    apart = mapped and bool(packed)
    return {
        **{n: replace(t, copied=apart) for n, t in targets.items() if n not in parts},
        **{
            name: Target(
                (linear.out_features, linear.in_features),
                device,
                linear=linear,
                arena=targets[name.removesuffix("weight") + "codes"].arena,
            )
            for name, linear in packed.items()
        },
    }


def place(module: nn.Module, values: Iterable[tuple[str, Tensor]]) -> None:
    """Give `module`, built on meta, its tensors as they come."""
    for name, value in values:
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        if leaf in owner._parameters:
            old = owner._parameters[leaf]
            trained = bool(old is None or old.requires_grad)
            setattr(owner, leaf, nn.Parameter(value, requires_grad=trained))
        else:
            setattr(owner, leaf, value)
