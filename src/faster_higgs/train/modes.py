"""Which weights of the model are trained, part by part. Knows nothing of adapters' insides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from faster_higgs.train.tune_config import Mode, Part, TuneSettings

PARTS: Mapping[Part, str] = {
    "attention": r"layers\.\d+\.[qkvo]_proj\..+",
    "text_ffn": r"layers\.\d+\.text_mlp\..+",
    "audio_ffn": r"layers\.\d+\.audio_mlp\..+",
    "embed_text": r"embed_text\..+",
    "embed_audio": r"embed_audio\..+",
    "text_head": r"text_head\..+",
    "audio_head": r"audio_head\..+",
    "text_norms": r"layers\.\d+\.text_\w+_norm\..+|norm\..+",
    "audio_norms": r"layers\.\d+\.audio_\w+_norm\..+",
}
"""Full names of weights and buffers; the last norm counts as text, as the original's flags do."""

_AUDIO: tuple[Part, ...] = ("audio_ffn", "embed_audio", "audio_head", "audio_norms")
TRAINED: Mapping[Mode, tuple[Part, ...]] = {
    "full": tuple(PARTS),
    "audio_path": ("attention", *_AUDIO),
    "audio_only": _AUDIO,
}
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


def _sizes(model: nn.Module) -> Iterator[tuple[str, int, bool]]:
    """Name, number of weights, and whether they learn; a packed layer has no parameter."""
    for name, module in model.named_modules():
        shape = getattr(module, "in_features", 0), getattr(module, "out_features", 0)
        if hasattr(module, "codes") or type(module).__name__ == "Linear4bit":
            yield f"{name}.weight", shape[0] * shape[1], False
            continue
        for key, weight in module.named_parameters(name, recurse=False):
            yield key, weight.numel(), weight.requires_grad
