"""How long conversations are: on average, and the longest that any epoch may bring.

Counts of frames and tokens tell which may be the longest; only those are written out. Knows
nothing of batches.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nlargest

from faster_higgs.train.dataset import Dataset, Talk
from faster_higgs.train.packing import Examples

_SAMPLE = 256  # examples whose mean stands for that of all
_WRITTEN = 8  # conversations of a kind that are written out: counts are a few tokens off


@dataclass(frozen=True)
class Lengths:
    """Positions of examples: the mean of a sample, the longest that there may be, and its clip."""

    count: int
    mean: float
    longest: int
    clip: str = ""

    @classmethod
    def of(cls, examples: Examples, sets: Sequence[Dataset]) -> Lengths:
        """Of examples that come from `sets`."""
        every = max(1, len(examples) // _SAMPLE)
        found = [len(examples.example(i, 0)) for i in range(0, len(examples), every)]
        return cls(len(examples), sum(found) / len(found), *max(map(longest, sets)))


def longest(data: Dataset) -> tuple[int, str]:
    """Positions of the longest conversation that any epoch may bring, and the clips it teaches."""
    written = (data.tell(talk) for talk in _long_talks(data))
    return max((len(example), example.name) for example in written)


def _long_talks(data: Dataset) -> Iterator[Talk]:
    """Of every kind of conversation those that may be the longest."""
    company = _Company(data)
    tasks = {(task.startswith("multi"), task.endswith("cloning")) for task in data.settings.weights}
    for several, clones in sorted(tasks | {(several, False) for several, _ in tasks}):
        yield from _of_kind(data, company, several, clones)


def _of_kind(data: Dataset, company: _Company, several: bool, clones: bool) -> Iterator[Talk]:
    settings = data.settings
    described = settings.speaker_prompt != "none" and not several and not clones
    beside = _texts(data, described)

    def size(target: int) -> int:
        turns, references = company.of(target, several, clones)
        return beside[target] + sum(company.sizes[i] for i in (*turns, *references))

    for target in nlargest(_WRITTEN, data.indices, size):
        turns, references = company.of(target, several, clones)
        for in_system in {settings.in_system == 1, settings.in_system > 0 and clones}:
            yield Talk(turns, turns, references, in_system, settings.drop_scene < 1)


class _Company:
    """The longest clips that may be heard with a target; `sizes` are the positions of all clips."""

    def __init__(self, data: Dataset) -> None:
        cache, self._data = data.cache, data
        columns = zip(cache.column("frames"), cache.counts("tokens"), strict=True)
        self.sizes: list[int] = [frames + cache.books + 1 + tokens for frames, tokens in columns]
        self._best = {
            speaker: nlargest(2, pool, self.sizes.__getitem__)
            for speaker, pool in data.pools.items()
        }
        self._talkers = nlargest(
            data.settings.max_speakers,
            data.talkers,
            lambda speaker: sum(self.sizes[i] for i in self._best[speaker]),
        )

    def of(
        self, target: int, several: bool, clones: bool
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Turns, the target's first, and references; none where one of the turns has none."""
        turns = (target, *self._partners(target)) if several else (target,)
        found = [self._reference(i) for i in turns] if clones else [None]
        return turns, tuple(i for i in found if i is not None) if None not in found else ()

    def _partners(self, target: int) -> list[int]:
        others = [name for name in self._talkers if name != self._data.speakers[target]]
        return [self._best[name][0] for name in others[: self._data.settings.max_speakers - 1]]

    def _reference(self, turn: int) -> int | None:
        best = self._best.get(self._data.speakers[turn], [])
        return next((i for i in best if self._data.digests[i] != self._data.digests[turn]), None)


def _texts(data: Dataset, described: bool) -> list[int]:
    """Tokens of what stands beside each clip: the scene, and how its speaker is described."""
    tokenizer = data.demands.wording.tokenizer

    @cache
    def count(text: str) -> int:
        return len(tokenizer.text(text))

    found = [count(scene) for scene in data.cache.column("scene")]
    if not described:
        return found
    told = zip(data.cache.column("columns"), data.cache.column("speaker"), strict=True)
    names = [json.loads(columns).get("description") or speaker for columns, speaker in told]
    return [size + count(name) for size, name in zip(found, names, strict=True)]
