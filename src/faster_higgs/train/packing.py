"""Examples to packed batches: as many whole examples as fit a budget of positions, no padding.

The order is a function of (seed, epoch), and a place in it can be saved and found again. Knows
nothing of what an example means, or where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from faster_higgs.errors import SettingError
from faster_higgs.train.prefetch import Prefetch
from faster_higgs.train.sample import IGNORE, Example


class Examples(Protocol):
    """A data set. Equal (index, epoch) give equal examples; another epoch may vary them."""

    def __len__(self) -> int: ...

    def example(self, index: int, epoch: int) -> Example: ...


@dataclass(frozen=True)
class Batch:
    """Examples side by side in one row of positions. Documents are told apart by `segment`."""

    ids: Tensor  # [T]
    columns: Tensor  # [A, K]
    is_audio: Tensor  # [T]
    segment: Tensor  # [T] number of the document in this batch
    positions: Tensor  # [T] counted from the start of the document
    text_labels: Tensor  # [T]
    audio_labels: Tensor  # [A, K]
    centres: Tensor | None = None  # [A]
    names: tuple[str, ...] = ()  # of the clips that are learnt
    lengths: tuple[int, ...] = ()  # of the documents

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]

    @property
    def num_positions(self) -> int:
        """Text tokens and audio columns together."""
        return int(self.ids.shape[0])


@dataclass(frozen=True)
class Place:
    """Where the next batch lies: epoch, window in the epoch's order, batch in the window."""

    epoch: int = 0
    window: int = 0
    batch: int = 0

    def to_json(self) -> dict[str, int]:
        """Plain numbers for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Place:
        """What `to_json` wrote."""
        return cls(**{key: int(value) for key, value in data.items()})


class Packer:
    """An endless stream of batches of at most `budget` positions; `place` is where it stands.

    While the batches of a window are given out, a thread makes the examples of the next one.
    """

    def __init__(
        self,
        examples: Examples,
        budget: int,
        *,
        seed: int = 0,
        window: int = 512,
        place: Place = Place(),
    ) -> None:
        if len(examples) == 0:
            raise SettingError("The training set is empty; nothing can be packed.")
        self.examples, self.budget, self.seed, self.window = examples, budget, seed, window
        self.place = place
        self._ready: tuple[int, int, list[list[Example]]] | None = None
        self._prefetch = Prefetch(self._window)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next()

    def next(self) -> Batch:
        """The batch at `place`, which moves on."""
        return join(self._pass())

    def skip(self) -> None:
        """Leave the batch at `place` to somebody else."""
        self._pass()

    def _pass(self) -> list[Example]:
        groups = self._groups(self.place.epoch, self.place.window)
        if self.place.batch >= len(groups):  # the data or the budget changed since it was noted
            self.place = self._after(self.place, 0)
            return self._pass()
        group = groups[self.place.batch]
        self.place = self._after(self.place, len(groups))
        return group

    def _after(self, place: Place, batches: int) -> Place:
        if place.batch + 1 < batches:
            return replace(place, batch=place.batch + 1)
        if (place.window + 1) * self.window < len(self.examples):
            return Place(place.epoch, place.window + 1, 0)
        return Place(place.epoch + 1, 0, 0)

    def close(self) -> None:
        """Stop the thread. Another batch begins it anew."""
        self._prefetch.close()

    def _groups(self, epoch: int, window: int) -> list[list[Example]]:
        if self._ready is None or self._ready[:2] != (epoch, window):
            examples = self._prefetch.take((epoch, window))
            groups = fill([len(example) for example in examples], self.budget)
            self._ready = (epoch, window, [[examples[i] for i in group] for group in groups])
            following = self._after(Place(epoch, window), 0)
            self._prefetch.begin((following.epoch, following.window))
        return self._ready[2]

    def _window(self, number: tuple[int, int]) -> Iterator[Example]:
        """The examples of a window of an epoch."""
        epoch, window = number
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.examples), generator=generator).tolist()
        for index in order[window * self.window : (window + 1) * self.window]:
            yield self.examples.example(index, epoch)


def fill(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Share items evenly among few groups: longest first, each into the emptiest group."""
    if lengths and max(lengths) > budget:
        raise SettingError(
            f"A training example has {max(lengths)} positions, more than the batch budget of "
            f"{budget}; raise the budget or cut the clip."
        )
    groups: list[list[int]] = [[] for _ in range(-(-sum(lengths) // budget))]
    loads = [0] * len(groups)
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        target = min(range(len(groups)), key=loads.__getitem__)
        if loads[target] + lengths[item] > budget:
            groups.append([])
            loads.append(0)
            target = len(groups) - 1
        groups[target].append(item)
        loads[target] += lengths[item]
    return groups


def join(examples: Sequence[Example]) -> Batch:
    """Lay examples side by side."""
    lengths = torch.tensor([len(example) for example in examples])
    starts = lengths.cumsum(0) - lengths
    segment = torch.arange(len(examples)).repeat_interleave(lengths)
    books = max(example.columns.shape[1] for example in examples)
    return Batch(
        ids=torch.cat([example.ids for example in examples]),
        columns=torch.cat([example.columns.reshape(-1, books) for example in examples]),
        is_audio=torch.cat([example.is_audio for example in examples]),
        segment=segment,
        positions=torch.arange(int(lengths.sum())) - starts[segment],
        text_labels=torch.cat([_first_ignored(example.text_labels) for example in examples]),
        audio_labels=torch.cat([example.audio_labels.reshape(-1, books) for example in examples]),
        centres=_join_centres(examples),
        names=tuple(example.name for example in examples if example.name),
        lengths=tuple(lengths.tolist()),
    )


def silenced(batch: Batch) -> Batch:
    """The same batch with nothing to be learnt in it."""
    return replace(
        batch,
        text_labels=torch.full_like(batch.text_labels, IGNORE),
        audio_labels=torch.full_like(batch.audio_labels, IGNORE),
    )


def _first_ignored(labels: Tensor) -> Tensor:
    """The first token of a document is predicted by nothing, least of all by another document."""
    if labels[0] == IGNORE:
        return labels
    labels = labels.clone()
    labels[0] = IGNORE
    return labels


def _join_centres(examples: Sequence[Example]) -> Tensor | None:
    if all(example.centres is None for example in examples):
        return None
    unknown = [torch.full((len(example.columns),), torch.nan) for example in examples]
    return torch.cat(
        [u if e.centres is None else e.centres for e, u in zip(examples, unknown, strict=True)]
    )
