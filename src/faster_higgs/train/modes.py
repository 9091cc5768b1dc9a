"""Which weights of the model are trained, part by part. Knows nothing of adapters' insides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from faster_higgs.train.parts import PARTS, TRAINED
from faster_higgs.train.tune_config import Part, TuneSettings

_PAIR = re.compile(r"\.lora_(A|B|magnitude_vector)\.")


class Count(NamedTuple):
    """Numbers of one part."""

    trained: int
    frozen: int
    adapter: int


@dataclass(frozen=True)
class Table:
    """What is trained, for people."""

    counts: Mapping[Part, Count]

    @property
    def total(self) -> Count:
        return Count(*map(sum, zip(*self.counts.values(), strict=True)))

    def lines(self) -> Iterator[str]:
        yield f"{'part':<12}{'trained':>16}{'frozen':>16}{'adapter':>16}"
        for name, count in (*self.counts.items(), ("all", self.total)):
            yield f"{name:<12}" + "".join(f"{number:>16,}" for number in count)


def part_of(name: str) -> Part:
    """The part that a tensor of the model belongs to."""
    return next(part for part, pattern in PARTS.items() if re.fullmatch(pattern, name))


def is_pair(name: str) -> bool:
    """Whether a parameter belongs to an adapter."""
    return bool(_PAIR.search(name))


def free(model: nn.Module, settings: TuneSettings) -> None:
    """Let the weights of a mode without an adapter learn, and only those."""
    chosen = set(TRAINED[settings.mode])
    if not settings.training.loss.text_weight:
        chosen.discard("text_head")  # nothing reads it, so it has no gradient
    for name, weight in model.named_parameters():
        weight.requires_grad_(part_of(name) in chosen)


def table(model: nn.Module) -> Table:
    """Numbers by part, those of packed layers included."""
    counts = dict.fromkeys(PARTS, Count(0, 0, 0))
    for name, size, learns in _sizes(model):
        here, pair = counts[part_of(name)], is_pair(name)
        counts[part_of(name)] = Count(
            here.trained + size * (learns and not pair),
            here.frozen + size * (not learns and not pair),
            here.adapter + size * pair,
        )
    return Table(counts)


class Learnt(nn.Module):
    """The weights of a model that learn, as the module whose state a checkpoint keeps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._held = (model,)  # not registered: its other weights are none of this module's

    def state_dict(self, *args: Any, **named: Any) -> dict[str, Any]:  # type: ignore[override]
        return dict(self._weights())

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **named: Any) -> Any:
        weights = dict(self._weights())
        if strange := sorted(weights.keys() ^ state_dict.keys()):
            raise RuntimeError(f"other weights were trained: {', '.join(strange[:3])}")
        for name, weight in weights.items():
            if weight.shape != state_dict[name].shape:
                raise RuntimeError(f"{name} has another shape")
            weight.copy_(state_dict[name])

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        return ((n, w.data) for n, w in self._held[0].named_parameters() if w.requires_grad)


def _sizes(model: nn.Module) -> Iterator[tuple[str, int, bool]]:
    """Name, number of weights, and whether they learn; a packed layer has no parameter."""
    for name, module in model.named_modules():
        shape = getattr(module, "in_features", 0), getattr(module, "out_features", 0)
        if hasattr(module, "codes") or type(module).__name__ == "Linear4bit":
            yield f"{name}.weight", shape[0] * shape[1], False
            continue
        for key, weight in module.named_parameters(name, recurse=False):
            yield key, weight.numel(), weight.requires_grad
